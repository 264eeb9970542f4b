"""Words from outside for a person's terminal: it obeys control characters, and takes nothing that is no text."""

WORDS_MAX = 4096  # characters


def printable(value: object) -> str:
    """What can be shown of it; the rest is marked. Names of files may hold any bytes, what a seal says was written by whoever made it."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value)[:WORDS_MAX])

"""From a typed line to a command: words, abbreviations, help. Pure, and total: any line gives a command or a sentence."""

from collections.abc import Sequence
from dataclasses import dataclass

# Every command with its sentence. A word may be cut short as long as it is clear which is meant.
COMMANDS: dict[tuple[str, ...], str] = {
    ("show", "status"): "what every process lost, how it stands, what it did",
    ("show", "segments"): "the recorded segments, their times, frames and losses",
    ("show", "clock"): "how good the box's time is",
    ("show", "system"): "the system that runs, the one in the other slot, and every switch between them with its cause",
    ("show", "recipient"): "this box's certificate, for an update that is encrypted to it alone",
    ("show", "network"): "the ports' addresses, and which of the site's files for them are used",
    ("show", "settings"): "the settings and where each comes from",
    ("show", "identity"): "the box's name, site and public key",
    ("show", "media"): "sticks that are plugged in, and their room",
    ("show", "exports"): "what was carried away, by whom, why and when",
    ("show", "session"): "the session that is open, and the last one",
    ("show", "feedback"): "what the hub advises; advice is for a person to judge",
    ("session", "start", "procedure"): "a procedure begins now; one that is open ends",
    ("session", "start", "exercise"): "the same for an exercise",
    ("session", "start", "test"): "the same for a test run",
    ("session", "close"): "the session that is open ends now: everything said during it is sent",
    (
        "find",
    ): "how many frames there are, and when: find since 2026-11-22T10:15 until ... host 10.0.0.5 device arm-2 kind motion",
    ("export",): 'the same onto a stick: export since ... until ... onto sda1 by "J. Bloggs" reason "service call 7"',
    ("verify",): "check every seal, the chain and every byte; Ctrl-C stops it",
    ("help",): "this list",
    ("exit",): "end the session",
}
INCLUDE = "include"
# What follows these is retrieval's to understand (local.py); here it is only named, for `?`.
CRITERIA = "since until host port mac proto vlan device from to kind message event contains filter"
WITH_WORDS = {
    ("find",): (CRITERIA, "each with a value, any of them again; without any, all that is here"),
    ("export",): (CRITERIA, "each with a value, any of them again; onto, by and reason once; raw: as it was recorded"),
}


@dataclass(frozen=True, slots=True)
class Command:
    """One command; include: only lines with this text are shown. words: what follows, for commands that take more."""

    path: tuple[str, ...]
    include: str | None = None
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Misunderstood:
    """Why a line is no command: what was expected, and what may stand there."""

    text: str


def understood(line: str) -> Command | Misunderstood | None:
    """The command, or why there is none; None for an empty line."""
    words = split(line)
    if words is None:
        return Misunderstood("expected a closing quotation mark")
    include: str | None = None
    if "|" in words:
        at = words.index("|")
        tail, words = words[at + 1 :], words[:at]
        if len(tail) != 2 or not tail[0] or not INCLUDE.startswith(tail[0]):
            return Misunderstood("expected after | the word include and one text")
        include = tail[1]
    if not words:
        return None if include is None else Misunderstood("expected a command before |")
    first = _prefix(words[:1])
    if not isinstance(first, Misunderstood) and first in WITH_WORDS:
        return Command(first, include, tuple(words[1:]))
    path = _resolved(words)
    return path if isinstance(path, Misunderstood) else Command(path, include)


def help_for(line: str) -> list[str]:
    """What may come next, for `?`."""
    words = split(line) or []
    partial = "" if line.endswith(" ") or not words else words.pop()
    first = _prefix(words[:1])
    if words and not isinstance(first, Misunderstood) and first in WITH_WORDS:
        return [*(f"  {row}" for row in WITH_WORDS[first]), "  <enter>"]
    prefix = _prefix(words)
    if isinstance(prefix, Misunderstood):
        return [prefix.text]
    choices = _next_words(prefix, partial)
    if not choices:
        return ["  <enter>" if prefix in COMMANDS and not partial else "  nothing may stand here"]
    width = max(len(word) for word in choices)
    rows = [f"  {word.ljust(width)}  {_meaning((*prefix, word))}" for word in choices]
    return rows + (["  <enter>"] if prefix in COMMANDS else [])


def completion(line: str) -> str:
    """What tab adds: the rest of the one word that fits, or of what all that fit have in common; "" when nothing does."""
    words = split(line)
    if not words or line.endswith(" "):
        return ""
    partial = words.pop()
    prefix = _prefix(words)
    if isinstance(prefix, Misunderstood):
        return ""
    choices = _next_words(prefix, partial)
    if not choices:
        return ""
    shortest, longest = min(choices), max(choices)
    common = next((shortest[:i] for i, c in enumerate(shortest) if i >= len(longest) or c != longest[i]), shortest)
    return common[len(partial) :] + (" " if len(choices) == 1 else "")


def split(line: str) -> list[str] | None:
    """Words between spaces; "..." keeps spaces, and | is a word of its own. None for a quotation that never ends."""
    words: list[str] = []
    word: str | None = None
    quoted = False
    for character in line:
        if character == '"':
            quoted = not quoted
            word = word or ""
        elif quoted:
            word = (word or "") + character
        elif character in " \t|":
            words += [] if word is None else [word]
            words += ["|"] if character == "|" else []
            word = None
        else:
            word = (word or "") + character
    if quoted:
        return None
    return words if word is None else [*words, word]


def _resolved(words: Sequence[str]) -> tuple[str, ...] | Misunderstood:
    path = _prefix(words)
    if isinstance(path, Misunderstood) or path in COMMANDS:
        return path
    return Misunderstood(f"expected after {' '.join(path)} one of: {', '.join(_next_words(path, ''))}")


def _prefix(words: Sequence[str]) -> tuple[str, ...] | Misunderstood:
    path: tuple[str, ...] = ()
    for word in words:
        choices = _next_words(path, word.lower())
        if word.lower() in choices:
            choices = [word.lower()]
        if len(choices) > 1:
            return Misunderstood(f"expected one word, this may be any of: {', '.join(choices)}")
        if not choices:
            possible = _next_words(path, "")
            where = f"after {' '.join(path)} " if path else ""
            return Misunderstood(f"expected {where}{'one of: ' + ', '.join(possible) if possible else 'nothing more'}")
        path = (*path, choices[0])
    return path


def _next_words(prefix: tuple[str, ...], partial: str) -> list[str]:
    depth = len(prefix)
    words = {path[depth] for path in COMMANDS if len(path) > depth and path[:depth] == prefix}
    return sorted(word for word in words if word.startswith(partial.lower()))


def _meaning(path: tuple[str, ...]) -> str:
    return COMMANDS.get(path) or ", ".join(word for word in _next_words(path, ""))

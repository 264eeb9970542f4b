"""Messages without what is sensitive in them. Pure.

A removed part reads "[removed]"; its tag stays, at its new place, for the life of the data (S2-084).
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from firmware.core.message import TAGS_MAX, TEXT_MAX, Field, Message, Tag
from firmware.core.sensitive import REMOVED, find_tags, has_marker
from firmware.core.sensitive_names import NAMES, SensitiveNames

# Reasons given by this station, beside the finder's: a media type nobody allowed; a tag nobody here understands.
OPAQUE, UNKNOWN = "opaque", "unknown"
BEGINNING_MAX = 200  # characters of a field's name, which may have 256
WORD_REMOVED = "removed"  # as REMOVED, where only a word may stand


@dataclass(frozen=True, slots=True)
class WordRules:
    """names: fields that never leave. attachment_types: the only media types that may, in lower case."""

    names: SensitiveNames = NAMES
    attachment_types: frozenset[str] = frozenset()


def cleaned(message: Message, rules: WordRules) -> tuple[Message, int]:
    """The message as it may leave, and how many parts were removed. Cleaning what is clean changes nothing: it is the same object then.

    Tags it came with and those found now, from scratch, both count. A tag that points outside its value takes the whole value; one
    that points at nothing a message has takes the whole body, for whoever set it meant something.
    """
    message, words_removed = _with_harmless_words(message, rules.names)
    found = find_tags(message.text, message.fields, message.attachment, names=rules.names)
    if not found and not message.tags and message.attachment is None:
        return message, words_removed
    tags = _by_path((*message.tags, *found))
    kept: list[Tag] = []
    text = message.text
    if text is not None:
        text, kept = _without("text", text, tags.pop("text", ()))
    fields: dict[str, Field] = {}
    for position, (name, value) in enumerate(message.fields.items()):
        own = tags.pop(f"fields/{name}", ())
        shown = _shown(name, position, rules.names)
        if shown != name:
            shown = _free_name(shown, {*message.fields, *fields})
        if own and isinstance(value, str):
            fields[shown], more = _without(f"fields/{shown}", value, own)
            kept += more
        elif own:
            fields[shown] = REMOVED
            kept.append(Tag(f"fields/{shown}", 0, 0, own[0].why))
        else:
            fields[shown] = value
    attachment, why = message.attachment, [tag.why for tag in tags.pop("attachment", ())]
    if attachment is not None and (why or attachment[0].lower() not in rules.attachment_types):
        attachment, why = None, why or [OPAQUE]
    if why:
        kept.append(Tag("attachment", 0, 0, why[0]))
    if any(path != "text" and not path.startswith("fields/") for path in tags) or len(kept) > TAGS_MAX:
        return replace(message, text=REMOVED, fields={}, attachment=None, tags=(Tag("text", 0, 0, UNKNOWN),)), 1
    return replace(message, text=text, fields=fields, attachment=attachment, tags=tuple(kept)), len(kept) + words_removed


def is_harmless_word(word: str | None, names: SensitiveNames) -> bool:
    """Whether the name of a process, a kind or an event says nothing sensitive, as `mrn:4711` and `Patient/4711` do."""
    return word is None or not (":" in word or "/" in word) or not find_tags(word, {}, names=names)


def _with_harmless_words(message: Message, names: SensitiveNames) -> tuple[Message, int]:
    """Those of its words that are not, replaced as a whole; no tag says so, for a tag is a place in a text."""
    words = (message.process, message.kind, message.event)
    joined = "".join(filter(None, words))
    if ":" not in joined and "/" not in joined:
        return message, 0  # What it takes to say something of somebody; nearly none has it.
    process, kind, event = (word if is_harmless_word(word, names) else WORD_REMOVED for word in words)
    count = sum(word != former for word, former in zip((process, kind, event), words, strict=True))
    return (replace(message, process=str(process), kind=str(kind), event=event), count) if count else (message, 0)


def _shown(name: str, position: int, names: SensitiveNames) -> str:
    """A field's name as it may leave.

    It can be written by hand as well, and a marker in it says that it must not be read either. And below a name that is sensitive
    somebody's own may stand, where a map has an entry for each patient.
    """
    if has_marker(name):
        return f"removed-{position}"
    beginning = names.reading(name)
    return name if beginning == name else f"{beginning[:BEGINNING_MAX]}/removed-{position}"


def _free_name(name: str, taken: Container[str]) -> str:
    while name in taken:
        name += "-"
    return name


def _by_path(found: Sequence[Tag]) -> dict[str, Sequence[Tag]]:
    tags: dict[str, list[Tag]] = {}
    for tag in found:
        tags.setdefault(tag.path, []).append(tag)
    return dict(tags)


def _without(path: str, value: str, tags: Sequence[Tag]) -> tuple[str, list[Tag]]:
    """The value without its spans, and where they were."""
    if not tags:
        return value, []
    if any(tag.start == tag.end or tag.end > len(value) for tag in tags):
        return REMOVED, [Tag(path, 0, 0, tags[0].why)]
    parts: list[str] = []
    kept: list[Tag] = []
    position = size = 0
    for tag in _merged(tags):
        parts += (value[position : tag.start], REMOVED)
        size += tag.start - position + len(REMOVED)
        kept.append(Tag(path, size - len(REMOVED), size, tag.why))
        position = tag.end
    parts.append(value[position:])
    if size + len(value) - position > TEXT_MAX:  # "[removed]" can be longer than what it stands for
        return REMOVED, [Tag(path, 0, 0, tags[0].why)]
    return "".join(parts), kept


def _merged(tags: Sequence[Tag]) -> list[Tag]:
    """Spans in order, those that overlap or touch as one."""
    merged: list[Tag] = []
    for tag in sorted(tags, key=lambda tag: (tag.start, tag.end)):
        if merged and tag.start <= merged[-1].end:
            merged[-1] = replace(merged[-1], end=max(merged[-1].end, tag.end))
        else:
            merged.append(tag)
    return merged

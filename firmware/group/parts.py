"""Messages without the parts a site leaves on the box (S2-044). Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import translate

from firmware.core.errors import BadSettings
from firmware.core.message import Message, Priority


@dataclass(frozen=True, slots=True)
class Parts:
    """What is left out, by priority: patterns of "text", "attachment", "fields/<name>"."""

    patterns: Mapping[Priority, "re.Pattern[str]"]

    @classmethod
    def of(cls, entries: Sequence[str]) -> "Parts":
        """From "4 attachment". Raises BadSettings naming the entry."""
        listed: dict[Priority, list[str]] = {}
        for entry in entries:
            number, _, path = entry.partition(" ")
            if number not in ("1", "2", "3", "4") or not (path in ("text", "attachment") or path.startswith("fields/")):
                raise BadSettings(f'[group] leave_out: expected entries such as "4 attachment" or "3 fields/raw*", got {entry!r}')
            listed.setdefault(Priority(int(number)), []).append(translate(path))
        return cls({priority: re.compile("|".join(paths)) for priority, paths in listed.items()})

    def without(self, message: Message) -> Message:
        """The message as it goes on; the same one when nothing is left out."""
        pattern = self.patterns.get(message.priority)
        if pattern is None:
            return message
        gone = {path for path in _paths(message) if pattern.match(path)}
        if not gone:
            return message
        return replace(
            message,
            text=None if "text" in gone else message.text,
            attachment=None if "attachment" in gone else message.attachment,
            fields={name: value for name, value in message.fields.items() if f"fields/{name}" not in gone},
            tags=tuple(tag for tag in message.tags if tag.path not in gone),
        )


def _paths(message: Message) -> list[str]:
    paths = [f"fields/{name}" for name in message.fields]
    if message.text is not None:
        paths.append("text")
    if message.attachment is not None:
        paths.append("attachment")
    return paths

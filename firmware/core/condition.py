"""What a site says about messages: words that must all hold. One for sessions, event slices and the hub's rules. Pure.

    event=tool-*   kind=published   device=arm-?   process=arm    a pattern with * and ?; != for any but these
    severity<=3    priority<=2                                    RFC 5424's numbers, 0 emergency; ours, 1 first
    fields/temperature>70   fields/state=worn                     a field: as a number, or as a pattern

A message that lacks what is asked about does not fit, whichever way it was asked.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate

from firmware.core.message import Message

WORDS_MAX = 16
_WORD = re.compile(
    r"(?P<what>event|kind|device|process|severity|priority|fields/[^=<>!\s]{1,256})(?P<how><=|>=|!=|=|<|>)(?P<value>\S{1,128})"
)
_ORDER: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt, "=": operator.eq, "!=": operator.ne,
}  # fmt: skip
_NUMBERS = ("severity", "priority")
_Test = Callable[[Message], bool]


@dataclass(frozen=True, slots=True)
class Condition:
    """Words as they were written, and what they ask. event: the pattern of the event it asks for, None where it asks for none."""

    words: str
    tests: tuple[_Test, ...]
    event: str | None = None

    @classmethod
    def of(cls, words: str) -> "Condition":
        """Raises ValueError saying what was expected, and of which word."""
        parts = words.split()
        if not 0 < len(parts) <= WORDS_MAX:
            raise ValueError(f"expected 1 to {WORDS_MAX} words such as event=tool-* or severity<=3, got {len(parts)}")
        event = next((part.removeprefix("event=") for part in parts if part.startswith("event=")), None)
        return cls(" ".join(parts), tuple(_test(part) for part in parts), event)

    def holds(self, message: Message) -> bool:
        """Whether every word does."""
        return all(test(message) for test in self.tests)


class AnyOf:
    """Several conditions, asked of every message there is: ten thousand a second, of which most are about no event at all."""

    def __init__(self, conditions: Sequence[Condition]) -> None:
        self._conditions = tuple(conditions)
        events = [condition.event for condition in conditions if condition.event is not None]
        # Where each asks for an event, one look tells for nearly all: 0.3 µs instead of 20 for seven conditions.
        self._events = re.compile("|".join(map(translate, events))) if len(events) == len(self._conditions) else None

    def holds(self, message: Message) -> bool:
        """Whether any of them does."""
        if self._events is not None and (message.event is None or self._events.match(message.event) is None):
            return False
        return any(condition.holds(message) for condition in self._conditions)


def _test(word: str) -> _Test:
    match = _WORD.fullmatch(word)
    if match is None:
        raise ValueError(f"expected a word such as event=tool-*, severity<=3 or fields/temperature>70, got {word!r}")
    what, how, value = match["what"], match["how"], match["value"]
    number = _number(value)
    if what in _NUMBERS or (how in ("<", ">", "<=", ">=")):
        if number is None or not (what in _NUMBERS or what.startswith("fields/")):
            raise ValueError(f"expected a number to compare with, or = for a pattern, in {word!r}")
        compare, limit = _ORDER[how], number
        if what in _NUMBERS:
            return lambda message: compare(int(getattr(message, what)), limit)
        name = what.removeprefix("fields/")
        return lambda message: (found := value_of(message, name)) is not None and compare(found, limit)
    pattern, is_wanted = re.compile(translate(value)), how == "="
    if what.startswith("fields/"):
        name = what.removeprefix("fields/")
        return lambda message: name in message.fields and (pattern.match(_text(message.fields[name])) is not None) == is_wanted
    return lambda message: (text := getattr(message, what)) is not None and (pattern.match(text) is not None) == is_wanted


def value_of(message: Message, name: str) -> float | None:
    """A field as a number: one, or a text that is one. None where it is neither."""
    value = message.fields.get(name)
    if isinstance(value, bool) or value is None:
        return None
    return _number(value) if isinstance(value, str) else float(value)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number == number and abs(number) != float("inf") else None


def _text(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)[:1024]  # nobody writes a longer pattern

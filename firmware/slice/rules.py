"""Rules as a site writes them, and what is to be ordered for a message. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from firmware.core.condition import AnyOf, Condition
from firmware.core.entrance import OWN_KINDS
from firmware.core.errors import BadSettings
from firmware.core.message import Message, Priority, is_token
from firmware.core.timestamp import SECOND

RULES_MAX = 64
AROUND_S_MAX = 600


class Of(Enum):
    """Whose frames: everybody's, those of the device that told of the event, or those in which its process spoke."""

    ROOM = "room"
    DEVICE = "device"
    PROCESS = "process"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. send: how soon the evidence travels; None: as the message does."""

    name: str
    condition: Condition
    of: Of
    around_ns: int
    send: Priority | None


@dataclass(frozen=True, slots=True)
class Rules:
    """All of them; the first that fits a message is its rule."""

    rules: tuple[Rule, ...]

    @classmethod
    def of(cls, entries: Sequence[str], *, around_s: int) -> "Rules":
        """Raises BadSettings naming the entry."""
        if len(entries) > RULES_MAX:
            raise BadSettings(f"[slice] rules: expected at most {RULES_MAX} rules, got {len(entries)}")
        rules = []
        for entry in entries:
            try:
                rules.append(_rule(entry, around_s))
            except ValueError as problem:
                raise BadSettings(f"[slice] rules: {problem}, in {entry!r}") from None
        return cls(tuple(rules))

    def rule_for(self, message: Message) -> Rule | None:
        """The first that fits. What the box says of its own work brings no evidence: that would be about itself, for ever."""
        if message.kind in OWN_KINDS and message.kind != "error":
            return None
        return next((rule for rule in self.rules if rule.condition.holds(message)), None)

    def fits(self) -> Callable[[Message], bool]:
        """Whether any may: what group hands on."""
        return AnyOf([rule.condition for rule in self.rules]).holds


def _rule(entry: str, around_s: int) -> Rule:
    name, colon, rest = entry.partition(":")
    condition, _, options = rest.partition("->")
    if not colon or not is_token(name.strip()):
        raise ValueError("expected NAME: CONDITION, the name of 1 to 64 characters [A-Za-z0-9._:/-]")
    given = {}
    for word in options.split():
        key, equals, value = word.partition("=")
        if not equals or key not in ("of", "around", "send") or key in given:
            raise ValueError(f"expected of=, around= and send= after ->, each once, got {word!r}")
        given[key] = value
    around = given.get("around", str(around_s))
    if not (around.isascii() and around.isdecimal() and 1 <= int(around) <= AROUND_S_MAX):
        raise ValueError(f"expected around=1 to {AROUND_S_MAX} seconds")
    if given.get("of", "room") not in [of.value for of in Of] or given.get("send", "1") not in ("1", "2", "3", "4"):
        raise ValueError("expected of=room, of=device or of=process, and send=1 to 4")
    send = Priority(int(given["send"])) if "send" in given else None
    return Rule(name.strip(), Condition.of(condition), Of(given.get("of", "room")), int(around) * SECOND, send)

"""What opens and closes sessions. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from firmware.core.condition import AnyOf, Condition
from firmware.core.errors import BadSettings
from firmware.core.message import Message
from firmware.core.session import KINDS, Kind
from firmware.session.settings import SessionSettings

ANY = "any"


@dataclass(frozen=True, slots=True)
class Rules:
    """The first that fits decides; a closing before an opening, so that one message can end a session but not begin another with it.

    closes: None for whichever kind is open.
    """

    opens: tuple[tuple[Kind, Condition], ...]
    closes: tuple[tuple[Kind | None, Condition], ...]

    @classmethod
    def of(cls, settings: SessionSettings) -> "Rules":
        """Raises BadSettings naming the entry."""
        opens = tuple((KINDS[kind], condition) for kind, condition in _read("opens", settings.opens, tuple(KINDS)))
        closes = tuple((KINDS.get(kind), condition) for kind, condition in _read("closes", settings.closes, (*KINDS, ANY)))
        return cls(opens, closes)

    def opened(self, message: Message) -> Kind | None:
        """What it opens."""
        return next((kind for kind, condition in self.opens if condition.holds(message)), None)

    def closes_kind(self, message: Message, kind: Kind) -> bool:
        """Whether it closes a session of this kind."""
        return any(which in (None, kind) and condition.holds(message) for which, condition in self.closes)

    def fits(self) -> Callable[[Message], bool]:
        """Whether a message says anything about sessions: what group hands on."""
        return AnyOf([condition for _, condition in (*self.opens, *self.closes)]).holds


def _read(name: str, entries: Sequence[str], kinds: Sequence[str]) -> list[tuple[str, Condition]]:
    found = []
    for entry in entries:
        kind, colon, words = entry.partition(":")
        try:
            if not colon or kind.strip() not in kinds:
                raise ValueError(f"expected KIND: CONDITION with a kind of {', '.join(kinds)}")
            found.append((kind.strip(), Condition.of(words)))
        except ValueError as problem:
            raise BadSettings(f"[session] {name}: {problem}, in {entry!r}") from None
    return found

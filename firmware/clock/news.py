"""What the clock station has to say: one change of state each, with its priority."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from firmware.core.message import Field, Priority, Severity


@dataclass(frozen=True, slots=True)
class News:
    """event: a token, the same for the same kind of thing. text: ours alone, never foreign words."""

    event: str
    priority: Priority
    severity: Severity
    text: str
    fields: Mapping[str, Field] = field(default_factory=dict)


def warning(event: str, text: str, **fields: Field) -> News:
    """P2: somebody should look."""
    return News(event, Priority.P2, Severity.WARNING, text, fields)


def notice(event: str, text: str, **fields: Field) -> News:
    """P3: good to know."""
    return News(event, Priority.P3, Severity.NOTICE, text, fields)

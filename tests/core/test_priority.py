"""How soon a message must leave: the rule, as a table."""

import pytest

from firmware.core.message import Priority, Severity
from firmware.core.priority import BY_SEVERITY, SEVERITY_OF, priority_of

P1, P2, P3, P4 = Priority
EVENTS = {"patient-injury": P1, "routine-maintenance": P3}


@pytest.mark.parametrize(
    ("expected", "stated", "event", "port", "severity"),
    [
        (P1, None, None, None, Severity.ERROR),  # S2-024: error highest
        (P2, None, None, None, Severity.WARNING),  # S2-024: warning second
        (P4, None, None, None, Severity.DEBUG),
        (P4, None, None, None, None),  # S2-028: any other the lowest
        (P3, None, None, P3, Severity.ERROR),  # S2-029: the port says it
        (P2, P2, None, P4, Severity.ERROR),  # S2-025: explicit overrides
        (P4, P4, None, P1, Severity.ERROR),
        (P1, None, "patient-injury", P4, Severity.DEBUG),  # S2-025: whatever severity
        (P1, P3, "patient-injury", P4, None),
        (P3, None, "routine-maintenance", P1, Severity.ERROR),  # S2-026: even errors
        (P1, P1, "routine-maintenance", P4, None),  # the list never lowers what the message states
        (P2, None, "tool-failure", P2, Severity.ERROR),
    ],
)
def test_priority(
    expected: Priority, stated: Priority | None, event: str | None, port: Priority | None, severity: Severity | None
) -> None:
    """Event, then message, then port, then severity. (S2-024, S2-025, S2-026, S2-027, S2-028, S2-029, S2-030)"""
    assert expected == priority_of(stated=stated, event=event, event_priorities=EVENTS, port=port, severity=severity)


def test_every_severity_and_priority_is_mapped() -> None:
    """The table of the medical study, D2: 0 to 3, 4, 5 and 6, 7."""
    assert [1, 1, 1, 1, 2, 3, 3, 4] == [int(BY_SEVERITY[severity]) for severity in Severity]
    assert set(Priority) == set(SEVERITY_OF)

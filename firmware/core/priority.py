"""How soon a message must leave: the one rule (S2-024..030), and the one table of severities (medical study, D2)."""

from collections.abc import Mapping

from firmware.core.message import Priority, Severity

BY_SEVERITY: Mapping[Severity, Priority] = {
    Severity.EMERGENCY: Priority.P1,
    Severity.ALERT: Priority.P1,
    Severity.CRITICAL: Priority.P1,
    Severity.ERROR: Priority.P1,
    Severity.WARNING: Priority.P2,
    Severity.NOTICE: Priority.P3,
    Severity.INFORMATIONAL: Priority.P3,
    Severity.DEBUG: Priority.P4,
}

# The other way round, for a message that says how urgent it is and not how bad.
SEVERITY_OF: Mapping[Priority, Severity] = {
    Priority.P1: Severity.ERROR,
    Priority.P2: Severity.WARNING,
    Priority.P3: Severity.INFORMATIONAL,
    Priority.P4: Severity.DEBUG,
}


def priority_of(
    *,
    stated: Priority | None,
    event: str | None,
    event_priorities: Mapping[str, Priority],
    port: Priority | None,
    severity: Severity | None,
) -> Priority:
    """The first of these that says anything:

    1. the event, by the site's list ("patient-injury" first, "routine-maintenance" late), whatever severity and port say; it never
       makes less urgent what the message itself states;
    2. what the message states; 3. the port it came to; 4. its severity; 5. the last.
    """
    listed = event_priorities.get(event) if event is not None else None
    if listed is not None:
        return listed if stated is None else min(listed, stated)
    if stated is not None:
        return stated
    if port is not None:
        return port
    if severity is not None:
        return BY_SEVERITY[severity]
    return Priority.P4

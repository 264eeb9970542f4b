"""How soon a message must leave: the one rule (S2-024..030), and the one place where severities of every scale are ranked."""

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


# The scales of others (medical study, D2): one table, so that an alarm is as urgent whichever way it came.
# IEC 60601-1-8 and IEEE 11073-10207 AlertConditionPriority; IHE PCD-04 in an OBX, table B.8-4.
BY_ALERT: Mapping[str, Priority] = {
    "Hi": Priority.P1, "Me": Priority.P2, "Lo": Priority.P3, "None": Priority.P4,
    "PH": Priority.P1, "PM": Priority.P2, "PL": Priority.P3, "PN": Priority.P4,
}  # fmt: skip
# HL7 table 0078, interpretation codes: critical values are warnings, an observation is otherwise the last to leave.
CRITICAL_FLAGS = frozenset({"HH", "LL", "AA"})
# OpenIGTLink STATUS codes: panic mode, hardware failure and lost connection stop a procedure; what the peer did not understand or
# could not find does not.
BY_STATUS: Mapping[int, Severity] = {
    0: Severity.WARNING, 1: Severity.INFORMATIONAL, 2: Severity.WARNING, 3: Severity.ALERT, 4: Severity.WARNING, 5: Severity.WARNING,
    6: Severity.NOTICE, 7: Severity.ERROR, 8: Severity.WARNING, 9: Severity.WARNING, 10: Severity.WARNING, 11: Severity.WARNING,
    12: Severity.WARNING, 13: Severity.NOTICE, 14: Severity.NOTICE, 15: Severity.WARNING, 16: Severity.WARNING, 17: Severity.WARNING,
    18: Severity.CRITICAL, 19: Severity.NOTICE,
}  # fmt: skip


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

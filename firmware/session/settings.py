"""The section [session] of scrubjay.toml."""

from dataclasses import dataclass

from firmware.core.settings import setting


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What opens and closes sessions, and what is recorded between them."""

    opens: tuple[str, ...] = setting(
        ("procedure: event=procedure-started", "exercise: event=exercise-started", "test: event=test-started"),
        'KIND: CONDITION on a published message; HL7 is one, too: "procedure: kind=hl7 fields/hl7/appointment_status=Started fields/hl7/location=OR/3".',
    )
    closes: tuple[str, ...] = setting(
        ("procedure: event=procedure-ended", "exercise: event=exercise-ended", "test: event=test-ended"),
        'The same for the end of one of that kind; "any" for whichever is open.',
    )
    restart_min: int = setting(
        30,
        "An opening this long after the last one ends a session that was left open and begins another; sooner, it is said twice.",
        low=0,
        high=1440,
    )
    longest_h: int = setting(24, "A session left open is closed after this; 0: never.", low=0, high=720)
    settle_ms: int = setting(
        2000, "After its end, wait this long for what was said during it and is still on its way in.", low=0, high=60_000
    )
    outside: str = setting(
        "record", 'What the recorder does between sessions: "record", or "pause".', choices=("record", "pause")
    )

"""The section [clock] of scrubjay.toml."""

from dataclasses import dataclass

from firmware.core.settings import setting


@dataclass(frozen=True, slots=True)
class ClockSettings:
    """How closely the clock is watched."""

    period_ms: int = setting(1000, "How often the clock is looked at.", low=100, high=60_000)
    # NTP and PTP servos slew by at most 500 ppm, 0.5 ms in a second: anything near this is a step, not a correction.
    step_ms: int = setting(
        50, "A jump of the wall clock against monotonic time beyond this is a step and is reported.", low=1, high=60_000
    )

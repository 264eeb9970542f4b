"""Section [group] of scrubjay.toml."""

from dataclasses import dataclass

from firmware.core.settings import setting


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """When a group is complete: its interval has ended or it has reached a ceiling, whichever comes first."""

    p1_interval_s: int = setting(300, "Interval of priority 1 groups, counted from midnight UTC.", low=1, high=86_400)
    p2_interval_s: int = setting(600, "The same for priority 2.", low=1, high=86_400)
    p3_interval_s: int = setting(600, "The same for priority 3.", low=1, high=86_400)
    p4_interval_s: int = setting(600, "The same for priority 4.", low=1, high=86_400)
    immediate: tuple[int, ...] = setting(
        (1,), "Priorities whose groups do not wait for their interval, so that alarms are seen within a second.", low=1, high=4
    )
    not_uploaded: tuple[int, ...] = setting((), "Priorities kept on the box only.", low=1, high=4)
    count_max: int = setting(25, "Most messages in a group.", low=1, high=10_000)
    bytes_max: int = setting(5_000_000, "Most bytes in a group.", low=1_000, high=8_000_000)
    lateness_ms: int = setting(
        2_000, "How long after its interval a group waits for messages still on their way.", low=0, high=600_000
    )
    open_max: int = setting(64, "Most groups open at once; beyond it the one opened first is closed.", low=4, high=4_096)

"""Section [group] of scrubjay.toml."""

from dataclasses import dataclass

from firmware.core.settings import setting
from firmware.group.parts import Parts


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """When a group is complete: its interval has ended or it has reached a ceiling, whichever comes first."""

    p1_interval_s: float = setting(300.0, "Interval of priority 1 groups, counted from midnight UTC.", low=0.05, high=86_400)
    p2_interval_s: float = setting(600.0, "The same for priority 2.", low=0.05, high=86_400)
    p3_interval_s: float = setting(600.0, "The same for priority 3.", low=0.05, high=86_400)
    p4_interval_s: float = setting(600.0, "The same for priority 4.", low=0.05, high=86_400)
    immediate: tuple[int, ...] = setting(
        (1,), "Priorities whose groups do not wait for their interval, so that alarms are seen within a second.", low=1, high=4
    )
    not_uploaded: tuple[int, ...] = setting((), "Priorities kept on the box only.", low=1, high=4)
    count_max: int = setting(25, "Most messages in a group.", low=1, high=10_000)
    bytes_max: int = setting(5_000_000, "Most bytes in a group.", low=1_000, high=8_000_000)
    lateness_ms: int = setting(
        2_000, "How long after its interval a group waits for messages still on their way; never longer than the interval.", low=0, high=600_000
    )  # fmt: skip
    open_max: int = setting(64, "Most groups open at once; beyond it the one opened first is closed.", low=4, high=4_096)
    by_event: tuple[str, ...] = setting(
        (), 'Events whose messages are grouped together across priorities: "tool-failure", "collision-*". Alarms also go at once.'
    )
    event_quiet_s: float = setting(
        10.0, "An event's group is complete when so long nothing was said about it.", low=0.05, high=3_600
    )
    event_longest_s: float = setting(120.0, "The same after its first message, whatever is still said.", low=0.05, high=86_400)
    p1_expires_s: int = setting(
        0, "Age by the box's clock at which an unsent priority 1 group is discarded; 0: never.", low=0, high=315_360_000
    )
    p2_expires_s: int = setting(604_800, "The same for priority 2.", low=0, high=315_360_000)
    p3_expires_s: int = setting(604_800, "The same for priority 3.", low=0, high=315_360_000)
    p4_expires_s: int = setting(86_400, "The same for priority 4.", low=0, high=315_360_000)
    leave_out: tuple[str, ...] = setting(
        (), 'Parts that stay on the box, by priority: "4 attachment", "3 text", "4 fields/raw*"; the group kept here has them.'
    )

    def __post_init__(self) -> None:
        Parts.of(self.leave_out)

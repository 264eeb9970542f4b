"""The section [retention] of scrubjay.toml."""

from dataclasses import dataclass

from firmware.core.errors import BadSettings
from firmware.core.settings import setting


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """How long things are kept, and how much room they may take. A segment with a file of its name in pins/ is never deleted."""

    retain_days: int = setting(14, "Segments are kept this long.", low=1, high=36_500)
    retain_groups_days: tuple[int, ...] = setting(
        (60, 30, 14, 14), "Groups are kept this long on the box, priorities 1 to 4.", low=1, high=36_500
    )
    retain_sent_days: tuple[int, ...] = setting(
        (60, 30, 14, 7), "Copies of what the hub has are kept this long, priorities 1 to 4.", low=1, high=36_500
    )
    budget_bytes: int = setting(0, "Room for segments; beyond it the oldest go. 0: as much as the disk has.", low=0, high=1 << 60)
    keep_free_bytes: int = setting(
        1 << 30, "Room kept free, but at most a tenth of the disk; below it the oldest segments go.", low=0, high=1 << 50
    )
    groups_bytes_max: int = setting(
        2 << 30, "Room for groups; beyond it the least important, oldest go.", low=1 << 20, high=1 << 50
    )
    sent_bytes_max: int = setting(2 << 30, "Room for copies of what the hub has; likewise.", low=1 << 20, high=1 << 50)
    # A box makes 12 segments an hour as it comes: five times that clears a backlog in days, and a wrong clock has done little
    # harm by the time somebody reads the first of its messages. Those that come are beside it, or on a wire so busy that their size
    # cuts them more would come than may go.
    age_deletions_per_hour: int = setting(
        60, "Segments deleted for their age in an hour, at most, beside one for each that comes.", low=1, high=100_000
    )
    receipts_max: int = setting(
        20_000, "Receipts of deleted segments kept one by one; one signed sum accounts for older ones.", low=10, high=1_000_000
    )
    clock_step_s: int = setting(60, "A jump of the clock beyond this puts it in doubt.", low=1, high=86_400)
    clock_doubt_h: int = setting(24, "How long a clock must run without a step before ages are believed again.", low=1, high=720)

    def __post_init__(self) -> None:
        for name in ("retain_groups_days", "retain_sent_days"):
            if len(getattr(self, name)) != 4:
                raise BadSettings(f"[retention] {name}: expected four numbers, one for each priority")

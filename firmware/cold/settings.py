"""The section [cold] of scrubjay.toml."""

from dataclasses import dataclass

from firmware.core.dense import LEVEL
from firmware.core.settings import setting


@dataclass(frozen=True, slots=True)
class ColdSettings:
    """When segments are rewritten, and at whose cost. The defaults keep up with a busy room on a third of one core."""

    enabled: bool = setting(True, "Rewrite old segments into their denser form.")
    cold_after_h: int = setting(
        24, "Segments are rewritten when they are this old; younger ones are read most. 0: at once.", low=0, high=87_600
    )
    share_percent: int = setting(50, "At most this share of one core's time is spent on it.", low=1, high=100)
    level: int = setting(LEVEL, "How hard payloads are compressed: more is denser and slower.", low=1, high=19)
    keep_free_bytes: int = setting(
        256 << 20, "Room left to the recorder while both forms are there, at most a fiftieth of the disk.", low=0, high=1 << 50
    )

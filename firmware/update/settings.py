"""The section [update] of scrubjay.toml."""

from dataclasses import dataclass

from firmware.core.settings import setting


@dataclass(frozen=True, slots=True)
class UpdateSettings:
    """What a new version has to show before it is official, and when it is taken back."""

    # A segment's worth of nothing is still to be seen sealed: the trial's own store is sealed at its end, whatever its length.
    channels: tuple[str, ...] = setting(
        ("stable",), "Channels of editions this box takes when one is offered to it; a name as that of a box."
    )
    trial_s: int = setting(60, "How long a new version handles the same live frames as the official one, its output discarded.", low=2, high=86_400)  # fmt: skip
    trial_frames_min: int = setting(
        1, "Frames that must have passed in that time, or there was nothing to compare.", low=0, high=1_000_000
    )
    trials_max: int = setting(3, "A version whose trial could not be finished (power cut, restart) is given up after so many.", low=1, high=100)  # fmt: skip
    memory_mb_max: int = setting(
        300, "A process of a new version may hold at most this much during its trial.", low=16, high=65_536
    )
    cpu_percent_max: int = setting(80, "A process of a new version may use at most this share of one core in its trial.", low=1, high=6400)  # fmt: skip
    switch_s_max: int = setting(90, "A process that is not there in its new version after this time takes all of them back.", low=5, high=3600)  # fmt: skip
    failures_max: int = setting(3, "So many unexpected ends of processes within failure_window_s take a version back.", low=1, high=100)  # fmt: skip
    failure_window_s: int = setting(600, "See failures_max.", low=10, high=86_400)
    guard_s: int = setting(3600, "The process that watches over versions becomes the new one itself only this long after all others.", low=0, high=604_800)  # fmt: skip
    copies_max: int = setting(3, "Copies kept: the official one, the one before, and further older ones up to this number.", low=2, high=20)  # fmt: skip

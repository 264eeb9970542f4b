"""The recorder's section of scrubjay.toml."""

from dataclasses import dataclass

from firmware.core.errors import BadSettings
from firmware.core.pcapng import RECORDED_INTERFACES_MAX
from firmware.core.settings import setting


@dataclass(frozen=True, slots=True)
class CaptureSettings:
    """What is listened to, how it is cut, and how much a power cut may cost."""

    interface: str = setting("eth1", 'Mirror port to listen to, or several: "eth1,eth2" for the two directions of a passive tap.')
    filter: str = setting("", "pcap-filter(7) expression; what does not match is never recorded. Empty: everything.")
    snap_bytes: int = setting(262_144, "Longest part of a frame that is kept.", low=64, high=262_144)
    segment_s: int = setting(
        300, "Length of a segment by time stamp; segments begin at whole multiples of it.", low=1, high=86_400
    )
    segment_mb: int = setting(1024, "A segment is also cut at this size on disk; bounds how long a start after a power cut takes.", low=1, high=65_536)  # fmt: skip
    stretch_ms: int = setting(1000, "What was heard can be searched at the latest after this time.", low=10, high=60_000)
    sync_interval_ms: int = setting(
        500,
        "A power cut loses at most what was heard in this time, one stretch, and what comes while the disk syncs.",
        low=10,
        high=60_000,
    )
    reserve_mb: int = setting(
        16,
        "Recording stops when less than this is free, so that a segment can still be sealed; it goes on when twice as much is.",
        low=0,
        high=65_536,
    )
    ring_block_kb: int = setting(1024, "Size of one block of the kernel's ring, in KiB, a power of two.", low=64, high=16_384)
    ring_block_count: int = setting(64, "Blocks in the ring of each interface: at high rate their bytes, at low rate their number times ring_retire_ms is what a stall may last.", low=4, high=4096)  # fmt: skip
    ring_retire_ms: int = setting(
        100, "A block is handed over at the latest this long after its first frame.", low=1, high=10_000
    )
    hardware_stamps: bool = setting(
        True,
        "Frames are stamped by the interface's own clock where it can stamp every one and its clock can be read; else by software.",
    )

    def __post_init__(self) -> None:
        names = self.interfaces
        if not all(names) or len(set(names)) < len(names) or len(names) > RECORDED_INTERFACES_MAX:
            raise BadSettings(
                f"[capture] interface: expected 1 to {RECORDED_INTERFACES_MAX} different interfaces, a comma between two,"
                f" got {self.interface!r}"
            )

    @property
    def interfaces(self) -> tuple[str, ...]:
        """Each by its name; its place here is its number in a segment."""
        return tuple(name.strip() for name in self.interface.split(","))

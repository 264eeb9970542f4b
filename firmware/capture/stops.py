"""When a recording ends by itself. Pure."""

from dataclasses import dataclass

from firmware.core.report import Report


@dataclass(frozen=True, slots=True)
class Stops:
    """When it ends by itself; None: not for this. frames, bytes_disk: as soon as it has so much; a block is recorded whole."""

    duration_s: float | None = None
    frames: int | None = None
    bytes_disk: int | None = None

    def are_reached(self, report: Report) -> bool:
        """By the counts; the time is the timer's."""
        counts = report.counts
        return (self.frames is not None and counts.get("frames", 0) >= self.frames) or (
            self.bytes_disk is not None and counts.get("bytes_disk", 0) >= self.bytes_disk
        )

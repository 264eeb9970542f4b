"""`scrubjay find`: frames out of a store on this machine, without any upload (S2-108)."""

from collections.abc import Callable
from dataclasses import dataclass

from drivers.disk import Disk
from firmware.core.hit import Section
from firmware.core.query import Query
from firmware.core.sift import Sift, sifted
from firmware.core.store import Store
from firmware.core.timestamp import iso

PROGRESS_EVERY = 256  # hits and stretches read in vain


@dataclass(frozen=True, slots=True)
class Summary:
    """What was found. size: bytes written, the section's head included. Stamps UTC ns, None without frames."""

    frame_count: int
    size: int
    segments: tuple[str, ...]
    first_utc_ns: int | None
    last_utc_ns: int | None

    def as_json(self) -> dict[str, object]:
        """For --json."""
        return {
            "frames": self.frame_count, "bytes": self.size, "segments": list(self.segments),
            "first_utc_ns": self.first_utc_ns, "last_utc_ns": self.last_utc_ns,
        }  # fmt: skip

    def lines(self) -> list[str]:
        """For people."""
        if self.first_utc_ns is None or self.last_utc_ns is None:
            return ["no frames match"]
        span = f"{iso(self.first_utc_ns)} to {iso(self.last_utc_ns)}"
        return [f"{self.frame_count} frames, {self.size} bytes, from {len(self.segments)} segments", span]


def find(
    disk: Disk, query: Query, sift: Sift | None = None, *, sink: Callable[[bytes], object], progress: Callable[[str], object]
) -> Summary:
    """Write one pcapng section with every frame that matches, piece by piece, into `sink`.

    sift: what the frames themselves must be, beyond the query. progress: gets a line for people now and then. Raises BadItem for a query that cannot be understood, before anything is written.
    """
    walk = Store(disk).walk(query)
    section = Section()
    sink(section.head)
    frames, size = 0, len(section.head)
    first: int | None = None
    last: int | None = None
    segments: dict[str, None] = {}
    for looked, found in enumerate(walk, start=1):
        hit = sifted(found, sift) if found is not None and sift is not None else found
        if hit is not None:
            data = section.of(hit)
            sink(data)
            frames += hit.frame_count
            size += len(data)
            segments |= dict.fromkeys(hit.segments)
            first = hit.first_utc_ns if first is None else min(first, hit.first_utc_ns)
            last = hit.last_utc_ns if last is None else max(last, hit.last_utc_ns)
        if looked % PROGRESS_EVERY == 0:
            progress(f"{frames} frames, {size // 1000} kB" + (f", at {iso(last)}" if last is not None else ""))
    sink(section.end())
    size += len(section.end())
    return Summary(frames, size, tuple(segments), first, last)

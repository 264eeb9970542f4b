"""`scrubjay find`: frames out of a store on this machine, without any upload (S2-108). What is found is written while it searches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drivers.disk import Disk
from firmware.core.ahead import Ahead
from firmware.core.hit import Section
from firmware.core.look import Damage, Damages
from firmware.core.query import Query
from firmware.core.sift import Sift, sifted
from firmware.core.store import Store, Walk
from firmware.core.summary import Summary
from firmware.core.timestamp import SECOND, Clock, iso, span

PROGRESS_EVERY_NS = SECOND
LOOKS_A_GLANCE = 16  # Steps between two looks at the clock; each is below a millisecond.


@dataclass(frozen=True, slots=True)
class Found:
    """What was found. size: bytes written, the section's head included. Stamps UTC ns, None without frames.

    damaged: what might have held more and cannot be read. share: how much of the store was searched, 1 for all of it.
    first_frame_ns: after how long the first frame was written, None without frames; took_ns: after how long all of it was.
    """

    frame_count: int
    size: int
    segments: tuple[str, ...]
    first_utc_ns: int | None
    last_utc_ns: int | None
    damaged: tuple[Damage, ...]
    share: float
    first_frame_ns: int | None
    took_ns: int

    def as_json(self) -> dict[str, object]:
        """For --json."""
        return {
            "frames": self.frame_count, "bytes": self.size, "segments": list(self.segments),
            "first_utc_ns": self.first_utc_ns, "last_utc_ns": self.last_utc_ns,
            "damaged": [
                {"segment": row.segment, "first_utc_ns": row.first_utc_ns, "last_utc_ns": row.last_utc_ns, "cause": row.cause}
                for row in self.damaged
            ],
            "searched": round(self.share, 4), "first_frame_ns": self.first_frame_ns, "took_ns": self.took_ns,
        }  # fmt: skip

    def lines(self) -> list[str]:
        """For people."""
        rows = ["no frames match"]
        if self.first_utc_ns is not None and self.last_utc_ns is not None:
            took = f"found in {span(self.took_ns)}"
            rows = [f"{self.frame_count} frames, {self.size} bytes, from {len(self.segments)} segments, {took}"]
            rows.append(f"{iso(self.first_utc_ns)} to {iso(self.last_utc_ns)}")
        if self.share < 1:
            rows.append(f"stopped after {self.share:.0%} of the store; the rest was not searched")
        return rows + damage_lines(self.damaged)


def damage_lines(damaged: Sequence[Damage]) -> list[str]:
    """What could not be read, for people."""
    return [f"NOT READ: {row.segment}, {_when(row)}: {row.cause}" for row in damaged]


def find(
    disk: Disk,
    query: Query,
    sift: Sift | None = None,
    *,
    clock: Clock,
    sink: Callable[[bytes], object],
    progress: Callable[[str], object],
    newest_first: bool = False,
    is_stopped: Callable[[], bool] = lambda: False,
    ahead: Ahead | None = None,
) -> Found:
    """Write one pcapng section with every frame that matches, piece by piece, into `sink`.

    sift: what the frames themselves must be, beyond the query. progress: gets a line for people each second. newest_first: stretches
    from the last to the first, the frames in each as heard. is_stopped: asked between two steps; what was written until then is a
    whole section. ahead: who looks into the stretches, without it this thread. Raises BadItem for a query that cannot be understood,
    before anything is written.
    """
    store = Store(disk, summary=Summary(disk))
    walk = store.walk(query, newest_first=newest_first, ahead=ahead)
    began = spoken = clock.now().monotonic
    section = Section()
    sink(section.head)
    frames, size = 0, len(section.head)
    first: int | None = None
    last: int | None = None
    first_frame_ns: int | None = None
    segments: dict[str, None] = {}
    damages = Damages()
    stopped_at: float | None = None
    for looked, step in enumerate(walk, start=1):
        if isinstance(step, Damage):
            damages.add(step)
        hit = None if step is None or isinstance(step, Damage) else step
        if hit is not None and sift is not None:
            hit = sifted(sift.completed(hit, store), sift)
        if hit is not None:
            data = section.of(hit)
            sink(data)
            frames += hit.frame_count
            size += len(data)
            segments |= dict.fromkeys(hit.segments)
            first = hit.first_utc_ns if first is None else min(first, hit.first_utc_ns)
            last = hit.last_utc_ns if last is None else max(last, hit.last_utc_ns)
            if first_frame_ns is None:
                first_frame_ns = clock.now().monotonic.since(began)
        if is_stopped():
            stopped_at = walk.share
            break
        if looked % LOOKS_A_GLANCE == 0:
            now = clock.now().monotonic
            if now.since(spoken) >= PROGRESS_EVERY_NS:
                spoken = now
                progress(_progress(walk, frames, size, now.since(began)))
    sink(section.end())
    size += len(section.end())
    return Found(
        frames, size, tuple(segments), first, last, damages.all(), 1.0 if stopped_at is None else min(stopped_at, 0.9999),
        first_frame_ns, clock.now().monotonic.since(began),
    )  # fmt: skip


def _progress(walk: Walk, frames: int, size: int, so_far_ns: int) -> str:
    share = walk.share
    left = f", about {span(round(so_far_ns / share - so_far_ns))} to go" if share > 0 else ""
    return f"{share:.0%} of the store, {frames} frames, {size // 1000} kB{left}"


def _when(damage: Damage) -> str:
    if damage.first_utc_ns is None or damage.last_utc_ns is None:
        return "nobody knows when"
    return f"{iso(damage.first_utc_ns)} to {iso(damage.last_utc_ns)}"

"""How a recording goes, in a line a second, and how it went, in a few at the end. Pure. Numbers for people are SI: 1 MB is 10^6 bytes."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from drivers.clock import Monotonic
from firmware.core.report import Report
from firmware.core.timestamp import SECOND

ROUNDS_UP = 0.9995  # 999.6 kB to three figures is 1 MB.
_MADE_ROOM = "; by room: for the disk had less free than is to stay free (1 GiB, at most a tenth of it)"
RATE_S = 60  # The room that is left is judged by the last minute: shorter, and every burst would be a warning.


@dataclass(frozen=True, slots=True)
class Sample:
    """The recorder's counts at one moment. bytes_pcapng: what the same frames take as plain pcapng."""

    at: Monotonic
    frames: int
    bytes_wire: int
    bytes_pcapng: int
    bytes_disk: int


def sample_of(report: Report, at: Monotonic) -> Sample:
    """The counts of the capture station."""
    return Sample(at, *(report.counts.get(name, 0) for name in ("frames", "bytes_wire", "bytes_pcapng", "bytes_disk")))


class Meter:
    """Takes a sample now and then."""

    def __init__(self, start: Sample) -> None:
        self._start = start
        self._samples: deque[Sample] = deque([start], maxlen=RATE_S + 1)

    def line(
        self, now: Sample, report: Report, *, room_bytes: int | None, deleted: Mapping[str, int] = MappingProxyType({})
    ) -> str:
        """Since the last line: what came and what was lost; since the start; and why an interface is not heard.

        room_bytes: what may still be written; None or 0: not said. deleted: segments by cause.
        """
        before, oldest = self._samples[-1], self._samples[0]
        self._samples.append(now)
        elapsed_s = max(now.at.since(before.at) / SECOND, 1e-9)
        parts = [
            f"{now.at.since(self._start.at) // SECOND:>5} s",
            f"{report.gauges.get('interface', '-')}",
            f"{round((now.frames - before.frames) / elapsed_s):,} frames/s",
            f"{(now.bytes_wire - before.bytes_wire) * 8 / elapsed_s / 1e6:.1f} Mbit/s",
            f"lost {by_cause(report.drops)}",
            f"disk {amount(now.bytes_disk)}{ratio(now)}",
        ]
        if report.gauges.get("state") != "recording":
            parts.insert(2, f"NOT RECORDING: {report.gauges.get('state', '-')}")
        if deleted:
            parts.append(f"segments deleted {by_cause(deleted)}")
        growth = (now.bytes_disk - oldest.bytes_disk) / max(now.at.since(oldest.at) / SECOND, 1e-9)
        wanted = report.gauges.get("room_wanted_bytes", 0)
        if isinstance(wanted, int) and wanted > 0:
            parts.append(f"goes on when {amount(wanted)} more are free")
        elif room_bytes and growth > 0:
            parts.append(f"room for {long(room_bytes / growth)} at this rate")
        return "  ".join([*parts, *_trouble(report)])


@dataclass(frozen=True, slots=True)
class Tally:
    """One interface. lost: frames by cause; away_s: how long it was not there, dark_s: how long without a carrier."""

    name: str
    standing: str
    frames: int
    lost: Mapping[str, int]
    away_s: float
    dark_s: float


@dataclass(frozen=True, slots=True)
class Summary:
    """What was recorded and what was not. report: of the capture station.

    copied: frames of the plain copy, None where none was wanted. copy_trouble: why it is not all of them, or "". failed: whether the
    copy failed, and was not just left by its reader. deleted: segments by cause, "age", "budget" or "room".
    """

    report: Report
    interfaces: tuple[str, ...]
    duration_s: float
    copied: int | None = None
    copy_trouble: str = ""
    failed: bool = False
    deleted: Mapping[str, int] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        """Frames that passed and are not in the recording, as far as anybody knows."""
        return sum(self.report.drops.values())

    @property
    def is_whole(self) -> bool:
        """Whether nothing was lost, and no interface was away for any time: then nobody knows how much."""
        return not self.lost and not any(row.away_s or row.dark_s for row in self.tallies())

    @property
    def has_no_disk(self) -> bool:
        """Whether the disk refused, and has never taken a frame nor a seal: there is nothing where somebody will look for it."""
        counts = self.report.counts
        refused = counts.get("disk_full_times", 0) + counts.get("disk_failed_times", 0)
        return bool(refused) and not counts.get("frames") and not counts.get("segments_sealed")

    def tallies(self) -> list[Tally]:
        """Each interface's."""
        single = len(self.interfaces) == 1
        return [self._tally(name, "" if single else f"@{name}") for name in self.interfaces]

    def as_json(self) -> dict[str, object]:
        """For --json."""
        report = self.report
        return {
            "state": str(report.gauges.get("state", "")),
            "interface": str(report.gauges.get("interface", "")),
            "interface_trouble": str(report.gauges.get("interface_trouble", "")),
            "seconds": round(self.duration_s, 3),
            "lost": self.lost,
            "whole": self.is_whole,
            **report.counts,
            **{f"lost_{cause}": count for cause, count in report.drops.items()},
            "interfaces": [
                {
                    "name": row.name, "standing": row.standing, "frames": row.frames, "lost": dict(row.lost),
                    "away_s": row.away_s, "no_carrier_s": row.dark_s,
                }
                for row in self.tallies()
            ],
            "deleted": dict(self.deleted),
            **({} if self.copied is None else {"copied_frames": self.copied, "copy_trouble": self.copy_trouble}),
        }  # fmt: skip

    def lines(self) -> list[str]:
        """For people. What was lost is always said, by cause, and so is that nothing was."""
        counts = self.report.counts
        last = Sample(Monotonic(0), *(counts.get(name, 0) for name in ("frames", "bytes_wire", "bytes_pcapng", "bytes_disk")))
        rows = [
            f"{last.frames:,} frames, {amount(last.bytes_wire)} on the wire, in {long(self.duration_s)};"
            f" {counts.get('segments_sealed', 0)} segments, {amount(last.bytes_disk)}{ratio(last)}"
        ]
        rows += [_words(row) for row in self.tallies()]
        rows += [f"  not heard at the end: {trouble}" for trouble in _trouble(self.report)]
        if self.report.gauges.get("page_cache_only") == "yes":
            rows.append(
                "  this file system takes nothing past the page cache: each frame costs about twice as much to write as elsewhere"
            )
        offered = last.frames + self.lost
        rows.append(f"  lost {by_cause(self.report.drops)}" + (f": {self.lost / offered:.2%} of all" if self.lost else ""))
        if self.deleted:
            rows.append(
                f"  segments deleted {by_cause(self.deleted)}, each with a receipt{_MADE_ROOM * ('room' in self.deleted)}"
            )
        if self.copied is not None:
            rows.append(f"  copied {self.copied:,} frames" + (f"; {self.copy_trouble}" if self.copy_trouble else ""))
        return rows

    def _tally(self, name: str, suffix: str) -> Tally:
        report = self.report
        lost = {
            cause.partition("@")[0]: count
            for cause, count in report.drops.items()
            if not suffix or cause.partition("@")[2] == name
        }
        standing = report.gauges.get(f"interface{suffix}", report.gauges.get("interface", "-"))
        away, dark = (report.counts.get(f"{cause}_ms{suffix}", 0) / 1000 for cause in ("interface_gone", "no_carrier"))
        return Tally(name, str(standing), report.counts.get(f"frames{suffix}", 0), lost, away, dark)


def _trouble(report: Report) -> list[str]:
    """Why an interface is not heard; that it is gone is no reason, and it may well be there."""
    trouble = str(report.gauges.get("interface_trouble", "none"))
    return [] if trouble == "none" else [trouble]


def _words(row: Tally) -> str:
    away = f"; away for {long(row.away_s)}, nobody knows what passed" if row.away_s else ""
    dark = f"; no carrier for {long(row.dark_s)}" if row.dark_s else ""
    return f"  {row.name}: {row.frames:,} frames, lost {by_cause(row.lost)}{away}{dark}"


def by_cause(drops: Mapping[str, int]) -> str:
    """`0`, or the sum and what it is made of."""
    causes = ", ".join(f"{count:,} {cause}" for cause, count in sorted(drops.items()) if count)
    return f"{sum(drops.values()):,} ({causes})" if causes else "0"


def ratio(sample: Sample) -> str:
    """How much smaller than plain pcapng it is on the disk; nothing where nothing is there yet."""
    return f" ({sample.bytes_pcapng / sample.bytes_disk:.1f}:1)" if sample.bytes_disk else ""


def amount(size: float) -> str:
    """Bytes to three figures."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor * ROUNDS_UP:
            return f"{size / factor:.3g} {unit}" if size < 1000 * factor else f"{size / factor:,.0f} {unit}"
    return f"{size:.0f} B"


def long(seconds: float) -> str:
    """A length of time in the largest unit of which there are two."""
    for unit, factor in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * factor:
            return f"{seconds / factor:,.0f} {unit}"
    return f"{seconds:.0f} s"

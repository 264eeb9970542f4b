"""Counts of what a station did and could not do, by cause. Logs say what changed; reports say how much."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from drivers.clock import Now
from drivers.disk import Disk
from firmware.core.timestamp import iso

Value = int | float | str


@dataclass(slots=True)
class Report:
    """One station's figures since its process started.

    counts: things done ("frames", "segments_sealed"); only ever grow.
    drops: things lost or refused, by cause ("disk_full", "bad_cbor"); only ever grow, shown first by `scrubjay status`.
    gauges: how it stands now ("outbox_items", "horizon_s", "state").
    """

    station: str
    counts: dict[str, int] = field(default_factory=dict)
    drops: dict[str, int] = field(default_factory=dict)
    gauges: dict[str, Value] = field(default_factory=dict)

    def count(self, name: str, by: int = 1) -> None:
        """`by` more of these."""
        self.counts[name] = self.counts.get(name, 0) + by

    def drop(self, cause: str, by: int = 1) -> None:
        """`by` more lost or refused for this cause."""
        self.drops[cause] = self.drops.get(cause, 0) + by

    def gauge(self, name: str, value: Value) -> None:
        """This is how it stands now."""
        self.gauges[name] = value

    def as_json(self) -> dict[str, object]:
        """For `state/<process>.json` and health messages."""
        return {"counts": self.counts, "drops": self.drops, "gauges": self.gauges}


def publish(disk: Disk, process: str, reports: Sequence[Report], now: Now) -> None:
    """Write `state/<process>.json`, replacing the former one whole; readers never see half. Not synced: it is about now.

    {"process": …, "at": "2026-11-22T10:15:00.000Z", "at_tai_ns": …, "monotonic_ns": …,
     "stations": {"capture": {"counts": {…}, "drops": {…}, "gauges": {…}}}}
    """
    state = {
        "process": process,
        "at": iso(now.utc_ns),
        "at_tai_ns": now.timestamp.tai_ns,
        "monotonic_ns": now.monotonic.ns,
        "stations": {report.station: report.as_json() for report in reports},
    }
    disk.write(f"state/.{process}.json", json.dumps(state, indent=1).encode())
    disk.rename(f"state/.{process}.json", f"state/{process}.json")

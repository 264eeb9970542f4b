"""How well the box knows its devices' clocks: certified offset against the truth, which is known because the clocks are the simulator's.

Ten devices with clocks of their own in network namespaces, the real ptp4l as grandmaster, the box's own clock process beside it, all
with software stamps on this machine. Beside them, in the same run: what an unmodified ptp4l slave says about itself, which is all a slave
can know, and how far off our devices really were.
A moment is right when the truth lies within what was certified at that moment; the promise is 99.7 % of them.
"""

import argparse
import json
import os
import select
import sys
import tempfile
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import CLOCK_REALTIME, clock_gettime_ns, monotonic

from firmware.core.certificate import Account, account_from
from simulator.namespaces import what_is_missing
from simulator.ptp.time_room import Part, TimeRoom
from simulator.ptp.virtual_clock import Truth

TAI_NS = 37_000_000_000
SECOND = 1_000_000_000
LOOK_S = 0.1  # A moment to judge is as often as this; the box publishes once a second.
SETTLE_S = 20.0  # Until everybody has started and has been measured for a while; the judged minutes begin then.
LOCKED_NS = 100_000  # A device is locked from when its clock is never again further off than this.
WAIT_S = 60.0


def parts(seed: int) -> list[Part]:
    """Ten devices: eight that follow, one that does not, one whose cable is slower one way than the other."""
    random = Random(seed)
    rows = []
    for number in range(8):
        offset_us, drift_ppm = round(random.uniform(-300_000, 300_000)), round(random.uniform(-100, 100), 1)
        rows.append(Part(f"d{number + 1}", 21 + number, "synchronised", offset_us, drift_ppm))
    rows.append(Part("d9", 29, "free", offset_us=300, drift_ppm=15))
    rows.append(Part("d10", 30, "synchronised", offset_us=1_000, drift_ppm=-20, slow_us=(300, 0)))
    return rows


@dataclass(slots=True)
class Witness:
    """Each account the box published, and when it was first seen."""

    path: Path
    seen_ns: list[int] = field(default_factory=list)
    accounts: list[Account] = field(default_factory=list)
    states: list[dict[str, object]] = field(default_factory=list)
    _last: bytes = b""

    def look(self) -> None:
        """The file may be replaced at any moment; it is never half written."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return
        if data != self._last:
            self._last = data
            self.seen_ns.append(clock_gettime_ns(CLOCK_REALTIME))
            self.accounts.append(account_from(data))
            self.states.append(json.loads(data))

    def in_force(self, moment_ns: int) -> Account:
        """What was published last before this moment."""
        at = bisect_right(self.seen_ns, moment_ns)
        return self.accounts[at - 1] if at else Account()

    def first_certified_ns(self, device: str) -> int | None:
        """When a measurement of this device was first published."""
        for seen_ns, account in zip(self.seen_ns, self.accounts, strict=True):
            if (row := account.of(device)) is not None and row.method.is_measured:
                return seen_ns
        return None


def wait(seconds: float, witness: Witness) -> None:
    """Let time pass, and look."""
    until = monotonic() + seconds
    while monotonic() < until:
        select.select([], [], [], LOOK_S / 4)
        witness.look()


def judged(witness: Witness, truth: Truth, device: str, *, since_ns: int, until_ns: int) -> dict[str, float]:
    """One device's row: errors and widths in µs over all moments of the judged time."""
    errors, widths, fresh, inside, count = [], [], [], 0, 0
    step = round(LOOK_S * SECOND)
    for moment in range(since_ns, until_ns, step):
        count += 1
        found = witness.in_force(moment).of(device)
        if found is None or not found.method.is_measured:
            continue
        then = found.at(moment + TAI_NS)
        low, high, middle = then.low_ns, then.high_ns, then.middle_ns
        assert low is not None and high is not None and middle is not None
        true = truth.error_ns(moment)
        inside += low <= true <= high
        errors.append(abs(middle - true) / 1000)
        widths.append((high - low) / 2000)
        assert found.low_ns is not None and found.high_ns is not None
        fresh.append((found.high_ns - found.low_ns) / 2000)
    return {
        "moments": count, "certified": len(errors), "inside": inside,
        "error_p50_us": share(errors, 0.5), "error_p99_us": share(errors, 0.99), "published_p50_us": share(fresh, 0.5), "uncertainty_p50_us": share(widths, 0.5),
        "uncertainty_p99_us": share(widths, 0.99),
    }  # fmt: skip


def share(values: Sequence[float], part: float) -> float:
    """The value this part of them does not exceed; not a number without any."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(part * len(ordered)))], 2) if ordered else float("nan")


def locked_s(truth: Truth, until_ns: int) -> float | None:
    """From its start until it was never again further off than LOCKED_NS; None when it never was."""
    step = SECOND // 20
    last = None
    for moment in range(truth.first_ns, until_ns, step):
        if abs(truth.error_ns(moment)) > LOCKED_NS:
            last = moment
    if last is None:
        return 0.0
    return None if last >= until_ns - SECOND else (last + step - truth.first_ns) / SECOND


def measured(minutes: float, seed: int) -> dict[str, object]:
    """The whole run."""
    with tempfile.TemporaryDirectory(prefix="scrubjay-bench-") as directory:
        rows = parts(seed)
        root = Path(directory) / "box"
        with TimeRoom(Path(directory) / "room", rows) as room:
            witness = Witness(root / "state" / "clock")
            room.start_box(root)
            room.start()
            wait(SETTLE_S, witness)
            since_ns = clock_gettime_ns(CLOCK_REALTIME)
            wait(minutes * 60, witness)
            until_ns = clock_gettime_ns(CLOCK_REALTIME)
            slave = [abs(offset) / 1000 for offset in room.slave_offsets_ns("slave1")]
            lost_s = lost_grandmaster(room, witness)
            truths = {part.name: room.truth(part.name) for part in rows}
            devices = {}
            for part in rows:
                truth, address = truths[part.name], room.address(part.name)
                row: dict[str, object] = dict(judged(witness, truth, address, since_ns=since_ns, until_ns=until_ns))
                certified_ns = witness.first_certified_ns(address)
                row["kind"] = "slow line" if part.slow_us != (0, 0) else part.kind
                row["true_p50_us"] = share(
                    [abs(truth.error_ns(moment)) / 1000 for moment in range(since_ns, until_ns, SECOND // 10)], 0.5
                )
                row["locked_s"] = locked_s(truth, until_ns)
                row["certified_s"] = None if certified_ns is None else (certified_ns - truth.first_ns) / SECOND
                devices[part.name] = row
    return {
        "minutes": minutes, "seed": seed, "devices": devices, "ptp4l slave": {"count": len(slave), "p50_us": share(slave, 0.5),
        "p99_us": share(slave, 0.99)}, "lost_grandmaster_s": lost_s,
    }  # fmt: skip


def lost_grandmaster(room: TimeRoom, witness: Witness) -> float | None:
    """Seconds from the end of its program until the box says so; None when it did not within a minute."""
    before = len(witness.states)
    master = witness.states[-1].get("grandmaster") if witness.states else None
    start_ns = clock_gettime_ns(CLOCK_REALTIME)
    room.lose_grandmaster()
    until = monotonic() + WAIT_S
    while monotonic() < until:
        wait(LOOK_S, witness)
        for seen_ns, state in zip(witness.seen_ns[before:], witness.states[before:], strict=True):
            if state.get("grandmaster") != master:
                return (seen_ns - start_ns) / SECOND
    return None


def told(result: dict[str, object]) -> None:
    """The table."""
    print(f"{'':20}{'moments':>8}{'certified':>10}{'inside %':>10}{'error µs':>16}{'± µs as published':>19}{'± µs at any moment':>20}{'true µs':>9}{'locked s':>10}{'certified s':>13}")  # fmt: skip
    print(f"{'':48}{'p50':>8}{'p99':>8}{'p50':>19}{'p50':>10}{'p99':>10}{'p50':>9}")
    devices = result["devices"]
    assert isinstance(devices, dict)
    for name, row in devices.items():
        within = 100 * row["inside"] / row["certified"] if row["certified"] else float("nan")
        columns = (("error_p50_us", 8), ("error_p99_us", 8), ("published_p50_us", 19), ("uncertainty_p50_us", 10), ("uncertainty_p99_us", 10), ("true_p50_us", 9))  # fmt: skip
        numbers = "".join(f"{row[key]:>{width}.1f}" for key, width in columns)
        times = "".join(f"{row[key]:>{width}.1f}" if row[key] is not None else f"{'never':>{width}}" for key, width in (("locked_s", 10), ("certified_s", 13)))  # fmt: skip
        print(f"{name:6}{row['kind']:14}{row['moments']:>8}{row['certified']:>10}{within:>10.2f}{numbers}{times}")
    certified, inside = (sum(row[key] for row in devices.values()) for key in ("certified", "inside"))
    if certified:
        print(f"all: the truth lay inside {100 * inside / certified:.3f} % of {certified} certified moments (promised: 99.7 %)")
    slave = result["ptp4l slave"]
    assert isinstance(slave, dict)
    print(f"ptp4l's own slave says of itself: p50 {slave['p50_us']} µs, p99 {slave['p99_us']} µs off, {slave['count']} times")
    lost = result["lost_grandmaster_s"]
    print(f"lost grandmaster noticed after {'more than a minute' if lost is None else f'{lost:.1f} s'}")


def main() -> None:
    """Print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=20_261_125)
    arguments = parser.parse_args()
    missing = what_is_missing()
    if missing is not None:
        print(f"no room here: {missing}", file=sys.stderr)
        sys.exit(1)
    result = measured(arguments.minutes, arguments.seed)
    if arguments.json:
        arguments.json.write_text(json.dumps(result | {"cores": os.cpu_count()}, indent=1))
    told(result)


if __name__ == "__main__":
    main()

"""What every process said about itself last: state/*.json read back, and as the table a person wants, losses first."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from drivers.clock import Monotonic
from drivers.disk import Disk
from firmware.core.errors import DiskFailed, Missing
from firmware.core.report import Value
from firmware.core.timestamp import SECOND

STATE = "state"
STATE_BYTES_MAX = 1 << 20
OF_DEVICE = "/"  # A gauge's name, this, a device: clock/station.py.
SILENT_NS = 15 * SECOND  # A process reports every 2 s; beyond the watchdog's 10 s it is not merely slow.


@dataclass(frozen=True, slots=True)
class StationState:
    """One station's figures, as `firmware.core.report.Report`."""

    station: str
    counts: Mapping[str, int] = field(default_factory=dict)
    drops: Mapping[str, int] = field(default_factory=dict)
    gauges: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProcessState:
    """One process. at_tai_ns: when it said so, ns TAI. readable: False when the file was there and made no sense."""

    process: str
    at_tai_ns: int = 0
    stations: tuple[StationState, ...] = ()
    readable: bool = True


class Heard:
    """How long ago processes reported, for who looks again and again: by the clock that does not jump.

    A report carries its time by the other one. Were that asked, a clock that is set an hour ahead would silence every process at once,
    and one that is set back would hide for an hour that a process is gone.
    """

    def __init__(self) -> None:
        self._heard: dict[str, tuple[int, int]] = {}  # process: the time its last report carries, and when that was first seen

    def age_ns(self, state: ProcessState, now: Monotonic, *, tai_ns: int) -> int:
        """Since its last report was first seen; of the first one, by the time it carries, for there is nothing else."""
        before = self._heard.get(state.process)
        if before is None or before[0] != state.at_tai_ns:
            age_ns = 0 if before is not None else max(0, tai_ns - state.at_tai_ns)
            before = self._heard[state.process] = state.at_tai_ns, now.ns - age_ns
        return now.ns - before[1]


def read_states(disk: Disk) -> list[ProcessState]:
    """Every process's last words, by name."""
    states = []
    for name in disk.list(STATE):
        if name.endswith(".json") and not name.startswith("."):
            try:
                data = disk.read(f"{STATE}/{name}", size=STATE_BYTES_MAX)
            except Missing:
                continue
            except DiskFailed:
                data = b""  # One that cannot be read hides none of the others.
            states.append(from_json(name.removesuffix(".json"), data))
    return states


def from_json(process: str, data: bytes) -> ProcessState:
    """One state file. Never raises: a file that makes no sense is a fact to show, not a reason to show nothing."""
    try:
        row = json.loads(data)
    except (ValueError, RecursionError):
        return ProcessState(process, readable=False)
    match row:
        case {"at_tai_ns": int(at), "stations": dict(stations)}:
            return ProcessState(process, at, tuple(_station(name, body) for name, body in stations.items()))
    return ProcessState(process, readable=False)


def figures_of(states: Sequence[ProcessState]) -> dict[str, Value]:
    """Every figure under "station.drops.cause" and the like; losses first, so that they are there when room runs out."""
    figures: dict[str, Value] = {}
    stations = [station for state in states for station in state.stations]
    for part in ("drops", "gauges", "counts"):
        for station in stations:
            for name, value in getattr(station, part).items():
                key = f"{station.station}.{part}.{name}"
                if len(key) <= 256:
                    figures[key] = value
    return figures


def as_json(states: Sequence[ProcessState], *, now_tai_ns: int) -> dict[str, object]:
    """For `scrubjay status --json`."""
    return {
        state.process: {
            "readable": state.readable,
            "age_s": round((now_tai_ns - state.at_tai_ns) / SECOND, 3),
            "silent": _is_silent(state, now_tai_ns),
            "stations": {
                station.station: {
                    "drops": dict(station.drops), "counts": dict(station.counts), "gauges": dict(station.gauges),
                }
                for station in state.stations
            },
        }
        for state in states
    }  # fmt: skip


def lines(states: Sequence[ProcessState], *, now_tai_ns: int) -> list[str]:
    """The table: processes that say nothing, then what was lost by cause, then how it stands, then what was done."""
    if not states:
        return ["no process has reported yet; is the role running?"]
    silent = [
        f"{state.process}: {'silent' if state.readable else 'its state file makes no sense'}"
        + (f" for {max(0, now_tai_ns - state.at_tai_ns) // SECOND} s" if state.readable else "")
        for state in states
        if _is_silent(state, now_tai_ns)
    ]
    drops = _rows(states, lambda station: station.drops)
    standing = _rows(states, lambda station: station.gauges, alike_once=True)
    of_rooms = [row for row in standing if OF_DEVICE not in row[1]]  # A room has a hundred devices, with three figures each.
    return [
        *(["NOT REPORTING", *(f"  {line}" for line in silent), ""] if silent else []),
        "LOST OR REFUSED, by cause" if drops else "LOST OR REFUSED: nothing since start",
        *columns(drops),
        "",
        "NOW",
        *columns(of_rooms),
        *(
            [f"  and {len(standing) - len(of_rooms)} figures of single devices: see clock"]
            if len(of_rooms) < len(standing)
            else []
        ),
        "",
        "DONE since start",
        *columns(_rows(states, lambda station: station.counts)),
    ]


def columns(rows: Sequence[Sequence[str]], *, widths: Sequence[int] = ()) -> list[str]:
    """Rows of words in columns two spaces apart, indented by two; the last column is not padded. widths: of each, at the least."""
    if not rows:
        return []
    widths = widths or [0] * len(rows[0])
    widths = [max(width, *(len(row[column]) for row in rows)) for column, width in enumerate(widths)]
    return ["  " + "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _is_silent(state: ProcessState, now_tai_ns: int) -> bool:
    return not state.readable or now_tai_ns - state.at_tai_ns > SILENT_NS


def _rows(
    states: Sequence[ProcessState], part: Callable[[StationState], Mapping[str, Value]], *, alike_once: bool = False
) -> list[tuple[str, str, str]]:
    """Station, figure, value; of a station that several processes have, with the process. alike_once: but once what all say alike."""
    told: dict[tuple[str, str], dict[str, str]] = {}
    homes: Counter[str] = Counter()
    for state in states:
        for station in state.stations:
            homes[station.station] += 1
            for name, value in sorted(part(station).items()):
                told.setdefault((station.station, name), {})[state.process] = str(value)
    rows = []
    for (station_name, name), values in told.items():
        if homes[station_name] == 1 or (alike_once and len(values) == homes[station_name] and len(set(values.values())) == 1):
            rows.append((station_name, name, next(iter(values.values()))))
        else:
            rows += [(f"{station_name} of {process}", name, value) for process, value in values.items()]
    return rows


def _station(name: str, body: object) -> StationState:
    parts = body if isinstance(body, dict) else {}
    return StationState(
        name,
        counts=_whole_numbers(parts.get("counts")),
        drops=_whole_numbers(parts.get("drops")),
        gauges={key: value for key, value in _map(parts.get("gauges")).items() if isinstance(value, int | float | str)},
    )


def _whole_numbers(value: object) -> dict[str, int]:
    return {key: count for key, count in _map(value).items() if isinstance(count, int)}


def _map(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}

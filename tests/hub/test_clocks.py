"""The boxes' clocks out of their health messages: what is drawn, and what a box cannot make the page draw."""

from pathlib import Path

from drivers.clock import ClockState, Timestamp
from firmware.core.message import Field, Message, Priority, Severity
from firmware.core.presence import Presence
from firmware.core.topics import Topic
from firmware.hub.clocks import BOXES_MAX, DEVICES_MAX, POINTS_MAX, clocks, newest
from firmware.hub.repository import Repository

SECOND = 1_000_000_000
TAI = 1_795_342_537 * SECOND


def _repository(directory: Path, rows: list[dict[str, Field]], *, kind: str = "health", box: str = "box-1") -> Repository:
    repository = Repository(str(directory / "hub.sqlite"))
    with repository.transaction():
        repository.box_seen(Topic("site-1", box, "state"), TAI)
        repository.box_said(box, Presence("online", bytes(8), TAI), TAI)
        for number, fields in enumerate(rows):
            stamp = Timestamp(TAI + number * SECOND, 1000, "ptp", ClockState.LOCKED)
            one = Message("x", "health", kind, Priority.P4, Severity.DEBUG, stamp, stamp, sequence=number, fields=fields)
            repository.add_messages([one], box=box, envelope=bytes(16), now_tai_ns=TAI)
    return repository


def _row(**devices: tuple[Field, Field]) -> dict[str, Field]:
    row: dict[str, Field] = {"clock.gauges.state": "locked", "clock.gauges.source": "ntp", "clock.gauges.uncertainty_ns": 900_000}
    for device, (low, high) in devices.items():
        row |= {f"clock.gauges.offset_method/{device}": "netsync", f"clock.gauges.offset_low_ns/{device}": low}
        row[f"clock.gauges.offset_high_ns/{device}"] = high
    return row


def test_offsets_over_time(tmp_path: Path) -> None:
    """Oldest first, in the page's milliseconds; a message without the device leaves a gap and no zero. (S2-012)"""
    found = clocks(_repository(tmp_path, [_row(a=(-5, 5)), _row(), _row(a=(1, 2))]), tai_offset_s=37)

    start = (TAI - 37 * SECOND) // 1_000_000
    assert [{"device": "a", "method": "netsync", "points": [[start, -5, 5], [start + 2000, 1, 2]]}] == found[0]["devices"]
    assert ("box-1", "locked", "ntp", 900_000) == tuple(found[0][key] for key in ("box", "state", "source", "uncertainty_ns"))


def test_only_what_is_new(tmp_path: Path) -> None:
    """(S2-012) Who has some of it is told of boxes that have spoken since, their newer points alone, and where the older ones end."""
    repository = _repository(tmp_path, [_row(a=(number, number)) for number in range(POINTS_MAX + 20)])
    _repository(tmp_path, [_row(b=(1, 2))], box="box-2")
    start, top = (TAI - 37 * SECOND) // 1_000_000, newest(repository)
    assert POINTS_MAX + 21 == top
    assert [] == clocks(repository, after=top, upto=top, tai_offset_s=37)
    (found,) = clocks(repository, after=POINTS_MAX + 18, upto=POINTS_MAX + 19, tai_offset_s=37)

    since = start + 19_000
    points = [[start + (POINTS_MAX + 18) * 1000, POINTS_MAX + 18, POINTS_MAX + 18]]
    assert ("box-1", since, [{"device": "a", "method": "netsync", "points": points}]) == tuple(
        found[name] for name in ("box", "since", "devices")
    )


def test_the_last_box_of_a_fleet(tmp_path: Path) -> None:
    """(S2-012) Of many boxes the first ones are drawn; whichever is asked for by its name is."""
    names = [f"box-{number:03d}" for number in range(BOXES_MAX + 10)]
    for name in names:
        repository = _repository(tmp_path, [_row()], box=name)

    assert names[:BOXES_MAX] == [row["box"] for row in clocks(repository, tai_offset_s=37)]
    assert [names[-1]] == [row["box"] for row in clocks(repository, box=names[-1], tai_offset_s=37)]


def test_other_messages_are_not_looked_at(tmp_path: Path) -> None:
    """What a device calls itself is no clock: only the box's own kind counts, and that no device can use."""
    assert [] == clocks(_repository(tmp_path, [_row(a=(1, 2))], kind="published"), tai_offset_s=37)


def test_foreign_fields(tmp_path: Path) -> None:
    """Texts for numbers, an interval upside down, numbers a browser cannot hold, a thousand devices: bounded, never an error."""
    many = {f"d{number}": (1, 2) for number in range(300)}
    rows = [_row(a=("1", 2), b=(5, 1), c=(-(1 << 62), 1 << 62), d=(True, False), **many)] * (POINTS_MAX + 20)  # type: ignore[arg-type]
    found = clocks(_repository(tmp_path, rows), tai_offset_s=37)
    devices = {row["device"]: row for row in found[0]["devices"]}  # type: ignore[attr-defined]

    assert DEVICES_MAX == len(devices)
    assert [] == devices["a"]["points"] == devices["b"]["points"] == devices["d"]["points"]
    assert all(-(1 << 53) < value < 1 << 53 for point in devices["c"]["points"] for value in point)
    assert len(devices["c"]["points"]) <= POINTS_MAX
    assert [] == clocks(_repository(tmp_path, [{"clock.gauges.state": 5}], box="box-2"), box="box-2", tai_offset_s=37)

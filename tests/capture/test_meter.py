"""The line a second and the summary: the figures that are said, and that loss is never left out."""

import pytest

from drivers.clock import Monotonic
from firmware.capture.meter import Meter, Sample, Summary, amount, long
from firmware.core.report import Report

SECOND = 1_000_000_000


def sample(second: float, frames: int, wire: int = 0, pcapng: int = 0, disk: int = 0) -> Sample:
    return Sample(Monotonic(int(second * SECOND)), frames, wire, pcapng, disk)


def test_a_line():
    """Rates since the last line, losses by cause, ratio and room since the start."""
    report = Report(
        "capture", drops={"ring_full@eth2": 1200, "disk_full": 3}, gauges={"interface": "heard", "state": "recording"}
    )
    meter = Meter(sample(100, 0))
    line = meter.line(sample(101, 81_274, 123_456_789, 126_000_000, 60_000_000), report, room_bytes=60 * 10**12)

    assert "    1 s  heard  81,274 frames/s  987.7 Mbit/s" in line
    assert "lost 1,203 (3 disk_full, 1,200 ring_full@eth2)" in line
    assert "disk 60 MB (2.1:1)" in line
    assert line.endswith("room for 12 days at this rate")
    line = meter.line(sample(103, 81_274, 123_456_789, 126_000_000, 60_000_000), report, room_bytes=None)
    assert "    3 s  heard  0 frames/s  0.0 Mbit/s" in line
    assert "room" not in line


def test_why_an_interface_is_not_heard():
    """It may be there and up, and have no room for its ring: each line says why it is not heard, and so does the end."""
    trouble = "b: expected interface 'b' and room for its ring, the kernel answered ENOMEM"
    report = Report("capture", gauges={"interface": "partly heard", "interface_trouble": trouble, "state": "recording"})
    line = Meter(sample(0, 0)).line(sample(1, 0), report, room_bytes=0)
    rows = Summary(report, ("a", "b"), 1.0).lines()
    report.gauges["interface_trouble"] = "none"

    assert line.endswith(f"  {trouble}")
    assert f"  not heard at the end: {trouble}" == rows[3]
    assert "none" not in "".join(
        [Meter(sample(0, 0)).line(sample(1, 0), report, room_bytes=0), *Summary(report, ("a", "b"), 1.0).lines()]
    )


def test_room_is_judged_by_the_last_minute():
    """A burst an hour ago says nothing about now."""
    report = Report("capture", gauges={"state": "recording"})
    meter = Meter(sample(0, 0))
    for second in range(1, 200):
        line = meter.line(sample(second, 0, disk=10**9 + second * 1000), report, room_bytes=1000 * 86_400 * 10)

    assert line.endswith("room for 10 days at this rate")


@pytest.mark.parametrize("state", ["disk_full", "disk_failed"])
def test_not_recording_is_shouted(state):
    """When nothing is recorded the line begins with it."""
    line = Meter(sample(0, 0)).line(sample(1, 0), Report("capture", gauges={"state": state}), room_bytes=0)

    assert f"NOT RECORDING: {state}" in line


def test_what_a_full_disk_waits_for_is_said_in_place_of_how_long_there_is_room():
    """How long there would be room at a rate at which nothing is written is no answer; how much has to be made is."""
    report = Report("capture", gauges={"state": "disk_full", "room_wanted_bytes": 20_000_000})
    meter = Meter(sample(0, 0))
    line = meter.line(sample(1, 10, disk=1000), report, room_bytes=10**9)
    assert line.endswith("  goes on when 20 MB more are free")
    report.gauges |= {"state": "recording", "room_wanted_bytes": 0}

    assert "room for" in meter.line(sample(2, 20, disk=2000), report, room_bytes=10**9)


def test_summary_of_two_interfaces():
    """Each with its own figures; what the disk lost is everybody's; a share of all; away and dark are not counted as nothing."""
    report = Report(
        "capture",
        counts={
            "frames": 900, "frames@a": 600, "frames@b": 300, "bytes_wire": 10**6, "bytes_pcapng": 10**6, "bytes_disk": 250_000,
            "segments_sealed": 3, "interface_gone_ms@b": 30_000, "no_carrier_ms@a": 5_000,
        },
        drops={"ring_full@b": 75, "interface_errors@b": 5, "disk_full": 20},
        gauges={"interface": "partly heard", "interface@a": "heard", "interface@b": "gone", "state": "stopped"},
    )  # fmt: skip
    summary = Summary(report, ("a", "b"), 12.5)

    assert [
        "900 frames, 1 MB on the wire, in 12 s; 3 segments, 250 kB (4.0:1)",
        "  a: 600 frames, lost 0; no carrier for 5 s",
        "  b: 300 frames, lost 80 (5 interface_errors, 75 ring_full); away for 30 s, nobody knows what passed",
        "  lost 100 (20 disk_full, 5 interface_errors@b, 75 ring_full@b): 10.00% of all",
    ] == summary.lines()
    told = summary.as_json()
    assert (100, False, 900, 75) == (told["lost"], told["whole"], told["frames"], told["lost_ring_full@b"])
    assert [("a", 600, 0.0), ("b", 300, 30.0)] == [(row["name"], row["frames"], row["away_s"]) for row in told["interfaces"]]  # type: ignore[attr-defined]


def test_whole_is_said_too():
    """That nothing was lost is a statement, and there."""
    summary = Summary(Report("capture", counts={"frames": 5}), ("a",), 1.0, copied=5)

    assert ["  a: 5 frames, lost 0", "  lost 0", "  copied 5 frames"] == summary.lines()[1:]
    summary.report.gauge("interface_trouble", "none")
    assert 4 == len(summary.lines())
    assert summary.is_whole
    assert not Summary(Report("capture", counts={"interface_gone_ms": 100}), ("a",), 1.0).is_whole


def test_amounts():
    """Three figures and the unit they belong to."""
    assert ["999 B", "1 kB", "1.23 MB"] == [amount(999), amount(1000), amount(1_234_567)]
    assert ["12.3 GB", "1.5 TB", "0 B"] == [amount(12.34e9), amount(1.5e12), amount(0)]
    assert ["1 MB", "1 GB", "999 kB", "2,000 TB"] == [amount(999_600), amount(999.6e6), amount(999_400), amount(2e15)]
    assert ["119 s", "2 min", "119 min", "2 h", "47 h", "2 days", "1,000 days"] == [
        long(s) for s in (119, 120, 7140, 7200, 47 * 3600, 48 * 3600, 86_400_000)
    ]


def test_a_costly_file_system_is_named():
    """Whoever records onto tmpfs is told why frames cost more there; elsewhere nothing is said. (S2-090)"""
    dear = Report("capture", counts={"frames": 5}, gauges={"page_cache_only": "yes"})
    usual = Report("capture", counts={"frames": 5}, gauges={"page_cache_only": "no"})

    assert [True, False] == ["page cache" in "\n".join(Summary(row, ("eth1",), 1.0).lines()) for row in (dear, usual)]

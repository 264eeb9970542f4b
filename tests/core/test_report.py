"""Reports: counts and drops only grow, gauges say how it stands, and a reader never sees half a state file."""

import json
from random import Random

from firmware.core.report import Report, publish
from simulator.clock import SimulatedClock
from simulator.disk import SimulatedDisk


def test_counting() -> None:
    """Each cause has its own figure; a gauge is the last said."""
    report = Report("capture")
    report.count("frames", 3)
    report.count("frames")
    report.drop("disk_full", 118)
    report.gauge("state", "recording")
    report.gauge("state", "full")

    assert {"counts": {"frames": 4}, "drops": {"disk_full": 118}, "gauges": {"state": "full"}} == report.as_json()


def test_state_file() -> None:
    """One file a process, replaced whole, with when and what."""
    disk, clock = SimulatedDisk(), SimulatedClock()
    disk.mkdir("state")
    report = Report("capture")
    publish(disk, "capture", [report], clock.now())
    report.count("frames")
    publish(disk, "capture", [report], clock.now())
    state = json.loads(disk.read("state/capture.json"))

    assert ["capture.json"] == disk.list("state")
    assert ("capture", "2026-11-22T10:15:00.000Z") == (state["process"], state["at"])
    assert {"capture": {"counts": {"frames": 1}, "drops": {}, "gauges": {}}} == state["stations"]


def test_state_file_after_a_power_cut() -> None:
    """It is about now and not synced: after a power cut it may be gone or make no sense, and the next report replaces it."""
    for seed in range(50):
        disk, clock = SimulatedDisk(), SimulatedClock()
        disk.mkdir("state")
        disk.sync_dir("")
        publish(disk, "capture", [Report("capture")], clock.now())
        disk.power_cut(Random(seed))
        publish(disk, "capture", [Report("capture")], clock.now())

        assert "capture" == json.loads(disk.read("state/capture.json"))["process"]

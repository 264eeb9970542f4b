"""`scrubjay record`: in virtual time on the simulated board, and as a real process on a wire of its own."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from drivers.errors import BadFilter
from drivers.linux.disk import LinuxDisk
from firmware.capture.record import record
from firmware.capture.settings import CaptureSettings
from firmware.core.store import Query, Store
from firmware.core.verify import verify
from simulator.board import SimulatedBoard
from simulator.tap import SimulatedTap

_spec = importlib.util.spec_from_file_location("wire", Path(__file__).parents[1] / "drivers" / "wire.py")
assert _spec is not None and _spec.loader is not None
wire = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(wire)
REASON = wire.why_not()

FRAME = bytes.fromhex("020000000001 020000000002 0800 4500001c00000000401100000a0000010a000002 2710 0068 0008 0000") + bytes(18)


def test_records_for_its_time():
    """After the given time it seals and tells what it did, and on the way every two seconds. (S2-090)"""
    board = SimulatedBoard(open_tap=SimulatedTap)
    lines: list[str] = []
    summary = record(board, CaptureSettings(segment_s=5), duration_s=12, progress=lines.append)

    assert ("stopped", 3) == (summary["state"], summary["segments_sealed"])
    assert verify(board.disk).ok
    assert 8 == len(lines)
    assert all(line.startswith("capture state=recording interface=heard segment=") for line in lines[:-1])
    assert [] == board.disk.list("inbox")


def test_bad_filter_is_said_before_anything_is_recorded():
    """A filter that does not compile ends it at once."""
    board = SimulatedBoard(open_tap=SimulatedTap)
    with pytest.raises(BadFilter):
        record(board, CaptureSettings(), filter="port eleventy", duration_s=1)

    assert [] == board.disk.list("segments")


@pytest.mark.lab
@pytest.mark.skipif(REASON is not None, reason=REASON or "")
def test_records_a_wire(tmp_path):
    """The real program on a real wire: what was sent is sealed, verified and found. (S2-090, S2-092, S2-107)"""
    with wire.Wire() as line:
        command = [sys.executable, "-m", "firmware.cli", "record", wire.HEARS, "-o", str(tmp_path), "--duration", "1.5", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
            assert program.stderr is not None and program.stdout is not None
            assert "state=recording interface=heard" in program.stderr.readline()
            line.send([FRAME] * 500)
            told = json.loads(program.stdout.read())
        disk = LinuxDisk(tmp_path)

    assert (0, 500, "stopped") == (program.returncode, told["frames"], told["state"])
    assert [] == verify(disk).findings
    assert 500 == sum(hit.frame_count for hit in Store(disk).search(Query(hosts=("10.0.0.2",), ports=(104,))))

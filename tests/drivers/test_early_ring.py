"""The ring that is held from the first second of a start, by the real holder of the image, and whoever comes for it."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.linux import early_ring
from drivers.linux.tap import ring_tap
from drivers.tap import TapRequest
from firmware.core import pcapng
from firmware.core._kernel import Stretch

from . import wire

REASON = wire.why_not() or (None if shutil.which("cc") else "no C compiler for the holder")
pytestmark = [pytest.mark.lab, pytest.mark.skipif(REASON is not None, reason=REASON or "")]
SOURCE = Path(__file__).parents[2] / "rootfs/usr/lib/scrubjay/initramfs/ringhold.c"
REQUEST = TapRequest(wire.HEARS, block_bytes=1 << 18, block_count=16, retire_ms=10)
FRAMES = [bytes.fromhex("020000000001 020000000002 88b5") + n.to_bytes(2, "big") * 40 for n in range(300)]


@pytest.fixture(scope="module")
def holder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program as build.sh makes it, for a recorder that is whoever runs the tests."""
    program = tmp_path_factory.mktemp("holder") / "ringhold"
    subprocess.run(
        ["cc", "-O2", "-Wall", "-Wextra", "-Werror", f"-DRECORDER_UID={os.getuid()}", "-o", str(program), str(SOURCE)], check=True, timeout=60
    )  # fmt: skip
    return program


@pytest.fixture
def line() -> Iterator[wire.Wire]:
    with wire.Wire() as made:
        yield made
        early_ring.taken(wire.HEARS)  # whatever a test left: with its last ring taken, a holder ends


def recorded(tap, count: int) -> list[bytes]:
    """So many frames, out of as many blocks as they take."""
    stretch, seen = Stretch(1 << 22), 0
    while seen < count:
        block = tap.next()
        if block is None:
            tap.finish()
            block = tap.next()
            if block is None:
                break
        stretch.add(block.data, 0, 0, 0, 0)
        seen += block.frame_count
        tap.release(block)
    return [packet.data for packet in pcapng.packets(pcapng.section_header() + pcapng.interface("x") + bytes(stretch))]


def test_frames_from_before_the_recorder_are_its_first(holder, line):
    """What passed before the recorder ran, and what passes while it takes over, is recorded once and in order. (S2-090)"""
    subprocess.run([str(holder), wire.HEARS], check=True, timeout=30)
    line.send(FRAMES[:200])
    tap = ring_tap(REQUEST)
    line.send(FRAMES[200:])
    found = recorded(tap, len(FRAMES))
    counters = tap.counters()
    tap.close()

    assert FRAMES == found
    assert {"ring_full": 0} == {cause: n for cause, n in counters.dropped.items() if cause == "ring_full"}
    assert (1 << 20, 64) == (tap.request.block_bytes, tap.request.block_count)
    assert early_ring.taken(wire.HEARS) is None


def test_who_dies_with_it_in_his_hands_has_not_taken_it(holder, line):
    """The holder lets go only of what somebody said to own."""
    subprocess.run([str(holder), wire.HEARS], check=True, timeout=30)
    line.send(FRAMES[:50])
    child = os.fork()
    if child == 0:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
            door.connect(early_ring.HOLDER)
            door.send(wire.HEARS.encode())
            socket.recv_fds(door, 64, 1)
            os._exit(0)
    os.waitpid(child, 0)
    tap = ring_tap(REQUEST)
    found = recorded(tap, 50)
    tap.close()

    assert FRAMES[:50] == found


def test_no_trouble_waits_in_it(holder, line):
    """It was bound before its interface was up, as at every start; whoever takes it is not told of that as a loss of now."""
    line.set(wire.HEARS, "down")
    subprocess.run([str(holder), wire.HEARS], check=True, timeout=30)
    ring = early_ring.taken(wire.HEARS)
    assert ring is not None
    with socket.socket(fileno=ring.descriptor) as found:
        trouble = found.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    assert 0 == trouble


def test_who_wants_less_leaves_it_alone(holder, line):
    """A filter is a promise that nothing else is recorded; intake's must not cost the recorder its ring either."""
    subprocess.run([str(holder), wire.HEARS], check=True, timeout=30)
    line.send(FRAMES[:10])
    filtered = ring_tap(TapRequest(wire.HEARS, filter="udp port 47001", block_bytes=1 << 18, block_count=16, retire_ms=10))
    filtered.close()
    tap = ring_tap(REQUEST)
    found = recorded(tap, 10)
    tap.close()

    assert FRAMES[:10] == found


def test_nobody_holds_one(line):
    """A laptop, or a second start: the recorder opens its own."""
    tap = ring_tap(REQUEST)
    line.send(FRAMES[:10])
    found = recorded(tap, 10)
    tap.close()

    assert FRAMES[:10] == found
    assert REQUEST == tap.request

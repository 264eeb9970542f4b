"""`scrubjay replay`: recordings, ours and others', through the whole chain or onto an interface."""

import json
import os
import select
import socket
import struct
from pathlib import Path

import pytest

from drivers.errors import TapFailed
from simulator.capture_file import frames
from simulator.network import Network
from simulator.recordings import ROOM
from simulator.replay import replay, send
from simulator.source import RecordingSource, is_priority_1

SHARED = Path(os.environ.get("SCRUBJAY_SHARED", Path(__file__).parents[3] / "shared")) / "data" / "pcap"
pytestmark = pytest.mark.timeout(180)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no recordings of others beside this checkout (SCRUBJAY_SHARED)")
def test_recording_nobody_here_wrote(tmp_path: Path) -> None:
    """An operating-room mix, as fast as the box takes it: each frame is recorded once, sealed, opened by others; its alarms are at the hub."""
    lines: list[str] = []
    code = replay(SHARED / "lab" / "or_mix_lab.pcap", tmp_path, speed="max", say=lines.append)
    report = json.loads((tmp_path / "report.json").read_text())

    assert 0 == code, lines
    assert (23487, 0) == (report["frames_recorded"], report["frames_dropped"])
    assert 23487 == report["frames_independent"]


@pytest.mark.lab
def test_onto_an_interface(tmp_path: Path) -> None:
    """`--to` puts the recorded bytes on a wire, in their order."""
    with Network(tmp_path) as network, socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
        wire.bind((network.mirror, 3))
        # The mirror port's own end is the only interface of the room in our namespace: what is sent on it goes into the switch.
        code = send(ROOM, network.mirror, speed="max", say=lambda line: None)
        heard = []
        while len(heard) < 10_000 and select.select([wire], [], [], 0.3)[0]:
            data, address = wire.recvfrom(65_535)
            if address[2] == socket.PACKET_OUTGOING:
                heard.append(data)

    assert 0 == code
    assert {row.data for row in frames(ROOM)} >= set(heard)
    assert len(heard) > 1000


@pytest.mark.parametrize("kept", [14, 23, 30, 41])
def test_frames_that_are_cut_or_lie_are_replayed_as_they_are(tmp_path: Path, kept: int) -> None:
    """Headers that do not fit into their frame are somebody's recording as well: nobody's message, and no end of the replay."""
    lying = bytes(12) + b"\x08\x00\x4f" + bytes(8) + b"\x11" + bytes(36)  # sixty bytes of IPv4 header, of which there are 46
    cut = bytes(12) + b"\x08\x00\x45" + bytes(8) + b"\x11" + bytes(36)
    file = tmp_path / "some.pcap"
    records = [struct.pack("<4I", 1_700_000_000, 0, len(data), len(cut)) + data for data in (lying, cut[:kept])]
    file.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1) + b"".join(records))
    source = RecordingSource(file, speed=None, go=tmp_path / "go", why="")
    source.start()

    assert 2 == source.frame_count
    assert (tmp_path / "go").exists()
    assert not any(is_priority_1(row.data) for row in frames(file))


def test_interface_that_is_not_there(tmp_path: Path) -> None:
    """The message says what was expected."""
    with pytest.raises(TapFailed, match="expected to send on 'nowhere0'"):
        send(ROOM, "nowhere0", speed="max", say=lambda line: None)

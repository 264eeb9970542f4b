"""The room: unmodified third-party programs talk in it, and all of them are heard on the mirror port."""

import select
import socket
import struct
from pathlib import Path
from time import monotonic

import pytest

from simulator.room import Room, Scenario

pytestmark = pytest.mark.lab
ETH_P_ALL = 3
TALKS = {  # what a frame of each is known by: EtherType, or IPv4 protocol and one of its ports
    "PTP (ptp4l)": (17, 319),
    "MQTT (mosquitto)": (6, 1883),
    "DICOM (dcmtk)": (6, 11112),
    "syslog (logger)": (17, 514),
    "syslog on a priority port (logger)": (17, 47003),
    "robot commands": (17, 36000),
    "ping": (1, None),
    "alarms": (17, 47001),
    "warnings": (17, 47002),
    "debug": (17, 47004),
}


def kind(frame: bytes) -> list[object]:
    """Everything this frame could be known by."""
    ethertype = struct.unpack_from("!H", frame, 12)[0]
    if ethertype != 0x0800:
        return [ethertype]
    protocol = frame[23]
    if protocol not in (6, 17):
        return [(protocol, None)]
    ports = struct.unpack_from("!HH", frame, 14 + (frame[14] & 15) * 4)
    return [(protocol, port) for port in ports]


def test_every_program_is_heard_on_the_mirror_port(tmp_path: Path) -> None:
    """PTP, MQTT, DICOM, syslog, robot commands, ICMP and the four priorities all pass the mirror port."""
    with Room(tmp_path, Scenario(robot_hz=200, seconds=60)) as room:
        room.start()
        if room.missing:
            pytest.skip(f"not installed: {', '.join(room.missing)}")
        wanted = set(TALKS.values())
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as wire:
            wire.bind((room.mirror, ETH_P_ALL))
            limit = monotonic() + 20
            while wanted and monotonic() < limit and select.select([wire], [], [], 1)[0]:
                wanted -= set(kind(wire.recv(65_535)))
        ended = room.ended()
        received = list((tmp_path / "pacs").iterdir())

    assert [] == [name for name, key in TALKS.items() if key in wanted]
    assert [] == ended
    assert received


def test_slaves_follow_the_grandmaster(tmp_path: Path) -> None:
    """Both ptp4l slaves choose the room's grandmaster, and neither steers this machine's clock."""
    with Room(tmp_path, Scenario(robot_hz=10, seconds=60)) as room:
        if "ptp4l" in room.missing:
            pytest.skip("linuxptp is not installed")
        room.start()
        slaves = [room.programs["ptp4l-timea"], room.programs["ptp4l-timeb"]]
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as wire:
            wire.bind((room.mirror, ETH_P_ALL))
            limit = monotonic() + 15
            # Every frame heard is a moment to look again; nothing waits by the clock.
            while monotonic() < limit and select.select([wire], [], [], 1)[0]:
                wire.recv(65_535)
                if all("selected best master clock 02534a.fffe.000001" in slave.said() for slave in slaves):
                    break
        configurations = [(tmp_path / f"ptp4l-{host}.cfg").read_text() for host in ("clock", "timea", "timeb")]

    assert ["selected best master clock 02534a.fffe.000001"] * 2 == [
        line.split("]: ")[1] for slave in slaves for line in slave.said().splitlines() if "best master clock" in line
    ]
    assert all("free_running 1" in text for text in configurations)

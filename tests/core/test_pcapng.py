"""Pcapng: what we write is read by us and by everybody's tools."""

import shutil
import subprocess

import pytest

from firmware.core import pcapng
from firmware.core.errors import BadItem
from firmware.core.pcapng import Packet

FILE = (
    pcapng.section_header()
    + pcapng.interface("mirror0", comment="time stamps: software")
    + pcapng.enhanced_packet(1_795_342_500_123_456_789, bytes(range(61)), 100)
    + pcapng.enhanced_packet(0, b"", 0)
    + pcapng.statistics(1_795_342_501_000_000_000, received=5, dropped=3, start_ns=1_795_342_500_000_000_000)
)


def test_packets_are_read_back():
    """Stamp, bytes and length on the wire come back as they were written; other blocks are passed over."""
    assert [Packet(1_795_342_500_123_456_789, bytes(range(61)), 100), Packet(0, b"", 0)] == list(pcapng.packets(FILE))
    assert [("mirror0", "time stamps: software")] == pcapng.interfaces(FILE)


def test_blocks_are_aligned():
    """Every block is a multiple of four bytes, whatever the frame's length."""
    for size in range(20):
        assert 0 == len(pcapng.enhanced_packet(1, bytes(size), size)) % 4


@pytest.mark.parametrize("cut", range(1, 60))
def test_cut_file_is_an_error(cut):
    """A file that ends inside a block is named, never guessed at."""
    with pytest.raises(BadItem):
        list(pcapng.packets(FILE[: len(FILE) - cut]))


def test_unknown_interface_is_an_error():
    """A frame of an interface nobody described has no time resolution, and is refused."""
    with pytest.raises(BadItem, match="interfaces"):
        list(pcapng.packets(pcapng.section_header() + pcapng.enhanced_packet(1, b"x", 1)))


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed: not compared with Wireshark's reader")
def test_tshark_reads_it(tmp_path):
    """Wireshark sees the nanoseconds, the length on the wire and the frame's bytes."""
    path = tmp_path / "x.pcapng"
    path.write_bytes(FILE)
    fields = ["-e", "frame.time_epoch", "-e", "frame.len", "-e", "frame.cap_len", "-e", "frame.interface_name"]
    read = subprocess.run(
        ["tshark", "-r", str(path), "-T", "fields", *fields], capture_output=True, text=True, timeout=60, check=True
    )

    assert ["1795342500.123456789\t100\t61\tmirror0", "0.000000000\t0\t0\tmirror0"] == read.stdout.splitlines()

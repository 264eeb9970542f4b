"""Reading capture files that others wrote."""

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from firmware.core import pcapng
from simulator.capture_file import BadCaptureFile, frames
from simulator.recordings import ROOM

SHARED = Path(os.environ.get("SCRUBJAY_SHARED", Path(__file__).parents[3] / "shared")) / "data" / "pcap"


def write(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "some.capture"
    path.write_bytes(data)
    return path


def test_shipped_recording_is_read() -> None:
    """Every frame of our own room's recording, none empty, all within its half minute."""
    rows = list(frames(ROOM))

    assert len(rows) > 5000
    assert max(row.stamp_ns for row in rows) - min(row.stamp_ns for row in rows) < 30_000_000_000
    assert all(14 <= len(row.data) <= row.wire_bytes for row in rows)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "unit"), [(0xA1B2C3D4, 1000), (0xA1B23C4D, 1)])
def test_pcap_of_any_byte_order_and_unit(tmp_path: Path, order: str, magic: int, unit: int) -> None:
    """Classic pcap: micro- or nanoseconds, little or big endian; a snapped frame keeps its length on the wire."""
    head = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65_535, 1)
    record = struct.pack(f"{order}IIII", 1_700_000_000, 123_456, 20, 1500) + bytes(20)

    (row,) = frames(write(tmp_path, head + record))

    assert 1_700_000_000_000_000_000 + 123_456 * unit == row.stamp_ns
    assert (20, 1500) == (len(row.data), row.wire_bytes)


def test_pcapng_with_several_interfaces_and_resolutions(tmp_path: Path) -> None:
    """Each interface counts time in its own unit (10^-6, 2^-10, an offset); frames of other link types are left out."""
    section = pcapng.section_header()
    micro = struct.pack("<IIHHI", 1, 20, 1, 0, 0) + struct.pack("<I", 20)
    binary = (
        struct.pack("<IIHHI", 1, 44, 1, 0, 0) + struct.pack("<HHB3xHHqHH", 9, 1, 0x8A, 14, 8, 100, 0, 0) + struct.pack("<I", 44)
    )
    wifi = struct.pack("<IIHHI", 1, 20, 105, 0, 0) + struct.pack("<I", 20)

    def packet(interface: int, ticks: int) -> bytes:
        return (
            struct.pack("<IIIIIII", 6, 48, interface, ticks >> 32, ticks & 0xFFFFFFFF, 14, 14) + bytes(16) + struct.pack("<I", 48)
        )

    data = section + micro + binary + wifi + packet(0, 5_000_001) + packet(1, 1024 + 512) + packet(2, 7) + packet(9, 7)

    assert [5_000_001_000, 101_500_000_000] == [row.stamp_ns for row in frames(write(tmp_path, data))]


@pytest.mark.parametrize("cut", [0, 30])
def test_pcapng_without_ethernet_is_refused(tmp_path: Path, cut: int) -> None:
    """As a pcap is: of a recording of all interfaces (Linux cooked frames) nothing would be replayed, and all would seem well."""
    cooked = struct.pack("<IIHHII", 1, 20, 113, 0, 0, 20)
    packet = struct.pack("<IIIIIII", 6, 48, 0, 0, 7, 16, 16) + bytes(16) + struct.pack("<I", 48)
    data = pcapng.section_header() + cooked + packet + packet

    with pytest.raises(BadCaptureFile, match="expected Ethernet frames"):
        list(frames(write(tmp_path, data[: len(data) - cut])))


def test_cut_off_file_ends_without_an_error(tmp_path: Path) -> None:
    """A recorder that was killed leaves half a record: what was whole is read."""
    whole = ROOM.read_bytes()[:100_000]

    assert 100 < len(list(frames(write(tmp_path, whole))))


@pytest.mark.parametrize("data", [b"", b"\x0a", b"not a capture file at all", bytes(24)])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    """The message says what was expected and not what was in it."""
    with pytest.raises(BadCaptureFile, match="expected a pcap or pcapng file"):
        list(frames(write(tmp_path, data)))


@pytest.mark.skipif(not SHARED.is_dir(), reason="no recordings of others beside this checkout (SCRUBJAY_SHARED)")
@pytest.mark.skipif(shutil.which("capinfos") is None, reason="capinfos is not installed")
def test_agrees_with_capinfos_on_recordings_of_others() -> None:
    """Frame counts of all intact Ethernet recordings nobody here wrote are those capinfos gives."""
    paths = sorted(path for folder in ("lab", "ptp", "services", "medical") for path in (SHARED / folder).glob("*.pcap*"))
    told = subprocess.run(["capinfos", "-T", "-r", "-c", "-E", "-M", *paths], capture_output=True, text=True, check=False).stdout
    expected = {}
    for line in told.splitlines():
        name, encapsulation, count = line.split("\t")
        if encapsulation == "ether":
            expected[Path(name).name] = int(count)

    assert expected
    assert expected == {path.name: len(list(frames(path))) for path in paths if path.name in expected}

"""A stretch packed while its frames pass (kernel.c): what the LZ4 library unpacks is what was recorded, whatever the frames were."""

import ctypes
import gc
import hashlib
import re
import struct
from pathlib import Path
from random import Random

import lz4.frame
import pytest

from drivers.linux.disk import LinuxDisk
from drivers.tap import HeardFrame, pack_block
from firmware.core import lz4chain
from firmware.core._kernel import Stretch, scan
from firmware.core.errors import Corrupt
from firmware.core.query import Query, terms_of

START = 1_795_342_500_000_000_000


def udp(flow: int, size: int, payload: bytes) -> bytes:
    """A frame of one of 65,536 flows; payload as often as it takes."""
    head = bytes.fromhex("020000000001 020000000002 0800 45000000 0000000040110000 0a000001 0a000002") + struct.pack(
        ">HHHH", flow, 104, size - 34, 0
    )
    return (head + payload * (size // len(payload) + 1))[:size]


def filled(frames: list[bytes], *, capacity: int = 1 << 20) -> Stretch:
    stretch = Stretch(capacity)
    heard = [HeardFrame(START + n * 777, frame, len(frame)) for n, frame in enumerate(frames)]
    stretch.add(pack_block(heard, sequence=0), 0, 0, 0, 0)
    assert (len(frames), 0) == (stretch.frames, stretch.malformed)
    return stretch


NOISE = Random(1)
TRAFFIC = {
    "one frame of nothing": [b""],
    "one byte": [b"x"],
    "the same frame": [udp(1, 60, b"same")] * 5000,
    "one flow of sizes that differ": [udp(1, 60 + n % 1455, b"control") for n in range(600)],
    "more flows than are remembered": [udp(n * 7 % 3000, 90, b"\0") for n in range(4000)],
    "noise": [udp(1, 1514, NOISE.randbytes(1514)) for _ in range(500)],
    "noise, then text, then noise": [
        udp(1, 1514, NOISE.randbytes(1514) if n // 100 % 2 else b"POST /instances HTTP/1.1\r\n") for n in range(500)
    ],
    "a model too far away": [udp(n % 2, 9014, bytes([n % 2]) if n % 13 else NOISE.randbytes(9014)) for n in range(100)],
    "frames as long as GRO makes them": [udp(1, 65_549, b"long") for _ in range(12)],
    "equal but for the last bytes": [udp(1, 100, b"e")[: 100 - n % 13] + bytes([n % 251]) * (n % 13) for n in range(3000)],
    "single bytes that differ": [udp(1, 400, bytes(n % 200) + bytes([n % 256])) for n in range(1500)],
}


@pytest.mark.parametrize("kind", TRAFFIC)
def test_the_library_unpacks_it(kind):
    """Link by link with its checksum, and as a whole file with its header and end mark."""
    stretch = filled(TRAFFIC[kind])
    link = stretch.packed()

    assert bytes(stretch) == lz4chain.decompressed(link)
    assert bytes(stretch) == lz4.frame.decompress(lz4chain.HEADER + link + lz4chain.END_MARK)
    assert len(link) <= len(stretch) + 8


@pytest.mark.parametrize("kind", TRAFFIC)
def test_a_search_sees_through_the_packing(kind):
    """What is found in a packed stretch is what is found in it unpacked: the same frames, counted and timed alike. (S2-107)"""
    stretch = filled(TRAFFIC[kind])
    raw, link, room = bytes(stretch), bytes(stretch.packed()), lz4chain.Room()
    until_ns = START + 777 * len(TRAFFIC[kind]) // 2
    for query in (
        Query(),
        Query(ports=(1,)),
        Query(hosts=("10.0.0.1",), ports=(104, 5)),
        Query(until_utc_ns=until_ns, ports=(7,)),
        Query(hosts=("10.9.9.9",)),
    ):
        terms = terms_of(query)
        expected = scan(raw, terms.packed, terms.since_ns, terms.until_ns)

        assert expected == lz4chain.scanned(link, terms, raw_bytes=len(raw), room=room)
    for size in (len(raw) - 1, len(raw) + 1, 1 << 30):
        with pytest.raises(Corrupt):
            lz4chain.scanned(link, terms, raw_bytes=size, room=room)


def test_more_may_be_added_after():
    """Packing ends nothing: asked early and late, the same bytes come as asked once; twice gives the same twice."""
    early, once = Stretch(1 << 20), Stretch(1 << 20)
    for number in range(50):
        heard = [HeardFrame(START + number * 10**6 + n, udp(n % 5, 60 + number, b"abc"), 60) for n in range(20)]
        early.add(pack_block(heard, sequence=number), 0, 0, 0, 0)
        once.add(pack_block(heard, sequence=number), 0, 0, 0, 0)
        assert bytes(early) == lz4chain.decompressed(early.packed())

    assert once.packed() == early.packed() == early.packed()


def test_a_cleared_stretch_forgets():
    """What was packed before has no part in what is packed next: the same frames give the same bytes in any process."""
    used = filled(TRAFFIC["noise, then text, then noise"])
    used.clear()
    frames = [HeardFrame(START + n, udp(n % 9, 200, b"again"), 200) for n in range(300)]
    used.add(pack_block(frames, sequence=1), 0, 0, 0, 0)
    fresh = Stretch(1 << 20)
    fresh.add(pack_block(frames, sequence=1), 0, 0, 0, 0)

    assert fresh.packed() == used.packed()


def test_every_version_packs_alike():
    """The same frames give the same bytes in the next version, too: a cold segment's packed file, sealed, is made again by it. (S2-095)

    Who changes the packer on purpose changes this, and cold segments of before are then proved by their frames only (verify says so).
    """
    digest = hashlib.sha256()
    for kind in TRAFFIC:
        digest.update(filled(TRAFFIC[kind]).packed())

    assert digest.hexdigest() == "e9be371d3207671db2adf75dee191fa66a7f3d14356b2e3333867396ce4adf34"


@pytest.mark.parametrize("kind", TRAFFIC)
def test_where_it_will_lie_changes_nothing(kind):
    """The same frames give the same link, whatever the size of the file it is for."""
    stretch = filled(TRAFFIC[kind])
    expected, raw = bytes(stretch.packed()), bytes(stretch)
    for place in (1, 4091, 4092, 4095, (1 << 40) + 777):
        stretch.clear(place)

        assert stretch.repack(raw)
        assert expected == stretch.packed()


@pytest.mark.parametrize("size", [0, 1, 4000, 4095, 4096, 10_001])
def test_it_lies_in_memory_as_in_the_file(size, tmp_path):
    """S2-090: cleared for a file's size, the next link goes from the stretch to the device without a copy; for another, with one."""
    raw = bytes(filled(TRAFFIC["noise"]))
    stretch = Stretch(1 << 20)
    for place, is_copied in ((size, False), (size + 1, True)):
        file = LinuxDisk(tmp_path).create("file")
        file.append([bytes(size)])
        stretch.clear(place)
        assert stretch.repack(raw)
        file.append([stretch.packed()])
        if LinuxDisk(tmp_path).open_direct("file") < 0:
            pytest.skip("this file system writes through the page cache only")

        assert is_copied is (file._buffer is not None)
        assert raw == lz4chain.decompressed(LinuxDisk(tmp_path).read("file", offset=size))


def test_a_long_stretch_asks_for_large_pages():
    """S2-090: what is handed to the device is a few pieces of memory instead of hundreds, each of which costs it time."""
    if not Path("/sys/kernel/mm/transparent_hugepage").exists():
        pytest.skip("this kernel has no large pages")

    assert "hg" in flags_at(filled(TRAFFIC["noise"], capacity=4 << 20).packed())


def flags_at(link: memoryview) -> list[str]:
    """Of the piece of this process's memory in which it lies (proc(5), VmFlags; hg: large pages are welcome)."""
    at = ctypes.addressof(ctypes.c_char.from_buffer(link))
    is_here = False
    for row in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", row):
            begins, ends = (int(word, 16) for word in row.split()[0].split("-"))
            is_here = begins <= at < ends
        elif is_here and row.startswith("VmFlags:"):
            return row.split()[1:]
    return []


def test_a_link_outlives_its_stretch():
    """Whoever still holds one, an error on its way for instance, holds the memory, not the recorder."""
    stretch = filled(TRAFFIC["noise"])
    link = stretch.packed()
    expected = bytes(link)
    stretch.clear()
    del stretch
    gc.collect()

    assert len(expected) == len(link) == len(bytes(link))


def test_nothing_is_not_packed():
    """A link has at least one frame."""
    with pytest.raises(ValueError, match="at least one frame"):
        Stretch(1 << 20).packed()


def test_it_is_about_as_dense_as_the_library():
    """Control traffic at most a third larger than what LZ4's own search makes of it in twice the time; noise not larger than it is."""
    control = filled([udp(n % 4, 150, struct.pack("<13d", *(n / 100 + k for k in range(13)))) for n in range(4000)])
    noise = filled(TRAFFIC["noise"])

    assert len(control.packed()) <= 4 / 3 * len(lz4chain.compressed(memoryview(control)))
    assert len(noise.packed()) <= len(noise) + 8

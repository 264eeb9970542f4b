"""The decoder of runs meets any bytes: it refuses or answers, in bounded memory, and never anything else."""

import resource
import struct
import zlib
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.core import _dense, cold, dense, pcapng
from firmware.core.errors import BadItem, Corrupt

ROWS = [pcapng.enhanced_packet(n * 1000, bytes([n % 7]) * 12 + b"\x08\0" + bytes([0x45, 0, 0, 46, 0, n & 255, 0, 0, 64, 17, 0, 0]) + bytes(8) + struct.pack(">HHHHI", 5, 6, 26, 0, n) + bytes(14), 60) for n in range(200)]  # fmt: skip
STREAMS = _dense.split(b"".join(ROWS))
SIZE = sum(map(len, ROWS))


def joined(streams: tuple[bytes, ...], size: int) -> bytes | None:
    try:
        return _dense.join(streams, size)
    except ValueError:
        return None


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_as_a_run(data):
    """Any bytes, and any bytes behind a right head and checksum."""
    for run in (data, struct.pack("<4sII", b"SJD1", 1000, zlib.crc32(data)) + data):
        try:
            dense.unpacked(run)
        except Corrupt:
            continue


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=60), min_size=_dense.STREAMS, max_size=_dense.STREAMS), st.integers(0, 5000))
def test_any_streams(streams, size):
    """Streams of nobody."""
    answer = joined(tuple(streams), size)
    assert answer is None or len(answer) == size


def test_altered_streams():
    """Streams of ours with bytes changed, cut and grown, thousands of times: refused, or blocks of the size asked for."""
    random, refused = Random(11), 0
    for _ in range(6_000):
        streams = [bytearray(stream) for stream in STREAMS]
        for _ in range(random.randint(1, 4)):
            stream = random.choice([stream for stream in streams if stream])
            at = random.randrange(len(stream))
            match random.randrange(4):
                case 0:
                    stream[at] = random.randrange(256)
                case 1:
                    del stream[at : at + random.randint(1, 8)]
                case 2:
                    stream[at:at] = random.randbytes(random.randint(1, 8))
                case _:
                    stream[at] = random.choice((0, 0x7F, 0x80, 0xFF))
        size = SIZE if random.random() < 0.8 else random.randrange(2 * SIZE)
        answer = joined(tuple(map(bytes, streams)), size)
        refused += answer is None
        assert answer is None or len(answer) == size
    assert refused > 1000


def test_memory_is_bounded():
    """A few bytes that promise gigabytes make nobody allocate them."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for size in (0, 1, 2**31, 2**32 - 1):
        body = struct.pack("<II", size, 4) + b"\x28\xb5\x2f\xfd"
        with pytest.raises(Corrupt):
            dense.unpacked(struct.pack("<4sII", b"SJD1", min(size, 2**32 - 1), zlib.crc32(body)) + body)
    for head in (b"\xff" * 9 + b"\x7f", b"\x80\x80\x80\x10\x01\xff\xff\xff\x7f"):
        assert joined((head, *([b""] * (_dense.STREAMS - 1))), 1 << 20) is None

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


@pytest.mark.parametrize(("count", "size_mib"), [(1, 1), (2, 1), (1, 16)])
def test_tables_nobody_needs(count, size_mib):
    """A run of a kilobyte that promises 16 million columns, of frames there is no room for or of a single row: no room is made for them."""
    kinds, width = 60, b"\x80\x80\x10"  # 1 << 18, as dense.c writes numbers
    head = b"\x80\x80" + struct.pack("<H", (size_mib & 1) << 6 | 0x80 | size_mib >> 1 << 8) + bytes([1, 1, 0, kinds])
    streams = [head + (b"\0" + width + bytes([count, 16])) * kinds, *([b""] * (_dense.STREAMS - 1))]
    streams[8], streams[9], streams[10] = b"\1" * (kinds << 18), bytes(kinds * count), bytes((kinds << 18) * (count - 1))
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), before[1]))
    try:
        assert joined(tuple(streams), size_mib << 20) is None
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_as_table_and_cold_seal(data):
    """The files around the runs."""
    try:
        cold.table_unpacked(data)
    except Corrupt:
        pass
    try:
        cold.seal_unpacked(data)
    except BadItem:
        pass


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.binary(max_size=40))
def test_any_bytes_as_interfaces(data, stream):
    """Blocks and numbers that do not belong together are refused; what was taken apart fits."""
    for raw in (data, b"".join(ROWS[:3]), b"".join(ROWS[:3]) + data):
        try:
            assert len(raw) == len(_dense.put_interfaces(raw, stream))
        except ValueError:
            pass
        try:
            assert raw == _dense.put_interfaces(*_dense.take_interfaces(raw))
        except ValueError:
            pass
    run = dense.packed(ROWS[0][:8] + b"\1" + ROWS[0][9:])
    damaged = bytearray(run[12:])
    for at, value in enumerate(stream):
        damaged[(at * 7) % len(damaged)] ^= value
    try:
        dense.unpacked(run[:8] + struct.pack("<I", zlib.crc32(damaged)) + bytes(damaged))
    except Corrupt:
        pass

"""Runs: any blocks come back byte for byte, and what a network says again and again takes next to no room."""

import struct
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.core import dense, pcapng
from firmware.core.errors import Corrupt
from simulator import capture_file

RECORDINGS = Path(__file__).parents[3] / "shared" / "data" / "pcap"
CAPTURES = sorted(path for path in RECORDINGS.rglob("*") if path.is_file()) if RECORDINGS.is_dir() else []


def blocks_of(path: Path) -> bytes:
    return b"".join(pcapng.enhanced_packet(row.stamp_ns, row.data, row.wire_bytes) for row in capture_file.frames(path))


def udp(number: int, payload: bytes, *, source: int = 1, sum_: int = 0) -> bytes:
    length = 8 + len(payload)
    ip = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + length, number & 0xFFFF, 0, 64, 17, 0, bytes([10, 0, 0, source]), b"\x0a\0\0\x09"
    )
    return bytes(12) + b"\x08\0" + ip + struct.pack(">HHHH", 5000, 6000, length, sum_) + payload


@pytest.mark.parametrize("family", sorted({path.parent.name for path in CAPTURES}) or ["none"])
def test_every_recorded_capture_comes_back(family):
    """Each capture of others, malformed ones too, is restored byte for byte; so is the file itself, taken for blocks."""
    paths = [path for path in CAPTURES if path.parent.name == family and path.stat().st_size < 4 << 20]
    if not paths:
        pytest.skip("the recordings are not beside the tree: not compared")
    for path in paths:
        given_blocks = [path.read_bytes()]
        try:
            given_blocks.append(blocks_of(path))
        except (capture_file.BadCaptureFile, struct.error):
            pass
        for blocks in given_blocks:
            assert blocks == dense.unpacked(dense.packed(blocks, level=1)), path.name


def test_control_traffic_takes_no_room():
    """A counter, a position and a clock in 10,000 datagrams of fixed form: less than four bytes each, stamp included."""
    random, blocks, position = Random(7), [], 100_000
    for number in range(10_000):
        position += random.randrange(-3, 4)
        payload = struct.pack("<IiI", number, position, number * 1000) + bytes(40)
        stamp = 1_795_342_500_000_000_000 + number * 1_000_000 + random.randrange(64)
        blocks.append(pcapng.enhanced_packet(stamp, udp(number, payload), 94))
    raw = b"".join(blocks)
    run = dense.packed(raw)

    assert raw == dense.unpacked(run)
    assert len(run) < 40_000


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=4000))
def test_any_bytes_come_back(data):
    """Nothing is assumed about what lies in a stretch."""
    assert data == dense.unpacked(dense.packed(data, level=1))


FRAME = st.one_of(
    st.binary(max_size=90),
    st.builds(lambda n, p, s, c: udp(n, p, source=s, sum_=c), st.integers(0, 70_000), st.binary(max_size=40), st.integers(0, 3), st.sampled_from([0, 1, 77])),
    st.builds(lambda head, tail: bytes.fromhex(head) + tail, st.sampled_from([
        "010203040506 0708090a0b0c 8100 0005 0800 4500 0034 0001 0000 4006 0000 0a000001 0a000002 0050 1000 00000001 00000002 8010 0100 0000 0000 0101080a 00000001 00000002",
        "010203040506 0708090a0b0c 86dd 60000000 0010 1140" + "20" * 32 + " 0035 0036 0010 0000",
        "010203040506 0708090a0b0c 88a4 0f10 04 01 0000 0100",
        "010203040506 0708090a0b0c 0800 4f00 ffff 0001 2000 4006 0000 0a000001 0a000002",
    ]), st.binary(max_size=60)),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(FRAME, st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.booleans()), max_size=40),
    st.binary(max_size=30),
)
def test_any_frames_come_back(rows, tail):
    """Frames of every kind, cut anywhere, stamped anyhow, repeated, with foreign blocks between them."""
    raw = b""
    for data, stamp, wire, is_twice in rows:
        block = pcapng.enhanced_packet(stamp, data, wire)
        raw += block * (9 if is_twice else 1)
        if stamp % 5 == 0:
            raw += pcapng.statistics(1, received=stamp % 100, dropped=0)
    raw += tail

    assert raw == dense.unpacked(dense.packed(raw, level=1))


def igtlink(number: int, body: bytes, crc: int) -> bytes:
    head = struct.pack(">H12s20sQQ", 1, b"TRANSFORM", b"Tool", number << 32, len(body))
    return head + crc.to_bytes(8, "big") + body


def crc64(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte << 56
        for _ in range(8):
            crc = (crc << 1 ^ (0x42F0E1EBA9EA3693 if crc >> 63 else 0)) & 0xFFFFFFFFFFFFFFFF
    return crc


@pytest.mark.parametrize("is_right", [True, False])
def test_check_sums_are_not_stored_where_they_are_right(is_right):
    """The sum of an OpenIGTLink body is eight bytes of noise: right ones cost nothing, wrong ones come back wrong."""
    random, rows = Random(3), []
    for number in range(400):
        body = struct.pack(">I", number) + bytes(44)
        crc = crc64(body) if is_right else random.getrandbits(64)
        rows.append(pcapng.enhanced_packet(number * 1_000_000, udp(number, igtlink(number, body, crc)), 148))
    raw = b"".join(rows)
    run = dense.packed(raw)

    assert raw == dense.unpacked(run)
    assert (len(run) < 1200) is is_right


def test_colliding_and_countless_flows_take_no_longer():
    """A network on which no two frames are alike is packed as fast as any other, and comes back."""
    random = Random(5)
    raw = b"".join(pcapng.enhanced_packet(n, random.randbytes(60), 60) for n in range(20_000))

    assert raw == dense.unpacked(dense.packed(raw, level=1))


def test_altered_run_is_refused():
    """No flipped bit of a run goes unseen."""
    run = dense.packed(b"".join(pcapng.enhanced_packet(n, udp(n, b"hello"), 47) for n in range(50)))
    for at in range(len(run)):
        with pytest.raises(Corrupt):
            dense.unpacked(run[:at] + bytes([run[at] ^ 1]) + run[at + 1 :])


def _video(count: int, seed: int, size: int = 1316) -> bytes:
    """RTP packets of one picture after the other; what is in them is noise."""
    draw = Random(seed)
    rows = []
    for number in range(count):
        head = bytes.fromhex("02000000010a020000000114080045000540000000004011000a0a4d011e0a4d01280d8c138c052c0000")
        rtp = b"\x80\x60" + number.to_bytes(2, "big") + (number // 37 * 1800).to_bytes(4, "big") + b"\x5c\x0b\0\0"
        data = head + rtp + draw.randbytes(size)
        rows.append(pcapng.enhanced_packet(10**18 + number * 12_000, data, len(data)))
    return b"".join(rows)


def test_noise_is_tried_once(monkeypatch):
    """Video costs one try at the fastest level, and is a hundredth larger than its noise at most; what compresses gets all of it."""
    tried: list[tuple[int, int]] = []
    compress = dense._compressed
    monkeypatch.setattr(dense, "_compressed", lambda stream, level: tried.append((len(stream), level)) or compress(stream, level))
    video = _video(700, 5)
    run = dense.packed(video)
    noise = [level for size, level in tried if size > 500_000]
    tried.clear()
    words, draw = [b"arm ", b"joint ", b"stopped ", b"0.125 "], Random(6)
    rows = [udp(number, b"".join(draw.choices(words, k=draw.randrange(100, 250)))) for number in range(900)]
    dense.packed(b"".join(pcapng.enhanced_packet(10**18 + number, row, len(row)) for number, row in enumerate(rows)))

    assert [1] == noise
    assert len(run) < 700 * 1316 * 1.01
    assert video == dense.unpacked(run)
    assert [1, dense.LEVEL] == [level for size, level in tried if size > 500_000]


def test_packing_lets_others_have_their_turn():
    """In pieces it makes the same run, with a pause at least after each stream that takes long."""
    blocks = _video(700, 7)
    pieces, work = 0, dense.packing(blocks)
    while True:
        try:
            next(work)
            pieces += 1
        except StopIteration as end:
            run = end.value
            break

    assert pieces >= 1
    assert dense.packed(blocks) == run


def test_a_second_interface_costs_next_to_nothing():
    """The two directions of a tap are as dense as one interface: who sends is heard on one side, and that is said once."""
    rows = [(n * 1_000_000, udp(n, b"joint 1 2 3", source=n % 2), n % 2) for n in range(4000)]
    rows = [(stamp, data[:6] + bytes([2, 0, 0, 0, 0, number]) + data[12:], number) for stamp, data, number in rows]
    one = b"".join(pcapng.enhanced_packet(stamp, data, len(data)) for stamp, data, _ in rows)
    two = b"".join(pcapng.enhanced_packet(stamp, data, len(data), interface=number) for stamp, data, number in rows)

    assert two == dense.unpacked(dense.packed(two))
    assert len(dense.packed(one)) <= len(dense.packed(two)) <= len(dense.packed(one)) + 64


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.binary(max_size=80), st.one_of(st.integers(0, 3), st.integers(0, 2**32 - 1))), max_size=40),
    st.binary(max_size=40),
)
def test_any_interfaces_come_back(rows, behind):
    """Whatever the numbers, those that no segment of ours has among them, and whatever lies behind."""
    raw = pcapng.section_header() + pcapng.interface("x") + b"".join(
        pcapng.enhanced_packet(n, data, len(data), interface=number) for n, (data, number) in enumerate(rows)
    ) + behind  # fmt: skip

    assert raw == dense.unpacked(dense.packed(raw, level=1))


def test_one_interface_is_packed_as_ever():
    """A run whose frames are of one interface has the bytes that the first version gave it."""
    raw = b"".join(pcapng.enhanced_packet(n, udp(n, b"hello"), 47) for n in range(50))

    assert dense.packed(raw).startswith(b"SJD1")
    assert dense.packed(raw[:8] + b"\1" + raw[9:]).startswith(b"SJD2")

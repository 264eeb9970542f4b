"""Segments: written, read while open, sealed, opened by Wireshark as they lie, and put right after the power went."""

import shutil
import struct
import subprocess
from pathlib import Path
from random import Random

import lz4.frame
import pytest

from drivers.errors import DiskFailed, DiskFull
from drivers.linux.disk import LinuxDisk
from drivers.tap import BLOCK_HEADER, STATUS_VLAN_VALID, HeardFrame, pack_block
from firmware.core import index, pcapng, seal
from firmware.core._kernel import Stretch
from firmware.core.errors import Corrupt
from firmware.core.layout import FRAMES, INDEX, SEAL
from firmware.core.recovery import Chain, chain_end, recover
from firmware.core.segment import Segment, record_of
from firmware.core.segment_writer import Losses, SegmentWriter, Source
from firmware.core.timestamp import iso
from firmware.core.verify import verify
from simulator.clock import SimulatedClock
from simulator.disk import PowerCut, SimulatedDisk
from simulator.identity import SimulatedIdentity

START = 1_795_342_500_000_000_000  # 2026-11-22T10:15:00Z
NOTHING = Losses({})
IDENTITY = SimulatedIdentity()


def udp(number: int, size: int = 80) -> bytes:
    head = bytes.fromhex("020000000001 020000000002 0800 4500004200000000401100000a0000010a000002")
    body = head + (1000 + number).to_bytes(2, "big") + b"\x00\x68" + bytes(4)
    return body + bytes(size - len(body) - 4) + number.to_bytes(4, "big")


def stretch(first: int, count: int, size: int = 80) -> Stretch:
    """Frames `first` and following, a millisecond apart."""
    made = Stretch(1 << 20)
    rows = [HeardFrame(START + n * 1_000_000, udp(n, size), size) for n in range(first, first + count)]
    made.add(pack_block(rows, sequence=0), 0, 0, 0, 0)
    assert (count, 0) == (made.frames, made.malformed)
    return made


def writer(disk, sequence: int = 1) -> SegmentWriter:
    disk.mkdir("segments")
    disk.sync_dir("")
    now = SimulatedClock().now()
    return SegmentWriter(disk, "segments", sequence=sequence, first_utc_ns=START, source=Source("mirror0"), now=now)


def sealed(disk, count: int = 10, *, sequence: int = 1, previous: bytes | None = None, losses: Losses = NOTHING):
    made = writer(disk, sequence)
    made.write(stretch(0, count))
    return made.seal(IDENTITY, previous=previous, losses=losses, cause="time", now=SimulatedClock().now())


def frames_of(segment: Segment) -> list[bytes]:
    raw = b"".join(segment.stretch(record) for record in segment.records())
    return [packet.data for packet in pcapng.packets(raw)]


def test_sealed_segment_holds_its_frames():
    """What was written is read back, and the seal says how much it is and when it was. (S2-092, S2-014)"""
    disk = SimulatedDisk()
    made, digest = sealed(disk, 10)
    segment = Segment(disk, "segments", "20261122T101500Z-000001")

    assert [udp(n) for n in range(10)] == frames_of(segment)
    assert made == segment.seal()
    assert (10, 800, START, START + 9_000_000) == (made.frames, made.bytes_wire, made.first_ns, made.last_ns)
    assert ("time", None, 37, "box-1") == (made.cause, made.previous, made.tai_offset_s, made.box)
    assert digest == seal.digest(disk.read("segments/20261122T101500Z-000001/seal"))
    assert made.is_signed_by(IDENTITY.public_key())


def test_open_segment_can_be_read():
    """What was heard a second ago can be searched before the segment is sealed. (S2-108)"""
    disk = SimulatedDisk()
    made = writer(disk)
    made.write(stretch(0, 5))
    segment = Segment(disk, "segments", made.name)

    assert [udp(n) for n in range(5)] == frames_of(segment)
    assert segment.seal() is None


def test_hidden_until_sealed():
    """Nobody who lists the directory meets half a segment; the rename is what publishes it."""
    disk = SimulatedDisk()
    made = writer(disk)
    made.write(stretch(0, 5))
    before = disk.list("segments")
    made.seal(IDENTITY, previous=None, losses=NOTHING, cause="stop", now=SimulatedClock().now())

    assert [".20261122T101500Z-000001"] == before
    assert ["20261122T101500Z-000001"] == disk.list("segments")
    assert sorted((FRAMES, INDEX, SEAL)) == disk.list("segments/20261122T101500Z-000001")


@pytest.mark.skipif(
    shutil.which("capinfos") is None or shutil.which("tshark") is None,
    reason="tshark and capinfos are not installed: not compared",
)
@pytest.mark.parametrize("stretches", [0, 1, 3])
def test_wireshark_opens_it_as_it_lies(tmp_path, stretches):
    """tshark and capinfos open frames.pcapng.lz4 itself, and count what the seal counts. (S2-090, S2-104)"""
    disk = LinuxDisk(tmp_path)
    made = writer(disk)
    for number in range(stretches):
        made.write(stretch(number * 600, 600, 900))
    result, _ = made.seal(IDENTITY, previous=None, losses=Losses({"ring_full": 7}), cause="time", now=SimulatedClock().now())
    path = str(tmp_path / "segments" / result.name / FRAMES)
    info = subprocess.run(["capinfos", "-c", "-M", "-T", "-r", path], capture_output=True, text=True, timeout=60, check=True)
    read = subprocess.run(
        ["tshark", "-n", "-r", path, "-T", "fields", "-e", "udp.srcport"], capture_output=True, text=True, timeout=60, check=True
    )

    assert 600 * stretches == result.frames == int(info.stdout.split("\t")[1])
    assert [str(1000 + n) for n in range(600 * stretches)] == read.stdout.split()


@pytest.mark.skipif(shutil.which("capinfos") is None, reason="capinfos is not installed: not compared")
@pytest.mark.parametrize("is_cut", [False, True])
def test_wireshark_opens_what_is_longer_than_its_buffer(tmp_path, is_cut):
    """Stretches of random bytes, many times Wireshark's input buffer; sealed, and as a power cut leaves it. (S2-090)"""
    disk = LinuxDisk(tmp_path)
    made = writer(disk)
    noise = Random(4711)
    for number in range(5):
        rows = Stretch(1 << 19)
        heard = [HeardFrame(START + number * 10**9 + n * 1000, noise.randbytes(1000), 1000) for n in range(100)]
        rows.add(pack_block(heard, sequence=number), 0, 0, 0, 0)
        made.write(rows)
    if is_cut:
        made.close()
        place = tmp_path / made.hidden
    else:
        result, _ = made.seal(IDENTITY, previous=None, losses=NOTHING, cause="time", now=SimulatedClock().now())
        place = tmp_path / "segments" / result.name
        unpacked = lz4.frame.decompress((place / FRAMES).read_bytes())
        assert 500 == sum(1 for _ in pcapng.packets(unpacked))
    info = subprocess.run(
        ["capinfos", "-c", "-M", "-T", "-r", str(place / FRAMES)], capture_output=True, text=True, timeout=60, check=True
    )

    assert "500" == info.stdout.strip().split("\t")[1]


@pytest.mark.parametrize("stamps_itself", [False, True])
@pytest.mark.parametrize("snap_bytes", [64, 96, pcapng.SNAP_MAX])
def test_frames_are_no_longer_than_the_section_says(tmp_path, snap_bytes, stamps_itself):
    """The tag the card took out comes to what the kernel kept of a frame; libpcap refuses a file with a frame longer than it says."""
    disk = LinuxDisk(tmp_path)
    disk.mkdir("segments")
    disk.sync_dir("")
    source = Source("mirror0", snap_bytes=snap_bytes, stamps_itself=stamps_itself)
    made = SegmentWriter(disk, "segments", sequence=1, first_utc_ns=START, source=source, now=SimulatedClock().now())
    heard = bytearray(pack_block([HeardFrame(START, bytes(snap_bytes), 300_000)], sequence=0))
    struct.pack_into("<I", heard, BLOCK_HEADER.size + 20, STATUS_VLAN_VALID)
    rows = Stretch(1 << 20)
    rows.add(bytes(heard), 0, 0, 0, 0)
    made.write(rows)
    result, _ = made.seal(IDENTITY, previous=None, losses=NOTHING, cause="time", now=SimulatedClock().now())
    unpacked = lz4.frame.decompress((tmp_path / "segments" / result.name / FRAMES).read_bytes())
    (packet,) = pcapng.packets(unpacked)

    assert [len(packet.data)] * (1 + stamps_itself) == described_lengths(unpacked)
    if shutil.which("tcpdump") is not None:
        (tmp_path / "x.pcapng").write_bytes(unpacked)
        assert 0 == subprocess.run(["tcpdump", "-nr", str(tmp_path / "x.pcapng")], capture_output=True, timeout=60).returncode


def described_lengths(section: bytes) -> list[int]:
    """The longest frame of each interface described."""
    found, at = [], 0
    while at < len(section):
        kind, size, _, longest = struct.unpack_from("<IIII", section, at)
        if kind == pcapng.INTERFACE:
            found.append(longest)
        at += size
    return found


def test_index_is_the_same_when_made_again():
    """The index is a help and not the truth: from the frames alone it comes out byte for byte the same."""
    disk = SimulatedDisk()
    made, _ = sealed(disk, 50)
    segment = Segment(disk, "segments", made.name)

    assert segment.records() == segment.records_from_frames()


@pytest.mark.parametrize("count", [0, 1, 300])
def test_a_stretch_makes_its_own_record(count):
    """S2-091: without an object in between it says of itself what the index's format wants, keys and checksum included."""
    made = stretch(0, count) if count else Stretch(1 << 20)
    expected = (
        record_of(made, offset=1 << 33, stored=1234, raw=len(made))
        if count
        else record_of(None, offset=1 << 33, stored=1234, raw=0)
    )

    assert index.packed_record(expected) == made.record(1 << 33, 1234)


def test_full_disk_leaves_what_was_written():
    """A stretch that finds no room is not written at all, the ones before it stay, and sealing works when there is room."""
    disk = SimulatedDisk()
    made = writer(disk)
    made.write(stretch(0, 10))
    disk.fill(leave_bytes=100)
    with pytest.raises(DiskFull):
        made.write(stretch(10, 1000))
    with pytest.raises(DiskFull):
        made.seal(IDENTITY, previous=None, losses=NOTHING, cause="time", now=SimulatedClock().now())
    disk.fill(leave_bytes=1 << 20)
    result, _ = made.seal(IDENTITY, previous=None, losses=NOTHING, cause="time", now=SimulatedClock().now())

    assert 10 == result.frames
    assert verify(disk).ok


def test_seal_is_deterministic():
    """The same frames, key and clock give the same bytes."""
    one, other = SimulatedDisk(), SimulatedDisk()
    sealed(one)
    sealed(other)

    for file in (FRAMES, INDEX, SEAL):
        path = f"segments/20261122T101500Z-000001/{file}"
        assert one.read(path) == other.read(path)


def test_torn_index_is_read_as_far_as_it_goes():
    """The tail of an open index may be torn; what it does not list is read from the frames. A sealed one that is torn is corrupt."""
    disk = SimulatedDisk()
    made = writer(disk)
    for number in range(3):
        made.write(stretch(number * 10, 10))
    whole = disk.read(f"{made.hidden}/{INDEX}")
    disk.write(f"{made.hidden}/{INDEX}", whole[:-5])
    segment = Segment(disk, "segments", made.name)

    assert [udp(n) for n in range(30)] == frames_of(segment)
    assert segment.records() == segment.records_from_frames()
    disk.rename(made.hidden, f"segments/{made.name}")
    with pytest.raises(Corrupt):
        segment.records()


@pytest.mark.parametrize("listed", [0, 1, 2, 3])
@pytest.mark.parametrize("lost", [0, 7])
def test_frames_the_index_does_not_list_yet_are_read(listed, lost):
    """Killed between a stretch and its index record, or the index was never synced: until recovery came, the frames tell (storm seed 250)."""
    disk = SimulatedDisk()
    made = writer(disk)
    sizes = []
    for number in range(3):
        made.write(stretch(number * 10, 10))
        sizes.append(disk.size(f"{made.hidden}/{INDEX}"))
    whole, end = disk.read(f"{made.hidden}/{INDEX}"), [index.HEADER_SIZE, *sizes][listed]
    disk.write(f"{made.hidden}/{INDEX}", whole[:end])
    frames = disk.read(f"{made.hidden}/{FRAMES}")
    disk.write(f"{made.hidden}/{FRAMES}", frames[: len(frames) - lost])
    segment = Segment(disk, "segments", made.name)
    records = [record for record in segment.records() if record.offset + record.stored_bytes <= len(frames) - lost]

    assert segment.records_from_frames() == records
    assert (20 if lost else 30) == sum(record.frames for record in records)


def test_recovery_seals_what_reached_the_disk():
    """After a crash what lies hidden is sealed as it is, with an honest word, and the chain goes on. (S2-092)"""
    disk = SimulatedDisk()
    _, digest = sealed(disk)
    made = writer(disk, 2)
    made.write(stretch(0, 10))
    made.write(stretch(10, 10))
    found = recover(disk, "segments", "receipts", identity=IDENTITY, now=SimulatedClock().now())
    result = Segment(disk, "segments", made.name).seal()

    assert result is not None
    assert (made.name,) == found.sealed
    assert (20, "interrupted", digest, 2, "mirror0") == (
        result.frames,
        result.cause,
        result.previous,
        result.sequence,
        result.interface,
    )
    assert verify(disk).ok
    (said,) = [row.text for row in verify(disk).statements if row.what == "interrupted"]
    assert said.endswith(f"how many frames were dropped since it was opened, {iso(made.opened.utc_ns)}, is unknown")
    assert found.chain == chain_end(disk, "segments", "receipts")


def test_recovery_cuts_half_a_stretch_away():
    """Half an LZ4 frame at the end is cut off; everything before it is kept."""
    disk = SimulatedDisk()
    made = writer(disk)
    made.write(stretch(0, 10))
    made.write(stretch(10, 10))
    path = f"{made.hidden}/{FRAMES}"
    whole = disk.read(path)
    disk.write(path, whole[:-7])
    found = recover(disk, "segments", "receipts", identity=IDENTITY, now=SimulatedClock().now())

    assert (10, 0) == (found.frames, found.removed)
    assert [udp(n) for n in range(10)] == frames_of(Segment(disk, "segments", made.name))
    assert verify(disk).ok


def test_recovery_removes_what_holds_nothing():
    """A hidden directory without a whole stretch is no segment; it is removed and counted, its number is free again.

    The seal before it was not of an orderly stop, so whoever comes next knows since when nobody speaks.
    """
    disk = SimulatedDisk()
    made, digest = sealed(disk)
    writer(disk, 2)
    found = recover(disk, "segments", "receipts", identity=IDENTITY, now=SimulatedClock().now())

    assert (1, (), Chain(1, digest)) == (found.removed, found.sealed, found.chain)
    assert made.made.tai_ns - 37 * 10**9 == found.silent_since_ns
    assert [made.name] == disk.list("segments")


@pytest.mark.parametrize("left", ["all", "no index", "frames only begun", "nothing"])
@pytest.mark.parametrize("cause", [None, "stop"])
def test_recovery_seals_nothing_where_no_seal_would_tell(left, cause):
    """After an orderly stop, and at the very first start, a cut with nothing recorded is sealed as that: removed, it would leave
    no trace once the next process was interrupted as well (storm seeds 503, 593). Twice it is sealed only once.
    """
    disk, clock, digest, number = SimulatedDisk(), SimulatedClock(), None, 1
    if cause is not None:
        before = writer(disk)
        _, digest = before.seal(IDENTITY, previous=None, losses=NOTHING, cause=cause, now=clock.now())
        number = 2
    for again in range(2):
        made = writer(disk, number + again)
        opened = made.opened.utc_ns
        if left != "all":
            disk.remove(f"{made.hidden}/{INDEX}")
        if left == "nothing":
            disk.remove(f"{made.hidden}/{FRAMES}")
        if left == "frames only begun":
            disk.write(f"{made.hidden}/{FRAMES}", b"\x04\x22")
        clock.advance(60 * 10**9)
        found = recover(disk, "segments", "receipts", identity=IDENTITY, now=clock.now())
        if again:
            assert (1, ()) == (found.removed, found.sealed)
            continue
        assert (0, (made.name,), 0) == (found.removed, found.sealed, found.frames)
        seal_of = Segment(disk, "segments", made.name).seal()
        assert seal_of is not None
        assert (digest, "interrupted", 0, None) == (seal_of.previous, seal_of.cause, seal_of.frames, seal_of.first_ns)
        (gap,) = seal_of.gaps
        assert ("interrupted", None, clock.now().utc_ns) == (gap.cause, gap.frames, gap.last_ns)
        assert abs(gap.first_ns - (opened if left == "all" else START)) < 10**9
    assert verify(disk).ok


def test_recovery_without_index():
    """The index is not needed: recovery believes the frames."""
    disk = SimulatedDisk()
    made = writer(disk)
    made.write(stretch(0, 10))
    disk.remove(f"{made.hidden}/{INDEX}")
    recover(disk, "segments", "receipts", identity=IDENTITY, now=SimulatedClock().now())

    assert verify(disk).ok
    assert 10 == verify(disk).frames


@pytest.mark.parametrize("seed", range(12))
def test_power_cut_at_every_operation(seed):
    """Wherever the power goes: what was synced is there afterwards, nothing sealed is changed, and the store verifies."""
    random = Random(seed)
    for operation in range(200):
        disk = SimulatedDisk()
        durable, ended = _write_until(disk, operation)
        disk.before = None
        disk.power_cut(random)
        disk.mkdir("segments")
        recover(disk, "segments", "receipts", identity=IDENTITY, now=SimulatedClock().now())
        again = recover(disk, "segments", "receipts", identity=IDENTITY, now=SimulatedClock().now())
        verdict = verify(disk)

        assert (True, []) == (verdict.ok, verdict.findings), f"seed {seed}, operation {operation}"
        assert durable <= verdict.frames, f"seed {seed}, operation {operation}"
        assert ((), 0) == (again.sealed, again.removed)
        if ended:
            return
    raise AssertionError("expected the script to end within 200 operations")


def _write_until(disk: SimulatedDisk, operation: int) -> tuple[int, bool]:
    """Two segments; the power goes before the given operation. Returns frames that were synced, and whether it got to the end."""

    def before(count: int, what: str, path: str) -> None:
        if count >= operation:
            raise PowerCut

    disk.before = before
    durable = 0
    try:
        previous = None
        for sequence in (1, 2):
            made = writer(disk, sequence)
            for number in range(2):
                made.write(stretch(number * 10, 10))
                made.sync()
                durable += 10
            _, previous = made.seal(IDENTITY, previous=previous, losses=NOTHING, cause="time", now=SimulatedClock().now())
    except PowerCut:
        return durable, False
    return durable, True


def test_disk_that_fails_says_so():
    """A disk that refuses is a trouble of its own, not a full one."""
    from simulator.disk import Failing

    disk = SimulatedDisk()
    made = writer(disk)
    disk.failing = Failing.READ_ONLY
    with pytest.raises(DiskFailed):
        made.write(stretch(0, 10))


def test_keys_overflow_means_anything():
    """More different keys than the index holds: the stretch is searched rather than missed."""
    made = Stretch(4 << 20)
    rows = [
        HeardFrame(START, udp(0)[:26] + (0x0A000000 + n).to_bytes(4, "big") + udp(0)[30:], 80) for n in range(index.KEYS_MAX + 10)
    ]
    made.add(pack_block(rows, sequence=0), 0, 0, 0, 0)

    assert made.overflow
    assert b"" == made.keys()
    assert index.packed_record(record_of(made, offset=77, stored=5, raw=len(made))) == made.record(77, 5)


def test_linux_disk_gives_the_same_bytes(tmp_path: Path):
    """The segment on a real file system is the one on the simulated disk."""
    simulated, real = SimulatedDisk(), LinuxDisk(tmp_path)
    made, _ = sealed(simulated)
    sealed(real)

    for file in (FRAMES, INDEX, SEAL):
        assert simulated.read(f"segments/{made.name}/{file}") == real.read(f"segments/{made.name}/{file}")

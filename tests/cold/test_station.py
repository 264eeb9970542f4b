"""The cold station: what is old gets small, reads the same, proves the same, and nothing that goes wrong costs a frame."""

from random import Random

import lz4.frame
import pytest

from drivers.clock import ClockState
from drivers.linux.disk import LinuxDisk
from firmware.cold import rewrite, station
from firmware.cold.settings import ColdSettings
from firmware.core import cold, lz4chain, pcapng
from firmware.core.cold import Cold
from firmware.core.errors import Corrupt
from firmware.core.layout import COLD, COLD_SEAL, FRAMES, INDEX, SEAL
from firmware.core.segment import Segment
from firmware.core.shelf import lines, rows
from firmware.core.store import Damage, Hit, Query, Store
from firmware.core.thaw import thaw
from firmware.core.timestamp import SECOND
from firmware.core.verify import verify
from firmware.retention.settings import RetentionSettings
from firmware.retention.station import RetentionStation
from simulator.disk import Failing, PowerCut
from simulator.identity import SimulatedIdentity
from simulator.meanwhile import Meanwhile
from simulator.written_store import begin_segment, end_segment
from tests.cold.conftest import HOUR, ColdBox, control


def searched(box: ColdBox, query: Query) -> list[Hit]:
    return list(Store(box.board.disk).search(query))


def test_old_segments_get_cold(cold_box):
    """After cold_after_h, and not before, a segment has its cold form, a fraction of its size; index and seal are unchanged."""
    name = cold_box.record(1)[0]
    cold_box.record(1)
    before = {file: cold_box.board.disk.read(f"segments/{name}/{file}") for file in cold_box.files(name)}
    cold_box.work(hours=20)
    early = cold_box.files(name)
    cold_box.work(hours=6)
    after = cold_box.files(name)

    assert [FRAMES, INDEX, SEAL] == early
    assert sorted([COLD, COLD_SEAL, INDEX, SEAL]) == after
    assert all(before[file] == cold_box.board.disk.read(f"segments/{name}/{file}") for file in (INDEX, SEAL))
    assert len(before[FRAMES]) * 2 > cold_box.board.disk.size(f"segments/{name}/{COLD}") * 3
    assert 2 == cold_box.station.report.counts["segments_rewritten"]
    assert 0 == cold_box.station.report.counts["links_kept"]
    assert cold_box.station.report.gauges["ratio"] > 1.5


@pytest.mark.parametrize("state", [ClockState.LOCKED, ClockState.FREE])
def test_at_once(cold_box, state):
    """With cold_after_h = 0 a sealed segment is rewritten at the next look, whatever the clock is worth."""
    cold_box.board.clock.state, cold_box.board.clock.uncertainty_ns = state, 40 * HOUR
    cold_box.settings = ColdSettings(cold_after_h=0)
    cold_box.boot()
    name = cold_box.record(1)[0]
    cold_box.work()

    assert sorted([COLD, COLD_SEAL, INDEX, SEAL]) == cold_box.files(name)


def test_a_clock_that_was_ahead_once_holds_up_nobody(cold_box):
    """A segment sealed under a clock years ahead gets cold when its day comes; those after it when they are a day old. (S2-096)"""
    clock = cold_box.board.clock
    before = cold_box.record(1)
    clock.step(5 * 365 * 24 * HOUR)
    ahead = cold_box.record(1)
    clock.step(-5 * 365 * 24 * HOUR)
    after = cold_box.record(2)
    cold_box.work(hours=30)

    assert [True, False, True, True] == [COLD_SEAL in cold_box.files(name) for name in [*before, *ahead, *after]]


def test_what_stays_hot_is_looked_at_once(cold_box):
    """However many: a busy port's years of video, or a quiet port's weeks, are not packed again and again, each minute, for nothing."""
    disk, count = cold_box.board.disk, 10_050  # more than were remembered once
    for number in range(count):
        disk.mkdir(f"segments/20261122T101500Z-{number:06d}")
        disk.write(f"segments/20261122T101500Z-{number:06d}/{SEAL}", b"altered")
    cold_box.work()
    cold_box.board.clock.advance(HOUR)
    cold_box.work()

    assert count == cold_box.station.report.counts["stays_hot_altered"]


def test_a_segment_made_cold_costs_no_look_at_all_the_others(cold_box):
    """A backlog of many small ones takes as long as they are, not as their number squared; what is said is right in the middle of it."""
    cold_box.settings = ColdSettings(cold_after_h=0)
    cold_box.boot()
    cold_box.record(6)
    disk, said, listed = cold_box.board.disk, set(), []
    whole = disk.list

    def listing(path: str) -> list[str]:
        gauges = cold_box.station.report.gauges
        said.add((gauges.get("segments_cold"), gauges.get("segments_hot")))
        listed.append(path)
        return whole(path)

    disk.list = listing
    cold_box.work()

    assert 6 == cold_box.station.report.counts["segments_rewritten"]
    assert {(1, 5), (3, 3), (5, 1)} <= said
    assert 1 == listed.count("segments")
    assert (
        1.5
        < cold_box.station.report.gauges["ratio"]
        == round(cold_box.station.report.gauges["bytes_before"] / cold_box.station.report.gauges["bytes_cold"], 2)
    )


def test_reading_is_transparent(cold_box):
    """Every question has the same answer hot and cold, and `ls` says which is which."""
    names = cold_box.record(3)
    moment = cold_box.board.clock.now().utc_ns - 2 * HOUR
    queries = [Query(), Query(hosts=("10.77.0.10",), ports=(47002,)), Query(since_utc_ns=moment), Query(ports=(9,))]
    hot = [searched(cold_box, query) for query in queries]
    cold_box.work(hours=26)
    cold = [searched(cold_box, query) for query in queries]

    assert hot == cold
    assert [True] * 3 == [row.is_cold for row in rows(cold_box.board.disk)]
    assert all(any(name in line and "cold" in line for line in lines(rows(cold_box.board.disk))) for name in names)


def test_index_destroyed_is_made_again_from_the_cold_form(cold_box):
    """The index is a help, not the truth, in a cold segment too."""
    name = cold_box.record(1)[0]
    hot = searched(cold_box, Query(ports=(47001,)))
    cold_box.work(hours=26)
    cold_box.board.disk.write(f"segments/{name}/{INDEX}", b"")

    assert hot == searched(cold_box, Query(ports=(47001,)))


def test_thaw_gives_the_sealed_file_back(cold_box):
    """The very bytes that were sealed, for tshark and for whoever wants them; twice is as good as once."""
    name = cold_box.record(1)[0]
    hot = cold_box.hot(name)
    cold_box.work(hours=26)
    thaw(cold_box.board.disk, "segments", name)
    size = thaw(cold_box.board.disk, "segments", name)

    assert hot == cold_box.hot(name)
    assert len(hot) == size
    assert sorted([FRAMES, INDEX, SEAL]) == cold_box.files(name)
    assert verify(cold_box.board.disk).ok


def test_cold_store_verifies(cold_box):
    """Seals and chain verify as before, and a store half hot, half cold is in order."""
    cold_box.record(3)
    cold_box.work(hours=23)
    cold_box.record(2)
    verdict = verify(cold_box.board.disk, public_key=cold_box.board.identity.public_key())

    assert [] == verdict.findings
    assert 5 == verdict.segments
    assert {True, False} == {row.is_cold for row in rows(cold_box.board.disk)}


@pytest.mark.parametrize("is_thawed", [True, False], ids=["thawed", "taken away"])
def test_not_cold_any_more_while_it_is_verified(cold_box, is_thawed):
    """Thawed between any two looks, it is compared as it is then; taken away, it is missing, and never an error."""
    name = cold_box.record(2, stretches=1, rows=40)[0]
    cold_box.work(hours=27)
    disk = cold_box.board.disk
    deed = (lambda: thaw(disk, "segments", name)) if is_thawed else (lambda: disk.rename(f"segments/{name}", "elsewhere"))
    for moment in range(100):
        meanwhile = Meanwhile(disk, moment, deed)
        found = {(row.segment, row.what) for row in verify(disk).findings}
        meanwhile.end()
        if meanwhile.looks <= moment:
            break

        assert found <= (set() if is_thawed else {(row, "missing") for row in disk.list("segments")})
        if is_thawed:
            cold_box.work(hours=27)
        else:
            disk.rename("elsewhere", f"segments/{name}")
    assert 10 < moment < 99


def test_every_flipped_byte_is_found(cold_box):
    """Any byte changed in any file of a cold segment is a finding."""
    name = cold_box.record(1, stretches=1, rows=40)[0]
    cold_box.work(hours=26)
    disk = cold_box.board.disk
    for file in cold_box.files(name):
        path = f"segments/{name}/{file}"
        data = disk.read(path)
        for at in range(0, len(data), 1 if len(data) < 800 else 7):
            disk.write(path, data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
            assert not verify(disk, public_key=cold_box.board.identity.public_key()).ok, f"{file}, byte {at}"
        disk.write(path, data[:-1])
        assert not verify(disk, public_key=cold_box.board.identity.public_key()).ok, f"{file}, cut"
        disk.write(path, data)
    assert verify(disk).ok


@pytest.mark.parametrize("field", [0, 8], ids=["offset", "size"])
def test_a_flipped_bit_in_the_table_ends_nobody(tmp_path, cold_box, field):
    """On a real disk: where a run lies, 2^63 bytes further on, or two GiB long. The others are found, and verify names the segment. (S2-096)"""
    name = cold_box.record(1, stretches=40, rows=4000)[0]
    cold_box.work(hours=26)
    disk = LinuxDisk(tmp_path)
    disk.mkdir(f"segments/{name}")
    for file in cold_box.files(name):
        disk.write(f"segments/{name}/{file}", cold_box.board.disk.read(f"segments/{name}/{file}"))
    form = Cold(disk, f"segments/{name}")
    assert len(form.runs) > 1
    data = bytearray(disk.read(f"segments/{name}/{COLD}"))
    data[form.seal.table_at + 4 + field + (7 if field == 0 else 3)] ^= 0x80
    disk.write(f"segments/{name}/{COLD}", data)
    wanted = []
    read = disk.read
    disk.read = lambda path, *, offset=0, size=None: wanted.append(size) or read(path, offset=offset, size=size)
    steps = list(Store(disk).walk(Query()))
    verdict = verify(disk)

    assert {"altered"} == {row.what for row in verdict.findings}
    assert [name] == [row.segment for row in steps if isinstance(row, Damage)][:1]
    assert 160_000 - sum(len(run.links) for run in form.runs[:1]) * 4000 < sum(
        row.frame_count for row in steps if isinstance(row, Hit)
    )
    assert max(size for size in wanted if size is not None) <= 64 << 20


def test_cold_forms_cannot_be_exchanged(cold_box):
    """The cold form of another segment, signed by the same box, is found; so is one taken away."""
    one, two = cold_box.record(2)
    cold_box.work(hours=27)
    disk = cold_box.board.disk
    for file in (COLD, COLD_SEAL):
        disk.write(f"segments/{one}/{file}", disk.read(f"segments/{two}/{file}"))
    exchanged = verify(disk)
    disk.remove(f"segments/{two}/{COLD}")
    gone = verify(disk)

    assert [(one, "reordered")] == [(row.segment, row.what) for row in exchanged.findings]
    assert (two, "missing") in [(row.segment, row.what) for row in gone.findings]


@pytest.mark.parametrize("files", [(COLD, COLD_SEAL), (COLD, COLD_SEAL, INDEX)], ids=["cold form", "with its index"])
def test_frames_of_another_segment_are_not_found_in_their_place(cold_box, files):
    """Two cold forms that changed places: what begins at the same byte and is as long was given out as the other's, and its own frames
    were missing without a word."""
    names = cold_box.record(3, stretches=1)
    cold_box.work(hours=28)
    disk, third = cold_box.board.disk, searched(cold_box, Query())[2]
    data = [[disk.read(f"segments/{name}/{file}") for file in files] for name in names[:2]]
    for name, others in zip(names[:2], data[::-1], strict=True):
        for file, content in zip(files, others, strict=True):
            disk.write(f"segments/{name}/{file}", content)
    steps = list(Store(disk).walk(Query()))

    assert [third] == [step for step in steps if isinstance(step, Hit)]
    assert names[:2] == [step.segment for step in steps if isinstance(step, Damage)]


def test_other_packer_is_stated_not_found(cold_box, monkeypatch):
    """Where LZ4 packs otherwise, the frames are proved all the same and the box says what is not; thawing is refused."""
    name = cold_box.record(1)[0]
    cold_box.work(hours=26)
    pack = cold.recompressed
    monkeypatch.setattr(cold, "recompressed", lambda *given, **named: pack(*given, **named) + b"\0")
    verdict = verify(cold_box.board.disk)

    assert verdict.ok
    assert ["cold"] == [row.what for row in verdict.statements if row.segment == name and row.what == "cold"]
    with pytest.raises(Corrupt):
        thaw(cold_box.board.disk, "segments", name)
    assert 900 == sum(hit.frame_count for hit in searched(cold_box, Query()))


def test_links_of_another_packer_are_kept_as_they_were(cold_box):
    """A link no packer of ours makes again is stored whole; the sealed file comes back to the byte."""
    writer = begin_segment(cold_box.board, [control(cold_box.board.clock.now().utc_ns, 3000, 5)])
    raw = b"".join(pcapng.enhanced_packet(row.stamp_ns, row.data, len(row.data)) for row in control(writer.opened.utc_ns, 60, 6))
    whole = lz4.frame.compress(
        raw, compression_level=9, block_size=lz4.frame.BLOCKSIZE_MAX4MB, block_linked=False, block_checksum=True, store_size=False
    )
    foreign = bytes(whole[len(lz4chain.HEADER) : -4])
    writer._frames.append([foreign])
    writer._digest.update(foreign)
    name = end_segment(cold_box.board, writer).name
    hot = cold_box.hot(name)
    cold_box.work(hours=26)

    assert 1 == cold_box.station.report.counts["links_kept"]
    assert COLD in cold_box.files(name)
    thaw(cold_box.board.disk, "segments", name)
    assert hot == cold_box.hot(name)


@pytest.mark.parametrize("how", ["frames", "seal", "foreign"])
def test_what_is_not_as_sealed_stays_as_it_is(cold_box, how):
    """An altered segment, and one of another box, are left alone for verify to name."""
    name = cold_box.record(1)[0]
    disk = cold_box.board.disk
    if how == "foreign":
        cold_box.board.identity = SimulatedIdentity(seed=2)
    else:
        path = f"segments/{name}/{FRAMES if how == 'frames' else SEAL}"
        data = disk.read(path)
        disk.write(path, data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    before = {file: disk.read(f"segments/{name}/{file}") for file in cold_box.files(name)}
    cold_box.work(hours=30)

    assert before == {file: disk.read(f"segments/{name}/{file}") for file in cold_box.files(name)}
    assert 1 == sum(count for cause, count in cold_box.station.report.counts.items() if cause.startswith("stays_hot_"))


@pytest.mark.parametrize("seed", range(4))
def test_power_cut_at_every_operation(seed):
    """Wherever the power goes: every frame is there, the store verifies, and the next try ends the work."""
    random = Random(seed)
    for operation in range(60):
        box = ColdBox()
        name = box.record(1, rows=60)[0]
        hot = box.hot(name)
        hits = searched(box, Query())
        disk = box.board.disk
        box.board.clock.advance(26 * HOUR)
        for directory in ("", "segments", f"segments/{name}"):
            disk.sync_dir(directory)
        first = disk.operations
        disk.before = lambda count, what, path, until=first + operation: _cut(count, until)
        ended = True
        try:
            box.work()
        except PowerCut:
            ended = False
        disk.before = None
        if not ended:
            # A crash of the process leaves the page cache, a power cut what the platter has.
            if random.random() < 0.75:
                disk.power_cut(random)
            at = f"seed {seed}, operation {operation}"
            assert [] == verify(disk).findings, at
            assert hits == searched(box, Query()), at
            box.boot()
            box.work()
        assert sorted([COLD, COLD_SEAL, INDEX, SEAL]) == box.files(name)
        thaw(disk, "segments", name)
        assert hot == box.hot(name)
        if ended:
            return
    raise AssertionError("expected the rewriting to end within 60 operations")


@pytest.mark.parametrize("seed", range(4))
def test_power_cut_while_thawing(seed):
    """The other way round it is the same."""
    random = Random(seed)
    for operation in range(40):
        box = ColdBox()
        name = box.record(1, rows=60)[0]
        hot = box.hot(name)
        box.work(hours=26)
        disk = box.board.disk
        first = disk.operations
        disk.before = lambda count, what, path, until=first + operation: _cut(count, until)
        try:
            thaw(disk, "segments", name)
        except PowerCut:
            disk.before = None
            disk.power_cut(random)
            assert [] == verify(disk).findings
            thaw(disk, "segments", name)
            assert hot == box.hot(name)
            continue
        return
    raise AssertionError("expected the thawing to end within 40 operations")


def _cut(count: int, until: int) -> None:
    if count >= until:
        raise PowerCut


def test_full_and_failing_disk_cost_nothing(cold_box):
    """Without room, or on a disk that refuses, segments stay hot and whole, nothing is left lying, and later it goes on."""
    name = cold_box.record(1)[0]
    hot = cold_box.hot(name)
    disk = cold_box.board.disk
    capacity = disk.capacity_bytes
    disk.fill(leave_bytes=1000)
    cold_box.settings = ColdSettings(keep_free_bytes=0)
    cold_box.boot()
    cold_box.work(hours=26)
    assert ([FRAMES, INDEX, SEAL], hot) == (cold_box.files(name), cold_box.hot(name))
    disk.capacity_bytes = capacity
    disk.failing = Failing.READ_ONLY
    cold_box.work(hours=1)
    assert cold_box.station.report.drops["disk_failed"] >= 1
    disk.failing = Failing.NOT
    cold_box.work(hours=1)

    assert sorted([COLD, COLD_SEAL, INDEX, SEAL]) == cold_box.files(name)
    assert verify(disk).ok


def test_deleted_meanwhile(cold_box):
    """Retention may take a segment away in the middle of its rewriting."""
    cold_box.record(1, stretches=24, rows=2400)
    cold_box.board.clock.advance(26 * HOUR)
    cold_box.station.step(cold_box.board.clock.now())
    cold_box.board.disk.mkdir("trash")
    for name in cold_box.board.disk.list("segments"):
        cold_box.board.disk.rename(f"segments/{name}", f"trash/{name}")
    cold_box.work(hours=1)

    assert [] == cold_box.board.disk.list("segments")
    assert 1 == cold_box.station.report.counts["deleted_meanwhile"]


def test_a_long_cold_form_is_synced_as_it_grows(cold_box, monkeypatch):
    """No sync is for more than a piece of it: one for a whole segment takes longer than the watchdog waits."""
    monkeypatch.setattr(rewrite, "SYNC_BYTES", 50_000)
    cold_box.record(1, stretches=60, rows=3000)
    sizes, disk = [], cold_box.board.disk
    disk.before = lambda number, what, path: (
        sizes.append(disk.size(path)) if what == "sync" and path.endswith(f".{COLD}") else None
    )
    cold_box.work(hours=26)

    assert 1 == cold_box.station.report.counts["segments_rewritten"]
    assert len(sizes) >= 3


def test_disabled(cold_box):
    """Who does not want it has nothing of it."""
    cold_box.record(1)
    cold_box.settings = ColdSettings(enabled=False)
    cold_box.boot()

    assert cold_box.station.step(cold_box.board.clock.now()) is None


def test_recorder_goes_first(cold_box):
    """When room gets short in the middle of a rewriting it is given up, its room given back, and tried again later."""
    name = cold_box.record(1, stretches=30, rows=3000)[0]
    hot, disk = cold_box.hot(name), cold_box.board.disk
    cold_box.settings = ColdSettings(keep_free_bytes=100_000)
    cold_box.boot()
    cold_box.board.clock.advance(26 * HOUR)
    capacity, free = disk.capacity_bytes, disk.free_bytes()
    while not disk.exists(f"segments/{name}/.{COLD}") or not disk.size(f"segments/{name}/.{COLD}"):
        cold_box.station.step(cold_box.board.clock.now())
    disk.fill(leave_bytes=10_000)
    cold_box.station.step(cold_box.board.clock.now())

    assert 1 == cold_box.station.report.drops["disk_full"]
    assert ([FRAMES, INDEX, SEAL], hot) == (cold_box.files(name), cold_box.hot(name))
    disk.capacity_bytes = capacity
    assert free == disk.free_bytes()
    cold_box.work(hours=1)
    assert Segment(disk, "segments", name).is_cold()


def test_retention_sees_what_was_saved(cold_box):
    """A budget holds more segments when they are cold: retention counts them by the size they have."""
    names = cold_box.record(6)
    disk = cold_box.board.disk
    hot = sum(row.size for row in rows(disk))
    retention = RetentionStation(cold_box.board, RetentionSettings(budget_bytes=hot, retain_days=300))
    retention.start(cold_box.board.clock.now())
    for _ in range(40):
        retention.step(cold_box.board.clock.now())
        cold_box.board.clock.advance(HOUR)
    before = retention.report.gauges["segments_bytes"]
    cold_box.work(hours=1)
    for _ in range(40):
        retention.step(cold_box.board.clock.now())
        cold_box.board.clock.advance(HOUR)

    assert hot == before
    assert sum(row.size for row in rows(disk)) == retention.report.gauges["segments_bytes"] < hot * 0.8
    assert names == [row.name for row in rows(disk)]


@pytest.mark.parametrize("share, least", [(100, 0), (25, 3)])
def test_it_takes_no_more_than_its_share(cold_box, monkeypatch, share, least):
    """After a step that took a second it rests as long as its share asks for."""
    cold_box.record(1, stretches=30, rows=3000)
    cold_box.settings = ColdSettings(share_percent=share)
    cold_box.boot()
    cold_box.board.clock.advance(26 * HOUR)
    now = cold_box.board.clock.now()
    rewriting = station.rewriting

    def slow(*given, **named):
        for _ in rewriting(*given, **named):
            cold_box.board.clock.advance(SECOND)
            yield

    monkeypatch.setattr(station, "rewriting", slow)
    wish = cold_box.station.step(now)

    assert least * SECOND == wish.since(now.monotonic) - SECOND


def test_reader_survives_rewriting_and_thawing_under_its_hands(cold_box):
    """Who is in the middle of a segment reads on while it gets cold, and while it gets hot again."""
    name = cold_box.record(1, stretches=6, rows=40)[0]
    segment = Segment(cold_box.board.disk, "segments", name)
    records = segment.records()
    expected = [Segment(cold_box.board.disk, "segments", name).stretch(record) for record in records]
    found = [segment.stretch(record) for record in records[:3]]
    cold_box.work(hours=26)
    assert segment.is_cold()
    found += [segment.stretch(record) for record in records[3:5]]
    thaw(cold_box.board.disk, "segments", name)
    fresh = Segment(cold_box.board.disk, "segments", name)
    found += [segment.stretch(record) for record in records[5:]]

    assert expected == found == [fresh.stretch(record) for record in records]

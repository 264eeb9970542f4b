"""The recorder, in virtual time: what it records, how it cuts, and that no trouble stops it from listening."""

import itertools
import json
from collections.abc import Callable
from random import Random

import pytest

from drivers.clock import ClockState
from drivers.errors import BadFilter, DiskFailed, DiskFull, Trouble
from drivers.tap import Block, HeardFrame, pack_block
from firmware.capture.station import STRETCH_BYTES, STRETCH_BYTES_BUSY
from firmware.core.report import publish
from firmware.core.state import figures_of, lines, read_states
from firmware.core.store import Store
from simulator.disk import Failing, PowerCut

MS, SECOND = 1_000_000, 1_000_000_000
MINUTE = 60 * SECOND
NOON = 1_795_342_500_000_000_000  # the simulated clock's start, 2026-11-22T10:15:00Z


def test_everything_heard_is_recorded(recorder):
    """Every frame, in the order heard, in segments that verify. (S2-090, S2-091)"""
    recorder.run(700, every_ms=1000, rate=5)
    recorder.stop()

    assert list(range(3500)) == recorder.numbers()
    assert recorder.verify().ok
    assert {} == recorder.drops


def test_cut_every_five_minutes_by_stamp(recorder):
    """Segments begin at whole multiples of their length, and a frame lies in the interval of its stamp. (S2-092, S2-014)"""
    recorder.run(700, every_ms=1000)
    recorder.stop()
    seals = recorder.seals()

    assert ["20261122T101500Z-000001", "20261122T102000Z-000002", "20261122T102500Z-000003"] == [made.name for made in seals]
    assert ["time", "time", "stop"] == [made.cause for made in seals]
    assert [300, 300, 100] == [made.frames for made in seals]
    assert [NOON + n * 5 * MINUTE for n in range(3)] == [made.first_ns for made in seals]


def test_cut_is_exact_within_a_block(make_recorder):
    """A block across the boundary is divided at the first stamp that belongs to the next segment."""
    recorder = make_recorder(segment_s=10)
    recorder.clock.advance(10 * SECOND)
    recorder.step()
    recorder.hear(10, stamp_ns=NOON + 20 * SECOND - 4)
    recorder.step()
    recorder.stop()

    assert [4, 6] == [made.frames for made in recorder.seals() if made.frames]
    assert list(range(10)) == recorder.numbers()


def test_late_frames_do_not_cut(make_recorder):
    """Frames that come out of order stay in the segment that is open; nothing is lost, nothing cut twice. (S2-015)"""
    recorder = make_recorder(segment_s=10)
    for back in range(50):
        recorder.clock.advance(SECOND)
        now = recorder.clock.now().utc_ns
        recorder.hear(1, stamp_ns=now)
        recorder.hear(1, stamp_ns=now - back * SECOND)
        recorder.step()
    recorder.stop()

    assert list(range(100)) == recorder.numbers()
    assert 6 >= len(recorder.seals())
    assert recorder.verify().ok


@pytest.mark.parametrize(
    "stamp", [0, 1, 2**31 * SECOND, (2**32 - 1) * SECOND + 999_999_999, NOON + 3600 * SECOND, NOON - 3600 * SECOND]
)
def test_lying_stamps_do_not_cut(make_recorder, stamp):
    """Frames stamped in 1970, 2038, 2106 or an hour off are recorded as they are; the box's clock cuts. (S2-014)"""
    recorder = make_recorder(segment_s=10)
    for _ in range(25):
        recorder.hear(1, stamp_ns=stamp)
        recorder.step()
        recorder.clock.advance(SECOND)
    recorder.stop()

    assert list(range(25)) == recorder.numbers()
    assert 3 == len(recorder.seals())
    assert recorder.verify().ok


@pytest.mark.parametrize("step_s", [-56 * 365 * 86_400, -86_400, -5, 5, 86_400, 11 * 365 * 86_400])
def test_clock_set_while_recording(make_recorder, step_s):
    """A clock that is set, to 1970 or beyond 2037, costs at most a short or a long segment, never a frame or the chain."""
    recorder = make_recorder(segment_s=10)
    recorder.run(15)
    recorder.clock.step(step_s * SECOND)
    recorder.run(30)
    recorder.stop()

    assert list(range(450)) == recorder.numbers()
    assert recorder.verify().ok
    assert 7 >= len(recorder.seals())


def _stated_s(recorder) -> int:
    """The length of the longest gap that is stated, in whole seconds."""
    return max(gap.last_ns - gap.first_ns for made in recorder.seals() for gap in made.gaps) // SECOND


@pytest.mark.parametrize("step_s", [-3 * 3600, 3 * 3600, 56 * 365 * 86_400])
@pytest.mark.parametrize("has_carrier", [False, True])
def test_clock_set_while_nothing_can_be_heard(make_recorder, step_s, has_carrier):
    """Six seconds are six seconds: not three hours in which everything else was recorded, nor the years since 1970."""
    recorder = make_recorder(segment_s=60)
    recorder.run(4)
    recorder.tap.has_carrier = False
    if has_carrier:
        recorder.interface = False
        recorder.tap.break_off()
    recorder.run(3, rate=0)
    recorder.clock.step(step_s * SECOND)
    recorder.run(3, rate=0)
    recorder.interface = recorder.tap.has_carrier = True
    recorder.run(6)
    recorder.stop()
    counts = recorder.station.report.counts

    assert 7 >= _stated_s(recorder)
    assert 4000 <= counts.get("interface_gone_ms", 0) + counts.get("no_carrier_ms", 0) <= 7500


def test_what_is_lost_during_a_step_was_lost_by_its_end(make_recorder):
    """A step that began half a second ago asks the ring what it lost: the gap reaches to the moment of asking."""
    recorder = make_recorder(segment_s=60, ring_block_count=4)
    recorder.run(2)
    began = recorder.clock.now()
    recorder.clock.advance(SECOND // 2)
    recorder.hear(4000, size=1500)
    asked_ns = recorder.clock.now().utc_ns
    recorder.station.step(began)
    recorder.run(2)
    recorder.stop()
    (gap,) = [gap for made in recorder.seals() for gap in made.gaps]

    assert gap.first_ns <= began.utc_ns < asked_ns == gap.last_ns


def test_a_steered_clock_makes_no_second_gap(make_recorder):
    """A clock that is steered meanwhile, or read a little later than the monotonic one: the gap of a segment stays one."""
    recorder = make_recorder(segment_s=10)
    recorder.run(4)
    recorder.interface = False
    recorder.tap.break_off()
    for _ in range(300):
        recorder.clock.step(-300)
        recorder.run(0.1, rate=0)
    recorder.stop()

    assert [1] * len(recorder.seals()) == [len(made.gaps) for made in recorder.seals()]


@pytest.mark.parametrize("step_s", [-3 * 3600, 3 * 3600])
def test_clock_set_while_frames_were_lost(make_recorder, step_s):
    """What the ring lost between two looks at it was lost in that second, whatever the clock was set to in it."""
    recorder = make_recorder(segment_s=60, ring_block_count=4)
    recorder.run(4)
    recorder.hear(4000, size=1500)
    recorder.clock.step(step_s * SECOND)
    recorder.run(2)
    recorder.stop()

    assert 0 < recorder.drops["ring_full"]
    assert 1 >= _stated_s(recorder)


def test_killed_before_its_clock_was_set(make_recorder):
    """What a clock of 1970 was recording when it was killed did not end before what was sealed before it: no gap of 56 years."""
    recorder = make_recorder(segment_s=10)
    recorder.run(12)
    recorder.stop()
    sealed_ns = recorder.clock.now().utc_ns
    recorder.clock.step(-56 * 365 * 86_400 * SECOND)
    recorder.boot()
    recorder.run(5)
    recorder.clock.step(56 * 365 * 86_400 * SECOND)
    recorder.boot()
    again_ns = recorder.clock.now().utc_ns
    recorder.run(2)
    recorder.stop()
    (gap,) = [gap for made in recorder.seals() for gap in made.gaps]

    assert "interrupted" == gap.cause
    assert sealed_ns - 10 * SECOND <= gap.first_ns <= sealed_ns + 5 * SECOND
    assert again_ns == gap.last_ns
    assert recorder.verify().ok


def test_begun_anew_in_1970(make_recorder):
    """A box that wakes up with a clock of long ago does not call all the time until its last seal interrupted."""
    recorder = make_recorder(segment_s=10)
    recorder.run(25, rate=0)
    recorder.disk.remove(f"segments/.{Store(recorder.disk).open_names()[0]}")
    recorder.clock.step(-56 * 365 * 86_400 * SECOND)
    recorder.boot()
    recorder.run(2)
    recorder.stop()

    assert "interrupted" in {gap.cause for made in recorder.seals() for gap in made.gaps}
    assert 0 == _stated_s(recorder)


def test_silence_is_sealed_too(make_recorder):
    """A wire on which nothing is heard has seals that say so: listening and silent is not the same as off."""
    recorder = make_recorder(segment_s=10)
    recorder.run(25, rate=0, every_ms=1000)
    recorder.stop()

    assert [0, 0, 0] == [made.frames for made in recorder.seals()]
    assert recorder.verify().ok


def test_stretches_are_longer_while_the_wire_is_busy(make_recorder):
    """S2-090: blocks that come several at once fill stretches twice as long; when it is quiet again they are as short as before."""
    recorder = make_recorder(stretch_ms=60_000)
    recorder.hear(8000, size=1400)
    recorder.step()
    busy = [
        record.raw_bytes
        for record in Store(recorder.disk).segment(Store(recorder.disk).open_names()[0]).records()
        if record.frames
    ]
    for _ in range(50):
        recorder.hear(100, size=1400)
        recorder.step()
    recorder.stop()
    store = Store(recorder.disk)
    sizes = [record.raw_bytes for record in store.segment(store.names()[0]).records() if record.frames]

    assert STRETCH_BYTES - 1500 < busy[0] <= STRETCH_BYTES
    assert len(busy) > 1
    assert all(STRETCH_BYTES_BUSY - 1500 < size <= STRETCH_BYTES_BUSY for size in busy[1:])
    assert all(size <= STRETCH_BYTES for size in sizes[len(busy) + 1 :])
    assert list(range(13_000)) == recorder.numbers()


def test_cut_by_size(make_recorder):
    """A segment ends at its size on disk, too. (S2-092)"""
    recorder = make_recorder(segment_mb=1, stretch_ms=100)
    random = Random(1)
    for _ in range(40):
        now = recorder.clock.now().utc_ns
        recorder.tap.hear([HeardFrame(now + n, random.randbytes(1500), 1500) for n in range(50)])
        recorder.step()
        recorder.clock.advance(200 * MS)
    recorder.stop()
    causes = [made.cause for made in recorder.seals()]

    assert ["size", "stop"] == sorted(set(causes))
    assert 2000 == sum(made.frames for made in recorder.seals())
    assert all(made.frames_bytes < 3 << 20 for made in recorder.seals())


def test_searchable_within_a_second(recorder):
    """What was heard can be found at the latest after stretch_ms, long before the segment is sealed. (S2-108)"""
    recorder.hear(3)
    recorder.step()
    before = recorder.numbers()
    recorder.clock.advance(1000 * MS)
    recorder.step()

    assert [] == before
    assert [0, 1, 2] == recorder.numbers()
    assert [] == recorder.seals()


def test_ring_is_not_held_for_a_slow_wire(make_recorder):
    """At low rate every block is nearly empty; blocks go back before the ring is full of them."""
    recorder = make_recorder(ring_block_count=8, stretch_ms=60_000)
    for _ in range(100):
        recorder.hear(1)
        recorder.step()
        recorder.clock.advance(100 * MS)

    assert {} == recorder.drops
    assert 98 <= len(recorder.numbers())


def test_held_blocks_are_not_waited_on(recorder):
    """A ring calls itself readable while a block of it is held; the station rests on time instead, and on the ring again after."""
    recorder.hear(1)
    recorder.step()
    now = recorder.clock.now()
    held = recorder.station.descriptors(), recorder.station.step(now)
    recorder.clock.advance(2000 * MS)
    recorder.step()

    assert ((), now.monotonic.after(50 * MS)) == held
    assert (-1,) == recorder.station.descriptors()


def test_a_sync_is_not_waited_for(make_recorder):
    """A disk that takes half a minute over a sync costs nothing: the ring is drained, what was written can be found."""
    recorder = make_recorder(ring_block_count=4)
    recorder.run(2, rate=20)
    recorder.disk.is_slow = True
    recorder.run(30, rate=20)

    assert 28 * 10 * 20 <= len(recorder.numbers())
    recorder.disk.is_slow = False
    recorder.run(2, rate=20)
    recorder.stop()
    assert {} == recorder.drops
    assert list(range(recorder.sent)) == recorder.numbers()
    assert recorder.verify().ok


def test_full_disk_keeps_listening(make_recorder):
    """A full disk costs the newest frames, never the loop, and the next seal says how many and when."""
    recorder = make_recorder(reserve_mb=0)
    recorder.run(10)
    recorder.disk.fill(leave_bytes=4096)
    recorder.run(50, rate=20)
    lost = recorder.drops["disk_full"]
    recorder.disk.fill(leave_bytes=64 << 20)
    recorder.run(10)
    recorder.stop()
    (made,) = recorder.seals()

    assert {"disk_full": lost} == recorder.drops == dict(made.drops)
    assert recorder.sent == made.frames + lost
    assert [lost] == [gap.frames for gap in made.gaps]
    assert ["disk_full", "recording"] == recorder.said()
    assert recorder.numbers() == sorted(set(range(recorder.sent)) & set(recorder.numbers()))
    assert recorder.verify().ok


def _is_said_of(recorder, missing, cause):
    """The gaps of this cause with a number reach from the first of these frames, ten a second, to the last, at most half a second further."""
    gaps = [gap for made in recorder.seals() for gap in made.gaps if gap.cause == cause and gap.frames]
    first_ns, last_ns = min(gap.first_ns for gap in gaps), max(gap.last_ns for gap in gaps)
    before_ns, behind_ns = NOON + missing[0] * 100 * MS - first_ns, last_ns - NOON - missing[-1] * 100 * MS
    return (True, True, len(missing)) == (
        0 <= before_ns <= 500 * MS,
        0 <= behind_ns <= 500 * MS,
        sum(gap.frames for gap in gaps),
    )


def test_a_full_disk_says_when_the_frames_passed_that_it_cost(make_recorder):
    """A stretch given up holds frames of a second, and after a disk stood still those of as long as the ring lasts: the gap is where
    they are missing, not the moment at which they were given up."""
    recorder = make_recorder(reserve_mb=0)
    recorder.run(3)
    recorder.disk.fill(leave_bytes=0)
    for _ in range(30):
        recorder.hear()
        recorder.clock.advance(100 * MS)
    recorder.step()
    recorder.disk.fill(leave_bytes=64 << 20)
    recorder.run(3)
    recorder.stop()
    missing = sorted(set(range(recorder.sent)) - set(recorder.numbers()))

    assert missing == list(range(missing[0], missing[-1] + 1))
    assert missing[0] <= 31 and _is_said_of(recorder, missing, "disk_full")


def test_a_segment_of_which_a_failed_disk_holds_nothing_is_missing_since_it_began(make_recorder):
    """No seal tells of it, so the next one has to say that its frames are missing since then, not since the disk obeys again."""
    recorder = make_recorder(segment_s=10)
    recorder.run(10.5)
    assert 1 == len(recorder.seals())
    recorder.disk.failing = Failing.READ_ONLY
    recorder.run(3)
    recorder.disk.failing = Failing.NOT
    recorder.run(3)
    recorder.stop()
    missing = sorted(set(range(recorder.sent)) - set(recorder.numbers()))

    assert missing == list(range(100, missing[-1] + 1))
    assert _is_said_of(recorder, missing, "disk_failed")


def test_a_file_system_that_takes_nothing_past_the_page_cache(recorder):
    """It is recorded all the same, and status says from the first stretch on that it costs more. (S2-090)"""
    recorder.run(3)
    assert "no" == recorder.station.report.gauges["page_cache_only"]
    recorder.disk.is_cached_only = True
    recorder.run(3)

    assert "yes" == recorder.station.report.gauges["page_cache_only"]
    recorder.disk.mkdir("state")
    publish(recorder.disk, "capture", [recorder.station.report], recorder.clock.now())
    states = read_states(recorder.disk)
    assert ["capture", "page_cache_only", "yes"] in [line.split() for line in lines(states, now_tai_ns=0)]
    assert "yes" == figures_of(states)["capture.gauges.page_cache_only"]


def test_reserve_is_kept(make_recorder):
    """Recording stops above the reserve, so that what is recorded can still be sealed on a full disk."""
    recorder = make_recorder(reserve_mb=1)
    recorder.run(5)
    recorder.disk.fill(leave_bytes=(1 << 20) - 1)
    recorder.run(5)
    recorder.boot()
    recorder.stop()

    assert 0 < recorder.disk.free_bytes() < 1 << 20
    assert ["interrupted"] == [made.cause for made in recorder.seals() if made.frames]
    assert 1 == recorder.station.report.counts["segments_recovered"]


def test_a_full_disk_says_how_much_room_it_waits_for(make_recorder):
    """It goes on with twice the reserve: who has made half of that is told that it is not enough, and how much is missing."""
    recorder = make_recorder(reserve_mb=8)
    recorder.run(3)
    recorder.disk.fill(leave_bytes=1 << 20)
    recorder.run(3)
    recorder.disk.fill(leave_bytes=12 << 20)
    recorder.run(3)
    gauges = recorder.station.report.gauges
    assert ("disk_full", (16 << 20) - recorder.disk.free_bytes()) == (gauges["state"], gauges["room_wanted_bytes"])
    recorder.disk.fill(leave_bytes=17 << 20)
    recorder.run(3)

    assert ("recording", 0) == (gauges["state"], gauges["room_wanted_bytes"])


def test_stopped_while_the_disk_is_full(make_recorder):
    """Who sees that the disk is full ends the recording: it ends sealed, and the seal says how many frames were lost and when."""
    recorder = make_recorder(reserve_mb=1)
    recorder.run(5)
    recorder.disk.fill(leave_bytes=(1 << 20) - 1)
    recorder.run(5, rate=20)
    recorder.stop()
    (made,) = recorder.seals()

    assert "disk_full" == recorder.state_before_stop
    assert ("stop", {"disk_full": recorder.sent - made.frames}) == (made.cause, dict(made.drops))
    assert recorder.drops == recorder.verify().drops
    assert ["disk_full"] == recorder.said()


def test_stopped_while_nothing_fits_at_all(make_recorder):
    """Without a byte for the seal the segment stays for the next start; nothing is said twice."""
    recorder = make_recorder(reserve_mb=0)
    recorder.run(5)
    recorder.disk.fill(leave_bytes=4096)
    recorder.run(15, rate=200)
    recorder.disk.fill(leave_bytes=0)
    recorder.stop()

    assert [] == recorder.seals()
    assert 1 == recorder.station.report.counts["disk_full_times"]
    assert list(range(len(recorder.numbers()))) == recorder.numbers()


def test_killed_while_the_disk_is_full(make_recorder):
    """The seal says why the segment ended, a kill, and not what kept it from being sealed; the next one counts what was lost meanwhile."""
    recorder = make_recorder(reserve_mb=0)
    recorder.run(5)
    capacity = recorder.disk.capacity_bytes
    recorder.disk.fill(leave_bytes=10)
    recorder.boot()
    recorder.run(2)
    recorder.disk.capacity_bytes = capacity
    recorder.run(5)
    recorder.stop()
    first, second = recorder.seals()

    assert ("interrupted", "stop") == (first.cause, second.cause)
    assert ["interrupted"] == [gap.cause for gap in first.gaps]
    assert 0 < second.drops["disk_full"] == recorder.drops["disk_full"]


def test_disk_full_at_the_cut(make_recorder):
    """When the seal finds no room it waits for it, and then says what was given up meanwhile, too."""
    recorder = make_recorder(segment_s=10, reserve_mb=0)
    recorder.run(8)
    recorder.clock.advance(1 * SECOND)
    recorder.step()
    recorder.disk.fill(leave_bytes=0)
    recorder.run(10)
    recorder.disk.fill(leave_bytes=64 << 20)
    recorder.run(12)
    recorder.stop()
    seals = recorder.seals()

    assert recorder.verify().ok
    assert recorder.sent == sum(made.frames for made in seals) + sum(sum(made.drops.values()) for made in seals)
    assert 0 < recorder.drops["disk_full"]


@pytest.mark.parametrize("failing", [Failing.READ_ONLY, Failing.GONE])
def test_failing_disk_is_survived(recorder, failing):
    """A disk that refuses is left alone and looked at again; every frame is in a segment or counted."""
    recorder.run(10)
    recorder.disk.failing = failing
    recorder.run(20)
    recorder.disk.failing = Failing.NOT
    recorder.run(10)
    recorder.stop()
    seals = recorder.seals()

    assert recorder.verify().ok
    assert ["disk_failed", "stop"] == [made.cause for made in seals]
    assert recorder.sent == sum(made.frames for made in seals) + recorder.drops["disk_failed"]
    assert recorder.drops["disk_failed"] == sum(made.drops.get("disk_failed", 0) for made in seals)


@pytest.mark.parametrize("failing", [Failing.READ_ONLY, Failing.GONE])
def test_a_disk_away_for_a_minute_failed_once_and_its_return_is_said(recorder, failing):
    """Each look at a disk that still refuses is no further failure, and takes nothing of what may be said: who waits for it to be
    mended is told when it is."""
    recorder.run(10)
    recorder.disk.failing = failing
    recorder.run(60)
    assert "disk_failed" == recorder.station.report.gauges["state"]
    recorder.disk.failing = Failing.NOT
    recorder.run(5)

    assert 1 == recorder.station.report.counts["disk_failed_times"]
    assert ["recovered", "recording"] == recorder.said()


@pytest.mark.parametrize("failing", [Failing.READ_ONLY, Failing.GONE])
def test_stopped_while_the_disk_fails(recorder, failing):
    """The stretch at which the disk failed counts as lost where nobody could look at the disk again."""
    recorder.run(10)
    recorder.disk.failing = failing
    recorder.run(20)
    recorder.stop()
    lost = recorder.drops["disk_failed"]
    recorder.disk.failing = Failing.NOT
    recorder.boot()
    recorder.stop()

    assert recorder.sent == sum(made.frames for made in recorder.seals()) + lost
    assert recorder.verify().ok


@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize("trouble", [DiskFailed, DiskFull])
def test_disk_refusing_anywhere(make_recorder, trouble, lasting):
    """A refusal at any operation, once or for a while: every frame is in a segment or counted and stated, and the chain is whole."""
    for operation in range(60):
        recorder = make_recorder(segment_s=5, stretch_ms=500)
        recorder.disk.before = _refusing(operation, trouble, lasting=lasting)
        recorder.run(12, every_ms=250, rate=2)
        recorder.disk.before = None
        recorder.run(4, every_ms=250, rate=2)
        recorder.stop()
        verdict = recorder.verify()
        lost = sum(recorder.drops.get(cause, 0) for cause in ("disk_failed", "disk_full"))
        stated = verdict.drops.get("disk_failed", 0) + verdict.drops.get("disk_full", 0)
        where = f"{trouble.__name__} at operation {operation}"

        assert [] == verdict.findings, where
        assert recorder.sent == verdict.frames + lost, where
        assert lost == stated, where
        assert sorted(set(recorder.numbers())) == recorder.numbers(), where
        assert "recording" == recorder.state_before_stop, where


def _refusing(operation: int, trouble: type[Trouble], *, lasting: bool) -> Callable[[int, str, str], None]:
    """A disk's hook that refuses from its n-th call on, or only that one."""
    calls = itertools.count()

    def before(count: int, what: str, path: str) -> None:
        call = next(calls)
        if call == operation or (lasting and call > operation):
            raise trouble("refused by the test")

    return before


def test_ring_drops_are_stated(make_recorder):
    """What the kernel lost because nobody read in time stands in the seal, by cause."""
    recorder = make_recorder(ring_block_count=4, ring_block_kb=64)
    recorder.hear(5000, size=1500)
    recorder.run(3)
    recorder.stop()
    (made,) = recorder.seals()

    assert recorder.drops == dict(made.drops)
    assert recorder.sent == made.frames + made.drops["ring_full"]
    assert "ring_full" in {gap.cause for gap in made.gaps}


def test_interface_gone_and_back(recorder):
    """While the interface is away the segment stays open, the box tries again, and the seal says from when to when."""
    recorder.run(5)
    recorder.interface = False
    recorder.tap.break_off()
    recorder.run(30)
    gone = recorder.numbers()
    recorder.interface = True
    recorder.run(20)
    recorder.stop()
    (made,) = recorder.seals()
    (gap,) = made.gaps

    assert list(range(50)) == gone
    assert 180 <= made.frames - 50 <= 200
    assert ("interface_gone", None) == (gap.cause, gap.frames)
    assert 29 * SECOND <= gap.last_ns - gap.first_ns <= 37 * SECOND
    assert ["interface_gone", "interface_back"] == recorder.said()


def test_first_start_of_a_box_without_its_interface(make_recorder):
    """On an empty disk, before any other process has made the inbox: it stays, says so there, and names the reason."""
    recorder = make_recorder()
    recorder.disk.remove("inbox")
    recorder.disk.remove("segments")
    recorder.interface = False
    recorder.boot()
    recorder.run(1, rate=0)

    assert ["interface_gone"] == recorder.said()
    assert "expected an interface, it is gone" == recorder.station.report.gauges["interface_trouble"]


def test_no_interface_at_the_start(make_recorder):
    """A cable plugged in later is heard later; until then the box runs, says so and waits, it does not spin."""
    recorder = make_recorder()
    recorder.stop()
    recorder.interface, recorder.tap = False, None
    recorder.boot()
    steps = 0
    for _ in range(100):
        steps += recorder.step()
        recorder.clock.advance(100 * MS)
    recorder.interface = True
    recorder.run(6, rate=0)
    recorder.hear(3)
    recorder.stop()

    assert 100 == steps
    assert 3 == len(recorder.numbers())
    assert ["interface_gone", "interface_back"] == recorder.said()


def test_bad_filter_ends_the_start(make_recorder):
    """A filter that does not compile is a mistake in the settings; the process ends and says which."""
    with pytest.raises(BadFilter):
        make_recorder(filter="port eleventy")


def test_filter_from_the_settings(make_recorder):
    """Only what the filter names is recorded."""
    recorder = make_recorder(filter="udp dst port 105")
    recorder.hear(5)
    recorder.run(2, rate=0)

    assert [] == recorder.numbers()


def test_malformed_block_is_counted(recorder):
    """A block that announces frames it does not hold costs those frames, counted, and nothing else."""
    data = bytearray(pack_block([HeardFrame(NOON, bytes(60), 60)] * 3, sequence=0))
    data[48 + 112 : 48 + 116] = b"\xff\xff\xff\x7f"  # where the third frame should lie
    recorder.tap._ready.append(Block(memoryview(bytes(data)), 0, 3, 99))
    recorder.run(2, rate=0)
    recorder.stop()
    (made,) = recorder.seals()

    assert 3 == made.frames + made.drops["malformed_block"]


def test_crash_loses_what_was_not_written(recorder):
    """A process killed and started again: what was handed to the disk is sealed with an honest word. (S2-092)"""
    recorder.run(10)
    written = len(recorder.numbers())
    recorder.boot()
    recorder.run(2)
    recorder.stop()

    assert ["interrupted", "stop"] == [made.cause for made in recorder.seals()]
    assert list(range(written)) == recorder.numbers()[:written]
    assert written >= 90
    assert "recovered" in recorder.said()
    assert recorder.verify().ok


@pytest.mark.parametrize("seed", range(6))
def test_power_cut_loses_at_most_the_sync_interval(make_recorder, seed):
    """Wherever the power goes, what was heard before the last sync is there, sealed and in the chain. (S2-092)"""
    random = Random(seed)
    for _ in range(15):
        recorder = make_recorder(segment_s=7, stretch_ms=300, sync_interval_ms=200)
        at = recorder.disk.operations + random.randrange(150)

        def before(count: int, what: str, path: str, at: int = at) -> None:
            if count >= at:
                raise PowerCut

        recorder.disk.before = before
        heard = []
        try:
            for _ in range(200):
                recorder.hear(1)
                heard.append(recorder.clock.now().utc_ns)
                recorder.step()
                recorder.clock.advance(100 * MS)
        except PowerCut:
            pass
        died = recorder.clock.now().utc_ns
        recorder.disk.before = None
        recorder.disk.power_cut(random)
        recorder.clock.restart()
        recorder.boot()
        recorder.stop()
        safe = [number for number, stamp in enumerate(heard) if died - stamp > 700 * MS]

        assert [] == recorder.verify().findings
        assert set(safe) <= set(recorder.numbers())


def test_start_twice_is_as_good_as_once(recorder):
    """A second start finds everything in order and changes nothing."""
    recorder.run(3)
    recorder.station.start(recorder.clock.now())
    recorder.run(3)
    recorder.stop()

    assert list(range(60)) == recorder.numbers()
    assert 1 == len(recorder.seals())


def test_sequence_goes_on_over_restarts(make_recorder):
    """Numbers go on after a restart; no two segments share one."""
    recorder = make_recorder()
    for _ in range(4):
        recorder.run(2)
        recorder.stop()
        recorder.boot()
    recorder.stop()

    assert [1, 2, 3, 4, 5] == [made.sequence for made in recorder.seals()]
    assert recorder.verify().ok


def say_clock(recorder) -> None:
    """As the clock station does, a device's offset of now."""
    now = recorder.clock.now()
    row = ["10.7.0.11", "netsync", -21_800, -12_700, now.timestamp.tai_ns]
    state = {"grandmaster": "001b19fffe000001", "offsets": [row], "monotonic_ns": now.monotonic.ns}
    recorder.disk.write("state/clock", json.dumps(state).encode())


def test_a_seal_certifies_nothing_by_a_clock_station_that_is_gone(make_recorder):
    """What it said last was of the box's clock before that was set a minute later, or of the start before: nobody has measured since. (S2-014)"""
    recorder = make_recorder()
    recorder.disk.mkdir("state")
    say_clock(recorder)
    recorder.run(60)
    recorder.clock.step(-5 * SECOND)
    recorder.run(2)
    recorder.stop()
    recorder.boot()
    recorder.run(2)
    say_clock(recorder)
    recorder.stop()

    first, second = (made.time for made in recorder.seals())
    assert ((), "") == (first.devices, first.grandmaster)
    assert ["10.7.0.11"] == [row.device for row in second.devices]


def test_a_seal_says_how_good_time_was_all_through(make_recorder):
    """Holdover, an hour forward and the devices' offsets are in the seal of their segment, and in no other. (S2-012)"""
    recorder = make_recorder()
    recorder.run(2)
    recorder.disk.mkdir("state")
    recorder.clock.state, recorder.clock.uncertainty_ns = ClockState.HOLDOVER, 800_000
    recorder.run(2)
    recorder.clock.state, recorder.clock.uncertainty_ns = ClockState.LOCKED, 50_000
    recorder.clock.step(3600 * SECOND)
    for _ in range(31):
        say_clock(recorder)
        recorder.run(10)
    recorder.disk.write("state/clock", b"{ torn")
    recorder.run(302)
    recorder.stop()

    times = [made.time for made in recorder.seals() if made.time is not None]
    assert len(recorder.seals()) == len(times)
    assert (ClockState.HOLDOVER, 800_000) == (times[0].state, times[0].uncertainty_ns)
    assert [(1, 3600 * SECOND)] == [(time.steps, time.stepped_ns) for time in times if time.steps]
    assert any([("10.7.0.11", -21_800)] == [(row.device, row.low_ns) for row in time.devices] for time in times)
    assert (ClockState.LOCKED, 50_000, 0, ()) == (times[-1].state, times[-1].uncertainty_ns, times[-1].steps, times[-1].devices)
    assert recorder.verify().ok
    assert {"time"} <= {row.what for row in recorder.verify().statements}

"""The connection window: anchored to the clock, never early, never late, and transfers that go on in the next one."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import settings as law
from hypothesis import strategies as st

from drivers.clock import ClockState, Monotonic, Now, Timestamp
from firmware.core.errors import BadSettings
from firmware.core.presence import unpacked as presence_unpacked
from firmware.uplink.opening import Closed, Open, Opening
from firmware.uplink.settings import UplinkSettings
from simulator.clock import START_TAI_NS, TAI_OFFSET_S
from tests.uplink.conftest import BROKERS, SECOND, World

MINUTE = 60 * SECOND
HALF_HOURLY = Opening(every_min=30, open_min=20)
MIDNIGHT_NS = 1_795_305_600 * SECOND  # 2026-11-22T00:00:00Z


def at(utc_ns: int, *, uncertainty_ns: int = 0) -> Now:
    return Now(Monotonic(0), Timestamp(utc_ns + TAI_OFFSET_S * SECOND, uncertainty_ns, "ptp", ClockState.LOCKED), TAI_OFFSET_S)


def test_twenty_of_every_thirty_minutes() -> None:
    """(S2-066) Open from :00 to :20 and from :30 to :50, to the nanosecond."""
    assert Open(20 * MINUTE) == HALF_HOURLY.at(at(MIDNIGHT_NS))
    assert Open(1) == HALF_HOURLY.at(at(MIDNIGHT_NS + 20 * MINUTE - 1))
    assert Closed(10 * MINUTE) == HALF_HOURLY.at(at(MIDNIGHT_NS + 20 * MINUTE))
    assert Closed(1) == HALF_HOURLY.at(at(MIDNIGHT_NS + 30 * MINUTE - 1))
    assert Open(20 * MINUTE) == HALF_HOURLY.at(at(MIDNIGHT_NS + 30 * MINUTE))


def test_it_may_begin_at_any_minute() -> None:
    """(S2-066) An offset moves it; the minutes before it belong to the window before."""
    opening = Opening(every_min=60, open_min=10, offset_min=45)

    assert Open(10 * MINUTE) == opening.at(at(MIDNIGHT_NS + 45 * MINUTE))
    assert Closed(45 * MINUTE) == opening.at(at(MIDNIGHT_NS))


def test_what_is_not_restricted_is_open() -> None:
    """No period, or as long as the period: always, and never to be closed."""
    assert Open() == Opening(0, 20).at(at(MIDNIGHT_NS)) == Opening(30, 30).at(at(MIDNIGHT_NS))


def test_a_clock_too_uncertain_opens_nothing() -> None:
    """(S2-066) A clock that may be ten minutes off cannot know a window of twenty: closed, and it says why."""
    assert Closed(None) == HALF_HOURLY.at(at(MIDNIGHT_NS + 10 * MINUTE, uncertainty_ns=10 * MINUTE))


@given(
    st.integers(0, 2 * 86_400 * SECOND),
    st.integers(0, 11 * MINUTE),
    st.integers(-1, 1),
    st.sampled_from([(30, 20), (60, 1), (1440, 720)]),
)
@law(max_examples=300, deadline=None)
def test_never_early_and_never_late(offset: int, doubt: int, side: int, shape: tuple[int, int]) -> None:
    """(S2-066) Whatever the clock reads within its uncertainty, where it says open it really is."""
    every, length = shape
    truth = MIDNIGHT_NS + offset
    state = Opening(every, length).at(at(truth + side * doubt, uncertainty_ns=doubt))
    if isinstance(state, Open):
        assert state.closes_in_ns is not None
        assert truth % (every * MINUTE) < length * MINUTE
        assert (truth + state.closes_in_ns - 1) % (every * MINUTE) < length * MINUTE
    elif state.opens_in_ns is not None:
        assert (truth + side * doubt + state.opens_in_ns - doubt) % (every * MINUTE) == 0


@pytest.mark.parametrize("wrong", [{"open_every_min": 50}, {"open_every_min": 30, "open_offset_min": 30}, {"open_every_min": 15}])
def test_settings_nobody_could_predict(wrong: dict[str, int]) -> None:
    """A period that does not divide the day begins somewhere else every day; windows of twenty minutes every fifteen never close."""
    with pytest.raises(BadSettings):
        UplinkSettings(**wrong)  # type: ignore[arg-type]


# The station in it. The simulated clock starts at 10:15:00 UTC: a window of :00 to :20 closes in five minutes.


def connected_spans(world: World, seconds: int) -> list[tuple[float, float]]:
    """When the box had a connection to a broker, in minutes UTC of the day."""
    spans: list[list[float]] = []
    was = False

    def look() -> None:
        nonlocal was
        is_up = any(entry.link in world.links[1:] for broker in world.brokers.values() for entry in broker._clients)
        now = (world.timeline.tai_ns - TAI_OFFSET_S * SECOND) % (86_400 * SECOND) / MINUTE
        if is_up:
            spans.append([now, now]) if not was else spans[-1].__setitem__(1, now)
        was = is_up

    world.before_step = look
    world.run(seconds)
    return [(first, last) for first, last in spans]


@pytest.mark.parametrize("uncertainty_s", [0, 5, 60])
def test_connected_only_inside(uncertainty_s: int) -> None:
    """(S2-066) Three hours: in every window, and never outside one; the clock's uncertainty is kept off both ends."""
    world = World(open_every_min=30, open_min=20)
    world.board.clock.uncertainty_ns = uncertainty_s * SECOND
    for number in range(200):
        world.put(number % 4 + 1, number)
    spans = connected_spans(world, 3 * 3600)

    assert len(spans) == 7
    for first, last in spans:
        assert first % 30 >= uncertainty_s / 60
        assert last % 30 <= 20 - uncertainty_s / 60
        assert int(first // 30) == int(last // 30)
    assert world.station.report.counts["windows_opened"] == 6


def test_it_says_when_it_will_be_back() -> None:
    """(S2-066) Left, not lost, and until when: nobody needs to drive to the hospital."""
    world = World(open_every_min=30, open_min=20)
    world.run(6 * 60)
    said = [presence_unpacked(state) for state in world.hub.states]
    half_past = START_TAI_NS + 15 * MINUTE

    assert ["online", "left"] == [entry.state for entry in said]
    assert said[1].until_tai_ns is not None
    assert abs(said[1].until_tai_ns - half_past) < SECOND
    assert ("closed", "the connection window is closed") == tuple(
        world.station.report.gauges[name] for name in ("window", "broker_trouble")
    )


def test_a_transfer_goes_on_in_the_next_window() -> None:
    """(S2-066) What was begun goes on at the byte the hub has, and an alarm of the meantime goes first."""
    world = World(open_every_min=30, open_min=20, chunk_bytes=4096, bulk_window=100)
    world.hub.link.disconnect()
    identity = world.put(3, 1, world.noise(400_000))
    world.hub.connect(BROKERS[0])
    have = 0

    def answer() -> None:
        nonlocal have
        for of, chunk in world.hub.take_chunks():
            assert of == identity
            if chunk.offset <= have:
                have = max(have, chunk.offset + len(chunk.data))
            world.hub.tell(*([identity] if have == chunk.size else []), **({} if have == chunk.size else {identity.hex(): have}))

    world.before_step = answer
    for broker in world.brokers.values():
        broker.faults = type(broker.faults)(delay_ns=8 * SECOND)  # so slow that one window is not enough
    world.run(5 * 60 + 30)
    first = have
    assert 0 < first < 400_000
    world.run(8 * 60)
    assert first == have
    alarm = world.put(1, 2)
    world.run(25 * 60)

    assert [alarm] == world.hub.envelopes
    assert world.disk.list("outbox") == []
    assert world.station.report.counts["bytes"] < 1.3 * 400_000


def test_bulk_stops_before_the_window_closes() -> None:
    """(S2-066) Nothing is put on the wire that could not be answered in time: at the close nothing is on its way."""
    world = World(open_every_min=30, open_min=20, chunk_bytes=4096, bulk_window=100)
    world.put(4, 1, world.noise(3_000_000))
    answered: dict[bytes, int] = {}

    def answer() -> None:
        for of, chunk in world.hub.take_chunks():
            answered[of] = max(answered.get(of, 0), chunk.offset + len(chunk.data))
            world.hub.tell(**{of.hex(): answered[of]})

    world.before_step = answer
    for broker in world.brokers.values():
        broker.faults = type(broker.faults)(delay_ns=2 * SECOND)
    left: list[int] = []
    leave = world.station._wire.leave

    def leaving(*arguments: object, **more: object) -> None:
        left.append(len(world.station._wire.b))
        leave(*arguments, **more)  # type: ignore[arg-type]

    world.station._wire.leave = leaving  # type: ignore[method-assign]
    world.run(6 * 60)

    assert [0] == left


@pytest.mark.parametrize("seed", range(4))
def test_clock_steps_open_nothing_early(seed: int) -> None:
    """(S2-066) Somebody sets the clock while a window is open or closed: from the next step on it holds what the clock says now."""
    random = Random(seed)
    world = World(open_every_min=30, open_min=20)
    world.put(1, 1)
    for _ in range(60):
        world.board.clock.step(random.randrange(-900, 900) * SECOND)
        world.station.step(world.board.clock.now())
        is_open = isinstance(HALF_HOURLY.at(world.board.clock.now()), Open)
        up = any(entry.link in world.links[1:] for broker in world.brokers.values() for entry in broker._clients)
        assert is_open or not up
        world.run(random.randrange(1, 120))

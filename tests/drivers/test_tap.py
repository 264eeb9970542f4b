"""What every tap promises, on the simulated one, on libpcap's and on the kernel's ring; the last two on a wire of their own."""

import importlib.util
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drivers.errors import BadFilter, TapFailed
from drivers.linux.tap import PortableTap, RingTap
from drivers.tap import Block, HeardFrame, Tap, TapRequest
from firmware.core import pcapng
from firmware.core._kernel import Stretch
from firmware.core.pcapng import Packet
from simulator.tap import SimulatedTap

_spec = importlib.util.spec_from_file_location("wire", Path(__file__).with_name("wire.py"))
assert _spec is not None and _spec.loader is not None
wire = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(wire)

SMALL = TapRequest("hears", block_bytes=1 << 16, block_count=4, retire_ms=10)
WAIT_S = 2.0


def frame(number: int, size: int = 60) -> bytes:
    """UDP from 10.0.0.1 to 10.0.0.2, its number in the ports and at the end."""
    head = bytes.fromhex("020000000001 020000000002 0800 4500001c00000000401100000a0000010a000002")
    udp = (1000 + number % 50_000).to_bytes(2, "big") + b"\x00\x68" + (size - 34).to_bytes(2, "big") + b"\0\0"
    body = head + udp
    return body + bytes(size - len(body) - 4) + number.to_bytes(4, "big")


class Simulated:
    """The world's side of a simulated tap."""

    can_vanish_before_opening = False

    def open(self, request: TapRequest) -> Tap:
        self.tap = SimulatedTap(request)
        return self.tap

    def send(self, frames: list[bytes]) -> None:
        now = time.time_ns()
        self.tap.hear([HeardFrame(now + place, data, len(data)) for place, data in enumerate(frames)])

    def wait(self, tap: Tap) -> None:
        return

    def cut(self) -> None:
        self.tap.break_off()

    def unplug(self) -> None:
        self.tap.has_carrier = False


class Real:
    """The same on a wire."""

    can_vanish_before_opening = True

    def __init__(self, kind: Callable[[TapRequest], Tap], line: "wire.Wire") -> None:  # type: ignore[name-defined]
        self._kind = kind
        self._line = line
        self.send = line.send
        self.cut = line.cut

    def unplug(self) -> None:
        self._line.set(wire.SENDS, "down")

    def open(self, request: TapRequest) -> Tap:
        return self._kind(request)

    def wait(self, tap: Tap) -> None:
        poll = select.poll()
        poll.register(tap.fileno(), select.POLLIN | select.POLLERR)
        poll.poll(WAIT_S * 1000)


World = Simulated | Real
REASON = wire.why_not()
lab = [pytest.mark.lab, pytest.mark.skipif(REASON is not None, reason=REASON or "")]


@pytest.fixture(params=["simulated", pytest.param("portable", marks=lab), pytest.param("ring", marks=lab)])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "simulated":
        yield Simulated()
        return
    with wire.Wire() as line:
        yield Real(RingTap if request.param == "ring" else PortableTap, line)


@pytest.fixture
def opened(world: World) -> Iterator[Callable[[TapRequest], Tap]]:
    taps: list[Tap] = []

    def opener(request: TapRequest) -> Tap:
        taps.append(world.open(request))
        return taps[-1]

    yield opener
    for tap in taps:
        tap.close()


def packets(block: Block) -> list[Packet]:
    """The frames of a block, as the recorder writes them."""
    stretch = Stretch(1 << 20)
    assert (block.frame_count, 0) == (stretch.add(block.data, 0, 0, 0, 0, 0, 0, block.stride)[0], stretch.malformed)
    return list(pcapng.packets(pcapng.section_header() + pcapng.interface("x") + bytes(stretch)))


def heard(world: World, tap: Tap, count: int) -> list[Packet]:
    """The next `count` frames, released as they come."""
    rows: list[Packet] = []
    end = time.monotonic() + WAIT_S
    while len(rows) < count and time.monotonic() < end:
        block = tap.next()
        if block is None:
            world.wait(tap)
            continue
        rows += packets(block)
        tap.release(block)
    return rows


def test_frames_come_as_they_were_sent(world, opened):
    """Every frame, in order, byte for byte, with a stamp of when it came. (S2-090, S2-091)"""
    tap = opened(SMALL)
    sent = [frame(number, 60 + number * 7) for number in range(100)]
    before = time.time_ns()
    world.send(sent)
    rows = heard(world, tap, 100)

    assert sent == [row.data for row in rows]
    assert [len(data) for data in sent] == [row.wire_bytes for row in rows]
    assert sorted(row.stamp_ns for row in rows) == [row.stamp_ns for row in rows]
    assert all(before - 1_000_000 <= row.stamp_ns <= time.time_ns() for row in rows)
    assert 1 == tap.link_type


def test_nothing_heard_is_none(opened):
    """Without a frame there is no block, and asking does not block."""
    assert opened(SMALL).next() is None


def test_filter_is_the_taps(world, opened):
    """What the filter does not name is not heard, from the first frame on."""
    tap = opened(TapRequest("hears", filter="udp src port 1007", block_bytes=1 << 16, block_count=4, retire_ms=10))
    world.send([frame(number) for number in range(20)])

    assert [frame(7)] == [row.data for row in heard(world, tap, 1)]
    assert tap.next() is None


def test_bad_filter_says_so(opened):
    """An expression that does not compile is the settings' fault, and named at once."""
    with pytest.raises(BadFilter):
        opened(TapRequest("hears", filter="port eleventy"))


@pytest.mark.parametrize("expression", [None, "udp"])
def test_snapped_frames_keep_their_length(world, opened, expression):
    """Of a long frame only snap_bytes are kept; how long it was is known."""
    tap = opened(TapRequest("hears", filter=expression, snap_bytes=96, block_bytes=1 << 16, block_count=4, retire_ms=10))
    world.send([frame(1, 1514)])
    rows = heard(world, tap, 1)

    assert [(frame(1, 1514)[:96], 1514)] == [(row.data, row.wire_bytes) for row in rows]


@pytest.mark.parametrize("expression", [None, "vlan", "udp or vlan", "not port 9"])
def test_a_tag_is_part_of_what_is_kept(world, opened, expression):
    """The tag that is put back makes a snapped frame no longer: it has snap_bytes of what was on the wire, and no more. (S2-090)"""
    tap = opened(TapRequest("hears", filter=expression, snap_bytes=64, block_bytes=1 << 16, block_count=4, retire_ms=10))
    long = frame(1, 1500)
    sent = [long[:12] + bytes.fromhex(tag) + long[12:] for tag in ("", "8100 6007", "8100 0000", "88a8 0064 8100 0007")]
    world.send(sent)
    expected = [row for row in sent if row is not sent[0] or expression != "vlan"]

    assert [(row[:64], len(row)) for row in expected] == [(row.data, row.wire_bytes) for row in heard(world, tap, len(expected))]


def test_vlan_tag_is_put_back(world, opened):
    """A tag the card or the kernel took out is in the recorded frame again."""
    tap = opened(SMALL)
    tagged = frame(1)[:12] + bytes.fromhex("8100 6007") + frame(1)[12:]
    world.send([tagged])

    assert [tagged] == [row.data for row in heard(world, tap, 1)]


@pytest.mark.parametrize(
    ("expression", "numbers"),
    [
        ("vlan", [1, 2, 3]),
        ("vlan 7", [1, 3]),
        ("not vlan", [0]),
        ("vlan 7 and udp src port 1001", [1]),
        ("vlan 7 and vlan 9", [3]),
        ("ether host 02:00:00:00:00:02 and vlan 8", [2]),
    ],
)
def test_filter_knows_vlans(world, opened, expression, numbers):
    """By the tags as they were on the wire, wherever the kernel has put the outer one meanwhile. (S2-090)"""
    tap = opened(TapRequest("hears", filter=expression, block_bytes=1 << 16, block_count=4, retire_ms=10))
    tags = ["", "8100 6007", "8100 6008", "8100 6007 8100 0009"]
    sent = [frame(n)[:12] + bytes.fromhex(tag) + frame(n)[12:] for n, tag in enumerate(tags)]
    world.send(sent)

    assert [sent[n] for n in numbers] == [row.data for row in heard(world, tap, len(numbers))]
    assert tap.next() is None


def test_blocks_are_numbered(world, opened):
    """Sequence numbers grow by one, so that a reader sees a block missing or twice."""
    tap = opened(SMALL)
    numbers = []
    for number in range(3):
        world.send([frame(number)])
        world.wait(tap)
        block = tap.next()
        assert block is not None
        numbers.append(block.sequence)
        tap.release(block)

    assert [numbers[0], numbers[0] + 1, numbers[0] + 2] == numbers


def test_several_blocks_at_once(world, opened):
    """S2-090: what is ready is handed out as one, in order and whole, more than once round the ring; no more than asked for."""
    tap = opened(SMALL)
    numbers: list[int] = []
    most = 0
    for turn in range(4):
        world.send([frame(turn * 100 + number, 1500) for number in range(100)])
        expected, end = (turn + 1) * 100, time.monotonic() + WAIT_S
        while len(numbers) < expected and time.monotonic() < end:
            world.wait(tap)
            wished = 1 + turn
            while (block := tap.next(wished)) is not None:
                assert 1 <= block.count <= wished
                most = max(most, block.count)
                numbers += [int.from_bytes(row.data[-4:], "big") for row in packets(block)]
                tap.release(block)

    assert list(range(400)) == numbers
    assert 400 == tap.counters().received
    if not (world.can_vanish_before_opening and world._kind is PortableTap):  # libpcap has one block
        assert most > 1


def test_a_run_of_blocks_is_not_reused(world, opened):
    """Handed out as one means not overwritten either, with all of it in hands nothing more is given out, and given back is given back."""
    if world.can_vanish_before_opening and world._kind is PortableTap:
        pytest.skip("libpcap has one block")
    tap = opened(SMALL)
    world.send([frame(number, 1500) for number in range(1000)])
    runs: list[Block] = []
    end = time.monotonic() + WAIT_S
    while sum(block.count for block in runs) < SMALL.block_count and time.monotonic() < end:
        block = tap.next(3)
        if block is None:
            world.wait(tap)
        else:
            runs.append(block)
    before = [bytes(block.data) for block in runs]
    world.send([frame(number, 1500) for number in range(1000)])

    assert SMALL.block_count == sum(block.count for block in runs)
    assert tap.next(3) is None
    assert before == [bytes(block.data) for block in runs]
    for block in runs:
        tap.release(block)
    world.send([frame(7)])
    assert [frame(7)] == [row.data for row in heard(world, tap, 1)]


def test_full_ring_drops_and_counts(world, opened):
    """A reader that does not release loses the newest; what it has stays whole, and every frame is either heard or counted."""
    tap = opened(SMALL)
    world.send([frame(number, 1514) for number in range(2000)])
    rows = heard(world, tap, 2000)
    counters = tap.counters()

    assert 0 < counters.dropped["ring_full"] < 2000
    assert 2000 == len(rows) + counters.dropped["ring_full"]
    assert len(rows) == counters.received
    assert [frame(number, 1514) for number in range(100)] == [row.data for row in rows[:100]]
    assert counters == tap.counters()


def test_blocks_not_released_are_not_reused(world, opened):
    """Handed out means not overwritten, however much is sent."""
    tap = opened(SMALL)
    world.send([frame(number, 1000) for number in range(20)])
    world.wait(tap)
    block = tap.next()
    assert block is not None
    before = bytes(block.data)
    world.send([frame(number, 1500) for number in range(1000)])

    assert before == bytes(block.data)
    tap.release(block)


def test_interface_gone_is_a_trouble(world, opened):
    """When the interface goes away the reader is told, after what was heard before."""
    tap = opened(SMALL)
    world.send([frame(1)])
    rows = heard(world, tap, 1)
    world.cut()
    with pytest.raises(TapFailed):
        for _ in range(10):
            world.wait(tap)
            tap.next()

    assert [frame(1)] == [row.data for row in rows]


def test_the_last_frames_before_the_interface_goes(world, opened):
    """What came in the last moment, in a block that the kernel had not handed over yet, comes before the bad news."""
    tap = opened(TapRequest("hears", block_bytes=1 << 16, block_count=4, retire_ms=300))
    world.send([frame(number) for number in range(7)])
    world.cut()
    rows: list[Packet] = []
    with pytest.raises(TapFailed):
        for _ in range(20):
            block = tap.next()
            if block is None:
                world.wait(tap)
            else:
                rows += packets(block)
                tap.release(block)

    if not (world.can_vanish_before_opening and world._kind is PortableTap):  # libpcap gives them up
        assert [frame(number) for number in range(7)] == [row.data for row in rows]


def test_finish_loses_nothing_and_hears_nothing_more(world, opened):
    """The last frame before the end is handed out though its block was not full; the first after it is not heard."""
    tap = opened(TapRequest("hears", block_bytes=1 << 16, block_count=4, retire_ms=200))
    world.send([frame(number) for number in range(5)])
    tap.finish()
    rows = []
    while (block := tap.next()) is not None:
        rows += packets(block)
        tap.release(block)
    if not (world.can_vanish_before_opening and world._kind is PortableTap):  # libpcap has no word for it
        world.send([frame(5)])
        tap.finish()
        assert tap.next() is None

    assert [frame(number) for number in range(5)] == [row.data for row in rows]
    assert 5 == tap.counters().received


@pytest.mark.parametrize("in_hand", [False, True])
@pytest.mark.parametrize("last", ["finish", "catch_up"])
def test_the_end_waits_for_the_block_being_filled(world, opened, last, in_hand):
    """Also where an earlier one is ready, or in our hands and not yet released: then nothing rings for the last. (S2-090)"""
    tap = opened(TapRequest("hears", block_bytes=1 << 16, block_count=8, retire_ms=200))
    world.send([frame(number) for number in range(3)])
    world.wait(tap)
    held = tap.next() if in_hand else None
    rows = packets(held) if held is not None else []
    world.send([frame(number) for number in range(3, 7)])
    getattr(tap, last)()
    while (block := tap.next()) is not None:
        rows += packets(block)

    assert [frame(number) for number in range(7)] == [row.data for row in rows]


def test_an_unplugged_interface_is_known(world, opened):
    """Without a cable nothing is wrong with the interface, and nothing can be heard: the counters say so."""
    tap = opened(SMALL)
    before = tap.counters().has_carrier
    world.unplug()
    end = time.monotonic() + WAIT_S
    while tap.counters().has_carrier and time.monotonic() < end:  # The kernel tells it within a second.
        world.wait(tap) if tap.next() is None else None

    assert (True, False) == (before, tap.counters().has_carrier)


def test_an_interface_that_is_down_cannot_be_opened(world):
    """Bound it would be heard and gone in the same moment, again and again; said at once, with what to do."""
    if not world.can_vanish_before_opening:
        pytest.skip("the simulated tap has whatever interface is asked for")
    world._line.set("hears", "down")
    with pytest.raises(TapFailed, match="to be up, it is down"):
        world.open(SMALL)


def test_missing_interface_is_a_trouble(world):
    """An interface that is not there cannot be opened; said at once."""
    if not world.can_vanish_before_opening:
        pytest.skip("the simulated tap has whatever interface is asked for")
    with pytest.raises(TapFailed, match="expected interface 'nosuch0'"):
        world.open(TapRequest("nosuch0"))


def test_own_frames_are_not_heard(world, opened):
    """What this machine sends on the interface is not on the wire to it: nothing is recorded twice."""
    if not world.can_vanish_before_opening:
        pytest.skip("the simulated machine sends nothing")
    tap = opened(SMALL)
    with world._line.socket_at("hears") as own:
        own.send(frame(1))
    world.send([frame(2)])

    assert [frame(2)] == [row.data for row in heard(world, tap, 1)]


def test_closing_twice(opened):
    """Closing twice is as good as once."""
    tap = opened(SMALL)
    tap.close()
    tap.close()


def test_a_ring_says_why_it_cannot_be_opened():
    """What the kernel says without a number is said in words."""
    with pytest.raises(TapFailed, match="there is none of this name"):
        RingTap(TapRequest("nosuch0"))

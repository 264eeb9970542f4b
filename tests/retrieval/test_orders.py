"""Several orders at once: the urgent first, equals in turn; ended on request, gone on with after a restart, limited by the day."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from firmware.core.message import Priority
from firmware.core.query import Query
from firmware.core.request import Request, as_parameters, cancelled_by, from_parameters
from firmware.core.segment import Segment
from firmware.core.spool import Spool
from firmware.core.timestamp import SECOND
from firmware.core.wording import Wording
from firmware.retrieval.settings import RetrievalSettings
from firmware.retrieval.station import ORDERS
from simulator.written_store import begin_segment, end_segment, frame, write_segment

Asker = Any  # tests/retrieval/conftest.py
MINUTE = 60 * SECOND
PARTS = 5


def _recorded(asker: Asker) -> int:
    """Some 18 MB that do not compress: five parts; returns when they began, UTC ns."""
    start = int(asker.utc_ns)
    payload = Random(1).randbytes(1400)
    rows = [[frame(start + (s * 400 + i) * 1000, payload=payload) for i in range(400)] for s in range(31)]
    write_segment(asker.board, rows)
    asker.board.clock.advance(10 * SECOND)
    return start


def _ask(asker: Asker, start: int, priority: Priority | None = None, wording: Wording | None = None) -> bytes:
    request = Request(Query(start, start + MINUTE // 60), priority, wording=wording or Wording())
    return bytes(asker.ask(parameters=as_parameters(request)))


def _steps(asker: Asker, until: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if until():
            return
        now = asker.board.clock.now()
        wish = asker.station.step(now)
        if wish is not None and wish > now.monotonic:
            asker.board.clock.advance(wish.since(now.monotonic))
    raise AssertionError("expected it to come to that")


def _parts(asker: Asker, identity: bytes) -> list[int]:
    return [int(row.facts["part"]) for row in asker.released().values() if row.asked_by == identity]


def _leave(asker: Asker) -> dict[str, bytes]:
    """What deidentify would take away: name to bytes."""
    release = Spool(asker.board.disk, "release")
    taken = {name: release.peek(name) or b"" for name in release.names()}
    for name in taken:
        release.settle_named(name)
    return taken


def test_parts_leave_while_the_search_goes_on(asker: Asker) -> None:
    """The first part is there long before the last is found, and says how much was searched. (S2-107)"""
    identity = _ask(asker, _recorded(asker))
    _steps(asker, lambda: bool(_parts(asker, identity)))

    assert [0] == _parts(asker, identity)
    assert {"active": 1}.items() <= asker.station.report.gauges.items()
    asker.work()
    assert list(range(PARTS)) == sorted(_parts(asker, identity))
    assert 100 == list(asker.released().values())[-1].facts["searched_percent"]


def test_equals_are_served_in_turn(asker: Asker) -> None:
    """Three orders of one priority come on together."""
    start = _recorded(asker)
    orders = [_ask(asker, start) for _ in range(3)]
    _steps(asker, lambda: len(asker.released()) == 6)

    assert [2, 2, 2] == [len(_parts(asker, identity)) for identity in orders]


def test_the_urgent_goes_first(asker: Asker) -> None:
    """An order of priority 1 that comes later is done before the others go on, also where every place was taken."""
    asker.settings = RetrievalSettings(searches_max=2)
    asker.boot()
    start = _recorded(asker)
    others = [_ask(asker, start, Priority.P3) for _ in range(3)]
    _steps(asker, lambda: len(asker.released()) == 2)
    urgent = _ask(asker, start, Priority.P1)
    _steps(asker, lambda: len(_parts(asker, urgent)) == PARTS)

    assert 2 == sum(len(_parts(asker, identity)) for identity in others)


def test_what_waits_to_leave_holds_up_only_the_less_urgent(asker: Asker) -> None:
    """Sixteen parts of priority 3 that nobody fetches do not keep priority 1 in."""
    asker.settings = RetrievalSettings(parts_waiting_max=2)
    asker.boot()
    start = _recorded(asker)
    slow = _ask(asker, start, Priority.P3)
    asker.work(seconds=20)
    assert 2 == len(_parts(asker, slow))
    urgent = _ask(asker, start, Priority.P1)
    asker.work(seconds=20)

    assert (2, 2) == (len(_parts(asker, slow)), len(_parts(asker, urgent)))


def test_an_order_ends_another(asker: Asker) -> None:
    """What was sent stays, what was found is the last part, and both orders are answered. (S2-107)"""
    identity = _ask(asker, _recorded(asker))
    _steps(asker, lambda: len(_parts(asker, identity)) == 2)
    ender = asker.ask(parameters={"cancel": identity.hex()})
    asker.work()

    packets = asker.evidence(identity)
    assert 0 < len(packets) < 31 * 400
    assert 1 == list(asker.released().values())[-1].facts["cancelled"]
    (said,) = asker.said("evidence-result")
    assert ("cancelled", len(packets)) == (said.fields["result"], said.fields["frames"])
    assert [(ender.hex(), "done")] == [(row.fields["command"], row.fields["result"]) for row in asker.said("command-result")]
    assert [] == asker.board.disk.list(ORDERS)


def test_an_order_that_waits_is_ended(asker: Asker) -> None:
    """Also one whose time has not come: it is answered with nothing."""
    now = asker.utc_ns
    identity = asker.ask(Query(now, now + 10 * MINUTE))
    asker.work(seconds=10)
    asker.ask(parameters={"cancel": identity.hex()})
    asker.work(seconds=10)

    assert ([], "cancelled") == (asker.evidence(identity), asker.said("evidence-result")[0].fields["result"])


@pytest.mark.parametrize("wish", [{"cancel": "00" * 16}, {"cancel": "x"}, {"cancel": "00" * 16, "since": 1}])
def test_nothing_to_end_is_said(asker: Asker, wish: dict[str, int | str | None]) -> None:
    """An order that ends none that there is, or that cannot be understood, is refused."""
    asker.ask(parameters=wish)
    asker.work()

    assert ["refused"] == [row.fields["result"] for row in asker.said("command-result")]
    assert [] == asker.board.disk.list(ORDERS)


def test_a_restart_sends_nothing_twice(asker: Asker) -> None:
    """However often it starts again, every part leaves once, and together they are what one go would have sent. (S2-107)"""
    start = _recorded(asker)
    identity = _ask(asker, start)
    left: list[tuple[str, bytes]] = []
    for count in (1, 2, 2):
        _steps(asker, lambda count=count: len(_parts(asker, identity)) >= count)  # type: ignore[misc]
        left += _leave(asker).items()
        asker.boot()  # a crash: nothing was put back
    asker.work()
    left += _leave(asker).items()
    asker.ask(Query(start, start + SECOND))
    asker.work()

    assert PARTS == len(left) == len(dict(left))
    assert [row.body for row in asker.released().values()] == [body for _, body in _bodies(left)]


def test_another_answer_is_sent_whole(asker: Asker) -> None:
    """Where a segment has gone between two starts, what was sent before is no part of the answer any more."""
    start = _recorded(asker)
    first = write_segment(asker.board, [[frame(start + 500)]]).name
    asker.board.clock.advance(10 * SECOND)
    identity = _ask(asker, start)
    _steps(asker, lambda: len(_parts(asker, identity)) == 2)
    _leave(asker)
    asker.board.disk.remove(f"segments/{next(name for name in asker.board.disk.list('segments') if name != first)}")
    asker.boot()
    asker.work()

    assert 1 == len(asker.evidence(identity))


def test_cancelled_stays_cancelled(asker: Asker) -> None:
    """A crash right after an order was ended does not begin it again."""
    asker.settings = RetrievalSettings(parts_waiting_max=2)
    asker.boot()
    identity = _ask(asker, _recorded(asker))
    _steps(asker, lambda: len(_parts(asker, identity)) == 2)
    asker.ask(parameters={"cancel": identity.hex()})  # its last part has to wait for room
    _steps(asker, lambda: asker.station.report.counts.get("orders_cancelled") == 1)
    left = _leave(asker)
    asker.boot()
    asker.work()

    parts = [row.facts["part"] for row in asker.released().values()]
    assert ([2], 2) == (parts, len(left))
    assert "cancelled" == asker.said("evidence-result")[0].fields["result"]


def test_a_day_has_an_end(asker: Asker) -> None:
    """More orders, or more bytes, than a day may cost are refused until the next one, also after a restart."""
    asker.settings = RetrievalSettings(orders_per_day_max=2)
    asker.boot()
    start = _recorded(asker)
    for _ in range(3):
        asker.ask(Query(start, start + 1000))
        asker.work()
        asker.boot()
    assert ["day_limit"] == [row.fields["cause"] for row in asker.said("command-result")]
    asker.board.clock.advance(86_400 * SECOND)
    asker.ask(Query(start, start + 1000))
    asker.work()

    assert 3 == len(asker.said("evidence-result"))


def test_a_day_has_so_many_bytes(asker: Asker) -> None:
    """What goes beyond is cut off, and says so."""
    asker.settings = RetrievalSettings(evidence_bytes_per_day_max=6 << 20)
    asker.boot()
    start = _recorded(asker)
    for _ in range(2):
        _ask(asker, start)
        asker.work()

    assert [True, True] == [row.fields["truncated"] for row in asker.said("evidence-result")]
    assert 5 << 20 <= sum(len(row.body) for row in asker.released().values()) <= 6 << 20
    asker.station.stop(asker.board.clock.now())
    asker.settings = RetrievalSettings(evidence_bytes_per_day_max=5 << 20)
    asker.boot()
    _ask(asker, start)
    asker.work()
    assert ["day_limit"] == [row.fields["cause"] for row in asker.said("command-result")]


def test_what_was_sent_before_a_restart_counts_once(asker: Asker) -> None:
    """An order keeps the room it was taken with: the day holds its answer once, and nothing of it is cut off or sent again. (S2-107)"""
    asker.settings = RetrievalSettings(evidence_bytes_per_day_max=20 << 20)
    asker.boot()
    identity = _ask(asker, _recorded(asker))
    left: dict[str, bytes] = {}
    for count in (2, 1, 1):
        _steps(asker, lambda count=count: len(_parts(asker, identity)) >= count)  # type: ignore[misc]
        left |= _leave(asker)
        asker.boot()  # a crash
    asker.work()
    left |= _leave(asker)

    assert (PARTS, [False]) == (len(left), [row.fields["truncated"] for row in asker.said("evidence-result")])


def test_another_answer_stays_within_the_day_too(asker: Asker) -> None:
    """What is sent anew, because a segment has gone meanwhile, is cut off where the day ends."""
    asker.settings = RetrievalSettings(evidence_bytes_per_day_max=12 << 20)
    asker.boot()
    start = _recorded(asker)
    first = write_segment(asker.board, [[frame(start - 500)], [frame(start + 500)]]).name
    asker.board.clock.advance(10 * SECOND)
    identity = bytes(asker.ask(Query(start - SECOND, start + SECOND)))
    _steps(asker, lambda: len(_parts(asker, identity)) == 2)
    sent = sum(len(data) for data in _leave(asker).values())
    asker.board.disk.remove(f"segments/{first}")
    asker.boot()
    asker.work()
    sent += sum(len(row.body) for row in asker.released().values())

    assert sent <= 12 << 20
    assert [True] == [row.fields["truncated"] for row in asker.said("evidence-result")]


def test_what_cannot_be_read_is_among_the_holes(asker: Asker) -> None:
    """A damaged stretch is a time that is not held, named with its cause in the answer and in its last part. (S2-107)"""
    start = int(asker.utc_ns)
    writer = begin_segment(asker.board, [[frame(start + s * SECOND)] for s in range(5)])
    asker.board.clock.advance(5 * SECOND)
    name = end_segment(asker.board, writer).name
    path = f"segments/{name}/frames.pcapng.lz4"
    data = bytearray(asker.board.disk.read(path))
    data[Segment(asker.board.disk, "segments", name).records()[3].offset + 20] ^= 1
    asker.board.disk.write(path, data)
    asker.board.clock.advance(10 * SECOND)
    identity = asker.ask(Query(start, start + 4 * SECOND))
    asker.work()

    (said,) = asker.said("evidence-result")
    assert (4, 1, 1) == (len(asker.evidence(identity)), said.fields["holes"], said.fields["damaged"])
    assert "not readable (altered" in str(said.fields["not_held"])
    (release,) = asker.released().values()
    assert (said.fields["not_held"], 1) == (release.facts["not_held"], release.facts["damaged"])


def test_orders_speak_in_words(asker: Asker) -> None:
    """Contents and kind of record are asked of each frame; a device this box has no name for is refused, and says what there is."""
    start = int(asker.utc_ns)
    write_segment(asker.board, [[frame(start + n, payload=b"stop" if n % 3 == 0 else b"go", port=47001) for n in range(3000)]])
    asker.board.clock.advance(10 * SECOND)
    found = _ask(asker, start, wording=Wording(kinds=("message",), contains="stop"))
    _ask(asker, start, wording=Wording(devices=("arm-2",)))
    asker.work()

    assert 1000 == len(asker.evidence(found))
    (refused,) = asker.said("command-result")
    assert "no device has a name here" in str(refused.text)


def test_the_summary_keeps_itself(asker: Asker) -> None:
    """Sealed segments are summed up while nobody asks; then a question opens those that may answer it and no other. (S2-109)"""
    start = int(asker.utc_ns)
    for number in range(20):
        write_segment(asker.board, [[frame(start + number * SECOND, port=1000 + number)]])
    asker.work()
    assert 20 == asker.station.report.counts["segments_summed_up"]
    reads: list[str] = []
    read = asker.board.disk.read

    def counted(path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        reads.append(path)
        return bytes(read(path, offset=offset, size=size))

    asker.board.disk.read = counted
    identity = asker.ask(Query(start, start + MINUTE, ports=(1007,)))
    asker.work()

    assert 1 == len(asker.evidence(identity))
    assert 1 == len({path for path in reads if path.endswith("/index")})


@pytest.mark.parametrize(
    "wording",
    [
        Wording(),
        Wording(devices=("arm-2", "10.0.0.1"), senders=("a",), receivers=("b",), kinds=("motion", "time")),
        Wording(message=bytes(range(16)), event="patient-injury", contains="a, b", filter="tcp port 104"),
    ],
)
def test_words_survive_their_parameters(wording: Wording) -> None:
    """What is asked for is what is read back; an order that asks for frames ends none."""
    parameters = as_parameters(Request(Query(5), wording=wording))

    assert (wording, None) == (from_parameters(parameters).wording, cancelled_by(parameters))


def _bodies(left: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    from firmware.core import release

    return [(name, release.unpacked(data).body) for name, data in sorted(left)]

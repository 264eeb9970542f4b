"""The retrieval station: exactly the frames asked for, in parts, whatever happens meanwhile."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from firmware.core.errors import BadItem, DiskFull
from firmware.core.message import Priority
from firmware.core.query import Query
from firmware.core.receipt import Receipt, sum_packed, summed
from firmware.core.request import Request, as_parameters, from_parameters
from firmware.core.spool import ATTEMPTS_MAX, Spool
from firmware.core.timestamp import SECOND
from firmware.retrieval.journal import DAY, JOURNAL
from firmware.retrieval.settings import RetrievalSettings
from firmware.retrieval.station import ORDERS
from simulator.disk import PowerCut
from simulator.written_store import add_stretch, begin_segment, end_segment, frame, write_segment

Asker = Any  # tests/retrieval/conftest.py
MINUTE = 60 * SECOND


def _minutes(asker: Asker, count: int, *, frames_a_minute: int = 10) -> int:
    """So many sealed segments of a minute each, a frame every few seconds; returns when the first began, UTC ns."""
    start = int(asker.utc_ns)
    for _ in range(count):
        begun = asker.utc_ns
        rows = [
            frame(begun + index * MINUTE // frames_a_minute, source=f"10.77.0.{10 + index % 3}", port=47001 + index % 4)
            for index in range(frames_a_minute)
        ]
        writer = begin_segment(asker.board, [rows])
        asker.board.clock.advance(MINUTE)
        end_segment(asker.board, writer)
    return start


def test_thirty_seconds_around_a_moment(asker: Asker) -> None:
    """What was recorded in an interval of one host comes as one complete section, and nothing else (S2-107, S2-109)."""
    start = _minutes(asker, 10)
    middle = start + 5 * MINUTE
    identity = asker.ask(Query(middle - 30 * SECOND, middle + 30 * SECOND, hosts=("10.77.0.11",)))
    asker.work()

    packets = asker.evidence(identity)
    assert len(packets) > 0
    assert all(middle - 30 * SECOND <= packet.stamp_ns <= middle + 30 * SECOND for packet in packets)
    assert all(bytes([10, 77, 0, 11]) in packet.data[26:34] for packet in packets)
    (release,) = asker.released().values()
    assert (Priority.P2, identity) == (release.priority, release.asked_by)
    (said,) = asker.said("evidence-result")
    assert (len(packets), 1, False, "") == tuple(said.fields[name] for name in ("frames", "parts", "truncated", "not_held"))
    assert [] == asker.board.disk.list("commands/verified/retrieval")


def test_done_again_with_another_result_is_another_item(asker: Asker) -> None:
    """An item's name belongs to its contents: what is sent under a name must not change meanwhile (storm seed 445)."""
    now_ns = asker.utc_ns
    writer = begin_segment(asker.board, [[frame(now_ns)]])
    asker.ask(Query(now_ns - MINUTE, now_ns))
    (order,) = Spool(asker.board.disk, ORDERS).names()
    data = asker.board.disk.read(f"{ORDERS}/{order}")
    asker.work()
    before = asker.released()
    Spool(asker.board.disk, ORDERS).publish(order, data)
    asker.work()
    assert before == asker.released()
    add_stretch(writer, [frame(now_ns - 1)])
    Spool(asker.board.disk, ORDERS).publish(order, data)
    asker.work()

    assert 2 == len(asker.released())
    assert before.items() <= asker.released().items()


def test_nothing_found_is_an_answer_too(asker: Asker) -> None:
    """No frame matches: one empty section that a reader opens, marked as the last, and a message that says so."""
    start = _minutes(asker, 2)
    identity = asker.ask(Query(start, start + MINUTE, hosts=("10.99.99.99",)))
    asker.work()

    assert [] == asker.evidence(identity)
    assert 0 == asker.said("evidence-result")[0].fields["frames"]


def test_end_in_the_future_waits_without_using_up_attempts(asker: Asker) -> None:
    """An order for what is still to come waits until it has come and reached the disk; restarts meanwhile cost nothing."""
    now_ns = asker.utc_ns
    writer = begin_segment(asker.board, [[frame(now_ns)]])
    identity = asker.ask(Query(now_ns - MINUTE, now_ns + 30 * SECOND))
    for _ in range(10):
        asker.boot()
        asker.work(seconds=1)
    assert {} == asker.released()
    asker.board.clock.advance(20 * SECOND)
    add_stretch(writer, [frame(asker.utc_ns)])
    asker.work()

    assert 2 == len(asker.evidence(identity))


def test_without_an_end_it_goes_as_far_as_was_recorded_when_it_was_asked_for(asker: Asker) -> None:
    """However long the order was on its way: what was recorded since was not asked for. (S2-107)"""
    start = _minutes(asker, 3)
    identity = asker.ask(Query(start + MINUTE))
    asked_ns = asker.utc_ns
    _minutes(asker, 4)
    asker.work()

    stamps = [packet.stamp_ns for packet in asker.evidence(identity)]
    assert (20, True) == (sum(stamp < asked_ns for stamp in stamps), max(stamps) <= asked_ns)
    (release,) = asker.released().values()
    assert asked_ns == release.facts["until_utc_ns"]


@pytest.mark.parametrize("ahead_s", [0, 3])
def test_a_clock_set_forward_does_not_make_the_recorder_quicker(asker: Asker, ahead_s: int) -> None:
    """The last stretch gets its time to reach the disk by the monotonic clock (storm seed 1029)."""
    asker.ask(Query(since_utc_ns=asker.utc_ns - 5 * SECOND, until_utc_ns=asker.utc_ns + ahead_s * SECOND))
    asker.station.step(asker.board.clock.now())
    asker.board.clock.step(100 * SECOND)
    for _ in range(3):
        now = asker.board.clock.now()
        assert now.monotonic < (asker.station.step(now) or now.monotonic)
        assert {} == asker.released()
        asker.board.clock.advance(SECOND // 2)
    asker.work(seconds=3)

    assert 1 == len(asker.released())


def test_waiting_order_delays_no_other(asker: Asker) -> None:
    """Several orders at once: each is answered when its own time has come."""
    start = _minutes(asker, 3)
    later = asker.ask(Query(start, asker.utc_ns + 10 * MINUTE))
    sooner = [asker.ask(Query(start, start + count * MINUTE)) for count in (1, 2, 3)]
    asker.work(seconds=5)

    assert set(sooner) == {row.asked_by for row in asker.released().values()}
    asker.work(seconds=20 * 60)
    assert later in {row.asked_by for row in asker.released().values()}


def test_long_evidence_comes_in_parts_a_reader_opens_alone(asker: Asker) -> None:
    """Above 4 MiB evidence is cut into sections, numbered, the last one marked, no frame lost or doubled."""
    start = asker.utc_ns
    payload = Random(1).randbytes(1400)
    stretches = [[frame(start + (s * 400 + i) * 1000, payload=payload) for i in range(400)] for s in range(20)]
    write_segment(asker.board, stretches)
    identity = asker.ask(Query(start, start + MINUTE))
    asker.work()

    packets = asker.evidence(identity)
    assert [row.stamp_ns for stretch in stretches for row in stretch] == [packet.stamp_ns for packet in packets]
    assert 3 == len(asker.released())


def test_parts_follow_from_the_frames_alone(make_asker: Callable[[], Asker]) -> None:
    """The same frames in other stretches give the same parts, byte for byte: doing it twice is as good as once."""
    bodies = []
    for size in (400, 1000):
        asker = make_asker()
        start = asker.utc_ns
        payload = Random(1).randbytes(1400)
        frames = [frame(start + i * 1000, payload=payload) for i in range(8000)]
        write_segment(asker.board, [frames[at : at + size] for at in range(0, 8000, size)])
        asker.ask(Query(start, start + MINUTE))
        asker.work()
        bodies.append({name: row.body for name, row in asker.released().items()})

    assert bodies[0] == bodies[1]


def test_too_much_is_cut_off_and_says_so(asker: Asker) -> None:
    """Evidence has a ceiling; what is sent is complete up to it, and marked as cut off."""
    asker.settings = RetrievalSettings(evidence_bytes_max=1 << 16)
    asker.boot()
    start = asker.utc_ns
    write_segment(asker.board, [[frame(start + (s * 100 + i) * 1000, payload=bytes(100)) for i in range(100)] for s in range(20)])
    identity = asker.ask(Query(start, start + MINUTE))
    asker.work()

    assert 300 == len(asker.evidence(identity))
    assert 1 == list(asker.released().values())[-1].facts["truncated"]
    assert asker.said("evidence-result")[0].fields["truncated"] is True


def test_what_is_not_held_is_said(asker: Asker) -> None:
    """An interval that reaches beyond what was recorded, or over a power cut, says which part nobody recorded."""
    start = _minutes(asker, 2)
    writer = begin_segment(asker.board, [[frame(asker.utc_ns)]])
    asker.board.clock.advance(10 * MINUTE)
    end_segment(asker.board, writer, cause="interrupted")
    resumed = _minutes(asker, 1)
    asker.ask(Query(start - 5 * MINUTE, resumed + MINUTE))
    asker.work()

    (said,) = asker.said("evidence-result")
    assert 2 == said.fields["holes"]
    assert 2 == str(said.fields["not_held"]).count("not recorded")


def test_deleted_segments_are_said_to_be_deleted(asker: Asker) -> None:
    """What retention removed is told apart from what nobody recorded (S2-094)."""
    start = _minutes(asker, 4)
    first = asker.board.disk.list("segments")[0]
    asker.board.disk.remove(f"segments/{first}")
    asker.board.disk.write(f"receipts/0000000001-{first}", b"receipt")
    identity = asker.ask(Query(start, start + 4 * MINUTE))
    asker.work()

    (said,) = asker.said("evidence-result")
    assert 30 == len(asker.evidence(identity))
    assert str(said.fields["not_held"]).endswith(" deleted")


def test_segments_of_which_only_a_sum_of_receipts_tells_are_said_to_be_deleted(asker: Asker) -> None:
    """Likewise where the receipts themselves went into their sum. (S2-094)"""
    start = _minutes(asker, 4)
    first = asker.board.disk.list("segments")[0]
    asker.board.disk.remove(f"segments/{first}")
    row = Receipt(first, 1, bytes(32), "age", asker.board.clock.now().timestamp, None)
    made = summed(None, [row], number=1, digest=bytes(32), made=row.made)
    asker.board.disk.write("receipts/sum", sum_packed(made.signed(asker.board.identity.sign(made.body()))))
    asker.ask(Query(start, start + 4 * MINUTE))
    asker.work()

    (said,) = asker.said("evidence-result")
    assert str(said.fields["not_held"]).endswith(" deleted")


def test_the_last_segment_of_a_sum_is_deleted_to_its_end(asker: Asker) -> None:
    """A question about the middle of it: it was deleted, not never recorded. (S2-094)"""
    start = _minutes(asker, 4)
    names = asker.board.disk.list("segments")
    rows = []
    for sequence, name in enumerate(names[:2], start=1):
        asker.board.disk.remove(f"segments/{name}")
        rows.append(Receipt(name, sequence, bytes(32), "age", asker.board.clock.now().timestamp, None))
    made = summed(None, rows, number=2, digest=bytes(32), made=rows[-1].made)
    asker.board.disk.write("receipts/sum", sum_packed(made.signed(asker.board.identity.sign(made.body()))))
    asker.ask(Query(start + MINUTE + 10 * SECOND, start + MINUTE + 50 * SECOND))
    asker.work()

    (said,) = asker.said("evidence-result")
    assert str(said.fields["not_held"]).endswith(" deleted")


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"since": "yesterday"},
        {"since": 5, "until": 4},
        {"since": 0, "until": 10**18},
        {"since": 5, "hosts": "or-3"},
        {"since": 5, "ports": "http"},
        {"since": 5, "ports": "70000"},
        {"since": 5, "macs": "zz"},
        {"since": 5, "protocols": ";drop table"},
        {"since": 5, "vlans": "5000"},
        {"since": 5, "priority": 9},
        {"since": 5, "colour": "blue"},
        {"since": 10**18 * 2, "until": 10**18 * 2 + 1},
    ],
)
def test_bad_parameters_are_refused(asker: Asker, parameters: dict[str, int | str | None]) -> None:
    """An order that cannot be understood is refused with a result, never half carried out, and repeats no foreign word."""
    identity = asker.ask(parameters=parameters)
    asker.work()

    (said,) = asker.said("command-result")
    assert ("refused", identity.hex()) == (said.fields["result"], said.fields["command"])
    assert "or-3" not in str(said.text) and "drop" not in str(said.text)
    assert {} == asker.released()
    assert [] == asker.board.disk.list("commands/verified/retrieval")


def test_order_that_always_ends_the_process_is_given_up(asker: Asker) -> None:
    """Four crashes on one order, then it is out of the way and the hub knows."""
    start = _minutes(asker, 1)
    identity = asker.ask(Query(start, start + MINUTE))
    for _ in range(5):
        asker.station.step(asker.board.clock.now())
        asker.board.clock.advance(10 * SECOND)
        asker.boot()  # without stop: it crashed
    asker.work()

    assert [("refused", identity.hex())] == [
        (row.fields["result"], row.fields["command"]) for row in asker.said("command-result")
    ]


def test_orderly_stop_uses_up_no_attempts(asker: Asker) -> None:
    """Ten updates in the middle of one order are no reason to give it up."""
    start = _minutes(asker, 1)
    identity = asker.ask(Query(start, start + MINUTE))
    asker.board.clock.advance(10 * SECOND)
    for _ in range(10):
        asker.station.step(asker.board.clock.now())
        asker.station.stop(asker.board.clock.now())
        asker.boot()
    asker.work()

    assert 10 == len(asker.evidence(identity))


def test_full_disk_uses_up_no_attempts_and_no_day(asker: Asker) -> None:
    """An order that the disk has no room to begin with waits for it: no process ended at it, and it counts once (storm seeds 12, 24)."""
    start = _minutes(asker, 1)
    identity = asker.ask(Query(start, start + MINUTE))
    asker.board.clock.advance(10 * SECOND)
    room = asker.board.disk.capacity_bytes
    asker.board.disk.fill(leave_bytes=0)
    asker.work(seconds=30)
    assert asker.station.report.drops["disk_full"] > ATTEMPTS_MAX
    asker.board.disk.capacity_bytes = room
    asker.work()

    assert 10 == len(asker.evidence(identity))
    assert [] == asker.said("command-result")
    assert 1 == json.loads(asker.board.disk.read(f"{JOURNAL}/{DAY}"))["orders"]


def test_given_up_is_said_before_it_is_done(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four crashes at one order give it up; the hub hears of it even if the disk refuses at the moment it goes to quarantine (storm seed 6)."""
    start = _minutes(asker, 1)
    identity = asker.ask(Query(start, start + MINUTE))
    asker.board.clock.advance(10 * SECOND)
    for _ in range(4):
        asker.station.step(asker.board.clock.now())
        asker.boot()

    def full(path: str) -> None:
        if path.startswith("quarantine"):
            raise DiskFull("expected room")

    with monkeypatch.context() as patch:
        patch.setattr(asker.board.disk, "sync_dir", full)
        asker.station.step(asker.board.clock.now())
    asker.boot()
    asker.work()

    assert {"too_many_attempts"} == {
        row.fields["cause"] for row in asker.said("command-result") if row.fields["command"] == identity.hex()
    }
    assert [] == Spool(asker.board.disk, ORDERS).names()


def test_full_disk_and_full_release_make_the_part_wait(asker: Asker) -> None:
    """Without room, or while what was found has not moved on, the order waits and loses nothing."""
    start = _minutes(asker, 3)
    identity = asker.ask(Query(start, start + 3 * MINUTE))
    release = Spool(asker.board.disk, "release")
    release.publish_all([(f"p2-{n:020d}-cmd-other", b"x") for n in range(16)])
    asker.work(seconds=10)
    assert 16 == len(release.names())
    for name in release.names():
        release.settle_named(name)
    room = asker.board.disk.capacity_bytes
    asker.board.disk.fill(leave_bytes=100)
    asker.work(seconds=10)
    assert {"disk_full"} == set(asker.station.report.drops)
    asker.board.disk.capacity_bytes = room
    asker.work()

    assert 30 == len(asker.evidence(identity))


def test_steps_are_bounded(asker: Asker) -> None:
    """A rare frame in many segments takes many short steps, so that alarms in the same process get their turn."""
    start = _minutes(asker, 100, frames_a_minute=2)
    asker.ask(Query(start, start + 100 * MINUTE, ports=(9,)))

    assert asker.work() > 20


def test_power_lost_at_any_operation(make_asker: Callable[[], Asker]) -> None:
    """Wherever the power goes, both orders are answered completely afterwards, under the same names."""
    expected: dict[str, bytes] | None = None
    cut_at = -1
    while True:
        asker = make_asker()
        start = _minutes(asker, 3)
        identities = [asker.ask(Query(start, start + count * MINUTE)) for count in (1, 2)]
        if cut_at < 0:
            asker.work()
            expected = {name: row.body for name, row in asker.released().items()}
            cut_at = 0
            continue
        if not _work_until_cut(asker, cut_at):
            assert cut_at > 15
            return
        asker.board.disk.power_cut(Random(cut_at))
        asker.board.clock.restart()
        asker.boot()
        asker.work()

        assert expected == {name: row.body for name, row in asker.released().items()}, f"cut before operation {cut_at}"
        assert set(identities) == {bytes.fromhex(str(row.fields["command"])) for row in asker.said("evidence-result")}
        assert [] == asker.board.disk.list("commands/verified/retrieval")
        cut_at += 1


def _work_until_cut(asker: Asker, cut_at: int) -> bool:
    first = asker.board.disk.operations

    def cut(number: int, what: str, path: str) -> None:
        if number - first == cut_at:
            raise PowerCut

    asker.board.disk.before = cut
    try:
        asker.work()
    except PowerCut:
        return True
    finally:
        asker.board.disk.before = None
    return False


def test_request_survives_its_parameters() -> None:
    """What is asked for is what is read back."""
    query = Query(5, 9, ("10.0.0.1", "fe80::1"), (104, 47001), ("02:53:4a:00:00:0b",), ("tcp", "0x88f7"), (7, 8))

    assert Request(query, Priority.P1) == from_parameters(as_parameters(Request(query, Priority.P1)))
    with pytest.raises(BadItem):
        from_parameters({"since": True})

"""A disk with bad places: an order is answered all the same, and what nobody can read is not said to be what nobody recorded."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from drivers.errors import DiskFailed
from firmware.core.query import Query
from firmware.core.receipt import SUM
from firmware.core.timestamp import SECOND, parse_utc
from simulator.written_store import begin_segment, end_segment, frame, write_segment

Asker = Any  # tests/retrieval/conftest.py
MINUTE = 60 * SECOND


def _minutes(asker: Asker, count: int) -> int:
    """So many sealed segments of a minute, ten frames in each; returns when the first began, UTC ns."""
    start = int(asker.utc_ns)
    for _ in range(count):
        writer = begin_segment(asker.board, [[frame(asker.utc_ns + n * 6 * SECOND) for n in range(10)]])
        asker.board.clock.advance(MINUTE)
        end_segment(asker.board, writer)
    asker.board.clock.advance(10 * SECOND)
    return start


def _seconds(hole: str) -> int:
    """How long the one hole in a sentence is."""
    since, to, until, *cause = hole.split()
    assert (to, cause) == ("to", ["not", "recorded"])
    return (parse_utc(until) - parse_utc(since)) // SECOND


@pytest.mark.parametrize("which", [0, 1, 3])
def test_a_seal_that_is_not_given_back_is_no_silence(asker: Asker, which: int) -> None:
    """One bad place in one seal: every frame comes, and nothing of the interval is said not to have been recorded. (S2-107)"""
    start = _minutes(asker, 5)
    name = asker.board.disk.list("segments")[which]
    asker.board.disk.spoil(f"segments/{name}/seal")
    identity = asker.ask(Query(start, start + 5 * MINUTE - 6 * SECOND))
    asker.work()

    (said,) = asker.said("evidence-result")
    assert 50 == len(asker.evidence(identity))
    # Until when it listened only its seal said: from its last frame to the next segment, six seconds, nobody knows.
    assert said.fields["not_held"] == "" or _seconds(said.fields["not_held"]) == 6
    assert "disk_failed" not in asker.station.report.drops


def test_a_sum_of_receipts_that_is_not_given_back_holds_up_nobody(asker: Asker) -> None:
    """It was asked for again every two seconds for ever, and no other order was answered any more. (S2-107)"""
    start = _minutes(asker, 2)
    asker.board.disk.write(f"receipts/{SUM}", bytes(100))
    asker.board.disk.spoil(f"receipts/{SUM}")
    first, second = (asker.ask(Query(start, start + MINUTE)) for _ in range(2))
    asker.work()

    assert (11, 11) == (len(asker.evidence(first)), len(asker.evidence(second)))
    assert 2 == len(asker.said("evidence-result"))


@pytest.mark.parametrize("verb", ["list", "exists", "size"])
def test_a_disk_that_is_away_for_a_moment_costs_no_frame(make_asker: Callable[[], Asker], verb: str) -> None:
    """Wherever in a search the disk gives nothing at all, the answer is the one it would have been. (S2-107)"""
    for after in range(1, 400):
        asker = make_asker()
        start = _minutes(asker, 4)
        disk, calls = asker.board.disk, [0]
        verb_of_the_disk = getattr(disk, verb)

        def failing(*given: Any, calls: list[int] = calls, after: int = after, deed: Any = verb_of_the_disk, **named: Any) -> Any:
            calls[0] += 1
            if calls[0] == after:
                raise DiskFailed("expected a disk to read, it is away")
            return deed(*given, **named)

        identity = asker.ask(Query(start, start + 4 * MINUTE - 6 * SECOND))
        setattr(disk, verb, failing)
        asker.work()
        setattr(disk, verb, verb_of_the_disk)

        (said,) = asker.said("evidence-result")
        what = asker.evidence(identity), said.fields["holes"], said.fields["damaged"]
        assert (40, 0, 0) == (len(what[0]), *what[1:]), f"{verb} {after}"
        if calls[0] < after:
            return
    raise AssertionError("expected an order to be done after 400 looks at the disk")


def test_parts_sent_before_the_disk_was_away_are_not_sent_again(asker: Asker) -> None:
    """The search begins anew, and goes on behind what has left."""
    start = int(asker.utc_ns)
    payload = Random(1).randbytes(1400)
    write_segment(asker.board, [[frame(start + (s * 400 + n) * 1000, payload=payload) for n in range(400)] for s in range(31)])
    asker.board.clock.advance(10 * SECOND)
    identity = asker.ask(Query(start, start + SECOND))
    disk, listed, failed = asker.board.disk, asker.board.disk.list, []

    def failing(path: str) -> list[str]:
        if path == "segments" and len(listed("release")) >= 3 and not failed:
            failed.append(path)
            raise DiskFailed("expected a disk to read, it is away")
        return list(listed(path))

    disk.list = failing
    asker.work()

    assert (31 * 400, ["segments"]) == (len(asker.evidence(identity)), failed)
    assert {"parts": 5, "orders_done": 1}.items() <= asker.station.report.counts.items()
    assert asker.station.report.counts["parts_sent_before"] >= 3

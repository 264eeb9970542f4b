"""Receipts do not grow for ever: of the oldest a signed sum is kept, and every chain verifies across it."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from firmware.core import receipt
from firmware.core.receipt import SUM
from firmware.core.timestamp import SECOND
from firmware.retention.settings import RetentionSettings
from simulator.disk import PowerCut
from simulator.meanwhile import Meanwhile

Steward = Any  # conftest's; a fixture's class cannot be imported here
DAY = 86_400 * SECOND
FEW = RetentionSettings(receipts_max=10, age_deletions_per_hour=1000)


def single(steward: Steward) -> list[str]:
    return [name for name in steward.board.disk.list("receipts") if name[:1].isdecimal()]


def deleted(steward: Steward, count: int, settings: RetentionSettings = FEW) -> list[str]:
    """So many segments are recorded, and all but fourteen days of them deleted."""
    steward.boot(settings)
    names = steward.record(count, every_ns=DAY)
    steward.work(seconds=10)
    return names


def test_a_sum_stays_of_the_oldest(steward: Steward) -> None:
    """Ten are kept one by one; the sum names what it accounts for, is counted, and the chain verifies, also over restarts. (S2-094)"""
    names = deleted(steward, 40)
    steward.boot()
    names += deleted(steward, 10)
    made = receipt.sum_unpacked(steward.board.disk.read(f"receipts/{SUM}"))
    verdict = steward.verdict()

    assert verdict.ok, verdict.findings
    assert names[35:] == steward.segments()
    assert 10 == len(single(steward))
    assert (25, [(1, 25)], {"age": 25}) == (made.number, [(run.first, run.last) for run in made.runs], made.causes)
    assert (names[0], names[24]) == made.segments
    assert 10 == steward.station.report.counts["receipts_summed"]
    (said,) = [row.text for row in verdict.statements if row.segment == f"receipts/{SUM}"]
    assert said.startswith(f"25 segments from {names[0]} to {names[24]} deleted")


def test_a_pinned_segment_is_a_hole_in_the_sum(steward: Steward) -> None:
    """And when it goes at last, the hole closes. (S2-094)"""
    steward.boot(FEW)
    names = steward.record(40, every_ns=DAY)
    for name in (names[4], names[7]):
        steward.board.disk.write(f"pins/{name}", b"")
    steward.work(seconds=10)
    made = receipt.sum_unpacked(steward.board.disk.read(f"receipts/{SUM}"))
    assert [(1, 4), (6, 7), (9, 15)] == [(run.first, run.last) for run in made.runs]
    assert steward.verdict().ok, steward.verdict().findings

    for name in (names[4], names[7]):
        steward.board.disk.remove(f"pins/{name}")
    steward.boot()
    steward.work(seconds=10)
    deleted(steward, 12)
    made = receipt.sum_unpacked(steward.board.disk.read(f"receipts/{SUM}"))
    assert [(1, 27)] == [(run.first, run.last) for run in made.runs]
    assert steward.verdict().ok, steward.verdict().findings


def test_a_clock_that_was_ahead_once_keeps_no_receipts(steward: Steward) -> None:
    """A first segment named years ahead, before the clock was set, keeps neither its receipt nor a later one out of the sum. (S2-095)"""
    clock = steward.board.clock
    clock.step(5 * 365 * DAY)
    (ahead,) = steward.record(1, every_ns=0)
    clock.step(-5 * 365 * DAY)
    names = steward.record(40)
    steward.boot(replace(FEW, budget_bytes=1))
    steward.work(seconds=10)

    assert ahead > names[-1] and names[-1:] == steward.segments()
    assert 10 == len(single(steward))
    assert steward.verdict().ok, steward.verdict().findings


@pytest.mark.parametrize("harm", ["removed", "altered", "of another box", "older"])
def test_a_sum_that_is_not_the_boxs_word_is_found(make_steward: Callable[[], Steward], harm: str) -> None:
    """Removed, altered, signed by somebody else, or put back to what it was: `verify` names it."""
    steward = make_steward()
    deleted(steward, 40)
    path = f"receipts/{SUM}"
    data = steward.board.disk.read(path)
    deleted(steward, 5)
    assert steward.verdict().ok
    made = receipt.sum_unpacked(steward.board.disk.read(path))
    if harm == "removed":
        steward.board.disk.remove(path)
    else:
        other = {
            "altered": receipt.sum_packed(made)[:-1] + b"\0", "older": data,
            "of another box": receipt.sum_packed(made.signed(bytes(64))),
        }[harm]  # fmt: skip
        steward.board.disk.write(path, other)

    assert not steward.verdict().ok


def test_power_lost_at_any_operation_of_summing_up(make_steward: Callable[[], Steward]) -> None:
    """Wherever the power goes, every deletion is accounted for once, and the next life goes on."""
    cut_at = 0
    while True:
        steward = make_steward()
        names = deleted(steward, 27, RetentionSettings(age_deletions_per_hour=1000))
        since = [0]  # operations since the sum was first written

        def cut(number: int, what: str, path: str, since: list[int] = since, cut_at: int = cut_at) -> None:
            since[0] += since[0] > 0 or (path.endswith(SUM) and what != "read")
            if since[0] > cut_at:
                raise PowerCut

        steward.board.disk.before = cut
        try:
            steward.boot(FEW)
            steward.work(seconds=10)
            was_cut = False
        except PowerCut:
            was_cut = True
        steward.board.disk.before = None
        steward.board.disk.power_cut(Random(cut_at))
        verdict = steward.verdict()
        assert verdict.ok, f"cut before operation {cut_at}: {verdict.findings}"
        steward.boot()
        steward.work(seconds=10)
        assert steward.verdict().ok and 10 == len(single(steward)) and names[12:] == steward.segments()
        if not was_cut:
            assert cut_at >= 6  # the sum written, synced and renamed, its directory synced, two receipts removed
            return
        cut_at += 1


@pytest.mark.parametrize("is_there", [False, True], ids=["of segments gone before", "of segments verified a moment ago"])
def test_summed_up_while_the_store_is_verified(make_steward: Callable[[], Steward], is_there: bool) -> None:
    """At whatever moment receipts go into the sum, with segments that were there when it began or without: nothing is missing. (S2-094)"""
    for moment in range(200):
        steward = make_steward()
        steward.record(13, every_ns=DAY)
        steward.board.clock.advance(0 if is_there else 13 * DAY)
        steward.boot(RetentionSettings(age_deletions_per_hour=1000))
        steward.work()

        def goes_on(steward: Steward = steward) -> None:
            steward.board.clock.advance(30 * DAY if is_there else 0)
            steward.boot(FEW)
            steward.work(seconds=10)

        meanwhile = Meanwhile(steward.board.disk, moment, goes_on)
        verdict = steward.verdict()

        assert [] == verdict.findings, f"summed up before look {moment}"
        if meanwhile.looks <= moment:
            break
    assert 10 < moment < 199
    goes_on()
    assert steward.board.disk.exists(f"receipts/{SUM}")


def test_it_is_what_the_format_says(steward: Steward) -> None:
    """Packed and unpacked it is the same, and any other byte is refused or changes it."""
    deleted(steward, 40)
    data = steward.board.disk.read(f"receipts/{SUM}")

    assert data == receipt.sum_packed(receipt.sum_unpacked(data))
    assert receipt.sum_unpacked(data).signed_by(steward.board.identity.public_key())

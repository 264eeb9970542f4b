"""Event slices: what is ordered for an event, what is not, and that the power does not change it."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from firmware.core.errors import BadSettings
from firmware.core.message import Priority
from firmware.core.timestamp import SECOND
from firmware.slice.owed import OWED_MAX
from firmware.slice.settings import SliceSettings
from firmware.slice.station import NOTICED
from simulator.disk import Failing, PowerCut

Slicer = Any  # tests/slice/conftest.py


def test_thirty_seconds_on_either_side_with_the_priority_of_the_event(slicer: Slicer) -> None:
    """A message about a patient injury orders the frames of half a minute before and after it was received, as urgent as itself,
    and the hub is told which evidence is on its way. (S2-106)"""
    slicer.notice(slicer.message("patient-injury", ago_s=2))
    slicer.work()

    (request,) = slicer.requests()
    assert (slicer.utc_ns - 32 * SECOND, slicer.utc_ns + 28 * SECOND) == (request.query.since_utc_ns, request.query.until_utc_ns)
    assert Priority.P1 == request.priority
    (order,) = slicer.orders()
    assert ("box-1", "box-1", "retrieval") == (order.signer, order.box, order.deed)
    (said,) = slicer.said()
    assert ("slice", Priority.P1, "patient-injury", order.identity.hex()) == (
        said.kind, said.priority, said.event, said.fields["command"],
    )  # fmt: skip
    assert [] == slicer.board.disk.list(NOTICED)


def test_of_a_device_or_its_process(slicer: Slicer) -> None:
    """A rule may ask for the frames of the device concerned, or for those in which its process spoke; of one that has no address
    here, everybody's. (S2-106)"""
    slicer.notice(slicer.message("tool-failure"))
    slicer.notice(slicer.message("worn", priority=3))
    slicer.notice(slicer.message("tool-failure", device="pump"))
    slicer.work()

    wordings = {(request.wording.devices, request.wording.process): request for request in slicer.requests()}
    assert {(("arm-2",), None), (("arm-2",), "joint"), ((), None)} == set(wordings)
    of_device = wordings[("arm-2",), None]
    assert (Priority.P2, 20 * SECOND) == (of_device.priority, of_device.query.until_utc_ns - of_device.query.since_utc_ns)
    assert 1 == slicer.station.report.counts["device_without_address"]


def test_what_no_rule_names_brings_nothing(slicer: Slicer) -> None:
    """An event nobody named, one that is not bad enough, or none: settled, and nothing is ordered."""
    slicer.notice(slicer.message("near-limit"), slicer.message("tool-failure", severity=5))
    slicer.work()

    assert [] == slicer.orders()
    assert [] == slicer.board.disk.list(NOTICED)


def test_an_alarm_said_again_and_again(slicer: Slicer) -> None:
    """One a second for two minutes: slices that follow each other without a hole and without a frame twice, up to half a minute after the
    last of them, six instead of 120. (S2-106)"""
    began = slicer.utc_ns
    for _ in range(120):
        slicer.notice(slicer.message("patient-injury"))
        slicer.run(1)
    slicer.run(30)

    queries = [request.query for request in slicer.requests()]
    assert [query.until_utc_ns for query in queries[:-1]] == [query.since_utc_ns for query in queries[1:]]
    assert (began - 30 * SECOND, began + 149 * SECOND) == (queries[0].since_utc_ns, queries[-1].until_utc_ns)
    assert 6 == len(queries)


def test_met_again_after_a_leap_second(slicer: Slicer) -> None:
    """What was ordered and not yet settled comes again after the power went, and a leap second lies in between: UTC has moved, and the
    event is the same. It was at the hub twice. (S2-106; storm seed 503)"""
    event = slicer.message("patient-injury")
    for _ in range(2):
        slicer.notice(event)
        slicer.work()
        slicer.board.clock.leap()
        slicer.boot()

    assert (1, 1) == (len(slicer.orders()), len(slicer.said()))
    assert [] == slicer.board.disk.list(NOTICED)


@pytest.mark.parametrize("later_s", [1, 14, 16, 29, 30, 31, 59])
def test_the_half_minute_after_each_is_complete(slicer: Slicer, later_s: int) -> None:
    """A second event in the time of the first, early, late, or just behind it: what is missing of its half minutes is ordered when the
    first slice is over, no sooner and no later, and no frame twice. (S2-106)"""
    began = slicer.utc_ns
    slicer.notice(slicer.message("patient-injury"))
    slicer.run(later_s)
    slicer.notice(slicer.message("patient-injury"))
    slicer.work()
    assert (1 if later_s < 30 else 2) == len(slicer.orders())
    slicer.run(max(0, 30 - later_s))

    first, second = (request.query for request in slicer.requests())
    assert (began - 30 * SECOND, began + 30 * SECOND) == (first.since_utc_ns, first.until_utc_ns)
    assert (began + 30 * SECOND, began + (later_s + 30) * SECOND) == (second.since_utc_ns, second.until_utc_ns)
    slicer.run(60)
    assert 2 == len(slicer.orders())


def test_what_is_owed_outlives_the_process(slicer: Slicer) -> None:
    """The power goes while the end of a second event is owed: the next life orders it, once."""
    slicer.notice(slicer.message("patient-injury"))
    slicer.run(10)
    slicer.notice(slicer.message("patient-injury"))
    slicer.work()
    slicer.board.disk.power_cut(Random(1))
    slicer.boot()
    slicer.run(60)

    first, second = (request.query for request in slicer.requests())
    assert 10 * SECOND == second.until_utc_ns - second.since_utc_ns
    assert first.until_utc_ns == second.since_utc_ns
    slicer.boot()
    slicer.run(60)
    assert 2 == len(slicer.orders())


def test_what_is_owed_is_bounded(make_slicer: Callable[..., Slicer]) -> None:
    """More of them than there is room for, each of another device: those beyond it are ordered at once; a file that makes no sense owes
    nothing."""
    addresses = tuple(f"10.77.1.{number}=arm-{number}" for number in range(OWED_MAX + 3))
    slicer = make_slicer(rules=("worn: event=worn -> of=device",), per_hour_max=1000, devices=addresses)
    for _ in range(2):
        for number in range(OWED_MAX + 3):
            slicer.notice(slicer.message("worn", device=f"arm-{number}"))
        slicer.run(5)
    assert OWED_MAX + 3 + 3 == len(slicer.orders())
    slicer.run(30)
    assert 2 * (OWED_MAX + 3) == len(slicer.orders())

    slicer.board.disk.write("slice/owed", b"\x81\xff")
    slicer.boot()
    slicer.work()
    assert 2 * (OWED_MAX + 3) == len(slicer.orders())


def test_a_clock_set_back_does_not_keep_what_is_owed(slicer: Slicer) -> None:
    """It is due by the monotonic clock: within the half minute, whatever time it is then."""
    slicer.notice(slicer.message("patient-injury"))
    slicer.run(10)
    slicer.notice(slicer.message("patient-injury"))
    slicer.work()
    slicer.board.clock.step(-3600 * SECOND)
    slicer.run(21)

    assert 2 == len(slicer.orders())


def test_bounded_by_the_hour(make_slicer: Callable[..., Slicer]) -> None:
    """Beyond the hour's number events are counted and said once; an hour later they bring their evidence again. (S2-106)"""
    slicer = make_slicer(per_hour_max=3)
    for _ in range(6):
        slicer.notice(slicer.message("patient-injury"))
        slicer.work()
        slicer.board.clock.advance(100 * SECOND)
    assert 1 == sum(row.text.startswith("events bring no more evidence") for row in slicer.said())
    slicer.boot()
    slicer.notice(slicer.message("patient-injury"))
    slicer.work()

    assert 3 == len(slicer.orders())
    assert 1 == slicer.station.report.drops["hour_limit"]

    slicer.board.clock.advance(3600 * SECOND)
    slicer.notice(slicer.message("patient-injury"))
    slicer.work()
    assert 4 == len(slicer.orders())


def test_what_was_noticed_twice_is_ordered_once(slicer: Slicer) -> None:
    """A group that died hands the same messages on again: nothing more is ordered, also by a station that began anew."""
    message = slicer.message("patient-injury")
    slicer.notice(message)
    slicer.work()
    slicer.boot()
    slicer.notice(message, slicer.message("patient-injury"))
    slicer.work()

    assert 1 == len(slicer.orders())


def test_power_lost_before_each_disk_operation(make_slicer: Callable[..., Slicer]) -> None:
    """Whenever the power goes between a noticed message and its settled order: one order in the end, and said."""
    for doomed in range(60):
        slicer = make_slicer()
        slicer.notice(slicer.message("patient-injury"))
        first = slicer.board.disk.operations

        def before(number: int, what: str, path: str, at: int = first + doomed) -> None:
            if number == at:
                raise PowerCut

        slicer.board.disk.before = before
        try:
            slicer.work()
            finished = True
        except PowerCut:
            finished = False
        slicer.board.disk.before = None
        slicer.board.disk.power_cut(Random(doomed))
        slicer.boot()
        slicer.work()

        assert 1 == len(slicer.orders())
        assert {slicer.orders()[0].identity.hex()} == {row.fields["command"] for row in slicer.said()}
        if finished:
            return
    raise AssertionError("expected an end to the operations")


def test_the_power_goes_and_a_leap_second_comes(slicer: Slicer) -> None:
    """What is ordered again asks for what the order on the disk asks for, and says it in the same words (storm seed 32)."""
    slicer.notice(slicer.message("patient-injury"))

    def before(number: int, what: str, path: str) -> None:
        if path.startswith("slice/"):
            raise PowerCut

    slicer.board.disk.before = before
    with pytest.raises(PowerCut):
        slicer.work()
    slicer.board.disk.before = None
    slicer.board.clock.leap()
    slicer.boot()
    slicer.work()

    (request,) = slicer.requests()
    assert {slicer.said()[0].identity} == {row.identity for row in slicer.said()}
    assert {request.query.since_utc_ns} == {row.fields["since_utc_ns"] for row in slicer.said()}


@pytest.mark.parametrize("failing", [Failing.READ_ONLY, Failing.GONE])
def test_a_sick_disk_waits(slicer: Slicer, failing: Failing) -> None:
    """Nothing is lost and nothing goes to quarantine while the disk takes nothing, however long that is."""
    slicer.notice(slicer.message("patient-injury"))
    slicer.board.disk.failing = failing
    for _ in range(10):
        slicer.work()
        slicer.board.clock.advance(10 * SECOND)
    slicer.board.disk.failing = Failing.NOT
    slicer.work()

    assert 1 == len(slicer.orders())
    assert slicer.station.report.drops["disk_failed"]


def test_a_poison_item_goes_to_quarantine(slicer: Slicer) -> None:
    """What is no batch of messages is out of the way at once; so does a journal that makes no sense count for nothing."""
    slicer.board.disk.write("slice/ordered", b"[1, 2")
    slicer.boot()
    slicer.board.disk.write(f"{NOTICED}/x", b"\x00nonsense")
    slicer.notice(slicer.message("patient-injury"))
    slicer.work()

    assert ["x", "x.reason"] == slicer.board.disk.list("quarantine/noticed/slice")
    assert 1 == len(slicer.orders())


@pytest.mark.parametrize(
    "rule",
    ["event=x", "a b: event=x", "x:", "x: colour=red", "x: event=y -> of=hospital", "x: event=y -> around=0", "x: event=y -> send=5",
     "x: event=y -> send=1 send=2", "x: event=y -> loud"],
)  # fmt: skip
def test_a_rule_that_is_none_is_named(make_slicer: Callable[..., Slicer], rule: str) -> None:
    """It is refused when the settings are read, with the entry."""
    with pytest.raises(BadSettings, match=r"\[slice\] rules: expected"):
        make_slicer(rules=(rule,))


def test_the_rule_as_it_comes() -> None:
    """Without any setting a patient's injury brings its evidence."""
    assert ("patient-injury: event=patient-injury",) == SliceSettings().rules

"""Event slices: what is ordered for an event, what is not, and that the power does not change it."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from firmware.core.errors import BadSettings
from firmware.core.message import Priority
from firmware.core.timestamp import SECOND
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
    """One a second for two minutes: slices that follow each other without a hole and without a frame twice, eight instead of 120."""
    for _ in range(120):
        slicer.notice(slicer.message("patient-injury"))
        slicer.work()
        slicer.board.clock.advance(SECOND)

    queries = [request.query for request in slicer.requests()]
    assert 8 == len(queries)
    assert [query.until_utc_ns for query in queries[:-1]] == [query.since_utc_ns for query in queries[1:]]


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

"""The decisions of a roll-out: pure, by example at its edges and by law everywhere else."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.core.errors import BadSettings
from firmware.core.timestamp import SECOND
from firmware.hub.rollout import (
    FAILED,
    GOOD,
    OFFERED,
    OFFICIAL,
    STATES,
    WAITING,
    Member,
    Plan,
    decided,
    shares_of,
)

NOW = 10**9 * SECOND
PLAN = Plan(soak_s=60, limit_s=600)


def members(*states: str) -> list[Member]:
    return [Member(f"box-{n:03d}", state, NOW, NOW, NOW, "broke" if state == FAILED else "") for n, state in enumerate(states)]


def test_phases_of_a_fleet():
    """One box, a tenth, half, all; a small fleet has fewer phases, and the last is always everybody."""
    assert [1, 10, 50, 100] == PLAN.sizes(100)
    assert [1, 2, 3] == PLAN.sizes(3)
    assert [1] == PLAN.sizes(1)
    assert [3, 7] == Plan(shares=("3",)).sizes(7)


@pytest.mark.parametrize("words", [(), ("0",), ("101%",), ("0%",), ("half",), ("1",) * 21, ("-1",)])
def test_phases_that_are_none(words):
    """What no phase is, is refused with what is expected."""
    with pytest.raises(BadSettings, match="rollout phases: expected 1 to 20"):
        shares_of(words)


def test_the_first_phase_is_one_box():
    """It is offered to one, and to nobody else while that one is not good."""
    decision = decided(PLAN, 0, members(*[WAITING] * 100), NOW)
    assert (("box-000",), 0) == (decision.offer, decision.phase)

    decision = decided(PLAN, 0, members(OFFERED, *[WAITING] * 99), NOW)
    assert ((), "") == (decision.offer, decision.halt)

    decision = decided(PLAN, 0, members(GOOD, *[WAITING] * 99), NOW)
    assert (1, tuple(f"box-{n:03d}" for n in range(1, 10))) == (decision.phase, decision.offer)


def test_good_is_official_and_well_for_the_soak_time():
    """Official alone is not good; well for less is not; well, and its last word of it older than the soak time, is."""
    box = Member("box-000", OFFICIAL, NOW, 0, 0)
    late = NOW + 61 * SECOND
    for well, heard, state in (
        (0, late, OFFICIAL),
        (NOW + 2 * SECOND, late, OFFICIAL),
        (NOW, NOW + 59 * SECOND, OFFICIAL),
        (NOW, NOW + 60 * SECOND, GOOD),
    ):
        (judged,) = decided(PLAN, 0, [replace(box, well_tai_ns=well, heard_tai_ns=heard)], late).members
        assert state == judged.state


def test_silence_is_neither_and_then_an_error():
    """A box that says nothing holds the phase up, and halts it when its time is over; one that never says it is well, likewise."""
    waiting = members(OFFERED, WAITING)
    before, after = (decided(PLAN, 0, waiting, NOW + s * SECOND) for s in (599, 600))
    assert ("", OFFERED) == (before.halt, before.members[0].state)
    assert "1 of 1 boxes failed, at most 5 % may; box-000: nothing of it being official within 600 s" == after.halt

    unwell = [Member("box-000", OFFICIAL, NOW, 0, NOW)]
    assert "not known to be well" in decided(PLAN, 0, unwell, NOW + 660 * SECOND).halt
    assert "" == decided(PLAN, 0, unwell, NOW + 659 * SECOND).halt


def test_errors_up_to_the_threshold_go_on():
    """Five of a hundred may fail; six may not; and success that cannot be reached any more halts as well."""
    assert decided(PLAN, 3, members(*[FAILED] * 5, *[GOOD] * 95), NOW).is_done
    assert "6 of 100 boxes failed" in decided(PLAN, 3, members(*[FAILED] * 6, *[GOOD] * 94), NOW).halt

    patient = replace(PLAN, errors_percent=100)
    assert "11 of 100 boxes failed, 90 % have to be good" in decided(patient, 3, members(*[FAILED] * 11, *[GOOD] * 89), NOW).halt


def test_done_when_nobody_is_under_way():
    """The last phase ends with its last box."""
    assert not decided(PLAN, 2, members(*[GOOD] * 99, OFFERED), NOW).is_done
    assert decided(PLAN, 2, members(*[GOOD] * 100), NOW).is_done


FLEETS = st.lists(st.sampled_from(STATES), min_size=1, max_size=60).map(lambda states: members(*states))
PLANS = st.builds(
    Plan, st.lists(st.sampled_from(["1", "2", "7", "1%", "10%", "50%", "all"]), min_size=1, max_size=5).map(tuple), st.integers(0, 100),
    st.integers(10, 1000), st.integers(1, 100), st.integers(0, 100),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(PLANS, FLEETS, st.integers(0, 6), st.integers(0, 2000))
def test_whatever_the_boxes_say(plan, fleet, phase, later_s):
    """Nobody outside its phase is offered it, nobody twice; a halt offers nothing; a phase begins only when the one before has its good."""
    now = NOW + later_s * SECOND
    decision = decided(plan, phase, fleet, now)
    sizes = plan.sizes(len(fleet))
    states = {member.box: member.state for member in decision.members}

    assert {member.box for member in fleet[: sizes[decision.phase]] if member.state == WAITING} >= set(decision.offer)
    assert len(set(decision.offer)) == len(decision.offer)
    assert not (decision.halt and decision.offer)
    assert not (decision.is_done and set(states.values()) - {GOOD, FAILED})
    for passed in range(min(phase, len(sizes) - 1), decision.phase):
        inside = decision.members[: sizes[passed]]
        assert sum(member.state == GOOD for member in inside) * 100 >= plan.success_percent * len(inside)
    failed = [member for member in decision.members[: sizes[decision.phase]] if member.state == FAILED]
    assert not (len(failed) * 100 > plan.errors_percent * sizes[decision.phase] and not decision.halt)
    # Once more, after it has happened, changes nothing but that those offered are not offered again.
    after = [replace(m, state=OFFERED, since_tai_ns=now) if m.box in decision.offer else m for m in decision.members]
    again = decided(plan, decision.phase, after, now)
    assert (decision.phase, (), decision.halt, decision.is_done) == (again.phase, again.offer, again.halt, again.is_done)

"""Conditions on messages: what fits, what does not, and what is no condition."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.clock import ClockState, Timestamp
from firmware.core.condition import AnyOf, Condition
from firmware.core.message import Field, Message, Priority, Severity

STAMP = Timestamp(10**18, 1, "ptp", ClockState.LOCKED)


def said(**fields: Field) -> Message:
    return Message(
        "arm-2", "joint", "published", Priority.P2, Severity.WARNING, STAMP, STAMP, event="tool-failure", text="x", fields=fields
    )


@pytest.mark.parametrize(
    "words",
    [
        "event=tool-failure", "event=tool-*", "kind=published device=arm-? process=joint", "event!=patient-*", "severity<=4",
        "severity=4", "priority>=2 priority<3", "fields/temperature>70", "fields/temperature<=70.5", "fields/state=worn*",
        "fields/hl7/type=SIU/S1?", "fields/count>=3", "fields/ok=true", "fields/state!=new",
    ],
)  # fmt: skip
def test_what_fits(words: str) -> None:
    """(S2-106, S2-122) Every word holds: patterns, severity and priority by number, fields by number or by pattern."""
    message = said(temperature=70.5, state="worn out", count="3", ok=True, **{"hl7/type": "SIU/S14"})

    assert Condition.of(words).holds(message)


@pytest.mark.parametrize(
    "words",
    [
        "event=tool", "event=patient-* kind=published", "severity<4", "fields/temperature>70.5", "fields/missing>0", "fields/missing!=x",
        "fields/ok>0", "fields/state>0", "device=ARM-2",
    ],
)  # fmt: skip
def test_what_does_not(words: str) -> None:
    """One word that does not hold, or a field that is not there or no number, and the message does not fit."""
    message = said(temperature=70.5, state="worn out", ok=True)

    assert not Condition.of(words).holds(message)


@pytest.mark.parametrize(
    "words",
    ["", "tool-failure", "event>3", "severity=high", "fields/=3", "fields/x>warm", "fields/x>nan", "colour=red", "event=", " ".join(["kind=x"] * 17)],
)  # fmt: skip
def test_what_is_no_condition(words: str) -> None:
    """Refused when it is read, and the message says what was expected."""
    with pytest.raises(ValueError, match="expected"):
        Condition.of(words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["event=tool-*"], True), (["event=patient-*", "event=tool-failure severity<=4"], True), (["event=patient-*", "event=a|b"], False),
        (["event=tool-* severity<=3"], False), (["event=patient-*", "kind=published"], True), ([], False), (["event!=patient-*"], True),
    ],
)  # fmt: skip
def test_any_of_several(words: list[str], expected: bool) -> None:
    """The same answer as asking one after the other, whether or not each asks for an event; of a message about none, too."""
    conditions = [Condition.of(text) for text in words]
    about, about_none = said(), replace(said(), event=None)

    assert expected is AnyOf(conditions).holds(about)
    for message in (about, about_none):
        assert AnyOf(conditions).holds(message) == any(condition.holds(message) for condition in conditions)


@given(words=st.text(max_size=60), value=st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10))
@settings(max_examples=200, deadline=None)
def test_any_words_any_field(words: str, value: Field) -> None:
    """Whatever somebody writes is a condition or is refused, and a condition can be asked about anything."""
    for text in (words, f"fields/x>{words}", f"fields/x={words}"):
        try:
            condition = Condition.of(text)
        except ValueError:
            continue
        condition.holds(said(x=value))

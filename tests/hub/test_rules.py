"""The hub's rules: what is one, what is refused, and that any text is one or the other."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.core.errors import BadSettings
from firmware.core.message import Priority
from firmware.hub.rules import AS_IT_COMES, rules_of

WHOLE = """
[[rule]]
name = "arm-gets-hot"
when = "kind=published fields/temperature>30"
within_s = 1800
per = "process"
rise = "temperature 10"
then = ["call", "retrieve", "advise"]
text = "The arm gets hot."
advice = "check-arm"
around_s = 10
priority = 3
expires_s = 60
quiet_s = 0
per_hour_max = 2
"""


def test_what_a_rule_says() -> None:
    """Every setting of one, and what a hub does as it comes: calls, and nothing that asks or advises. (S2-122)"""
    (rule,) = rules_of(WHOLE)
    assert ("arm-gets-hot", ("temperature", 10.0), ("call", "retrieve", "advise"), "check-arm", Priority.P3) == (
        rule.name, rule.rise, rule.then, rule.advice, rule.priority,
    )  # fmt: skip
    assert (1800, 10, 60, 0, 2) == (rule.within_s, rule.around_s, rule.expires_s, rule.quiet_s, rule.per_hour_max)

    assert {("call",)} == {rule.then for rule in rules_of(AS_IT_COMES)}
    assert {"message", "group"} == {rule.on for rule in rules_of(AS_IT_COMES)}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ('name = "arm-gets-hot"', "name = 3"), ('name = "arm-gets-hot"', 'name = "a b"'), ("fields/temperature>30", "colour=red"),
        ("per = ", "by = "), ('per = "process"', 'per = "arm"'), ("temperature 10", "temperature"), ("temperature 10", "temperature -1"),
        ('["call", "retrieve", "advise"]', '["stop"]'), ('["call", "retrieve", "advise"]', "[]"), ('"check-arm"', '"stop-the-robot"'),
        ('advice = "check-arm"', ""), ("priority = 3", "priority = 5"), ("around_s = 10", "around_s = true"), ("[[rule]]", "[rule]"),
        ('"check-arm"', '["check-arm"]'), ('"check-arm"', "{}"), ("priority = 3", f"priority = {'3' * 5000}"),
        ("per_hour_max = 2", "per_hour_max = 2\n[other]\n"), ("[[rule]]", "[[rule"), ("quiet_s = 0", 'on = "session"'),
    ],
)  # fmt: skip
def test_what_is_no_rule(change: str, expected: str) -> None:
    """It is refused as a whole, and the message says which rule and what was expected; nothing can make a command of advice. (S2-124)"""
    with pytest.raises(BadSettings, match="expected"):
        rules_of(WHOLE.replace(change, expected))


def test_names_differ() -> None:
    """Two rules of one name could not be told apart in the record."""
    with pytest.raises(BadSettings, match="names that differ"):
        rules_of(WHOLE + WHOLE)


@given(text=st.text(max_size=200) | st.text(max_size=60).map(lambda text: f'[[rule]]\nname = "x"\nwhen = "{text}"\n'))
@settings(max_examples=200, deadline=None)
def test_any_text(text: str) -> None:
    """Rules, or BadSettings."""
    try:
        rules_of(text)
    except BadSettings:
        return

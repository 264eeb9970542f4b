"""Allowances: a bucket that fills evenly, and what is earned beside."""

from drivers.clock import Monotonic
from firmware.core.allowance import Allowance


def taken(allowance: Allowance, at_ns: int) -> int:
    """How many there are at this moment."""
    count = 0
    while allowance.take(Monotonic(at_ns)):
        count += 1
    return count


def test_a_bucket_fills_evenly_and_no_further() -> None:
    """So much at once, one more each while, and a long rest is worth no more than a full bucket. (S2-094)"""
    allowance = Allowance(at_once=3, every_ns=10)

    assert [3, 0, 1, 3] == [taken(allowance, at_ns) for at_ns in (0, 9, 10, 1000)]


def test_what_is_earned_comes_on_top_and_does_not_add_up() -> None:
    """What is earned is there in a full bucket too, time takes nothing of it away, and of what was earned earlier a bucketful is left. (S2-094)"""
    allowance = Allowance(at_once=3, every_ns=10)
    assert taken(allowance, 0) == 3
    allowance.earn(5)
    assert allowance.take(Monotonic(10))

    assert 4 == taken(allowance, 1000)
    allowance.earn(100)
    allowance.earn(4)
    assert 7 == taken(allowance, 1001)

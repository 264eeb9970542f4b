"""Samplers judged from outside: by the lines a reader would draw, in exact arithmetic."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise

import pytest

from firmware.core.streams.samplers import Sampler, Verdict

Series = Sequence[tuple[int, tuple[float, ...]]]  # stamp ns, values


def kept_by(sampler: Sampler, series: Series) -> list[int]:
    """Indices that stay; every index is decided exactly once."""
    verdicts: list[Verdict] = [sampler.feed(index, stamp, values) for index, (stamp, values) in enumerate(series)]
    verdicts.append(sampler.settle())
    kept = [index for verdict in verdicts for index in verdict.kept]
    dropped = [index for verdict in verdicts for index in verdict.dropped]
    assert sorted(kept + dropped) == list(range(len(series)))
    return sorted(kept)


def furthest(series: Series, kept: Sequence[int], number: int) -> Fraction:
    """How far a straight line between kept samples is from any left out between them, for one value; without any rounding."""
    worst = Fraction(0)
    for left, right in pairwise(kept):
        if right == left + 1:
            continue
        t0, t1 = series[left][0], series[right][0]
        a, b = Fraction(series[left][1][number]), Fraction(series[right][1][number])
        for index in range(left + 1, right):
            line = a + (b - a) * Fraction(series[index][0] - t0, t1 - t0)
            worst = max(worst, abs(line - Fraction(series[index][1][number])))
    return worst


@pytest.fixture(scope="session")
def judge() -> tuple[Callable[[Sampler, Series], list[int]], Callable[[Series, Sequence[int], int], Fraction]]:
    """(kept_by, furthest)."""
    return kept_by, furthest

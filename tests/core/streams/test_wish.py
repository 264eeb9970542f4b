"""What an order may wish, and what is refused."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.core.errors import BadItem
from firmware.core.query import Query
from firmware.core.request import Request, as_parameters, from_parameters
from firmware.core.streams import wish
from firmware.core.streams.samplers import Change, EveryNth, Rate, Tolerance
from firmware.core.streams.wish import MODES, Wish


def test_nothing_less_is_the_default() -> None:
    """An order that does not mention it gets every frame, and its parameters are what they always were."""
    request = from_parameters({"since": 1})

    assert Wish("none") == request.less
    assert {"since": 1} == as_parameters(Request(Query(since_utc_ns=1)))


def test_rates_by_kind_and_stream() -> None:
    """60 Hz motion, 5 Hz temperature, 20 Hz everything else, unless the order says otherwise, by kind or for one stream. (S2-099, S2-100)"""
    default = wish.from_parameters({"reduce": "sample"})
    own = wish.from_parameters({"reduce": "sample", "rates": "motion=30, itp/console=0.5"})

    def rate(less: Wish, stream: str, kind: Any) -> int:
        sampler = less.sampler(stream, kind)
        assert isinstance(sampler, Rate)
        return sampler._rate_mhz

    assert [60_000, 5_000, 20_000] == [rate(default, "x/y", kind) for kind in ("motion", "temperature", "other")]
    assert [500, 30_000, 5_000] == [rate(own, s, k) for s, k in (("itp/console", "motion"), ("x/y", "motion"), ("x/y", "temperature"))]  # fmt: skip
    assert isinstance(wish.from_parameters({"reduce": "sample", "every": 2}).sampler("x/y", "motion"), EveryNth)


def test_errors_by_kind_and_stream() -> None:
    """A share of the range, an amount in its unit, or both; for all, for a kind, for a stream. (S2-101)"""
    less = wish.from_parameters({"reduce": "change", "error": "2%,temperature=0.1,rtps/rt/a=b=1%+0.5"})

    assert (Tolerance(0.02), {"temperature": Tolerance(plus=0.1), "rtps/rt/a=b": Tolerance(0.01, 0.5)}) == (
        less.error,
        less.errors,
    )
    assert isinstance(less.sampler("x/y", "other"), Change)


@pytest.mark.parametrize(
    "parameters",
    [
        {"reduce": "all"}, {"reduce": 1}, {"rates": "motion=60"}, {"every": 2}, {"error": "1%"},
        {"reduce": "change", "rates": "motion=60"}, {"reduce": "sample", "error": "1%"}, {"reduce": "filter", "every": 2},
        {"reduce": "sample", "every": 0}, {"reduce": "sample", "every": True}, {"reduce": "sample", "every": "2"},
        {"reduce": "sample", "every": 2, "rates": "motion=60"}, {"reduce": "sample", "rates": "60"},
        {"reduce": "sample", "rates": "motion=0"}, {"reduce": "sample", "rates": "motion=nan"},
        {"reduce": "sample", "rates": "motion=-1"}, {"reduce": "sample", "rates": "moton=60"},
        {"reduce": "sample", "rates": 60}, {"reduce": "change", "error": ""}, {"reduce": "change", "error": "-1"},
        {"reduce": "change", "error": "1%0.5"}, {"reduce": "change", "error": "inf"}, {"reduce": "change", "error": "101%"},
        {"reduce": "change", "error": "=1%"}, {"reduce": "change", "error": "1%,itpp/console=20"}, {"reduce": "sample", "rates": "console/itp=100"},
        {"reduce": "sample", "rates": "motion=60,motion=30"}, {"reduce": "change", "error": "1%,2%"}, {"reduce": "sample", "rates": ",".join(["motion=1"] * 65)},
    ],
)  # fmt: skip
def test_what_would_mean_nothing_is_refused(parameters: dict[str, Any]) -> None:
    """A wish that is not understood, or has no effect, is no wish; the reason repeats nothing of it."""
    with pytest.raises(BadItem) as refused:
        wish.from_parameters(parameters)

    assert not any(str(value) in str(refused.value) for value in parameters.values() if len(str(value)) > 6)


_NAMES = st.sampled_from(["motion", "temperature", "other", "itp/console", "rtps/rt/joint_states", "openigtlink/TRANSFORM/Tool"])
_TOLERANCES = st.just(Tolerance(plus=math.inf)) | st.builds(
    Tolerance, st.integers(0, 100).map(lambda n: n / 100), st.integers(0, 10_000).map(lambda n: n / 16)
)
_WISHES = st.one_of(
    st.sampled_from([Wish("none"), Wish("filter")]),
    st.builds(lambda rates: Wish("sample", rates_mhz=rates), st.dictionaries(_NAMES, st.integers(1, 10**9))),
    st.builds(lambda n: Wish("sample", every=n), st.integers(1, 1000)),
    st.builds(
        lambda error, errors: Wish("change", error=error, errors=errors), _TOLERANCES, st.dictionaries(_NAMES, _TOLERANCES)
    ),
)


@given(_WISHES)
def test_what_is_asked_is_what_is_read(less: Wish) -> None:
    """A wish survives its way through an order's parameters."""
    assert less == from_parameters(as_parameters(Request(Query(since_utc_ns=1), less=less))).less


def test_a_note_is_in_our_own_words() -> None:
    """What a file of evidence says of itself comes from a list of four, whatever an item claims."""
    assert ["", ""] == [wish.note("none"), wish.note("Jane Doe")]
    assert all(mode in wish.note(mode) for mode in MODES if mode != "none")

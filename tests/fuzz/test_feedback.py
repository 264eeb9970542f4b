"""Whatever bytes reach a task device's port, or lie in feedback/: an advisory, or BadItem; and none that is not advisory."""

import cbor2
from hypothesis import example, given, settings
from hypothesis import strategies as st

from firmware.core.advice import (
    ADVICE,
    Advice,
    Advisory,
    advisory_packed,
    advisory_unpacked,
    as_parameters,
    feedback_packed,
    feedback_unpacked,
    from_parameters,
)
from firmware.core.errors import BadItem

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=70)
MAPS = st.dictionaries(st.integers(0, 8), SCALARS | st.lists(SCALARS, max_size=3))
ADVISED = st.builds(
    Advice,
    advice=st.sampled_from(list(ADVICE)),
    device=st.none() | st.from_regex(r"[A-Za-z0-9._:/-]{1,64}", fullmatch=True),
    about=st.none() | st.binary(min_size=16, max_size=16),
    reason=st.none() | st.text(min_size=1, max_size=200).filter(str.isprintable),
)


@given(data=st.binary(max_size=300) | MAPS.map(cbor2.dumps))
@example(data=bytes(70_000))
@settings(max_examples=300, deadline=None)
def test_any_bytes(data: bytes) -> None:
    """Both layers."""
    for read in (feedback_unpacked, advisory_unpacked):
        try:
            read(data)
        except BadItem:
            continue


@given(advice=ADVISED)
@settings(max_examples=150, deadline=None)
def test_advice_comes_back_and_is_advisory(advice: Advice) -> None:
    """As an order's parameters and as a datagram it is the same, it fits one datagram, and its sentence begins with what it is."""
    assert advice == from_parameters(as_parameters(advice))
    whole = Advisory(bytes(16), "or3-box", "hub-1", advice.advice, advice.sentence(), -5, 2**62, advice.device, advice.about)
    datagram = feedback_packed(advisory_packed(whole), bytes(64))

    assert len(datagram) <= 1_400
    assert whole == advisory_unpacked(feedback_unpacked(datagram)[0])
    assert whole.sentence.startswith("Advisory")


@given(
    parameters=st.dictionaries(
        st.sampled_from(["advice", "device", "about", "reason"]),
        st.none() | st.integers() | st.sampled_from(list(ADVICE)) | st.text(max_size=40),
    )
)
@settings(max_examples=200, deadline=None)
def test_any_parameters(parameters: dict[str, int | str | None]) -> None:
    """What is understood says the same again."""
    try:
        advice = from_parameters(parameters)
    except BadItem:
        return
    assert advice == from_parameters(as_parameters(advice))

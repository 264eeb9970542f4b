"""NTP questions and answers, as chronyd 4.3 gives them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.core import ntp
from firmware.core.errors import BadItem
from firmware.core.ntp import Answer

# A server's answer recorded on 2026-11-25T22:34:13Z; its question carried a7b91865eb71c246.
GOLDEN = bytes.fromhex("240800e700000000000000007f7f0101eeb1e0d6b843932ca7b91865eb71c246eeb1e0e5caf01e67eeb1e0e5caf5f9c6")
NEAR = 1_795_646_053_792_704_000


def test_an_answer_of_chronyd() -> None:
    """Both its times, to the nanosecond, within the 124 µs between question and answer on the wire. (S2-013)"""
    said = ntp.unpacked(GOLDEN, near_utc_ns=NEAR)

    assert (0xA7B91865EB71C246, 8, True) == (said.cookie, said.stratum, said.is_synchronised)
    assert 1_795_646_053_792_726_421 == said.received_ns
    assert 0 < said.sent_ns - said.received_ns < 124_000


def test_the_question_tells_nothing() -> None:
    """Version 4, client, and a random number: nothing else."""
    assert b"\x23" + bytes(39) + bytes.fromhex("a7b91865eb71c246") == ntp.query(0xA7B91865EB71C246)


@given(st.integers(0, 2**62), st.integers(-(10**9), 10**9))
def test_every_year(utc_ns: int, off_ns: int) -> None:
    """2036, when the 32 bits of seconds begin again, 2038 and 2100 are years like others."""
    answer = Answer(7, utc_ns + off_ns, utc_ns + off_ns + 5, 3, True)

    assert answer == ntp.unpacked(ntp.packed(answer), near_utc_ns=utc_ns)


@pytest.mark.parametrize("data", [GOLDEN[:47], b"\x23" + GOLDEN[1:], GOLDEN[:32] + bytes(16), b""])
def test_what_is_no_answer(data: bytes) -> None:
    """Too short, a question, no times: refused."""
    with pytest.raises(BadItem):
        ntp.unpacked(data, near_utc_ns=NEAR)


def test_a_server_that_does_not_know() -> None:
    """Stratum 16 or leap 3 answers, and is not believed to be right."""
    assert not ntp.unpacked(b"\xe4" + GOLDEN[1:], near_utc_ns=NEAR).is_synchronised
    assert not ntp.unpacked(GOLDEN[:1] + b"\x10" + GOLDEN[2:], near_utc_ns=NEAR).is_synchronised


@pytest.mark.parametrize("code", [b"RATE", b"DENY", b"RSTR"])
def test_a_kiss_of_death_tells_no_time(code: bytes) -> None:
    """ntpd that was asked too often says so, with the question's random number in the place of both its times: no clock is 40 years off."""
    cookie = GOLDEN[24:32]
    kiss = b"\xe4\x00" + GOLDEN[2:12] + code + GOLDEN[16:24] + cookie * 3

    with pytest.raises(BadItem, match="gives none"):
        ntp.unpacked(kiss, near_utc_ns=NEAR)


@pytest.mark.parametrize("reference", [bytes(4), b"INIT", b"STEP"])
def test_who_follows_nobody_yet_has_a_clock(reference: bytes) -> None:
    """chronyd and ntpd that were just started answer with stratum 0 as well; theirs is the clock that devices show, right or not."""
    said = ntp.unpacked(b"\xe4\x00" + GOLDEN[2:12] + reference + GOLDEN[16:], near_utc_ns=NEAR)

    assert 1_795_646_053_792_726_421 == said.received_ns and not said.is_synchronised


@given(st.binary(max_size=80))
def test_any_bytes(data: bytes) -> None:
    """An answer or BadItem."""
    try:
        assert isinstance(ntp.unpacked(data, near_utc_ns=NEAR), Answer)
    except BadItem:
        pass

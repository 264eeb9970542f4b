"""chronyd's tracking report, as chronyd 4.3 sent it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.core.chrony import PACKET_SIZE, Tracking, tracking_request, unpacked
from firmware.core.errors import BadItem

# chronyd 4.3 following 10.78.0.2; chronyc printed of the same packet: 0A4E0002,10.78.0.2,9,1795646060.216765704,-0.000006661,
# -0.000000453,0.000001921,0.498,-0.004,0.771,0.000013720,0.000002956,1.0,Normal
GOLDEN = bytes.fromhex(
    "0602000000210005000000000000000099517ca000000000000000000a4e00020a4e00020000000000000000000000000001000000090000000000006b07626c"
    "0ceb9508e1207e43d90ca453de80ebf900fee7e2f5774a0502c56800e2e62ef4dec66342048103dd"
)
SEQUENCE = 0x99517CA0


def test_what_chronyc_prints() -> None:
    """Every number we use is chronyc's: 6.661 µs to correct, 2.956 µs of dispersion and half of 13.720 µs of delay. (S2-013)"""
    said = unpacked(GOLDEN, SEQUENCE)

    assert ("10.78.0.2", 9, True, 0, 1_795_646_060_216_765_704) == (
        said.reference, said.stratum, said.is_synchronised, said.leap, said.updated_utc_ns
    )  # fmt: skip
    assert 6_661 + 2_956 + 6_860 == pytest.approx(said.error_ns, abs=2)
    assert (1.0, 0.498) == (pytest.approx(said.interval_s, abs=0.02), pytest.approx(abs(said.frequency_ppm), abs=0.001))


def test_the_question_is_chronycs() -> None:
    """Byte for byte, but for the attempt and sequence chronyc chose."""
    assert bytes.fromhex("060100000021000099517ca0").ljust(PACKET_SIZE, b"\0") == tracking_request(SEQUENCE)


def test_without_a_source() -> None:
    """Leap status 3, or no reference at all, is not synchronised, whatever else it says."""
    leap = bytearray(GOLDEN)
    leap[55] = 3
    nobody = bytearray(GOLDEN)
    nobody[28:32] = bytes(4)

    assert not unpacked(bytes(leap), SEQUENCE).is_synchronised
    assert not unpacked(bytes(nobody), SEQUENCE).is_synchronised


def test_a_reference_clock_has_a_name() -> None:
    """What chronyd learns from ptp4l through shared memory is called as its configuration calls it."""
    named = bytearray(GOLDEN)
    named[28:32], named[48:50] = b"PTP\0", bytes(2)

    assert "PTP" == unpacked(bytes(named), SEQUENCE).reference


@given(st.binary(max_size=120) | st.tuples(st.integers(0, 103), st.integers(1, 255)).map(lambda c: GOLDEN[: c[0]] + bytes([GOLDEN[c[0]] ^ c[1]]) + GOLDEN[c[0] + 1 :]))  # fmt: skip
def test_any_bytes(data: bytes) -> None:
    """A report or BadItem."""
    try:
        assert isinstance(unpacked(data, SEQUENCE), Tracking)
    except BadItem:
        pass

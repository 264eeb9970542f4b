"""PTP of any bytes: a message or BadItem, and what was read is written again as it was read."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.contrib.ptp_v2 import PTP

from firmware.core import ptp, ptp_datasets
from firmware.core.errors import BadItem
from firmware.core.ptp import Flags, MessageType, PortIdentity, PtpMessage, Tlv

_GOLDEN = Path(__file__).parents[1] / "formats" / "ptp-linuxptp-3.1.1.txt"
SEEDS = [bytes.fromhex(line.split()[1]) for line in _GOLDEN.read_text().splitlines() if not line.startswith("#")]
SEEDS += [bytes(PTP(messageType=kind)) for kind in (0, 1, 2, 3, 8, 9, 10)]

identities = st.builds(PortIdentity, st.binary(min_size=8, max_size=8), st.integers(0, 0xFFFF))
tlvs = st.builds(Tlv, st.integers(0, 0xFFFF), st.binary(max_size=10).map(lambda data: data[: len(data) // 2 * 2]))
messages = st.builds(
    PtpMessage,
    st.sampled_from([MessageType.SYNC, MessageType.DELAY_REQ, MessageType.PDELAY_REQ, MessageType.FOLLOW_UP]),
    identities, st.integers(0, 0xFFFF), st.integers(0, 255), st.integers(0, 0xFFFF).map(Flags), st.integers(-(2**63), 2**63 - 1),
    st.integers(-128, 127), st.integers(0, 2**48 * 10**9 - 1), tlvs=st.lists(tlvs, max_size=4).map(tuple),
    minorVersionPTP=st.integers(0, 15), majorSdoId=st.integers(0, 15), minorSdoId=st.integers(0, 255),
)  # fmt: skip


@st.composite
def hostile(draw: st.DrawFn) -> bytes:
    """A good message with some bytes changed, its end cut off or something behind it; or any bytes at all."""
    data = bytearray(draw(st.sampled_from(SEEDS) | st.binary(max_size=200)))
    for _ in range(draw(st.integers(0, 4))):
        if data:
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))]) + draw(st.binary(max_size=8))


@settings(max_examples=1000)
@given(hostile())
def test_any_bytes(data: bytes) -> None:
    """A message within its bytes, or BadItem; its TLVs are a data set we know, or BadItem."""
    try:
        message = ptp.unpacked(data)
    except BadItem:
        return

    assert len(ptp.packed(message)) <= len(data)
    assert message == ptp.unpacked(ptp.packed(message))
    for reading in (ptp_datasets.answer, ptp_datasets.asked, ptp_datasets.monitored):
        try:
            reading(message)
        except BadItem:
            pass


@given(messages)
def test_what_is_written_is_read(message: PtpMessage) -> None:
    """Every value a field can have survives."""
    assert message == ptp.unpacked(ptp.packed(message))


@pytest.mark.parametrize("kind", list(MessageType))
def test_a_truncated_message_of_every_type(kind: MessageType) -> None:
    """No type is read a byte short of its body, nor with a length of its own choosing."""
    data = _made(kind)
    for end in range(len(data)):
        with pytest.raises(BadItem):
            ptp.unpacked(data[:end])
    with pytest.raises(BadItem, match="messageLength"):
        ptp.unpacked(data[:2] + b"\xff\xff" + data[4:])
    with pytest.raises(BadItem, match="messageLength"):
        ptp.unpacked(data[:2] + bytes(2) + data[4:])


def _made(kind: MessageType) -> bytes:
    management = ptp.Management(ptp.Action.GET) if kind is MessageType.MANAGEMENT else None
    announce = ptp.Announce(bytes(8), ptp.ClockQuality(248, 0xFE, 0xFFFF)) if kind is MessageType.ANNOUNCE else None
    return ptp.packed(
        PtpMessage(
            kind, PortIdentity(bytes(8), 1), 1, requestingPortIdentity=ptp.ALL_PORTS, targetPortIdentity=ptp.ALL_PORTS,
            announce=announce, management=management,
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("at", "value", "expected"), [(1, 0x01, "version"), (0, 0x0E, "message type"), (40, 0xFF, "nanoseconds")]
)
def test_what_is_no_ptp(at: int, value: int, expected: str) -> None:
    """Version 1, a type nobody defined, a second of more than a thousand million nanoseconds: refused, and said why."""
    data = bytearray(SEEDS[1])
    data[at] = value
    with pytest.raises(BadItem, match=expected):
        ptp.unpacked(bytes(data))

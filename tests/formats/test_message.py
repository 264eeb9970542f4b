"""The formats of messages and envelopes, pinned by golden bytes and checked against their CDDL by somebody else's reader."""

from pathlib import Path

import cbor2
import pytest
from pycddl import Schema, ValidationError

from firmware.core import envelope, message
from firmware.core.message import Message, Priority, Severity, Tag
from firmware.core.timestamp import ClockState, Timestamp

HERE = Path(__file__).parent
CORE = HERE.parents[1] / "firmware" / "core"
GOLDEN = HERE / "message-v1.cbor"

MESSAGES = [
    Message(
        device="robot-1", process="arm/3", kind="published", priority=Priority.P1, severity=Severity.ERROR,
        origin_time=Timestamp(1_795_342_537_000_000_001, 1_000_000_000, "device", ClockState.FREE),
        received_time=Timestamp(1_795_342_537_000_500_000, 50_000, "ptp", ClockState.LOCKED),
        sequence=17, event="tool-failure", text="joint 2 stopped for #phi Jane Doe #end",
        fields={"torque_nm": 4.25, "joint": 2, "braked": True, "patient_name": "Jane Doe", "spare": None},
        attachment=("image/png", b"\x89PNG"),
        tags=(Tag("text", 20, 38, "marker"), Tag("fields/patient_name", 0, 0, "field")),
    ),
    Message(
        device="fe80::1", process="unknown", kind="published", priority=Priority.P4, severity=Severity.DEBUG,
        origin_time=Timestamp(-1, 0, "arrival", ClockState.HOLDOVER), received_time=Timestamp(-1, 0, "rtc", ClockState.HOLDOVER),
    ),
]  # fmt: skip


def test_message_version_1_is_read() -> None:
    """Bytes written by the first version are read by this one, for ever."""
    assert MESSAGES == message.unpacked(GOLDEN.read_bytes())


def test_message_version_1_is_written() -> None:
    """And this one writes exactly them: another byte needs another version."""
    assert GOLDEN.read_bytes() == message.packed(MESSAGES)


def test_message_follows_its_cddl() -> None:
    """An independent validator agrees that the golden file is a `batch`."""
    Schema((CORE / "message.cddl").read_text()).validate_cbor(GOLDEN.read_bytes())


@pytest.mark.parametrize("change", [{6: 5}, {1: b"short"}, {9: ["now"]}, {7: 8}, {14: [["text", -1, 2, "x"]]}])
def test_the_cddl_bites(change: dict[int, object]) -> None:
    """What the reader refuses, the CDDL refuses as well."""
    row = cbor2.loads(GOLDEN.read_bytes())[0] | change
    with pytest.raises(ValidationError):
        Schema((CORE / "message.cddl").read_text()).validate_cbor(cbor2.dumps([row]))


def test_envelope_follows_its_cddl() -> None:
    """A group's envelope is an `envelope`, with and without the optional keys."""
    schema = Schema((CORE / "envelope.cddl").read_text())
    for extra in ({}, {"asked_by": bytes(16), "facts": {"released_cut": 3, "closed_by": "count"}}):
        sealed = envelope.sealed_envelope(
            box="box-1", kind="group", priority=Priority.P1, first_tai_ns=-1, last_tai_ns=5, content=GOLDEN.read_bytes(), **extra
        )  # type: ignore[arg-type]
        schema.validate_cbor(envelope.packed(sealed))

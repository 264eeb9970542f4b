"""OpenIGTLink STATUS: how somebody is, in versions 1 to 3, checked and ranked."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.core.errors import BadItem
from firmware.core.igtl import crc64, decoded
from firmware.core.message import Severity
from firmware.core.priority import BY_SEVERITY, Priority


def status(code: int, text: bytes = b"tracker lost", *, version: int = 1, kind: bytes = b"STATUS") -> bytes:
    """A STATUS of the device Tracker at 10:15:00.5."""
    content = struct.pack(">Hq20s", code, -5, b"NDI") + text + b"\0"
    body = content if version == 1 else struct.pack(">HHII", 12, 0, 0, 0) + content
    head = struct.pack(">H12s20sIIQQ", version, kind, b"Tracker", 1_795_342_500, 1 << 31, len(body), crc64(body))
    return head + body


def test_check_value() -> None:
    """The checksum's published check value: "123456789" gives 6C40DF5F0B497347 (CRC-64/ECMA-182)."""
    assert 0x6C40DF5F0B497347 == crc64(b"123456789")


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize(
    ("code", "event", "severity", "priority"),
    [
        (1, "igtl/ok", Severity.INFORMATIONAL, Priority.P3), (3, "igtl/panic", Severity.ALERT, Priority.P1),
        (7, "igtl/time-out", Severity.ERROR, Priority.P1), (18, "igtl/hardware-failure", Severity.CRITICAL, Priority.P1),
        (10, "igtl/configuration-error", Severity.WARNING, Priority.P2),
    ],
)  # fmt: skip
def test_status(version: int, code: int, event: str, severity: Severity, priority: Priority) -> None:
    """Panic mode is the most urgent there is. (S2-030, S2-033)"""
    said = decoded(status(code, version=version))
    assert said is not None

    assert ("Tracker", event, severity, "tracker lost", 1_795_342_500_500_000_000) == (
        said.device, said.event, said.severity, said.text, said.time_utc_ns,
    )  # fmt: skip
    assert {"igtl/code": code, "igtl/subcode": -5, "igtl/error": "NDI"} == said.fields
    assert priority == BY_SEVERITY[severity]


def test_other_messages_say_nothing() -> None:
    """Transforms and images are the recorder's."""
    assert None is decoded(status(1, kind=b"TRANSFORM"))


@pytest.mark.parametrize("data", [b"", status(1)[:57], status(1)[:-1], status(99), status(1)[:-2] + b"xx"])
def test_what_is_refused(data: bytes) -> None:
    """Cut, altered, and codes nobody has defined."""
    with pytest.raises(BadItem):
        decoded(data)


@given(st.binary(max_size=60), st.sampled_from([1, 2, 3]))
def test_any_body(body: bytes, version: int) -> None:
    """With a good checksum all the same: a message or BadItem."""
    head = struct.pack(">H12s20sIIQQ", version, b"STATUS", b"x", 1, 1, len(body), crc64(body))
    try:
        decoded(head + body)
    except BadItem:
        pass

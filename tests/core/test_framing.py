"""Messages in streams: whole ones come out whatever the pieces they arrive in, and nothing grows without a ceiling."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.core.errors import BadItem
from firmware.core.framing import (
    CUT_BYTES,
    HL7_BYTES_MAX,
    STATUS_BYTES_MAX,
    SYSLOG_BYTES_MAX,
    Cut,
    DicomFraming,
    Framing,
    IgtlFraming,
    MllpFraming,
    SyslogFraming,
)

SYSLOG = [b"<13>one", b"<14>two words", b"<15>1 - - - - - - x"]


def igtl(kind: bytes, body: bytes, *, version: int = 1) -> bytes:
    return (
        version.to_bytes(2, "big")
        + kind.ljust(12, b"\0")
        + b"dev".ljust(20, b"\0")
        + bytes(8)
        + len(body).to_bytes(8, "big")
        + bytes(8)
        + body
    )


STREAMS: list[tuple[Callable[[], Framing], bytes, list[bytes]]] = [
    (SyslogFraming, b"".join(b"%d %s" % (len(row), row) for row in SYSLOG), SYSLOG),
    (SyslogFraming, b"".join(row + b"\n" for row in SYSLOG), SYSLOG),
    (SyslogFraming, b"<13>line\r\n8 <14>four\n<15>five\n\n", [b"<13>line", b"<14>four", b"<15>five"]),
    (SyslogFraming, b"11 <13>two\nrow", [b"<13>two\nrow"]),
    (SyslogFraming, b"<13>trace:\n4711 frames lost\n<8>stop\n7 <13>ten\n", [b"<13>trace:", b"4711 frames lost", b"<8>stop", b"<13>ten"]),
    (SyslogFraming, b"4 text<13>line\n4 text\n", [b"text", b"<13>line", b"4 text"]),
    (MllpFraming, b"\x0bMSH|1\x1c\r\r\n\x0bMSH|2\x1c\x1c\r", [b"MSH|1", b"MSH|2\x1c"]),
    (IgtlFraming, igtl(b"STATUS", b"12345") + igtl(b"IMAGE", bytes(500)) + igtl(b"STATUS", b""),
     [igtl(b"STATUS", b"12345"), igtl(b"IMAGE", bytes(500))[:58], igtl(b"STATUS", b"")]),
]  # fmt: skip


@pytest.mark.parametrize(("framing", "stream", "expected"), STREAMS)
@pytest.mark.parametrize("piece", [1, 2, 3, 7, 57, 58, 59, 10_000])
def test_whatever_the_pieces(framing: Callable[[], Framing], stream: bytes, expected: list[bytes], piece: int) -> None:
    """RFC 6587 in both ways and mixed, MLLP, OpenIGTLink with images between. (S2-033)"""
    made = framing()
    found = [message for at in range(0, len(stream), piece) for message in made.feed(stream[at : at + piece])]

    assert (expected, 0) == (found, made.held)


@pytest.mark.parametrize(
    ("framing", "stream"),
    [
        (SyslogFraming, b"<13>" + b"x" * SYSLOG_BYTES_MAX),
        (SyslogFraming, b"65537 <13>"),
        (SyslogFraming, b"999999 <13>"),
        (MllpFraming, b"MSH|"),
        (IgtlFraming, igtl(b"STATUS", bytes(STATUS_BYTES_MAX + 1))),
        (IgtlFraming, b"\x00\x09" + bytes(56)),
    ],
)
def test_what_is_too_long_or_no_sense(framing: Callable[[], Framing], stream: bytes) -> None:
    """Endless messages and streams that are something else end the connection."""
    with pytest.raises(BadItem):
        list(framing().feed(stream))


@pytest.mark.parametrize("piece", [65_536, HL7_BYTES_MAX + 5, 4 * HL7_BYTES_MAX])
def test_a_block_that_is_too_long_costs_itself(piece: int) -> None:
    """Its begin is given out as such when its end is met, whatever the pieces; what stands behind it is read, and memory is bounded."""
    made = MllpFraming()
    stream = b"\x0bMSH|1" + b"x" * (2 * HL7_BYTES_MAX) + b"\x1c\r\x0bMSH|2\x1c\r\x0b" + b"x" * (HL7_BYTES_MAX - 1) + b"\x1c\r"
    found, most = [], 0
    for at in range(0, len(stream), piece):
        found += made.feed(stream[at : at + piece])
        most = max(most, made.held)

    assert [(Cut, b"MSH|1"), (bytes, b"MSH|2"), (bytes, b"xxxxx")] == [(type(block), bytes(block[:5])) for block in found]
    assert [CUT_BYTES, 5, HL7_BYTES_MAX - 1] == [len(block) for block in found]
    assert most <= HL7_BYTES_MAX


def test_an_endless_image_is_not_held() -> None:
    """A body said to be 2**64 bytes long costs nothing."""
    framing = IgtlFraming()
    head = igtl(b"IMAGE", b"")
    found = list(framing.feed(head[:42] + b"\xff" * 8 + head[50:]))
    for _ in range(100):
        found += framing.feed(bytes(65_536))

    assert 1 == len(found)
    assert framing.held <= 1


@given(st.sampled_from([SyslogFraming, MllpFraming, IgtlFraming, DicomFraming]), st.lists(st.binary(max_size=80), max_size=10))
def test_any_bytes(framing: Callable[[], Framing], pieces: list[bytes]) -> None:
    """Whole messages, nothing yet, or BadItem; and never more than was sent."""
    made, found = framing(), 0
    try:
        for piece in pieces:
            found += sum(len(message) for message in made.feed(piece))
    except BadItem:
        return

    assert found <= sum(map(len, pieces))

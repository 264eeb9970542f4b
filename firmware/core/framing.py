"""Where messages begin and end in a stream of bytes: syslog (RFC 6587, RFC 5425), HL7 in MLLP, OpenIGTLink, DICOM. Pure, bounded.

A framing is fed what came and gives out whole messages. What it holds meanwhile has a ceiling; a stream that breaks it, or that
makes no sense any more, raises BadItem, and the connection is worth nothing from then on.
"""

import re
from collections.abc import Iterator
from typing import Protocol

from firmware.core.errors import BadItem
from firmware.core.upper_layer import PDU_BYTES_MAX

SYSLOG_BYTES_MAX = 65_536  # RFC 5425 §4.3.1 asks for 8,192 at least; an audit message of IHE ATNA may have 32,768
HL7_BYTES_MAX = 1 << 20  # A waveform snapshot has some hundred kilobytes; what is longer is a document, and refused.
CUT_BYTES = 4_096  # of one that is longer; the header has some hundred
STATUS_BYTES_MAX = 65_536
IGTL_HEADER_BYTES = 58
ASSOCIATE_BYTES_MAX = (
    65_536  # 128 presentation contexts of some hundred bytes; what one asks for cannot be kept from anybody else.
)
_LENGTH = re.compile(rb"[1-9]\d{0,5} ")
_LENGTH_OF_SYSLOG = re.compile(rb"[1-9]\d{0,5} (?=<)")
_LENGTH_BEGUN = re.compile(rb"[1-9]\d{0,5} ?")
_START, _END = b"\x0b", b"\x1c\r"  # MLLP: <VT> … <FS><CR>


class Framing(Protocol):
    """One connection's."""

    @property
    def held(self) -> int:
        """Bytes of a message that is not whole yet."""
        ...

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The messages that are whole now. Raises BadItem."""
        ...

    def last(self) -> bytes:
        """What is whole because nothing follows any more; empty where there is nothing of the kind. To be asked once, at the end."""
        ...


class _Framed:
    """Of framings that say where a message ends: without that, it is not whole."""

    def last(self) -> bytes:
        return b""


class SyslogFraming:
    """Octet counting ("MSG-LEN SP MSG") and lines, told apart message by message by the first byte, as RFC 6587 §3.4 describes it.

    Who has sent lines counts no octets but before a "<": a text of several lines may have one that begins with a number, and what
    follows it is none of it.
    """

    def __init__(self) -> None:
        self._data = b""
        self._length = _LENGTH

    @property
    def held(self) -> int:
        return len(self._data)

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._data += data
        at = 0
        while at < len(self._data):
            end = self._end(at)
            if end is None:
                break
            is_line, (begin, at) = end[0] == at, end
            message = self._data[begin:at].strip(b"\r\n\x00")
            if message:
                if is_line:
                    self._length = _LENGTH_OF_SYSLOG
                yield message
        self._data = self._data[at:]

    def last(self) -> bytes:
        """A line that the end of the connection ends, as others take it, too; what was cut off within its count is not whole."""
        is_counted = self._length.match(self._data) or (self._length is _LENGTH and _LENGTH_BEGUN.fullmatch(self._data))
        return b"" if is_counted or len(self._data) > SYSLOG_BYTES_MAX else self._data.strip(b"\r\n\x00")

    def _end(self, at: int) -> tuple[int, int] | None:
        """First byte of the message and the one after it; None when it is not whole."""
        if counted := self._length.match(self._data, at):
            size = int(counted[0])
            if size > SYSLOG_BYTES_MAX:
                raise BadItem(f"expected syslog messages of at most {SYSLOG_BYTES_MAX} bytes")
            return (counted.end(), counted.end() + size) if counted.end() + size <= len(self._data) else None
        if (begun := _LENGTH_BEGUN.match(self._data, at)) and begun.end() == len(self._data):
            return None
        line = self._data.find(b"\n", at)
        if line >= 0 and line - at <= SYSLOG_BYTES_MAX:
            return at, line + 1
        if len(self._data) - at > SYSLOG_BYTES_MAX:
            raise BadItem(f"expected syslog messages of at most {SYSLOG_BYTES_MAX} bytes")
        return None


class Cut(bytes):
    """The begin of a message that was longer than is held: enough to say to whom that it is refused."""


class MllpFraming(_Framed):
    """Blocks between <VT> and <FS><CR> (HL7 minimal lower layer protocol, release 1). Between blocks nothing but line ends may stand.

    Of a block that is too long its begin is given out when its end is met. To end the connection would not do: its sender would connect
    again, begin with it again, and what is behind it would never come.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._searched = 0
        self._cut: Cut | None = None

    @property
    def held(self) -> int:
        return len(self._data)

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._data += data
        while True:
            if self._data[:1] != _START:
                begin = len(self._data) - len(self._data.lstrip(b"\r\n"))
                del self._data[:begin]
            if not self._data:
                self._searched = 0
                return
            if self._data[:1] != _START:
                raise BadItem("expected <VT> at the beginning of an MLLP block")
            # Not from the beginning each time: somebody who sends a megabyte byte by byte would cost its square.
            end = self._data.find(_END, max(1, self._searched - 1))
            if self._cut is None and (end if end >= 0 else len(self._data)) > HL7_BYTES_MAX:
                self._cut = Cut(self._data[1 : CUT_BYTES + 1])
            if end < 0:
                if self._cut is not None:
                    del self._data[1:-1]  # The last one may be the begin of the end.
                self._searched = len(self._data)
                return
            block, self._cut = self._cut if self._cut is not None else bytes(self._data[1:end]), None
            del self._data[: end + len(_END)]
            self._searched = 0
            yield block


class IgtlFraming(_Framed):
    """OpenIGTLink messages, header and body; of others than STATUS the header only: images pass by without being held."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._skip = 0

    @property
    def held(self) -> int:
        return len(self._data) + (1 if self._skip else 0)

    def feed(self, data: bytes) -> Iterator[bytes]:
        view = data
        while view or len(self._data) >= IGTL_HEADER_BYTES:
            if self._skip:
                passed = min(self._skip, len(view))
                self._skip -= passed
                view = view[passed:]
                if self._skip or not view:
                    return
            self._data += view
            view = b""
            if len(self._data) < IGTL_HEADER_BYTES:
                return
            version, kind = int.from_bytes(self._data[:2], "big"), bytes(self._data[2:14]).rstrip(b"\0")
            size = int.from_bytes(self._data[42:50], "big")
            if version not in (1, 2, 3):
                raise BadItem("expected an OpenIGTLink header of version 1, 2 or 3")
            if kind != b"STATUS":
                yield bytes(self._data[:IGTL_HEADER_BYTES])
                view, self._skip = bytes(self._data[IGTL_HEADER_BYTES:]), size
                self._data.clear()
                continue
            if size > STATUS_BYTES_MAX:
                raise BadItem(f"expected a STATUS of at most {STATUS_BYTES_MAX} bytes")
            if len(self._data) < IGTL_HEADER_BYTES + size:
                return
            yield bytes(self._data[: IGTL_HEADER_BYTES + size])
            del self._data[: IGTL_HEADER_BYTES + size]


class DicomFraming(_Framed):
    """Protocol data units of DICOM's upper layer (PS3.8 §9.3): type, a reserved byte, a length."""

    def __init__(self) -> None:
        self._data = bytearray()

    @property
    def held(self) -> int:
        return len(self._data)

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._data += data
        while len(self._data) >= 6:
            kind, size = self._data[0], int.from_bytes(self._data[2:6], "big")
            if not 1 <= kind <= 7:
                raise BadItem("expected a protocol data unit of type 1 to 7")
            if size > (ASSOCIATE_BYTES_MAX if kind == 1 else PDU_BYTES_MAX):
                raise BadItem(f"expected protocol data units of at most {PDU_BYTES_MAX} bytes, requests of {ASSOCIATE_BYTES_MAX}")
            if len(self._data) < 6 + size:
                return
            pdu = bytes(self._data[: 6 + size])
            del self._data[: 6 + size]
            yield pdu

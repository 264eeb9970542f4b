"""DICOM's upper layer and the messages on it, as far as who is told of procedure steps has to speak them. Pure, bounded.

    A-ASSOCIATE-RQ ─▶ -AC (Verification and Modality Performed Procedure Step, nothing else; or -RJ)
    P-DATA          ─▶ C-ECHO, N-CREATE, N-SET, put together; their answers
    A-RELEASE-RQ    ─▶ -RP

One object for each connection; what comes in is a whole PDU (framing.py: DicomFraming).
Source: DICOM PS3.8 §9.3 (PDUs), PS3.7 §9.3, §10.3 and Annex E (messages), PS3.4 Annex F (what is in them).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from firmware.core.errors import BadItem

VERIFICATION, STEP = "1.2.840.10008.1.1", "1.2.840.10008.3.1.2.3.3"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"  # both little endian
PDU_BYTES_MAX = 16_384  # announced; what an association request may be has a ceiling of its own (framing.py)
# Held of one. A step that is over lists its images at its end, behind all that is read of it (mpps.py), of some 110 bytes each: diffusion
# and functional MR have thousands, a long CT more than ten thousand. What is more passes by without being held.
MESSAGE_BYTES_MAX = 1 << 20
PASSING_BYTES_MAX = 32 << 20
CONTEXTS_MAX = 128  # PS3.8 §9.3.2.2: odd numbers below 256
ECHO, CREATE, SET = 0x0030, 0x0140, 0x0120
SUCCESS, FAILED, NO_SUCH_CLASS, NO_SUCH_OPERATION = 0x0000, 0x0110, 0x0118, 0x0211
_NO_DATA = 0x0101
_APPLICATION = b"1.2.840.10008.3.1.1.1"
_OURS = b"2.25.208236419480733186011466180183925163241"  # a UID of ours, by UUID (PS3.5 Annex B.2)
_VERSION = b"SCRUBJAY"


@dataclass(frozen=True, slots=True)
class Request:
    """One message: what is asked (ECHO, CREATE, SET), about which instance, and the data set as it came with its syntax.

    data: of a longer one the first MESSAGE_BYTES_MAX.
    """

    context: int
    operation: int
    number: int
    instance: str
    data: bytes
    is_explicit: bool


@dataclass(frozen=True, slots=True)
class Heard:
    """What a PDU came to. reply: what is sent at once. request: a message that is whole now. is_over: nothing follows."""

    reply: bytes = b""
    request: Request | None = None
    is_over: bool = False


class Association:
    """Of one connection. caller: the title of who called, "" before he has said it."""

    def __init__(self) -> None:
        self.caller = ""
        self._contexts: dict[int, tuple[str, bool]] | None = None  # class, and whether it is explicit; None before there is one
        self._command, self._data = bytearray(), bytearray()  # in place: a stranger chooses how small the pieces are
        self._passed = 0  # bytes of the data set that are not held
        self._waiting: tuple[int, dict[int, bytes]] | None = None  # a command whose data set is still coming

    def feed(self, pdu: bytes) -> Heard:
        """One PDU. Raises BadItem: the connection is worth nothing from then on."""
        kind, body = pdu[0], pdu[6:]
        if kind == 1 and self._contexts is None:
            return self._associate(body)
        if kind == 7:
            return Heard(is_over=True)
        if self._contexts is None:
            raise BadItem("expected A-ASSOCIATE-RQ at the beginning")
        if kind == 5:
            return Heard(reply=_pdu(6, bytes(4)), is_over=True)
        if kind == 4:
            return self._take(body)
        raise BadItem("expected P-DATA-TF, A-RELEASE-RQ or A-ABORT")

    def _associate(self, body: bytes) -> Heard:
        if len(body) < 68:
            raise BadItem("expected an A-ASSOCIATE-RQ of at least 68 bytes")
        offered: dict[int, tuple[str, list[str]]] = {}
        for kind, item in _items(body[68:]):
            if kind == 0x20 and len(item) >= 4:
                parts = list(_items(item[4:]))
                names = [_uid(part) for what, part in parts if what == 0x30]
                offered[item[0]] = names[0] if names else "", [_uid(part) for what, part in parts if what == 0x40]
        if not 0 < len(offered) <= CONTEXTS_MAX:
            raise BadItem(f"expected 1 to {CONTEXTS_MAX} presentation contexts")
        self.caller = body[20:36].decode("latin-1").strip(" \0")
        self._contexts = {}
        answers = b""
        for number, (name, syntaxes) in offered.items():
            syntax = next((known for known in (IMPLICIT, EXPLICIT) if known in syntaxes), None)
            result = 3 if name not in (VERIFICATION, STEP) else 4 if syntax is None else 0
            if result == 0:
                self._contexts[number] = name, syntax == EXPLICIT
            answers += _item(0x21, bytes((number, 0, result, 0)) + _item(0x40, (syntax or IMPLICIT).encode()))
        if not self._contexts:
            return Heard(reply=_pdu(3, bytes((0, 1, 1, 1))), is_over=True)  # rejected, for good, by the user, no reason given
        user = _item(0x51, struct.pack(">I", PDU_BYTES_MAX)) + _item(0x52, _OURS) + _item(0x55, _VERSION)
        head = b"\0\1\0\0" + body[4:68]
        return Heard(reply=_pdu(2, head + _item(0x10, _APPLICATION) + answers + _item(0x50, user)))

    def _take(self, body: bytes) -> Heard:
        """Pieces of one message; a second one in the same PDU would be another's, and nobody sends it so."""
        found: Request | None = None
        at = 0
        while at < len(body):
            if at + 6 > len(body):
                raise BadItem("expected a presentation data value of at least 2 bytes")
            size, context, header = struct.unpack_from(">IBB", body, at)
            piece = body[at + 6 : at + 4 + size]
            if size < 2 or len(piece) != size - 2 or self._contexts is None or context not in self._contexts or found is not None:
                raise BadItem("expected presentation data values of a context that was accepted, of one message")
            at += 4 + size
            found = self._piece(context, piece, is_command=bool(header & 1), is_last=bool(header & 2))
        return Heard(request=found)

    def _piece(self, context: int, piece: bytes, *, is_command: bool, is_last: bool) -> Request | None:
        if is_command == (self._waiting is not None):
            raise BadItem("expected a command, then its data set")
        if is_command:
            self._command += piece
        else:
            held = piece[: MESSAGE_BYTES_MAX - len(self._data)]
            self._data += held
            self._passed += len(piece) - len(held)
        if len(self._command) > MESSAGE_BYTES_MAX or self._passed > PASSING_BYTES_MAX:
            raise BadItem(f"expected commands of at most {MESSAGE_BYTES_MAX} bytes, and {PASSING_BYTES_MAX} more of a data set")
        if not is_last:
            return None
        if is_command:
            command, self._command = dict(_command(bytes(self._command))), bytearray()
            if _short(command, 0x0800) != _NO_DATA:
                self._waiting = context, command
                return None
            return self._request(context, command, b"")
        assert self._waiting is not None, "a data set follows its command"
        (begun, command), self._waiting = self._waiting, None
        data, self._data, self._passed = bytes(self._data), bytearray(), 0
        if begun != context:
            raise BadItem("expected the data set in the context of its command")
        return self._request(context, command, data)

    def _request(self, context: int, command: dict[int, bytes], data: bytes) -> Request:
        assert self._contexts is not None, "messages come after the association"
        instance = command.get(0x1001) or command.get(0x1000) or b""
        return Request(
            context, _short(command, 0x0100), _short(command, 0x0110), _uid(instance), data, self._contexts[context][1]
        )  # fmt: skip

    def class_of(self, request: Request) -> str:
        """What was negotiated for it."""
        return self._contexts[request.context][0] if self._contexts else ""

    def answer(self, request: Request, status: int) -> bytes:
        """The response, as a PDU."""
        rows = [
            (0x0002, _even(self.class_of(request).encode())), (0x0100, struct.pack("<H", request.operation | 0x8000)),
            (0x0120, struct.pack("<H", request.number)), (0x0800, struct.pack("<H", _NO_DATA)), (0x0900, struct.pack("<H", status)),
        ]  # fmt: skip
        if request.instance:
            rows.append((0x1000, _even(request.instance.encode())))
        body = b"".join(struct.pack("<HHI", 0, element, len(value)) + value for element, value in rows)
        command = struct.pack("<HHII", 0, 0, 4, len(body)) + body
        return _pdu(4, struct.pack(">IBB", len(command) + 2, request.context, 3) + command)


def _command(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            raise BadItem("expected command elements of at least 8 bytes")
        group, element, size = struct.unpack_from("<HHI", data, at)
        if group != 0 or size > len(data) - at - 8:
            raise BadItem("expected elements of group 0000 within the command")
        yield element, data[at + 8 : at + 8 + size]
        at += 8 + size


def _short(command: dict[int, bytes], element: int) -> int:
    value = command.get(element, b"")
    if len(value) != 2:
        raise BadItem(f"expected (0000,{element:04X}) of 2 bytes in a command")
    return int.from_bytes(value, "little")


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        if at + 4 + size > len(data) or at + 4 > len(data):
            raise BadItem("expected items within their A-ASSOCIATE-RQ")
        yield data[at], data[at + 4 : at + 4 + size]
        at += 4 + size


def _item(kind: int, data: bytes) -> bytes:
    return bytes((kind, 0)) + struct.pack(">H", len(data)) + data


def _pdu(kind: int, body: bytes) -> bytes:
    return bytes((kind, 0)) + struct.pack(">I", len(body)) + body


def _uid(data: bytes) -> str:
    text = data.decode("latin-1").strip(" \0")
    return text if len(text) <= 64 and all(c in "0123456789." for c in text) else ""


def _even(data: bytes) -> bytes:
    return data + b"\0" * (len(data) % 2)

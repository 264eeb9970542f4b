"""What the simulated room says: published messages with known tokens, traffic of clinical systems with planted patients, and noise.

Everything follows from a seed. Frames are made by hand, byte by byte, so that wrong ones can be made as well.
"""

import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

import cbor2

from drivers.tap import HeardFrame
from firmware.core.message import Priority
from firmware.core.timestamp import iso

MESSAGE_PORTS = {Priority.P1: 47001, Priority.P2: 47002, Priority.P3: 47003, Priority.P4: 47004}
# Names nobody bears by chance, so that finding one anywhere is a leak and no accident; in scripts whose encodings differ.
PATIENTS = ("Zebulon Quackenbush", "Wilhelmína Øvergårdsson", "欧阳震华", "Đorđe Živković")
RECORD_NUMBERS = ("MRN-77301946", "PID-55102873")
ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "gb18030", "latin-1", "cp1250")
_BOX_NET, _BROADCAST = "10.77.0", "10.77.0.255"
_BROADCAST_MAC = b"\xff" * 6


@dataclass(frozen=True, slots=True)
class Device:
    """A device of the room. number: last part of its address and of its MAC."""

    name: str
    number: int

    @property
    def mac(self) -> bytes:
        return bytes((2, 0x53, 0x4A, 0, 0, self.number))

    @property
    def ip(self) -> str:
        return f"{_BOX_NET}.{self.number}"


CONSOLE, ARM, VISION, MONITOR, PACS = (
    Device(name, number) for number, name in enumerate(("console", "arm", "vision", "monitor", "pacs"), start=10)
)
TALKERS = (CONSOLE, ARM, VISION, MONITOR)


@dataclass(frozen=True, slots=True)
class Told:
    """One published message. token: unique, in what the hub will see of it. frames: more than one when it was sent twice or in parts."""

    token: str
    priority: Priority
    frames: tuple[bytes, ...]
    copies: int = 1


def planted() -> tuple[bytes, ...]:
    """Every byte sequence that must never leave: each planted word in each encoding that can write it."""
    found: dict[bytes, None] = {}
    for word in (*PATIENTS, *RECORD_NUMBERS, *(part for name in PATIENTS for part in name.split() if len(part) > 5)):
        for encoding in ENCODINGS:
            try:
                found[word.encode(encoding)] = None
            except UnicodeEncodeError:
                continue
    return tuple(found)


@dataclass(slots=True)
class Parrots:
    """The room's voices. `tell` makes a published message, `chatter` some ordinary traffic, `noise` what no device should send."""

    random: Random
    told: list[Told] = field(default_factory=list)
    _sequence: int = 0
    _event: int = 0

    def tell(self, utc_of: Callable[[Device], int], *, priority: Priority | None = None) -> Told:
        """The next message of some device, stamped by its own clock (utc_of, ns), which may be wrong."""
        self._sequence += 1
        random = self.random
        priority = priority or random.choices(list(Priority), (2, 3, 3, 5))[0]
        device = random.choice(TALKERS)
        token = f"tok-{self._sequence:05d}"
        payload, copies = self._payload(token, utc_of(device))
        datagrams = _udp_frames(device, MESSAGE_PORTS[priority], payload, random)
        told = Told(token, priority, datagrams * copies, copies)
        self.told.append(told)
        return told

    def chatter(self, count: int) -> Iterator[bytes]:
        """Frames of the room's ordinary traffic."""
        for _ in range(count):
            yield self.random.choice(
                (self._motion, self._motion, self._motion, self._ptp, self._arp, self._hl7, self._dicom, self._tagged)
            )()

    def noise(self, count: int) -> Iterator[bytes]:
        """Frames of any bytes: cut short, wrong lengths, random, claiming to be what they are not, some to the message ports."""
        for _ in range(count):
            frame = bytearray(self.random.choice((self._random, self._motion, self._hl7, self._tagged))())
            style = self.random.randrange(4)
            if style == 0:
                del frame[self.random.randrange(len(frame) + 1) :]
            elif style == 1:
                for _ in range(self.random.randrange(1, 12)):
                    if frame:
                        frame[self.random.randrange(len(frame))] = self.random.randrange(256)
            elif style == 2 and len(frame) > 20:
                frame[12:14] = self.random.choice((b"\x08\x00", b"\x86\xdd", b"\x81\x00", b"\x88\xf7", b"\x00\x00"))
            yield bytes(frame)

    # Messages.

    def _payload(self, token: str, utc_ns: int) -> tuple[bytes, int]:
        """One datagram's contents, and how often it is sent: only a message with a time of its own can be told from its copy."""
        random, patient = self.random, self.random.choice(PATIENTS)
        text = random.choice(
            (
                f"{token} joint 2 stopped",
                f"{token} stopped for #phi {patient} {random.choice(RECORD_NUMBERS)} #end at 12 N",
                f"{token} last words #PHI {patient}",
                f"{token} nested #phi a #phi {patient} #end b #end end",
            )
        )
        row: dict[str, object] = {"process": token, "sequence": self._sequence, "time_utc_ns": utc_ns, "text": text}
        row["fields"] = random.choice(
            (
                {},
                {"torque_nm": 4.25, "patient_name": patient},
                {"arm": {"temperature_c": 41, "PatientID": random.choice(RECORD_NUMBERS)}, "count": 3},
                {"patient": {"address": {"street": patient}}, "birth-date": patient},
            )
        )
        if random.random() < 0.2:
            self._event += random.random() < 0.3
            row["event"] = f"event-{self._event}"
        if random.random() < 0.05:
            row["attachment"] = ["application/octet-stream", patient.encode()]
        style = random.randrange(5)
        if style < 2:
            return cbor2.dumps(row), random.choices((1, 2), (6, 1))[0]
        if style == 2:
            row.pop("attachment", None)
            return json.dumps(row, ensure_ascii=random.random() < 0.5).encode(), random.choices((1, 2), (6, 1))[0]
        if style == 3:
            stamp = iso(utc_ns)
            return f"<{random.choice((8, 11, 12, 14, 15))}1>1 {stamp} arm {token} - - - {text}".encode(), 1
        return text.encode(), 1

    # Ordinary traffic.

    def _motion(self) -> bytes:
        self._sequence += 1
        body = struct.pack("<3I6i", self._sequence, 0, 0, *(self.random.randrange(-2000, 2000) for _ in range(6)))
        return _udp(CONSOLE, ARM.ip, 36000, 36000, body + self.random.randbytes(20))

    def _ptp(self) -> bytes:
        body = struct.pack(">BBHBBH", 0x00, 2, 44, 0, 0, 0x0200) + bytes(12) + self.random.randbytes(24)
        return b"\x01\x1b\x19\0\0\0" + MONITOR.mac + b"\x88\xf7" + body

    def _arp(self) -> bytes:
        body = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + ARM.mac + _address(ARM.ip) + bytes(6) + _address(CONSOLE.ip)
        return _BROADCAST_MAC + ARM.mac + b"\x08\x06" + body + self.random.randbytes(18)

    def _hl7(self) -> bytes:
        patient, number = self.random.choice(PATIENTS), self.random.choice(RECORD_NUMBERS)
        text = f"\x0bMSH|^~\\&|MON|OR3|HIS|H|20261122||ORU^R01|{self._sequence}|P|2.6\rPID|1||{number}||{patient.replace(' ', '^')}||19610203\r\x1c\r"
        return _tcp(MONITOR, PACS.ip, 40001, 2575, text.encode(), self.random)

    def _dicom(self) -> bytes:
        patient = self.random.choice(PATIENTS)
        name = patient.encode("gb18030" if patient.startswith("欧") else "utf-8")
        name += b" " * (len(name) % 2)
        element = struct.pack("<HH2sH", 0x0010, 0x0010, b"PN", len(name)) + name
        return _tcp(VISION, PACS.ip, 40002, 104, struct.pack(">BBI", 4, 0, len(element)) + element, self.random)

    def _tagged(self) -> bytes:
        plain = _udp(VISION, PACS.ip, 5004, 5004, self.random.choice(PATIENTS).encode("utf-16-le") + self.random.randbytes(30))
        return plain[:12] + struct.pack(">HH", 0x8100, self.random.choice((10, 20))) + plain[12:]

    def _random(self) -> bytes:
        size = self.random.choice((0, 1, 13, 14, 15, 33, 60, 200, 1514))
        if self.random.random() < 0.4:
            return _udp(ARM, _BROADCAST, 9, self.random.choice(tuple(MESSAGE_PORTS.values())), self.random.randbytes(size))
        return self.random.randbytes(size)


def datagram(device: Device, destination: str, port: int, payload: bytes) -> bytes:
    """A frame with this datagram from a device, to an IPv4 address of the room or to a multicast group; from the same port, as PTP is."""
    return _udp(device, destination, port, port, payload)


def heard(data: bytes, utc_ns: int) -> HeardFrame:
    """A frame as the wire carried it at this moment."""
    return HeardFrame(utc_ns, data, len(data))


def _udp_frames(device: Device, port: int, payload: bytes, random: Random) -> tuple[bytes, ...]:
    """The datagram in one frame or, now and then, in IP fragments or in a VLAN."""
    style = random.randrange(12)
    whole = _udp(device, _BROADCAST, 40000, port, payload)
    if style == 0:
        return (whole[:12] + b"\x81\x00\x00\x0a" + whole[12:],)
    if style == 1 and len(payload) > 40:
        transport = whole[34:]
        cut = 24
        identification = random.randrange(1, 65_536)
        return (
            _ip(device, _BROADCAST, 17, transport[:cut], identification=identification, fragment=0x2000),
            _ip(device, _BROADCAST, 17, transport[cut:], identification=identification, fragment=cut // 8),
        )
    return (whole,)


def _udp(device: Device, destination: str, source_port: int, port: int, payload: bytes) -> bytes:
    head = struct.pack(">HHHH", source_port, port, 8 + len(payload), 0)
    if device is not VISION:  # whose camera sends without a checksum (RFC 768)
        head = head[:6] + struct.pack(">H", _transport_checksum(device, destination, 17, head + payload) or 0xFFFF)
    return _ip(device, destination, 17, head + payload)


def _tcp(device: Device, destination: str, source_port: int, port: int, payload: bytes, random: Random) -> bytes:
    head = struct.pack(">HHIIBBHHH", source_port, port, random.getrandbits(32), 0, 0x50, 0x18, 65_535, 0, 0)
    head = head[:16] + struct.pack(">H", _transport_checksum(device, destination, 6, head + payload)) + head[18:]
    return _ip(device, destination, 6, head + payload)


def _ip(device: Device, destination: str, protocol: int, body: bytes, *, identification: int = 0, fragment: int = 0) -> bytes:
    head = struct.pack(
        ">BBHHHBBH4s4s",
        0x45,
        0,
        20 + len(body),
        identification,
        fragment,
        64,
        protocol,
        0,
        _address(device.ip),
        _address(destination),
    )
    head = head[:10] + struct.pack(">H", _checksum(head)) + head[12:]
    last = _address(destination)
    if destination == _BROADCAST:
        to = _BROADCAST_MAC
    elif last[0] in range(224, 240):
        to = bytes((1, 0, 0x5E, last[1] & 0x7F, last[2], last[3]))  # RFC 1112 §6.4
    else:
        to = bytes((2, 0x53, 0x4A, 0, 0, last[3]))
    return to + device.mac + b"\x08\x00" + head + body


def _address(text: str) -> bytes:
    return bytes(int(part) for part in text.split("."))


def _transport_checksum(device: Device, destination: str, protocol: int, segment: bytes) -> int:
    pseudo = _address(device.ip) + _address(destination) + struct.pack(">HH", protocol, len(segment))
    return _checksum(pseudo + segment + bytes(len(segment) % 2))


def _checksum(head: bytes) -> int:
    total: int = sum(struct.unpack(f">{len(head) // 2}H", head))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF & ~total

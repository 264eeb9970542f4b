"""Frames of our own making, in the layouts the decoders' front pages describe: nothing here comes from a recording."""

import struct
from collections.abc import Sequence

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether

PREFIX = bytes(range(12))
WRITER = b"\x00\x00\x02\x03"


def udp(payload: bytes, *, port: int = 36_000, source: str = "10.0.0.5", destination: str = "10.0.0.6") -> bytes:
    return bytes(Ether(src="02:00:00:00:00:05") / IP(src=source, dst=destination) / UDP(sport=5000, dport=port) / payload)


def tcp(payload: bytes, *, sequence: int = 1, flags: str = "PA", port: int = 18_944) -> bytes:
    return bytes(
        Ether(src="02:00:00:00:00:05")
        / IP(src="10.0.0.5", dst="10.0.0.6")
        / TCP(sport=port, dport=50_000, seq=sequence, flags=flags)
        / payload
    )


def itp_console(sequence: int, increments: Sequence[int]) -> bytes:
    """increments: x left, x right, y left, y right, z left, z right."""
    turn = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0)
    return struct.pack("<3I6i8d2i2iii", sequence, 0, 1, *increments, *turn, 0, 0, 100, -100, 1, 0)


def itp_robot(sequence: int, forces: Sequence[int]) -> bytes:
    return struct.pack("<4I6iiIi", sequence, sequence, 0, 1, *forces, 3, 0x80000001, 0)


def _aligned(data: bytes, size: int) -> bytes:
    return data + bytes(-len(data) % size)


def _text(text: str, order: str) -> bytes:
    return struct.pack(f"{order}I", len(text) + 1) + text.encode() + b"\0"


def cdr_joint_state(positions: Sequence[float], *, names: Sequence[str], order: str = "<") -> bytes:
    data = struct.pack(f"{order}iI", 1_790_000_000, 7) + _text("base", order)
    data = _aligned(data, 4) + struct.pack(f"{order}I", len(names))
    for name in names:
        data = _aligned(data, 4) + _text(name, order)
    for values in (positions, [0.5] * len(positions), ()):
        data = _aligned(data, 4) + struct.pack(f"{order}I", len(values))
        if values:
            data = _aligned(data, 8) + struct.pack(f"{order}{len(values)}d", *values)
    return (b"\x00\x01\x00\x00" if order == "<" else b"\x00\x00\x00\x00") + data


def cdr_temperature(value: float) -> bytes:
    data = _aligned(struct.pack("<iI", 1_790_000_000, 7) + _text("base", "<"), 8)
    return b"\x00\x01\x00\x00" + data + struct.pack("<2d", value, 0.25)


def rtps(*submessages: bytes) -> bytes:
    return b"RTPS\x02\x05\x01\x10" + PREFIX + b"".join(submessages)


def rtps_data(payload: bytes, *, writer: bytes = WRITER, order: str = "<", parameters: bytes = b"") -> bytes:
    body = struct.pack(f"{order}HH", 0, 16) + bytes(4) + writer + bytes(8) + parameters + payload
    flags = (1 if order == "<" else 0) | 4 | (2 if parameters else 0)
    return bytes([0x15, flags]) + struct.pack(f"{order}H", len(body)) + body


def rtps_announcement(topic: str, type_name: str, *, writer: bytes = WRITER) -> bytes:
    def parameter(number: int, value: bytes) -> bytes:
        value = _aligned(value, 4)
        return struct.pack("<HH", number, len(value)) + value

    listed = parameter(5, _text(topic, "<")) + parameter(7, _text(type_name, "<")) + parameter(0x5A, PREFIX + writer)
    return rtps_data(b"\x00\x03\x00\x00" + listed + struct.pack("<HH", 1, 0), writer=b"\x00\x00\x03\xc2")


def rtps_acknack() -> bytes:
    return bytes([6, 1]) + struct.pack("<H", 24) + bytes(24)


def igtl(kind: str, body: bytes, *, device: str = "Tool", version: int = 1) -> bytes:
    return struct.pack(">H12s20sQQQ", version, kind.encode(), device.encode(), 0, len(body), 0) + body


def igtl_transform(*position: float) -> bytes:
    return igtl("TRANSFORM", struct.pack(">12f", 1, 0, 0, 0, 1, 0, 0, 0, 1, *position))


def ethercat(*datagrams: tuple[int, int, bytes], source: str = "10:10:10:10:10:10", counter: int = 0) -> bytes:
    """datagrams: command, 32-bit address, data. counter: the working counter of each."""
    body = b""
    for index, (command, address, data) in enumerate(datagrams):
        more = 0x8000 if index < len(datagrams) - 1 else 0
        body += struct.pack("<BBIHH", command, 0, address, len(data) | more, 0) + data + struct.pack("<H", counter)
    return bytes(Ether(src=source, dst="ff:ff:ff:ff:ff:ff", type=0x88A4) / (struct.pack("<H", len(body) | 0x1000) + body))

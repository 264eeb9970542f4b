"""The *Procedure* load: what the mirror port of an operating room carries while a robot works. About 10,000 frames/s, 53 Mbit/s.

    console ⇄ arm, two pairs   4,000/s    the RAVEN II's recorded 1 kHz motion in ITP's published layout (124 and 52 bytes)
    arm state, two pairs       2,000/s    RTPS joint states as recorded from Cyclone DDS, each loop with sequence numbers of its own
    stereo endoscope           3,760/s    2 × 20 Mbit/s RTP in bursts of 50 pictures a second, payload noise: compressed video is
    room camera                  235/s    2.5 Mbit/s RTP, likewise, 25 pictures a second
    everything else              240/s    navigation, PTP, SDC, DICOM, HL7, MQTT, syslog, LAN noise, as recorded together

Rates and sizes: the table this project measured or found documented; values and packets: recordings. A part that is looped has its
TCP, RTPS, PTP and IPv4 numbers moved on by what the loop used up, checksums with them: a loop is no retransmission.

    procedure.py IFACE SECONDS     sends it, second by second; a line of JSON each: frames and bytes sent so far, lateness
"""

import csv
import heapq
import json
import select
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from time import monotonic_ns

from simulator import capture_file

DATA = Path(__file__).parents[3] / "shared" / "data"
MOTION, MIX = DATA / "robot" / "raven2_teleop_1khz.csv", DATA / "pcap" / "lab" / "or_mix_lab.pcap"
SECOND, MS = 1_000_000_000, 1_000_000
SLOT_NS = 2 * MS  # sent together: twenty frames
Timed = tuple[int, bytes]  # ns since the beginning, frame
_COMMAND = struct.Struct("<3I6i8d2i2i2i")
_ANSWER = struct.Struct("<4I6iiIi")
RTP_BYTES = 1316  # seven MPEG transport packets, what encoders put into a datagram


def missing() -> str | None:
    """What is not there, or None."""
    return next((f"no {path}" for path in (MOTION, MIX) if not path.exists()), None)


def frames(seed: int) -> Iterator[Timed]:
    """The load, in the order of time, without end."""
    motion = _motion()
    parts = [path for pair in (0, 1) for path in (_commands(motion, pair), _answers(motion, pair))]
    rows = [(row.stamp_ns, row.data) for row in capture_file.frames(MIX)]
    states = [row for row in rows if _is_rtps(row[1])]
    rest = [row for row in rows if not _is_rtps(row[1]) and not _is_port(row[1], 5004)]
    parts += [_looped(states, host=pair) for pair in (0, 1)]
    parts.append(_looped(rest, host=0))
    for eye in (0, 1):
        parts.append(_video(Random(seed + eye), bits_per_s=20_000_000, pictures_per_s=50, stream=eye, begins_ns=3 * MS * eye))
    parts.append(_video(Random(seed + 2), bits_per_s=2_500_000, pictures_per_s=25, stream=2, begins_ns=11 * MS))
    return heapq.merge(*parts)


# The robot.


def _motion() -> list[tuple[int, ...]]:
    with MOTION.open(newline="") as file:
        rows = csv.reader(file)
        next(rows)
        return [tuple(int(word) for word in row[1:7]) for row in rows]


def _commands(motion: Sequence[tuple[int, ...]], pair: int) -> Iterator[Timed]:
    number = 0
    while True:
        place = motion[number % len(motion)]
        before = motion[(number - 1) % len(motion)]
        steps = [here - there for here, there in zip(place, before, strict=True)]
        turn = [part / 1e5 for part in (*place, *place[:2])]
        data = _COMMAND.pack(number, 1, 1, *steps, *turn, 0, 0, place[0] >> 4, place[3] >> 4, 1, sum(steps))
        yield number * MS + 137_000 * pair, _udp(10 + pair, 20 + pair, 36000, 36000, number, data)
        number += 1


def _answers(motion: Sequence[tuple[int, ...]], pair: int) -> Iterator[Timed]:
    number = 0
    while True:
        place = motion[(number + 7) % len(motion)]
        data = _ANSWER.pack(number, number, 1, 1, *(part >> 3 for part in place), 3, 0xFFFF, sum(place) & 0x7FFFFFFF)
        yield number * MS + 310_000 + 137_000 * pair, _udp(20 + pair, 10 + pair, 36000, 36000, number, data)
        number += 1


# Video.


def _video(random: Random, *, bits_per_s: int, pictures_per_s: int, stream: int, begins_ns: int) -> Iterator[Timed]:
    picture = sequence = 0
    owed = 0.0
    while True:
        at = begins_ns + picture * SECOND // pictures_per_s
        # Every half second a picture that stands alone, four times the others.
        weight = 4.0 if picture % (pictures_per_s // 2) == 0 else 1 - 3 / (pictures_per_s // 2 - 1)
        owed += bits_per_s / 8 / pictures_per_s * weight
        count = int(owed // RTP_BYTES)
        owed -= count * RTP_BYTES
        noise = random.randbytes(count * RTP_BYTES)
        for place in range(count):
            head = struct.pack(">BBHII", 0x80, 96 | (128 if place == count - 1 else 0), sequence & 0xFFFF,
                               picture * 90_000 // pictures_per_s & 0xFFFFFFFF, 0x5C0B0000 + stream)  # fmt: skip
            data = head + noise[place * RTP_BYTES : (place + 1) * RTP_BYTES]
            yield at + place * 12_000, _udp(30 + stream, 40, 5004, 5004 + 2 * stream, sequence, data)
            sequence += 1
        picture += 1


def _udp(source: int, destination: int, source_port: int, port: int, number: int, data: bytes) -> bytes:
    head = struct.pack(">BBHHHBBH", 0x45, 0, 28 + len(data), number & 0xFFFF, 0, 64, 17, 0)
    head += bytes((10, 77, 1, source, 10, 77, 1, destination))
    head = head[:10] + struct.pack(">H", _sum(head)) + head[12:]
    return (
        b"\x02\0\0\0\x01" + bytes([destination]) + b"\x02\0\0\0\x01" + bytes([source]) + b"\x08\0" + head
        + struct.pack(">HHHH", source_port, port, 8 + len(data), 0) + data
    )  # fmt: skip


# What was recorded, again and again.


def _looped(rows: Sequence[Timed], *, host: int) -> Iterator[Timed]:
    first = rows[0][0]
    period = rows[-1][0] - first + 5 * MS
    spans = _tcp_spans(rows)
    states = sum(_is_rtps(frame) for _, frame in rows)
    number = 0
    while True:
        for stamp, frame in rows:
            yield stamp - first + number * period, _moved(frame, number, spans, states, host) if number or host else frame
        number += 1


def _moved(frame: bytes, loop: int, spans: dict[bytes, int], states: int, host: int) -> bytes:
    """The frame with its numbers moved on by so many loops. host: another sender than the recorded one."""
    data = bytearray(frame)
    if data[12:14] == b"\x88\xf7":
        _put16(data, 44, _get16(data, 44) + loop * 160)  # sequenceId; 8 a second
    if data[12:14] != b"\x08\x00" or data[14] != 0x45:
        return bytes(data)
    data[11] = (data[11] + host) & 0xFF
    _put16(data, 18, _get16(data, 18) + loop * 4099)
    data[24:26] = b"\0\0"
    _put16(data, 24, _sum(bytes(data[14:34])))
    if data[23] == 6:
        key = bytes(data[26:38])
        forward, back = spans.get(key, 0), spans.get(key[4:8] + key[:4] + key[10:12] + key[8:10], 0)
        for at, span in ((38, forward), (42, back)):
            before = int.from_bytes(data[at : at + 4], "big")
            after = (before + loop * span) & 0xFFFFFFFF
            data[at : at + 4] = after.to_bytes(4, "big")
            _put16(data, 50, _adjusted(_get16(data, 50), before, after))
    elif _is_rtps(frame):
        at = 62
        while at + 4 <= len(data):
            size = struct.unpack_from("<H", data, at + 2)[0]
            if data[at] == 0x15 and at + 24 <= len(data):  # DATA: its writer's sequence number
                struct.pack_into("<I", data, at + 20, (struct.unpack_from("<I", data, at + 20)[0] + loop * states) & 0xFFFFFFFF)
            if size == 0:
                break
            at += 4 + size
        data[40:42] = b"\0\0"  # no checksum, which UDP over IPv4 allows
    return bytes(data)


def _tcp_spans(rows: Sequence[Timed]) -> dict[bytes, int]:
    """Sequence numbers each direction of each connection used up, by addresses and ports."""
    seen: dict[bytes, tuple[int, int]] = {}
    for _, frame in rows:
        if frame[12:14] == b"\x08\x00" and frame[14] == 0x45 and frame[23] == 6:
            begins = int.from_bytes(frame[38:42], "big")
            ends = begins + _get16(frame, 16) - 20 - (frame[46] >> 4) * 4
            low, high = seen.get(frame[26:38], (begins, ends))
            seen[frame[26:38]] = min(low, begins), max(high, ends)
    return {key: high - low for key, (low, high) in seen.items()}


def _is_rtps(frame: bytes) -> bool:
    return frame[42:46] == b"RTPS"


def _is_port(frame: bytes, port: int) -> bool:
    return frame[12:14] == b"\x08\x00" and frame[23] == 17 and _get16(frame, 36) == port


def _get16(data: bytes | bytearray, at: int) -> int:
    return data[at] << 8 | data[at + 1]


def _put16(data: bytearray, at: int, value: int) -> None:
    struct.pack_into(">H", data, at, value & 0xFFFF)


def _sum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _adjusted(checksum: int, before: int, after: int) -> int:
    """A checksum after 32 bits under it changed (RFC 1624, equation 3)."""
    total = ~checksum & 0xFFFF
    for shift in (0, 16):
        total += (~(before >> shift) & 0xFFFF) + (after >> shift & 0xFFFF)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


# Sending.


def send(interface: str, seconds: float) -> None:
    """All of it at its pace. What comes too late is sent at once: the load of an hour is complete, whatever this machine does."""
    count = size = late_ns = told = errors = 0
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as line:
        line.bind((interface, 0))
        start = monotonic_ns()
        slot = 0
        for at, frame in frames(seed=53):
            if at >= seconds * SECOND:
                break
            if at >= slot:
                slot = at - at % SLOT_NS + SLOT_NS
                rest = at - at % SLOT_NS - (monotonic_ns() - start)
                late_ns = max(late_ns, -rest)
                if rest > 0:
                    select.select([], [], [], rest / 1e9)  # Nothing to wait for but the time.
            try:
                line.send(frame)
                count += 1
                size += len(frame)
            except OSError:
                errors += 1
            if at // SECOND > told:
                told = at // SECOND
                _tell(told, count, size, late_ns, errors)
                late_ns = 0
    _tell(seconds, count, size, late_ns, errors)


def _tell(at_s: float, count: int, size: int, late_ns: int, errors: int) -> None:
    print(json.dumps({"at_s": at_s, "frames": count, "bytes": size, "late_ms": late_ns // MS, "errors": errors}), flush=True)


if __name__ == "__main__":
    send(sys.argv[1], float(sys.argv[2]))

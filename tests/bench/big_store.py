"""Large stores for the find benchmark, written as the recorder writes them, fast: stretches from templates, their stamps set anew.

The load is a procedure's: 10,000 frames a second, sizes as 7:4:1 of 60, 590 and 1,514 bytes, payload half text-like, half noise, some
120 of 4,000 flows in any one stretch. Three flows are there to be asked for:

    heavy    a control stream, every twentieth frame of every stretch
    medium   in one stretch of ten
    rare     in one stretch of five hundred
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from drivers.linux.disk import LinuxDisk, LinuxFile
from drivers.tap import FRAME_HEADER, HeardFrame, pack_block
from firmware.core._kernel import Stretch
from firmware.core.segment_writer import Losses, SegmentWriter, Source
from firmware.core.store import Store
from firmware.core.summary import Summary, summed_up
from simulator.clock import SimulatedClock
from simulator.identity import SimulatedIdentity

FRAMES_PER_S = 10_000
STRETCH_FRAMES = 5_360  # 2 MiB of pcapng, as the recorder cuts them (STRETCH_BYTES)
TEMPLATES = 64
SEGMENT_NS = 300 * 10**9
STEP_NS = 10**9 // FRAMES_PER_S
SIZES = (60,) * 7 + (590,) * 4 + (1514,)
HEAVY, MEDIUM, RARE = ("10.99.0.1", 36_000), ("10.99.0.2", 104), ("10.99.0.7", 47_808)
MEDIUM_EVERY, RARE_EVERY, RARE_FRAMES = 10, 500, 20
SEGMENT_BYTES_MAX = 1 << 30
NEVER = (1 << 64) - 1
PCAP_HEAD = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262_144, 1)  # nanoseconds, Ethernet
_STAMP = struct.Struct("<II")


class UnsyncedDisk(LinuxDisk):
    """The real one, but for its syncs: what is measured is reading, and a hundred thousand segments are written before it."""

    def sync(self, path: str) -> None:
        return

    def sync_dir(self, path: str) -> None:
        return

    def create(self, path: str) -> LinuxFile:
        file = super().create(path)
        file.sync = lambda: None  # type: ignore[method-assign]
        return file


@dataclass(slots=True)
class Template:
    """One stretch's frames: the ring's block and the same as pcap records, and where in each a frame's stamp lies."""

    block: bytearray
    block_places: list[int]
    pcap: bytearray
    pcap_places: list[int]

    def at(self, start_ns: int) -> None:
        """Frames a tenth of a millisecond apart from here on."""
        stamp = start_ns
        for block_place, pcap_place in zip(self.block_places, self.pcap_places, strict=True):
            pair = divmod(stamp, 10**9)
            _STAMP.pack_into(self.block, block_place, *pair)
            _STAMP.pack_into(self.pcap, pcap_place, *pair)
            stamp += STEP_NS


def template(random: Random, *, with_medium: bool = False, with_rare: bool = False) -> Template:
    """A stretch with 120 flows of its own, the heavy one, and what else is wished."""
    flows = [
        (
            f"10.{random.randrange(4)}.0.{random.randrange(1, 250)}",
            f"10.20.0.{random.randrange(1, 40)}",
            random.randrange(1024, 5024),
        )
        for _ in range(120)
    ]
    rows = []
    for number in range(STRETCH_FRAMES):
        size = SIZES[number % len(SIZES)]
        source, destination, port = flows[random.randrange(len(flows))]
        if number % 20 == 0:
            source, destination, port, size = HEAVY[0], "10.20.0.1", HEAVY[1], 60
        elif with_medium and number % 33 == 1:
            source, destination, port = MEDIUM[0], "10.20.0.2", MEDIUM[1]
        elif with_rare and number % (STRETCH_FRAMES // RARE_FRAMES) == 2:
            source, destination, port = RARE[0], "10.20.0.3", RARE[1]
        rows.append(_udp(random, source, destination, port, size))
    frames = [HeardFrame(0, data, len(data)) for data in rows]
    block = bytearray(pack_block(frames, sequence=1))
    places, at = [], 48
    for data in rows:
        places.append(at + 4)
        at += FRAME_HEADER.size + len(data) + -(FRAME_HEADER.size + len(data)) % 16
    pcap, pcap_places = bytearray(), []
    for data in rows:
        pcap_places.append(len(pcap))
        pcap += struct.pack("<IIII", 0, 0, len(data), len(data)) + data
    return Template(block, places, pcap, pcap_places)


def build(root: Path, *, stored_bytes: int, pcap: Path | None, say: Callable[[str], object]) -> tuple[int, int, int]:
    """A store of so many bytes of frames, summed up as retrieval does; the same frames as one pcap. Returns (start, end, UTC ns; frames)."""
    disk, clock, identity, random = UnsyncedDisk(root), SimulatedClock(), SimulatedIdentity(), Random(20261122)
    for directory in ("segments", "receipts"):
        disk.mkdir(directory)
    ordinary = [template(random) for _ in range(TEMPLATES)]
    medium = [template(random, with_medium=True) for _ in range(8)]
    rare = template(random, with_rare=True)
    start = at = clock.now().utc_ns
    stretch = Stretch(3 << 20)
    written = frames = number = sequence = 0
    digest: bytes | None = None
    summary = Summary(disk)
    summary.start([])
    out = pcap.open("wb", buffering=1 << 22) if pcap is not None else None
    if out is not None:
        out.write(PCAP_HEAD)
    while written < stored_bytes:
        sequence += 1
        writer = SegmentWriter(disk, "segments", sequence=sequence, first_utc_ns=at, source=Source("mirror"), now=clock.now())
        until = at + SEGMENT_NS
        while at < until and writer.size < SEGMENT_BYTES_MAX and written + writer.size < stored_bytes:
            chosen = (
                rare
                if number % RARE_EVERY == RARE_EVERY // 2
                else medium[number % 8]
                if number % MEDIUM_EVERY == 5
                else ordinary[number % TEMPLATES]
            )
            chosen.at(at)
            stretch.clear()
            stretch.add(chosen.block, 0, 0, NEVER, 0)
            writer.write(stretch)
            if out is not None:
                out.write(chosen.pcap)
            at += STRETCH_FRAMES * STEP_NS
            number += 1
        clock.advance(at - start - (clock.now().utc_ns - start))
        written += writer.size
        frames += writer.frames
        made, digest = writer.seal(identity, previous=digest, losses=Losses({}), cause="time", now=clock.now())
        _sum_up(disk, summary, made.name)
        say(f"{written / 1e9:.1f} GB in {sequence} segments")
    if out is not None:
        out.close()
    return start, at, frames


def build_many(root: Path, count: int, *, say: Callable[[str], object]) -> int:
    """So many small segments, five minutes apart, each with four frames of a host of its own; returns when the first began, UTC ns."""
    disk, clock, identity, random = UnsyncedDisk(root), SimulatedClock(), SimulatedIdentity(), Random(1)
    for directory in ("segments", "receipts", "pins"):
        disk.mkdir(directory)
    start = clock.now().utc_ns
    stretch = Stretch(1 << 20)
    digest: bytes | None = None
    for number in range(count):
        at = clock.now().utc_ns
        writer = SegmentWriter(disk, "segments", sequence=number + 1, first_utc_ns=at, source=Source("mirror"), now=clock.now())
        host = f"10.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
        rows = [_udp(random, host, "10.20.0.1", 1024 + number % 5000, 60) for _ in range(4)]
        stretch.clear()
        stretch.add(
            pack_block([HeardFrame(at + n * 10**9, data, len(data)) for n, data in enumerate(rows)], sequence=1), 0, 0, NEVER, 0
        )
        writer.write(stretch)
        clock.advance(SEGMENT_NS)
        _, digest = writer.seal(identity, previous=digest, losses=Losses({}), cause="time", now=clock.now())
        if number % 20_000 == 19_999:
            say(f"{number + 1} segments")
    return start


def _sum_up(disk: LinuxDisk, summary: Summary, name: str) -> None:
    for row in summed_up(Store(disk).segment(name)):
        if row is not None:
            summary.add(row)


def _udp(random: Random, source: str, destination: str, port: int, size: int) -> bytes:
    """A datagram over IPv4 in a frame of `size` bytes."""
    room = size - 42
    text = b"joint=%06d torque=%05d state=running " % (random.randrange(10**6), random.randrange(10**5))
    payload = (text * (room // len(text) + 1))[: room // 2] + random.randbytes(room - room // 2)
    addresses = bytes(map(int, f"{source}.{destination}".split(".")))
    return (
        bytes.fromhex("02534a00000b02534a00000a0800") + struct.pack(">BBHHHBBH", 0x45, 0, size - 14, 0, 0, 64, 17, 0) + addresses
        + struct.pack(">HHHH", 40_000, port, size - 34, 0) + payload
    )  # fmt: skip

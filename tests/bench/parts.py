"""Where a frame's time goes between the ring and the disk, and how fast seals are made and verified.

The recorder's own parts, one after the other on one thread, fed with blocks laid out as the kernel's; CPU nanoseconds a frame, of the
fastest of some rounds, so that what else the machine does shows least. What is missing here and is in `recorder`: the ring's
memory comes from another core's cache, and the loop around (some 300 us of Python and system calls a stretch, out of cold caches).
Verifying is measured on a store written so, beside sha256sum over the same files.
"""

import argparse
import json
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from drivers.linux.disk import LinuxDisk, LinuxFile
from drivers.tap import HeardFrame, pack_block
from firmware.capture.station import STRETCH_BYTES
from firmware.core._kernel import Stretch
from firmware.core.digest import pieces
from firmware.core.segment_writer import Losses, SegmentWriter, Source
from firmware.core.timestamp import Now
from firmware.core.verify import verify
from simulator.clock import SimulatedClock
from simulator.identity import SimulatedIdentity

START = 1_795_342_500_000_000_000
BLOCK_BYTES = 1 << 20
EPB_BYTES = 32  # pcapng around a frame
BLOCKS = 16  # As much again as the cache of most boards, so that frames come from memory.
ROUNDS = 9
STORE_BYTES = 256 << 20  # of pcapng that does not compress
SIZES: dict[str, Callable[[int], int]] = {
    "60 B": lambda number: 60,
    "IMIX": lambda number: (60, 590, 60, 60, 590, 60, 1514, 60, 590, 60, 590, 60)[number % 12],
    "1514 B": lambda number: 1514,
    "1514 B noise": lambda number: 1514,
}
PARTS = ("frames", "packing's end", "index", "checksum and digest", "disk")


def frame(number: int, size: int, random: Random, *, is_noise: bool) -> bytes:
    """As generator.c makes them: 4,096 flows, a counter, and every other 64 bytes of the payload noise; or nothing but noise."""
    head = bytes.fromhex("020000000001 020000000002 0800 4500") + (size - 14).to_bytes(2, "big") + bytes(4) + b"\x40\x11\0\0"
    head += bytes((10, 0, 0, number & 255, 10, 1, number >> 8 & 15, 0)) + (10_000 + (number & 63)).to_bytes(2, "big") + b"\0\x68"
    head += (size - 34).to_bytes(2, "big") + bytes(2) + number.to_bytes(8, "little")
    payload = b"".join(
        random.randbytes(64) if is_noise or at & 64 else bytes(range(at & 255, (at & 255) + 64)) for at in range(64, size, 64)
    )
    return (head + bytes(64 - len(head)) + payload)[:size]


def blocks(load: str) -> list[tuple[bytes, int]]:
    """(block, frames in it)."""
    random, made, number = Random(1), [], 0
    for sequence in range(BLOCKS):
        held: list[HeardFrame] = []
        used = 0
        while used < BLOCK_BYTES - 2000:
            data = frame(number, SIZES[load](number), random, is_noise=load.endswith("noise"))
            held.append(HeardFrame(START + number * 3000, data, len(data)))
            used += len(data) + 64
            number += 1
        made.append((pack_block(held, sequence=sequence), len(held)))
    return made


class Recording:
    """The capture station's way of a block to the disk, with a clock between its parts."""

    def __init__(self, file: LinuxFile) -> None:
        self.file = file
        self.spent = dict.fromkeys(PARTS, 0.0)
        self.raw = self.stored = 0
        self._stretch = Stretch(STRETCH_BYTES)
        self._digest = pieces()

    def record(self, block: bytes) -> None:
        """Every frame of it."""
        position, offset = 0, 0
        while True:
            began = time.thread_time()
            position, offset, why = self._stretch.add(block, position, offset, 0, 0)
            self.spent["frames"] += time.thread_time() - began
            if why == 0:
                return
            self.flush()

    def flush(self) -> None:
        """The stretch to the disk."""
        times = [time.thread_time()]
        link = self._stretch.packed(False)
        times.append(time.thread_time())
        self._stretch.record(self.file.size, len(link))
        times.append(time.thread_time())
        self._digest = self._digest.after_link(link)
        times.append(time.thread_time())
        self.file.append([link])
        times.append(time.thread_time())
        for part, began, ended in zip(PARTS[1:], times, times[1:], strict=False):
            self.spent[part] += ended - began
        self.raw += len(self._stretch)
        self.stored += len(link)
        self._stretch.clear(self.file.size)


def measured(load: str, disk: LinuxDisk) -> dict[str, float]:
    """ns a frame by part, and stored bytes for each of pcapng."""
    offered = blocks(load)
    frames = sum(count for _, count in offered)
    best: dict[str, float] = {}
    raw = stored = 0
    for _ in range(ROUNDS):
        file = disk.create("frames")
        recording = Recording(file)
        for block, _ in offered:
            recording.record(block)
        recording.flush()
        file.close()
        disk.remove("frames")
        raw, stored = recording.raw, recording.stored
        for part, seconds in recording.spent.items():
            best[part] = min(best.get(part, seconds), seconds)
    row = {part: seconds / frames * 1e9 for part, seconds in best.items()}
    return row | {"stored": stored / raw, "digest_gb_s": stored / best["checksum and digest"] / 1e9}


def verifying(place: Path) -> dict[str, float]:
    """GB/s of verify over a sealed segment that does not compress, and of sha256sum over the same files; by CPU and by the wall clock."""
    disk, identity, now = LinuxDisk(place), SimulatedIdentity(), SimulatedClock().now()
    size = _written(disk, identity, now)
    began, wall = time.process_time(), time.monotonic()
    verdict = verify(disk, public_key=identity.public_key())
    ours, ours_wall = time.process_time() - began, time.monotonic() - wall
    assert not verdict.findings, verdict.findings
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(["sha256sum", *map(str, place.rglob("frames.pcapng.lz4"))], check=True, stdout=subprocess.DEVNULL)
    after, theirs_wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - wall
    theirs = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "bytes": size, "verify_gb_cpu_s": size / ours / 1e9, "verify_gb_s": size / ours_wall / 1e9,
        "sha256sum_gb_cpu_s": size / theirs / 1e9, "sha256sum_gb_s": size / theirs_wall / 1e9,
    }  # fmt: skip


def _written(disk: LinuxDisk, identity: SimulatedIdentity, now: Now) -> int:
    disk.mkdir("segments")
    writer = SegmentWriter(disk, "segments", sequence=1, first_utc_ns=START, source=Source("eth1"), now=now)
    stretch = Stretch(STRETCH_BYTES)
    for block in _again_and_again([block for block, _ in blocks("1514 B noise")]):
        if writer.size >= STORE_BYTES:
            break
        stretch.clear(writer.size)
        stretch.add(block, 0, 0, 0, 0)
        writer.write(stretch)
    made, _ = writer.seal(identity, previous=None, losses=Losses({}), cause="size", now=now)
    return made.frames_bytes


def _again_and_again(rows: list[bytes]) -> Iterator[bytes]:
    while True:
        yield from rows


def main() -> None:
    """Print the tables, write the JSON."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", type=Path)
    into: Path | None = arguments.parse_args().json
    print(
        f"{'CPU ns a frame':14}"
        + "".join(f"{part:>10}" for part in PARTS)
        + f"{'all':>10}{'GB/s':>8}{'digest %':>10}{'stored':>8}{'digest GB/s':>13}"
    )
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="scrubjay-bench-") as place:
        for load, size in SIZES.items():
            rows[load] = row = measured(load, LinuxDisk(Path(place) / "parts"))
            total = sum(row[part] for part in PARTS)
            mean = sum(size(number) for number in range(12)) / 12 + EPB_BYTES
            print(
                f"{load:14}" + "".join(f"{row[part]:10.1f}" for part in PARTS)
                + f"{total:10.1f}{mean / total:8.2f}{100 * row['checksum and digest'] / total:10.0f}{row['stored']:8.2f}{row['digest_gb_s']:13.2f}"
            )  # fmt: skip
        speed = verifying(Path(place) / "store")
    print(
        f"verify {speed['verify_gb_cpu_s']:.2f} GB a CPU second ({speed['verify_gb_s']:.2f} GB/s), sha256sum"
        f" {speed['sha256sum_gb_cpu_s']:.2f} ({speed['sha256sum_gb_s']:.2f}), of {speed['bytes'] / 1e6:.0f} MB from the page cache or the disk"
    )
    if into is not None:
        into.write_text(json.dumps({"ns_a_frame": rows, "verify": speed}, indent=1))


if __name__ == "__main__":
    main()

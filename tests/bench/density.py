"""Bytes on disk for each byte on the wire: hot, cold, and what lz4 and zstd make of the same pcapng, on recordings nobody here wrote.

Hot and cold are the segment's files as the recorder and the cold station leave them, its index and seal left out on both sides (they
are the same). The peers get the pcapng as one piece; ours has to answer for each stretch alone, so it restores runs of 4 MiB.
Robot control is also taken out of two recordings that are mostly something else (a web page over TLS, video): by its ethertype or
protocol, nothing else. Times are CPU seconds of one process in the same run.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import lz4.frame
import zstandard

from drivers.tap import HeardFrame, pack_block
from firmware.cold.rewrite import Progress, rewriting
from firmware.core._kernel import Stretch
from firmware.core.layout import COLD, COLD_SEAL, FRAMES
from firmware.core.segment import Segment
from firmware.core.segment_writer import Losses, SegmentWriter, Source
from firmware.core.thaw import restored
from simulator import capture_file
from simulator.board import SimulatedBoard

RECORDINGS = Path(__file__).parents[3] / "shared" / "data" / "pcap"
STRETCH_BYTES = 512 << 10  # As the recorder cuts them.
NEVER = (1 << 64) - 1
Keep = Callable[[bytes], bool]


def _ethercat(frame: bytes) -> bool:
    return frame[12:14] == b"\x88\xa4"


def _profinet(frame: bytes) -> bool:
    return frame[12:14] == b"\x88\x92"


def _rtps(frame: bytes) -> bool:
    return frame[42:46] == b"RTPS"


# (family, file or "*", name, what is kept of it, whether the goal of 1.5 is about it)
CASES: tuple[tuple[str, str, str, Keep | None, bool], ...] = (
    ("robot-fieldbus", "*", "", None, True),
    ("robot-fieldbus", "twincat-akd-nc-mode.pcapng", "twincat, EtherCAT only", _ethercat, True),
    ("robot-fieldbus", "profinet_io_cm_mixed_1.pcap", "profinet, real time only", _profinet, True),
    ("lab", "or_mix_lab.pcap", "or_mix_lab, RTPS only", _rtps, True),
    ("lab", "*", "", None, False),
    ("lan-mix", "*", "", None, False),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One recording. Sizes in bytes, speeds in MB of pcapng a CPU second. is_control: robot control traffic."""

    name: str
    is_control: bool
    frames: int
    wire: int
    pcapng: int
    hot: int
    lz4: int
    zstd3: int
    zstd19: int
    cold: int
    zstd3_speed: float
    zstd19_speed: float
    rewrite_speed: float
    restore_speed: float
    stretch_ms: float


def _timed(work: Callable[[], int]) -> tuple[int, float]:
    """Its result and the CPU seconds it took, at least a hundredth, the work repeated until then."""
    began, rounds, result = time.process_time(), 0, 0
    while (took := time.process_time() - began) < 0.01 or rounds == 0:
        result = work()
        rounds += 1
    return result, took / rounds


def _segment(board: SimulatedBoard, frames: list[HeardFrame]) -> str:
    """A sealed segment of these frames, in stretches as long as the recorder's."""
    for directory in ("segments", "receipts"):
        board.disk.mkdir(directory)
    now = board.clock.now()
    writer = SegmentWriter(board.disk, "segments", sequence=1, first_utc_ns=frames[0].stamp_ns, source=Source("mirror"), now=now)
    stretch = Stretch(STRETCH_BYTES + (1 << 19))
    held: list[HeardFrame] = []
    size = 0
    for number, frame in enumerate(frames):
        held.append(frame)
        size += 36 + len(frame.data)
        if size >= STRETCH_BYTES or number + 1 == len(frames):
            stretch.clear()
            stretch.add(pack_block(held, sequence=0), 0, 0, NEVER, 0)
            writer.write(stretch)
            held, size = [], 0
    sealed, _ = writer.seal(board.identity, previous=None, losses=Losses({}), cause="time", now=now)
    return sealed.name


def _rewritten(board: SimulatedBoard, directory: str) -> int:
    progress = Progress()
    for _ in rewriting(
        board.disk, directory, identity=board.identity, made=board.clock.now().timestamp, level=12, progress=progress
    ):
        pass
    return progress.cold_bytes


def measured(name: str, is_control: bool, frames: list[HeardFrame]) -> Row:
    """One row of the table."""
    board = SimulatedBoard()
    segment = _segment(board, frames)
    directory = f"segments/{segment}"
    records = Segment(board.disk, "segments", segment).records()
    raw = b"".join(Segment(board.disk, "segments", segment).stretch(record) for record in records)
    hot = board.disk.size(f"{directory}/{FRAMES}")
    began = time.process_time()
    cold = _rewritten(board, directory) + board.disk.size(f"{directory}/{COLD_SEAL}")
    rewriting_s = time.process_time() - began
    assert board.disk.exists(f"{directory}/{COLD}")
    # The seal was compared while rewriting; here the pcapng itself, from a reader that has seen nothing yet.
    began = time.process_time()
    again = b"".join(Segment(board.disk, "segments", segment).stretch(record) for record in records)
    one_by_one_s = time.process_time() - began
    assert raw == again
    _, restore_s = _timed(lambda: sum(map(len, restored(board.disk, "segments", segment))))
    lz4_size = len(lz4.frame.compress(raw))
    zstd3, zstd3_s = _timed(lambda: len(zstandard.ZstdCompressor(level=3).compress(raw)))
    zstd19, zstd19_s = _timed(lambda: len(zstandard.ZstdCompressor(level=19).compress(raw)))
    megabytes = len(raw) / 1e6
    return Row(
        name, is_control, len(frames), sum(frame.wire_bytes for frame in frames), len(raw), hot, lz4_size, zstd3, zstd19, cold,
        megabytes / zstd3_s, megabytes / zstd19_s, megabytes / rewriting_s, megabytes / restore_s,
        one_by_one_s * 1000 / len(records),
    )  # fmt: skip


def rows() -> Iterable[Row]:
    """Every case that is there."""
    for family, file, title, keep, is_control in CASES:
        paths = sorted((RECORDINGS / family).glob(file))
        for path in paths:
            frames = [frame for frame in capture_file.frames(path) if keep is None or keep(frame.data)]
            if frames:
                yield measured(title or path.stem, is_control, frames)


def main() -> None:
    """Print the table, write the JSON."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--json", type=Path)
    into: Path | None = arguments.parse_args().json
    print(
        f"{'bytes on disk per byte on the wire':34} {'wire kB':>8} {'hot':>6} {'lz4':>6} {'zstd-3':>6} {'zstd-19':>7} {'cold':>6}"
        f" {'×19':>5} {'×hot':>5} | MB/s {'zstd-19':>7} {'cold':>6} {'restore':>7}"
    )
    done = []
    for row in rows():
        done.append(row)
        each = [size / row.wire for size in (row.hot, row.lz4, row.zstd3, row.zstd19, row.cold)]
        print(
            f"{row.name + (' *' if row.is_control else ''):34} {row.wire / 1000:8.0f} {each[0]:6.3f} {each[1]:6.3f} {each[2]:6.3f} {each[3]:7.3f}"
            f" {each[4]:6.3f} {row.zstd19 / row.cold:5.2f} {row.hot / row.cold:5.2f} |      {row.zstd19_speed:7.1f} {row.rewrite_speed:6.1f} {row.restore_speed:7.0f}"
        )
    if not done:
        print(f"no recordings in {RECORDINGS}")
    control = [row for row in done if row.is_control]
    if control:
        ratios = sorted(row.zstd19 / row.cold for row in control)
        print(
            f"* robot control: {ratios[0]:.2f} to {ratios[-1]:.2f} times denser than zstd -19, median {ratios[len(ratios) // 2]:.2f};"
            f" at least 1.5 in {sum(ratio >= 1.5 for ratio in ratios)} of {len(ratios)};"
            f" slowest rewriting {min(row.rewrite_speed for row in done):.1f} MB/s, read back and compared"
        )
    if into is not None:
        into.write_text(json.dumps([{name: getattr(row, name) for name in Row.__slots__} for row in done], indent=1))


if __name__ == "__main__":
    main()

"""A store as a recorder would have left it, made of given frames, for tests of those who read it."""

from collections.abc import Sequence

from drivers.tap import HeardFrame, pack_block
from firmware.core._kernel import Stretch
from firmware.core.durable import make_directory
from firmware.core.recovery import chain_end
from firmware.core.seal import Gap, Seal
from firmware.core.segment_writer import Losses, SegmentWriter, Source
from simulator.board import SimulatedBoard

_NEVER = (1 << 64) - 1


def frame(
    stamp_ns: int, *, source: str = "10.77.0.10", destination: str = "10.77.0.11", port: int = 47001, payload: bytes = b"hello"
) -> HeardFrame:
    """One UDP datagram over IPv4, checksums left out (0)."""
    udp = (40_000).to_bytes(2, "big") + port.to_bytes(2, "big") + (8 + len(payload)).to_bytes(2, "big") + bytes(2) + payload
    head = (
        b"\x45\x00" + (20 + len(udp)).to_bytes(2, "big") + bytes(4) + b"\x40\x11" + bytes(2) + _ipv4(source) + _ipv4(destination)
    )
    data = bytes.fromhex("02534a00000b02534a00000a0800") + head + udp
    return HeardFrame(stamp_ns, data, len(data))


def begin_segment(
    board: SimulatedBoard, stretches: Sequence[Sequence[HeardFrame]], *, first_utc_ns: int | None = None
) -> SegmentWriter:
    """A segment still being written: each inner sequence is one stretch, synced."""
    for directory in ("segments", "receipts"):
        make_directory(board.disk, directory)
    now = board.clock.now()
    first = first_utc_ns if first_utc_ns is not None else stretches[0][0].stamp_ns if stretches and stretches[0] else now.utc_ns
    writer = SegmentWriter(
        board.disk, "segments", sequence=chain_end(board.disk, "segments", "receipts").sequence + 1, first_utc_ns=first,
        source=Source("mirror"), now=now,
    )  # fmt: skip
    for frames in stretches:
        add_stretch(writer, frames)
    return writer


def add_stretch(writer: SegmentWriter, frames: Sequence[HeardFrame]) -> None:
    """One more stretch, synced."""
    stretch = Stretch(1 << 23)
    if frames:
        stretch.add(pack_block(frames, sequence=1), 0, 0, _NEVER, 0)
    writer.write(stretch)
    writer.sync()


def end_segment(
    board: SimulatedBoard,
    writer: SegmentWriter,
    *,
    cause: str = "time",
    drops: dict[str, int] | None = None,
    gaps: tuple[Gap, ...] = (),
) -> Seal:
    """Seal it now."""
    previous = chain_end(board.disk, "segments", "receipts").digest
    made, _ = writer.seal(board.identity, previous=previous, losses=Losses(drops or {}, gaps), cause=cause, now=board.clock.now())
    return made


def write_segment(board: SimulatedBoard, stretches: Sequence[Sequence[HeardFrame]], *, cause: str = "time") -> Seal:
    """A segment sealed at once."""
    return end_segment(board, begin_segment(board, stretches), cause=cause)


def _ipv4(text: str) -> bytes:
    return bytes(int(part) for part in text.split("."))

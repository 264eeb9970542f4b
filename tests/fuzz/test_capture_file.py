"""Capture files are foreign bytes: whatever they are, the reader ends with frames or with BadCaptureFile."""

import contextlib
import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from simulator.capture_file import FRAME_BYTES_MAX, BadCaptureFile, frames
from simulator.recordings import ROOM

BEGINNING = ROOM.read_bytes()[:4096]
MAGICS = [b"\x0a\x0d\x0d\x0a", b"\xa1\xb2\xc3\xd4", b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1", b""]


def read(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        with contextlib.suppress(BadCaptureFile):
            for row in frames(Path(file.name)):
                assert len(row.data) <= min(row.wire_bytes, FRAME_BYTES_MAX)


@given(st.sampled_from(MAGICS), st.binary(max_size=400))
@example(b"\x0a\x0d\x0d\x0a", b"")
@settings(max_examples=300, deadline=None)
def test_any_bytes(magic: bytes, rest: bytes) -> None:
    """Nothing but BadCaptureFile is raised, and no frame is larger than it may be."""
    read(magic + rest)


@given(st.lists(st.tuples(st.integers(0, len(BEGINNING) - 1), st.integers(0, 255)), min_size=1, max_size=8))
@settings(max_examples=200, deadline=None)
def test_damaged_recording(damage: list[tuple[int, int]]) -> None:
    """A real recording with some bytes changed is read as far as it makes sense."""
    data = bytearray(BEGINNING)
    for position, value in damage:
        data[position] = value
    read(bytes(data))

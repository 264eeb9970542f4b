"""A seal at a glance: what who searches sees of it is what is in it, or nothing."""

from pathlib import Path

import cbor2
import pytest

from firmware.core import seal
from firmware.core.errors import BadItem
from firmware.core.glance import SEAL_BYTES_MAX, glanced_at

FORMATS = Path(__file__).parents[1] / "formats"
STORED = sorted(path for path in FORMATS.rglob("seal*") if path.is_file())


@pytest.mark.parametrize("path", STORED, ids=lambda path: str(path.relative_to(FORMATS)))
def test_it_is_the_seal_s_word(path: Path) -> None:
    """Of every version that was ever written."""
    whole, seen = seal.unpacked(path.read_bytes()), glanced_at(path.read_bytes())

    assert (whole.first_ns, whole.last_ns, whole.frames_hardware, whole.interface, whole.frames_bytes) == (
        seen.first_ns, seen.last_ns, seen.frames_hardware, seen.interface, seen.frames_bytes
    )  # fmt: skip
    assert whole.first_ns is not None and whole.last_ns is not None
    first, last = whole.first_ns, whole.last_ns
    asked = [(0, first - 1), (0, first), (first, last), (last, last + 9), (last + 1, last + 9)]
    assert [True, False, False, False, True] == [seen.is_outside(*interval) for interval in asked]


def test_of_a_segment_without_frames_everything_is_outside() -> None:
    """It has no times."""
    row = cbor2.loads(STORED[0].read_bytes()) | {4: None, 5: None}
    assert glanced_at(cbor2.dumps(row)).is_outside(0, 1 << 62)


@pytest.mark.parametrize(
    "altered",
    [
        {4: None}, {5: None}, {4: 9, 5: 8}, {4: -1}, {5: 1 << 63}, {5: 1 << 70}, {4: "x"}, {8: None}, {15: b"eth0"}, {16: 7},
        {16: [7]}, {16: ["7", b""]},
    ],
)  # fmt: skip
def test_what_is_no_seal_is_refused(altered: dict[int, object]) -> None:
    """Half a pair of times above all: it must not pass as a segment without frames."""
    row = cbor2.loads(STORED[0].read_bytes())
    with pytest.raises(BadItem):
        glanced_at(cbor2.dumps(row | altered))
    for key in altered:
        with pytest.raises(BadItem):
            glanced_at(cbor2.dumps({other: value for other, value in row.items() if other != key}))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff", bytes(SEAL_BYTES_MAX + 1)], ids=["empty", "list", "break", "long"])
def test_what_is_no_map_is_refused(data: bytes) -> None:
    """Whatever lies where a seal should."""
    with pytest.raises(BadItem):
        glanced_at(data)

"""What is known to be lost, beside an open segment: kept until a seal says it, believed only when it makes sense."""

from pathlib import Path

import pytest
from pycddl import Schema

from firmware.core import noted
from firmware.core.errors import BadItem
from firmware.core.seal import Gap
from firmware.core.segment_writer import Losses
from simulator.disk import SimulatedDisk

CDDL = (Path(__file__).parents[2] / "firmware" / "core" / "segment.cddl").read_text()
LOSSES = Losses({"ring_full@eth2": 3}, (Gap("interface_gone", 1_795_342_500_000_000_000, 1_795_342_503_000_000_000, None),))
STORED = bytes.fromhex(
    "82a16e72696e675f66756c6c40657468320381846e696e746572666163655f676f6e65"
    "1b18ea567ddaa968001b18ea567e8d79c600f6"
)  # fmt: skip


def test_what_is_stored() -> None:
    """A format, pinned: another version of the recorder may seal what this one noted."""
    assert noted.packed(LOSSES) == STORED
    assert noted.unpacked(STORED) == LOSSES
    Schema(f"start = noted\n{CDDL}").validate_cbor(STORED)


def test_the_last_word_counts() -> None:
    """Each time all of it; nothing of another name stays."""
    disk = SimulatedDisk()
    disk.mkdir("segments/.x")
    assert noted.noted(disk, "segments/.x") == Losses({})
    noted.note(disk, "segments/.x", Losses({"ring_full": 1}))
    noted.note(disk, "segments/.x", LOSSES)

    assert noted.noted(disk, "segments/.x") == LOSSES
    assert disk.list("segments/.x") == ["losses"]


@pytest.mark.parametrize("data", [b"", b"\xf6", STORED[:-1], bytes.fromhex("82a161610080"), bytes(70_000)])
def test_what_makes_no_sense_is_nothing(data: bytes) -> None:
    """A power cut may have left any part of it; a count of none is no loss."""
    disk = SimulatedDisk()
    disk.mkdir("segments/.x")
    disk.write("segments/.x/losses", data)

    assert noted.noted(disk, "segments/.x") == Losses({})
    with pytest.raises(BadItem):
        noted.unpacked(data)

"""The README's picture comes from a running chain: broker, hub and box as real processes, and a person's hand in the browser."""

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.browser import what_is_missing

PROGRAM = Path(__file__).parents[2] / "tools" / "picture.py"


@pytest.mark.skipif(what_is_missing() is not None, reason=f"no browser here: {what_is_missing()}")
def test_the_picture_is_taken_of_the_whole_chain(tmp_path: Path) -> None:
    """(S2-107) (S2-121) Messages of every priority arrive, the page's button brings evidence from the box, and what stands there fits the README."""
    into = tmp_path / "hub.png"
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--no-room", "--into", str(into)], capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    picture = into.read_bytes()

    assert (1280, 800) == struct.unpack_from(">II", picture, 16)
    assert 20_000 < len(picture) < 200_000

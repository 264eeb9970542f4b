"""The tour and the README name things that are there."""

import re
from pathlib import Path

import pytest

from firmware.cli import main

ROOT = Path(__file__).parents[1]
_STOP = re.compile(r"`(firmware/\S+?|drivers/\S+?|simulator/\S+?):\s+([A-Za-z_.]+)`")
_FILE = re.compile(r"(?:`|\()((?:firmware|drivers|simulator|tests|docs)/[\w./-]+)(?:`|\))")


def defined(path: Path, name: str) -> bool:
    """Whether the file defines the last part of a dotted name, in Python or in C."""
    return re.search(rf"(?:def|class)\s+{name.rpartition('.')[2]}\b|\b{name}\(", path.read_text()) is not None


def test_every_stop_of_the_tour_is_there() -> None:
    """Each `file: Name.function` of TOUR.md is defined in that file."""
    stops = _STOP.findall((ROOT / "firmware/TOUR.md").read_text().replace("\n", " "))

    assert len(stops) >= 15
    assert [] == [stop for stop in stops if not defined(ROOT / stop[0], stop[1])]


@pytest.mark.parametrize("page", ["README.md", "firmware/TOUR.md"])
def test_every_file_named_is_there(page: str) -> None:
    """Each file a page names exists."""
    named = {name.rstrip(".") for name in _FILE.findall((ROOT / page).read_text()) if "<" not in name}

    assert set() == {name for name in named if not (ROOT / name).exists()}


def test_every_command_of_the_readme_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Each `scrubjay …` line of the README is a command that has help."""
    commands = set(re.findall(r"^scrubjay (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE))

    assert len(commands) >= 8
    for command in commands:
        assert 0 == main([command, "--help"])

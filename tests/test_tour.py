"""The tour, the README and docs name things that are there."""

import re
import shlex
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from firmware.cli import main, parser
from firmware.core.settings import Settings
from firmware.hub.rules import rules_of
from firmware.roles import SECTIONS

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "firmware/TOUR.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").glob("*.md"))]
STATED = {"horizon_days", "full_in_h", "hub_heard_s", "room_wanted_bytes"}  # of `scrubjay status`, no settings
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


@pytest.mark.parametrize("page", PAGES)
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


def examples(page: Path) -> list[list[str]]:
    """The words of each `scrubjay …` of a page's blocks, without what is said beside it or behind a pipe. Of several to choose from,
    `start | close`, each, with --help."""
    blocks = re.findall(r"^```\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("scrubjay ")]
    found = []
    for line in lines:
        first, *others = (shlex.split(part) for part in re.split(r" {2,}| …", line)[0].split(" | "))
        choices = [words for words in others if words[0] != "wireshark"]
        shared = first[1 : -min(map(len, choices))] if choices else []
        found += [[*shared, *words, "--help"] for words in choices] + [first[1:] + ["--help"] * bool(choices)]
    return found


def test_every_example_is_understood(capsys: pytest.CaptureFixture[str]) -> None:
    """Each command of README and docs is one that the program takes, with these words and options."""
    refused = []
    found = [words for page in PAGES for words in examples(ROOT / page)]
    for words in found:
        try:
            parser(words[0]).parse_args(words)
        except SystemExit as end:
            refused += [words] if end.code else []

    assert len(found) >= 60
    assert [] == refused


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_every_setting_named_is_one(page: Path) -> None:
    """Each that a page names with its section, or with a unit in its name."""
    text = page.read_text()
    sections = {name: {f.name for f in fields(kind)} for table in SECTIONS.values() for name, kind in table.items()}
    named = re.findall(r"`\[(\w+)\] (\w+)(?: = [^`]*)?`", text)
    wrong = [pair for pair in named if pair[0] not in sections or pair[1] not in sections[pair[0]]]
    dotted = [pair for pair in re.findall(r"`(\w+)\.(?!raucb)(\w+)(?: = [^`]*)?`", text) if pair[0] in sections]
    wrong += [pair for pair in dotted if pair[1] not in sections[pair[0]]]
    known = set().union(*sections.values())
    units = [word for word in re.findall(r"`(\w+_(?:s|ms|h|days|mb|kb|bytes|percent|max|min))`", text) if word not in STATED]
    wrong += [("", word) for word in units if word not in known]

    assert [] == wrong


def test_every_piece_of_settings_is_taken() -> None:
    """Each piece of TOML in docs is of some role; a hub's rules are no settings."""
    pieces = [
        piece
        for page in (ROOT / "docs").glob("*.md")
        for piece in re.findall(r"^```toml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    ]
    settings = [piece for piece in pieces if "[[rule]]" not in piece]

    assert len(settings) >= 6
    for piece in pieces:
        if piece in settings:
            roles = [sections for sections in SECTIONS.values() if set(tomllib.loads(piece)) <= set(sections)]
            assert roles
            Settings(roles[0], [("docs", piece)])
        else:
            assert rules_of(piece)

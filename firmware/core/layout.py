"""What a segment's directory and its files are called; what is in them: segment.py."""

import re

from firmware.core.timestamp import compact

FRAMES, INDEX, SEAL = "frames.pcapng.lz4", "index", "seal"
FILES = (FRAMES, INDEX, SEAL)
NOTED = "losses"  # of an open segment: noted.py
COLD, COLD_SEAL = "frames.cold", "cold"  # in place of the frames: cold.py
COLD_FILES = (COLD, COLD_SEAL, INDEX, SEAL)
_NAME = re.compile(r"\d{8}T\d{6}Z-(\d{6,18})")


def name_of(utc_ns: int, sequence: int) -> str:
    """The directory's name, for people and for order."""
    return f"{compact(utc_ns)}-{sequence:06d}"


def sequence_of(name: str) -> int | None:
    """The sequence in a segment's name, hidden or not; None for any other name."""
    match = _NAME.fullmatch(name.removeprefix("."))
    return int(match[1]) if match else None

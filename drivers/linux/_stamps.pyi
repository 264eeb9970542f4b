"""Types of stamps.c; what the function means is said there."""

from typing_extensions import Buffer

def to_utc(block: Buffer, at_ns: int, ahead_ns: int, gain_ppb: int, earliest_ns: int, latest_ns: int, /) -> tuple[int, int]: ...

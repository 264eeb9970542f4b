"""Recordings of our own simulated room, for machines that cannot make one; PROVENANCE.md says how each was made."""

from pathlib import Path

ROOM = Path(__file__).parent / "room.pcapng"

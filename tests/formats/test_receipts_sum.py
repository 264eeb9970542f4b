"""The sum of receipts, pinned by golden bytes and by its CDDL in a foreign reader."""

import sys
from pathlib import Path

import pytest
from pycddl import Schema, ValidationError

from firmware.core.receipt import Receipt, Sum, sum_packed, sum_unpacked, summed
from simulator.clock import SimulatedClock
from simulator.identity import SimulatedIdentity

HERE = Path(__file__).parent
GOLDEN = HERE / "receipts-sum-v1.cbor"
CDDL = (HERE.parents[1] / "firmware" / "core" / "segment.cddl").read_text()


def made() -> Sum:
    """Of three deletions, the second segment still there."""
    stamp, identity = SimulatedClock().now().timestamp, SimulatedIdentity()
    rows = [
        Receipt(f"20261122T10{number:02d}00Z-{number:06d}", number, bytes([number]) * 32, cause, stamp, None)
        for number, cause in ((1, "age"), (3, "age"), (4, "room"))
    ]
    total = summed(
        summed(None, rows[:1], number=1, digest=bytes(32), made=stamp), rows[1:], number=3, digest=b"\x07" * 32, made=stamp
    )
    return total.signed(identity.sign(total.body()))


def test_version_1_is_written_and_read() -> None:
    """The same value gives the bytes of the day it was defined, and they give the value."""
    assert GOLDEN.read_bytes() == sum_packed(made())
    assert made() == sum_unpacked(GOLDEN.read_bytes())
    assert [(1, 1), (3, 4)] == [(run.first, run.last) for run in made().runs]


def test_cddl_describes_it() -> None:
    """A reader that knows only the CDDL finds what we wrote to be in order, and something else not."""
    schema = Schema(f"start = receipts-sum\n{CDDL}")
    schema.validate_cbor(GOLDEN.read_bytes())
    with pytest.raises(ValidationError):
        schema.validate_cbor(b"\xa1\x00\x02")


if __name__ == "__main__":
    if GOLDEN.exists():
        sys.exit(f"{GOLDEN} is there: a version is written once")
    GOLDEN.write_bytes(sum_packed(made()))

"""Bundles and what lasts of updates, from anybody: refused with a reason or understood, and nothing else ever."""

from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.core.errors import BadItem
from firmware.update import record
from firmware.update.bundle import FILE_BYTES_MAX, made, manifest_unpacked, opened
from simulator.identity import SimulatedIdentity

VENDOR = SimulatedIdentity(name="vendor")
TRUSTED = {"vendor": VENDOR.public_key()}
FILES = {"firmware/a.py": b"one line\n" * 50, "drivers/b.py": b"", "simulator/c.bin": bytes(range(256))}
GOOD = made(
    FILES, {"firmware/a.py": b"one line\n" * 40}, version="v2", counter=2, board="here", made_tai_ns=1, expires_tai_ns=2, base="v1",
    signer="vendor", sign=VENDOR.sign,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes(data):
    """Anything at all."""
    for read in (lambda: opened(data, TRUSTED), lambda: manifest_unpacked(data), lambda: record.unpacked(data)):
        try:
            read()
        except BadItem:
            continue
    record.rows_of(data)


@settings(max_examples=500, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255), st.integers(0, len(GOOD)))
def test_a_good_one_with_something_wrong(at, change, cut):
    """One byte changed, or cut short, or both: it is refused, or gives what was signed and nothing else."""
    data = bytearray(GOOD)
    data[at] ^= change
    try:
        found = {
            file.path: data
            for file, data in opened(bytes(data[:cut] if cut % 2 else data), TRUSTED).contents(lambda path: b"one line\n" * 40)
        }
    except BadItem:
        return
    assert FILES == found  # A bit of a zstd frame that means nothing; what is written is what was signed.


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, FILE_BYTES_MAX))
def test_any_base(base, size):
    """A base that is not what it is said to be gives other bytes, and those are not what was signed."""
    try:
        found = {file.path: data for file, data in opened(GOOD, TRUSTED).contents(lambda path: base[: size % 200])}
    except BadItem:
        return
    assert FILES == found

"""Editions, wishes, wants and pieces from anybody: understood, or refused with BadItem and nothing else."""

from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.core.download import (
    Piece,
    Want,
    Wish,
    piece_packed,
    piece_unpacked,
    want_packed,
    want_unpacked,
    wish_packed,
    wish_unpacked,
)
from firmware.core.edition import Edition, Offered, edition_unpacked, from_text, opened, read, signed
from firmware.core.errors import BadItem
from simulator.identity import SimulatedIdentity

VENDOR = SimulatedIdentity(name="vendor")
TRUSTED = {"vendor": VENDOR.public_key()}
WISH = Wish(bytes(range(32)), 5000)
EDITION = Edition(
    "v2", 2, "here", "stable", "application", 1, 2, "vendor", (Offered(bytes(32), 9, None), Offered(bytes(31) + b"x", 5, "v1"))
)
GOOD = signed(EDITION, VENDOR.sign)
READERS = (wish_unpacked, want_unpacked, piece_unpacked, read, edition_unpacked, from_text, lambda data: opened(data, TRUSTED))
SAMPLES = [GOOD, wish_packed(WISH), want_packed(Want(WISH, 10, 100)), piece_packed(Piece(WISH, 10, b"abc"))]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes(data):
    """Anything at all."""
    for reader in READERS:
        try:
            reader(data)
        except BadItem:
            continue


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SAMPLES), st.integers(0, 2000), st.integers(1, 255), st.integers(0, 2000))
def test_a_good_one_with_something_wrong(sample, at, change, cut):
    """A byte changed, or cut short: what is understood lies within its bounds."""
    data = bytearray(sample)
    data[at % len(data)] ^= change
    short = bytes(data[: cut % len(data)] if cut % 2 else data)
    for reader in READERS:
        try:
            found = reader(short)
        except BadItem:
            continue
        if isinstance(found, Want | Piece):
            length = found.count if isinstance(found, Want) else len(found.data)
            assert 0 <= found.offset < found.offset + length <= found.wish.size


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_no_edition_but_the_signed_one_is_opened(at, change):
    """Whatever byte is another one: it is refused, or says exactly what was signed."""
    data = bytearray(GOOD)
    data[at] ^= change
    try:
        found = opened(bytes(data), TRUSTED)
    except BadItem:
        return
    assert EDITION == found


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60).map(lambda data: data.decode("latin-1")))
def test_any_text(text):
    """What stands in an order."""
    try:
        from_text(text)
    except BadItem:
        return

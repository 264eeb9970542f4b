"""Hardware stamps into UTC in a block: C against the same in Python, whatever the block holds."""

from random import Random

import pytest

from drivers.hardware_clock import Translation
from drivers.linux._stamps import to_utc as to_utc_in_c
from drivers.tap import BLOCK_HEADER, FRAME_HEADER, STATUS_HARDWARE_STAMP, HeardFrame, pack_block, to_utc
from firmware.core.block import frames

SECOND = 1_000_000_000
UTC_NS = 1_795_342_500 * SECOND
ROUNDS = 300


def block(random: Random, translation: Translation, *, count: int) -> tuple[bytearray, list[int]]:
    """Frames of which some were stamped by the card; and when each came."""
    rows, came = [], []
    for n in range(count):
        utc_ns = UTC_NS + n * 1_000 + random.randrange(900)
        is_hardware = random.random() < 0.7
        card_ns = (
            utc_ns + translation.ahead_ns + (utc_ns + translation.ahead_ns - translation.at_ns) * translation.gain_ppb // SECOND
        )
        data = random.randbytes(random.randrange(14, 200))
        rows.append(HeardFrame(card_ns if is_hardware else utc_ns, data, len(data), is_hardware))
        came.append(utc_ns)
    return bytearray(pack_block(rows, sequence=1)), came


@pytest.mark.parametrize("seed", range(5))
def test_c_does_what_python_says(seed: int) -> None:
    """Cards of any century that gain up to 1000 ppm, whole blocks and broken ones: the same bytes and the same counts. (S2-011)"""
    random = Random(seed)
    for _ in range(ROUNDS):
        ahead_ns = random.choice((0, 37 * SECOND, -UTC_NS + 5 * SECOND, random.randrange(-UTC_NS, UTC_NS)))
        translation = Translation(UTC_NS + ahead_ns, ahead_ns, random.randrange(-1_000_000, 1_000_000))
        made, _ = block(random, translation, count=random.randrange(1, 30))
        for _ in range(random.choice((0, 0, 1, 3))):
            made[random.randrange(len(made))] = random.randrange(256)
        earliest_ns, latest_ns = UTC_NS - random.randrange(SECOND), UTC_NS + random.randrange(SECOND)
        theirs, ours = bytearray(made), bytearray(made)
        said = to_utc_in_c(theirs, translation.at_ns, translation.ahead_ns, translation.gain_ppb, earliest_ns, latest_ns)

        assert to_utc(ours, translation, earliest_ns=earliest_ns, latest_ns=latest_ns) == said
        assert ours == theirs


def test_every_frame_when_it_came() -> None:
    """Stamped by the card or by software, each within a nanosecond or two of when it came; the block's last stamp is its last frame's. (S2-011)"""
    translation = Translation(UTC_NS + 37 * SECOND, 37 * SECOND, 80_000)
    made, came = block(Random(9), translation, count=200)
    kept, refused = to_utc_in_c(
        made, translation.at_ns, translation.ahead_ns, translation.gain_ppb, UTC_NS - SECOND, UTC_NS + SECOND
    )
    rows = [row.stamp_ns for row in frames(memoryview(made), 200)]

    once = bytes(made)
    again = to_utc_in_c(made, translation.at_ns, translation.ahead_ns, translation.gain_ppb, UTC_NS - SECOND, UTC_NS + SECOND)

    assert 0 == refused and 100 < kept < 200
    assert (0, 0) == again and once == made
    assert all(abs(stamp - true) <= 2 for stamp, true in zip(rows, came, strict=True))
    assert divmod(rows[-1], SECOND) == BLOCK_HEADER.unpack_from(made)[9:11]


def test_a_stamp_of_no_moment_it_can_have_come() -> None:
    """The card was set to 1970 or a century ahead meanwhile: the frame is kept where it came, and is not called stamped by hardware. (S2-011)"""
    rows = [HeardFrame(stamp, b"x" * 60, 60, True) for stamp in (5, UTC_NS, UTC_NS + 4_000 * SECOND)]
    made = bytearray(pack_block(rows, sequence=1))
    said = to_utc_in_c(made, 0, 0, 0, UTC_NS - 7, UTC_NS + 7)
    statuses, offset = [], BLOCK_HEADER.size
    for _ in rows:
        following, _, _, _, _, status, *_ = FRAME_HEADER.unpack_from(made, offset)
        statuses.append(bool(status & STATUS_HARDWARE_STAMP))
        offset += following

    assert (1, 2) == said
    assert [UTC_NS - 7, UTC_NS, UTC_NS + 7] == [row.stamp_ns for row in frames(memoryview(made), 3)]
    assert [False, True, False] == statuses

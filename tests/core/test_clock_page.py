"""The clock's page: understood at a glance, and honest about what it does not know."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.core.clock_page import lines
from firmware.core.errors import BadItem
from firmware.core.timestamp import SECOND
from simulator.clock import SimulatedClock

NOW = SimulatedClock().now()
AT = NOW.timestamp.tai_ns
STATE = {
    "at": "2026-11-22T10:15:00.000Z", "at_tai_ns": AT, "monotonic_ns": NOW.monotonic.ns, "source": "ntp", "state": "locked",
    "uncertainty_ns": 900_000, "reference": "192.0.2.1", "tai_offset_s": 37, "steps": 0, "step_total_ns": 0, "leap": 0,
    "grandmaster": "020000fffe00000a",
    "ptp": {
        "port": "master", "is_grandmaster": True, "offset_ns": 0, "delay_ns": 0, "steps_removed": 0, "clock_class": 248,
        "clock_accuracy": 0x29,
    },
    "masters": [],
    "offsets": [
        ["10.77.0.21", "netsync", -21_800, -12_700, AT], ["10.77.0.22", "reported", 3_000, 3_000, AT],
        ["10.77.0.23", "present", None, None, AT], ["10.77.0.24", "netsync", 5_000_000, 5_040_000, AT],
    ],
    "devices": {
        "10.77.0.21": {"measured_s": 0.4, "heard_s": 0.1, "silent": False},
        "10.77.0.23": {"measured_s": None, "heard_s": 40.0, "silent": True},
    },
}  # fmt: skip


def page(**changes: object) -> list[str]:
    return lines(json.dumps(STATE | changes).encode(), now=NOW)


def test_at_a_glance() -> None:
    """Whose time, how good, who leads; each device in one line with what is known, how, and since when. (S2-012)"""
    rows = page()

    assert "time      LOCKED by ntp (192.0.2.1), known to ±900 µs" == rows[0]
    assert "ptp       GRANDMASTER of the room, port master, clock accuracy 0x29" == rows[2]
    assert "devices   4, of them 2 certified by measurement" == rows[3]
    device = {row.split()[0]: row for row in rows[5:]}
    assert "certified ±21.8 µs" in device["10.77.0.21"] and device["10.77.0.21"].endswith("netsync  0 s ago")
    assert "self-reported ±3 µs" in device["10.77.0.22"]
    assert " unknown " in device["10.77.0.23"] and device["10.77.0.23"].endswith("SILENT")


def test_the_bar_shows_where_the_truth_lies() -> None:
    """To the left of the middle for a clock that is behind, to the right for one ahead, on one scale for all."""
    rows = {row.split()[0]: row for row in page()[5:]}
    scale = page()[4]
    middle = scale.index("0", scale.index("-10 ms") + 6)

    assert "-10 ms" in scale and scale.rstrip().endswith("10 ms")
    assert rows["10.77.0.24"].index("═") > middle
    assert abs(rows["10.77.0.21"].index("═") - middle) <= 1
    assert page(offsets=[["a", "netsync", 5 * SECOND, 6 * SECOND, AT]])[-1].count("▶") == 1


def test_what_is_old_says_so_first() -> None:
    """A page nobody has written for a quarter of a minute is headed by that."""
    assert page(monotonic_ns=NOW.monotonic.ns - 15 * SECOND)[0].startswith("THIS IS OLD")
    assert page(monotonic_ns=NOW.monotonic.ns + 5)[0].startswith("THIS IS OLD")  # of another start of the machine


def test_trouble_is_on_the_page() -> None:
    """Steps, an announced leap second, a lost ptp4l, another master, and that the box follows."""
    text = "\n".join(
        page(
            steps=2, step_total_ns=3600 * SECOND, leap=1, ptp=None,
            masters=[{"name": "a-1", "address": "10.77.0.66", "heard_s": 1.2, "grandmaster": "a", "priority1": 1}],
        )
    )  # fmt: skip
    follows = STATE["ptp"] | {"is_grandmaster": False, "port": "slave", "offset_ns": -250, "delay_ns": 20_000, "steps_removed": 1}  # type: ignore[operator]

    assert "stepped   2 times since start, +3600.000 s in all" in text
    assert "leap second announced (+1)" in text
    assert "ptp4l does not answer" in text
    assert "also announces: a-1 from 10.77.0.66" in text
    assert "follows 020000fffe00000a, port slave, 1 steps away, offset -250 ns" in "\n".join(page(ptp=follows))


@given(st.binary(max_size=60) | st.tuples(st.sampled_from(sorted(STATE)), st.sampled_from([None, 5, "x", [], {}, [[]], [["a"]], True])).map(lambda c: json.dumps(STATE | {c[0]: c[1]}).encode()))  # fmt: skip
def test_any_bytes(data: bytes) -> None:
    """A page or BadItem: this file is read by a console nobody watches."""
    try:
        assert lines(data, now=NOW)
    except BadItem:
        pass


def test_torn() -> None:
    """A file that ends early is refused whole."""
    with pytest.raises(BadItem):
        lines(json.dumps(STATE).encode()[:-1], now=NOW)

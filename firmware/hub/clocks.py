"""The boxes' clocks over the last hours, out of their health messages: how good each was, and how far its devices were off.

A field is "clock.gauges.offset_low_ns/10.77.0.21" and the like (firmware/clock, firmware/health). What a box sent is foreign: a field
of another kind is left out, and no more than DEVICES_MAX devices of POINTS_MAX messages are given out.
"""

import json
from collections.abc import Mapping

from firmware.core.timestamp import SECOND, iso
from firmware.hub.repository import Repository

POINTS_MAX = 180  # three hours of health messages a minute
DEVICES_MAX = 64
BOXES_MAX = 50
_GAUGES = "clock.gauges."
_NUMBER_MAX = (1 << 63) - 1
_NS_MAX = (1 << 53) - 1  # beyond it a browser rounds (RFC 8259 §6), and 104 days are off the plot anyway
Plain = dict[str, object]


def newest(repository: Repository) -> int:
    """Up to which message `clocks` can tell."""
    return int(repository.rows("select coalesce(max(number), 0) as number from messages")[0]["number"])


def clocks(
    repository: Repository, *, box: str | None = None, after: int = 0, upto: int = _NUMBER_MAX, tai_offset_s: int
) -> list[Plain]:
    """One entry for each box that speaks of its clock, by name: how it is now, and its devices' offsets over time.

    Of the first BOXES_MAX, or of the one that was asked for, wherever it stands among them.
    after, upto: of these messages alone, by number: boxes that have spoken in them, and their points. Hours of a fleet are megabytes.

    {"box", "state", "source", "uncertainty_ns", "at", "since": points before it are too old, in ms since 1970,
    "devices": [{"device", "method", "points": [[at ms since 1970, low ns, high ns]]}]}
    """
    names = [row["name"] for row in repository.rows("select name from boxes where ?1 in ('', name) order by name limit ?2", box or "", BOXES_MAX)]  # fmt: skip
    found = []
    for name in names:
        rows = repository.rows(
            "select origin_tai_ns, fields from messages where kind = 'health' and box = ? and number > ? and number <= ?"
            " order by number desc limit ?", name, after, upto, POINTS_MAX,
        )  # fmt: skip
        moments = [(row["origin_tai_ns"] - tai_offset_s * SECOND, json.loads(row["fields"] or "{}")) for row in reversed(rows)]
        told = [(utc_ns, fields) for utc_ns, fields in moments if isinstance(fields.get(f"{_GAUGES}state"), str)]
        if told:
            (oldest,) = repository.rows(
                "select min(origin_tai_ns) as tai_ns from (select origin_tai_ns from messages where kind = 'health' and box = ?"
                " and number <= ? order by number desc limit ?)", name, upto, POINTS_MAX,
            )  # fmt: skip
            found.append(_clock(name, told) | {"since": (oldest["tai_ns"] - tai_offset_s * SECOND) // 1_000_000})
    return found


def _clock(box: str, told: list[tuple[int, Mapping[str, object]]]) -> Plain:
    utc_ns, last = told[-1]
    methods = {key.partition("/")[2]: value for key, value in last.items() if key.startswith(f"{_GAUGES}offset_method/")}
    devices = sorted(name for name, value in methods.items() if name and isinstance(value, str))[:DEVICES_MAX]
    return {
        "box": box, "state": last[f"{_GAUGES}state"], "source": last.get(f"{_GAUGES}source"), "at": iso(utc_ns),
        "uncertainty_ns": _whole(last.get(f"{_GAUGES}uncertainty_ns")),
        "devices": [{"device": device, "method": methods[device], "points": _points(device, told)} for device in devices],
    }  # fmt: skip


def _points(device: str, told: list[tuple[int, Mapping[str, object]]]) -> list[list[int]]:
    points = []
    for utc_ns, fields in told:
        low, high = (_whole(fields.get(f"{_GAUGES}offset_{end}_ns/{device}")) for end in ("low", "high"))
        if low is not None and high is not None and low <= high:
            points.append([utc_ns // 1_000_000, low, high])
    return points


def _whole(value: object) -> int | None:
    return max(-_NS_MAX, min(value, _NS_MAX)) if isinstance(value, int) and not isinstance(value, bool) else None

"""state/clock as a page a technician understands at a glance: on the command line, on the serial console."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from drivers.clock import Now
from firmware.core.certificate import ACCOUNT_AGE_NS, DeviceOffset, device_from_list
from firmware.core.errors import BadItem
from firmware.core.timestamp import SECOND, span

STATE = "state/clock"
STATE_BYTES_MAX = 1 << 18  # with 256 devices it has 100 KiB
_WIDTH = 41  # of a bar: an odd number, so that it has a middle
_SCALES_NS = (10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, SECOND)


def lines(data: bytes, *, now: Now) -> list[str]:
    """state/clock for people. Raises BadItem when it is not what the clock station writes."""
    try:
        state: Mapping[str, Any] = json.loads(data)  # Any: JSON is anything; what does not fit ends below
        rows = [device_from_list(row) for row in state.get("offsets", [])]
        return _page(state, rows, now)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as problem:
        raise BadItem(f"expected the clock's state, it does not read as one ({type(problem).__name__})") from None


def _page(state: Mapping[str, Any], rows: Sequence[DeviceOffset], now: Now) -> list[str]:
    age_ns = now.monotonic.ns - int(state["monotonic_ns"])
    found = [
        f"time      {state['state'].upper()} by {state['source']}"
        + (f" ({state['reference']})" if state.get("reference") else "")
        + f", known to ±{span(state['uncertainty_ns'])}",
        f"          {state['at']}, TAI minus UTC {state['tai_offset_s']} s"
        + (f", leap second announced ({state['leap']:+d})" if state.get("leap") else ""),
    ]
    if not 0 <= age_ns <= ACCOUNT_AGE_NS:
        found.insert(0, "THIS IS OLD: the clock station has not written since; nothing below is about now")
    if state["steps"]:
        found.append(f"stepped   {state['steps']} times since start, {state['step_total_ns'] / SECOND:+.3f} s in all")
    found.append(f"ptp       {_ptp(state)}")
    if state.get("hardware_clock"):
        found.append(f"          the interface's own clock {state['hardware_clock']}")
    found += [
        f"          also announces: {row['name']} from {row['address']}, grandmaster {row['grandmaster']}, "
        f"priority1 {row['priority1']}, {row['heard_s']:.0f} s ago"
        for row in state["masters"]
    ]
    if not rows:
        return [*found, "devices   none heard"]
    certified = sum(row.method.is_measured for row in rows)
    found.append(f"devices   {len(rows)}, of them {certified} certified by measurement")
    scale_ns = _scale(rows)
    if scale_ns is not None:
        found.append(f"  {'':<24} {'':<28} {'-' + span(scale_ns):<{_WIDTH // 2}}0{span(scale_ns):>{_WIDTH // 2}}")
    return found + [_line(row, state["devices"].get(row.device, {}), scale_ns) for row in rows]


def _ptp(state: Mapping[str, Any]) -> str:
    ptp = state["ptp"]
    if ptp is None:
        return "ptp4l does not answer; this box serves no PTP"
    if ptp["is_grandmaster"]:
        return f"GRANDMASTER of the room, port {ptp['port']}, clock accuracy 0x{ptp['clock_accuracy']:02x}"
    return (
        f"follows {state['grandmaster']}, port {ptp['port']}, {ptp['steps_removed']} steps away, offset {span(ptp['offset_ns'])}, "
        f"delay {span(ptp['delay_ns'])}"
    )


def _line(row: DeviceOffset, device: Mapping[str, Any], scale_ns: int | None) -> str:
    age = device.get("measured_s") if row.method.is_measured else device.get("heard_s")
    mark = "  SILENT" if device.get("silent") else ""
    when = "" if age is None else f"  {age:.0f} s ago"
    return f"  {row.device:<24} {row.words():<28} {_bar(row, scale_ns):<{_WIDTH}} {row.method.value}{when}{mark}".rstrip()


def _scale(rows: Sequence[DeviceOffset]) -> int | None:
    furthest = [row.furthest_ns for row in rows if row.furthest_ns is not None]
    if not furthest:
        return None
    return next((scale for scale in _SCALES_NS if scale >= max(furthest)), _SCALES_NS[-1])


def _bar(row: DeviceOffset, scale_ns: int | None) -> str:
    """Where the truth lies, drawn; "·" is no offset. Arrows where it lies outside."""
    if scale_ns is None or row.low_ns is None or row.high_ns is None:
        return ""
    middle = _WIDTH // 2

    def place(ns: int) -> int:
        return middle + round(max(-scale_ns, min(scale_ns, ns)) / scale_ns * middle)

    first, last = place(row.low_ns), place(row.high_ns)
    drawn = ["═" if first <= at <= last else "·" if at == middle else " " for at in range(_WIDTH)]
    if row.high_ns < -scale_ns:
        drawn[0] = "◀"
    if row.low_ns > scale_ns:
        drawn[-1] = "▶"
    return "".join(drawn)

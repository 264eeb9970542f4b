"""The account of time as stored in state/, and as a page a technician understands at a glance."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from drivers.clock import Now
from firmware.clock.devices import Device
from firmware.clock.masters import Master
from firmware.clock.ptp4l import Ptp4l
from firmware.clock.source import Quality
from firmware.core.certificate import DeviceOffset, device_from_list
from firmware.core.errors import BadItem
from firmware.core.ptp import identity_text
from firmware.core.timestamp import SECOND, iso, span

STALE_NS = 10 * SECOND
_WIDTH = 41  # of a bar: an odd number, so that it has a middle
_SCALES_NS = (10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, SECOND)


def state_of(
    now: Now,
    quality: Quality,
    ours: Ptp4l | None,
    offsets: Sequence[DeviceOffset],
    *,
    masters: Sequence[Master],
    devices: Iterable[Device],
    steps: int,
    step_total_ns: int,
) -> Mapping[str, object]:
    """state/clock, as JSON. "offsets" and "grandmaster" are what seals take over (core/certificate.py)."""
    stamp, moment = now.timestamp, now.monotonic
    return {
        "at": iso(now.utc_ns), "at_tai_ns": stamp.tai_ns, "monotonic_ns": moment.ns, "source": quality.source,
        "state": quality.state.value, "uncertainty_ns": quality.uncertainty_ns, "reference": quality.reference,
        "tai_offset_s": now.tai_offset_s, "steps": steps, "step_total_ns": step_total_ns, "leap": quality.leap,
        "grandmaster": ours.grandmaster.hex() if ours is not None else "",
        "ptp": None if ours is None else {
            "port": ours.state.name.lower(), "is_grandmaster": ours.is_grandmaster, "offset_ns": ours.offset_ns,
            "delay_ns": ours.delay_ns, "steps_removed": ours.steps_removed, "clock_class": ours.quality.clockClass,
            "clock_accuracy": ours.quality.clockAccuracy,
        },
        "masters": [
            {
                "name": master.name, "address": master.address, "heard_s": moment.since(master.heard_at) / SECOND,
                "grandmaster": identity_text(master.announce.grandmasterIdentity),
                "priority1": master.announce.grandmasterPriority1,
            }
            for master in masters
        ],
        "offsets": [[row.device, row.method.value, row.low_ns, row.high_ns, row.at_tai_ns] for row in offsets],
        "devices": {
            device.address: {
                "clock": device.clock.hex(), "port": device.port_state.name.lower(), "silent": device.is_silent,
                "heard_s": None if device.heard_at is None else moment.since(device.heard_at) / SECOND,
                "measured_s": _measured_s(device, now), "answered": device.answered, "missed": device.missed,
            }
            for device in devices
        },
    }  # fmt: skip


def _measured_s(device: Device, now: Now) -> float | None:
    """Seconds since the newest measurement."""
    moments = [track.measured_at for track in device.tracks.values()]
    newest = max((moment for moment in moments if moment is not None), default=None)
    return None if newest is None else now.monotonic.since(newest) / SECOND


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
    if not 0 <= age_ns <= STALE_NS:
        found.insert(0, "THIS IS OLD: the clock station has not written since; nothing below is about now")
    if state["steps"]:
        found.append(f"stepped   {state['steps']} times since start, {state['step_total_ns'] / SECOND:+.3f} s in all")
    found.append(f"ptp       {_ptp(state)}")
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

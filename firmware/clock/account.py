"""The account of time as stored in state/: what seals take over, and what the page for people is made of (core/clock_page.py)."""

from collections.abc import Iterable, Mapping, Sequence

from drivers.clock import Now
from firmware.clock.devices import Device
from firmware.clock.masters import Master
from firmware.clock.ptp4l import Ptp4l
from firmware.clock.source import Quality
from firmware.core.certificate import DeviceOffset
from firmware.core.ptp import identity_text
from firmware.core.timestamp import SECOND, iso


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
    hardware: str = "",
) -> Mapping[str, object]:
    """state/clock, as JSON. "offsets" and "grandmaster" are what seals take over (core/certificate.py)."""
    stamp, moment = now.timestamp, now.monotonic
    return {
        "at": iso(now.utc_ns), "at_tai_ns": stamp.tai_ns, "monotonic_ns": moment.ns, "source": quality.source,
        "state": quality.state.value, "uncertainty_ns": quality.uncertainty_ns, "reference": quality.reference,
        "tai_offset_s": now.tai_offset_s, "steps": steps, "step_total_ns": step_total_ns, "leap": quality.leap, "hardware_clock": hardware,
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

"""The section [clock] of scrubjay.toml."""

import ipaddress
import re
from dataclasses import dataclass

from firmware.core.errors import BadSettings
from firmware.core.settings import setting

_INTERFACE = re.compile(r"[^\s/\[\]\x00-\x1f\x7f]{0,15}")  # as the kernel allows it, and as it stands in ptp4l's file
_SERVER = re.compile(r"[A-Za-z0-9._:-]{1,253}")  # one word of a line of chrony.conf


@dataclass(frozen=True, slots=True)
class ClockSettings:
    """How closely the clock is watched, whom it serves, and whom it measures.

    GRANDMASTER.md says what runs beside this and who steers what.
    """

    # What ptp4l and chronyd have said is believed for five seconds, and what is published of the clock by all others for as long.
    period_ms: int = setting(1000, "How often the clock is looked at.", low=100, high=4_000)
    # NTP and PTP servos slew by at most 500 ppm, 0.5 ms in a second: anything near this is a step, not a correction.
    step_ms: int = setting(
        50, "A jump of the wall clock against monotonic time beyond this is a step and is reported.", low=1, high=60_000
    )
    interface: str = setting(
        "", "The room interface: PTP is served, devices are measured and other masters are noticed on it. Empty: none."
    )
    devices: tuple[str, ...] = setting((), "IP addresses of devices to be measured always; those heard by PTP join them.")
    probe_ms: int = setting(500, "How often a device's clock is measured by NetSync Monitor.", low=50, high=60_000)
    probe_burst: int = setting(3, "Probes one after the other each time: the emptiest queue of them counts.", low=1, high=16)
    ask_s: int = setting(
        10, "How often devices are asked by PTP management, and those without NetSync Monitor by NTP.", low=1, high=3600
    )
    silent_s: int = setting(30, "A device not heard for so long is reported.", low=5, high=86_400)
    offset_us: int = setting(
        1000, "A device whose clock is certainly further off than this is reported (sub-millisecond is promised).",
        low=1, high=1_000_000_000,
    )  # fmt: skip
    serves: bool = setting(True, "Whether the box is a PTP clock on the room interface at all.")
    yields: bool = setting(True, "Whether the box follows a better PTP clock in the room; else it never follows, and reports it.")
    domain: int = setting(0, "PTP domain.", low=0, high=127)
    priority1: int = setting(128, "PTP priority1; the lowest in the room becomes grandmaster.", low=0, high=255)
    priority2: int = setting(128, "PTP priority2; decides between clocks that are otherwise as good.", low=0, high=255)
    transport: str = setting("UDPv4", "How PTP travels.", choices=("UDPv4", "UDPv6", "L2"))
    delay_mechanism: str = setting("E2E", "How delays are measured.", choices=("E2E", "P2P"))
    time_stamping: str = setting(
        "software", "Who stamps PTP messages; hardware where the interface can.", choices=("software", "hardware")
    )
    sync_log2_s: int = setting(-3, "Interval of Sync messages, as a power of two of seconds.", low=-7, high=4)
    ntp_servers: tuple[str, ...] = setting((), "NTP servers on the uplink side.")
    ptp4l: str = setting("/run/scrubjay-ptp/ptp4l", "Control socket of ptp4l. Empty: it is not asked.")
    chronyd: str = setting("127.0.0.1:323", "Control socket of chronyd. Empty: it is not asked.")

    def __post_init__(self) -> None:
        if _INTERFACE.fullmatch(self.interface) is None:
            raise BadSettings(f"[clock] interface: expected an interface's name of at most 15 characters, got {self.interface!r}")
        for device in self.devices:
            if not _is_address(device):
                raise BadSettings(f"[clock] devices: expected IP addresses, got {device!r}")
        for server in self.ntp_servers:
            if _SERVER.fullmatch(server) is None:
                raise BadSettings(f"[clock] ntp_servers: expected a host's name or address each, got {server!r}")
        for name, socket in (("ptp4l", self.ptp4l), ("chronyd", self.chronyd)):
            if socket and not _is_socket(socket):
                raise BadSettings(
                    f"[clock] {name}: expected a path, or an IPv4 address and a port as 127.0.0.1:323, got {socket!r}"
                )


def _is_address(text: str) -> bool:
    try:
        return "%" not in text and bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def _is_socket(text: str) -> bool:
    if ":" not in text:
        return text.isprintable() and " " not in text
    host, _, port = text.rpartition(":")
    return "." in host and _is_address(host) and port.isascii() and port.isdecimal() and 0 < int(port) < 65_536

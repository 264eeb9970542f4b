"""The section [clock] of scrubjay.toml."""

from dataclasses import dataclass

from firmware.core.settings import setting


@dataclass(frozen=True, slots=True)
class ClockSettings:
    """How closely the clock is watched, whom it serves, and whom it measures.

    GRANDMASTER.md says what runs beside this and who steers what.
    """

    period_ms: int = setting(1000, "How often the clock is looked at.", low=100, high=60_000)
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

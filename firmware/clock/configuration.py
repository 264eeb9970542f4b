"""What runs beside the station is configured here and nowhere else: ptp4l, phc2sys and chronyd, from the section [clock].

Exactly one program steers the system's clock, in every form:

    stamps     yields   steers CLOCK_REALTIME   from                        the interface's clock (PHC)
    software   no       chronyd                 NTP                         —
    software   yes      chronyd                 NTP; better, ptp4l (SHM)    —
    hardware   no       chronyd                 NTP                         phc2sys, from CLOCK_REALTIME
    hardware   yes      phc2sys                 ptp4l while it is a slave   phc2sys, the other way while it is master

In the last form chronyd only watches (`-x`), and the box holds over by its crystal when the better clock is lost.
A box that is no PTP clock (`serves` is off, or it has no room interface) runs no ptp4l: it is told of no interface, by which its unit is
passed over. Then chronyd steers, from NTP.
Source: ptp4l(8), phc2sys(8), chrony.conf(5) of linuxptp 3.1.1 and chrony 4.3.
"""

from firmware.clock.ptp4l import CLOCK_CLASS
from firmware.clock.settings import ClockSettings
from firmware.clock.source import PTP_REFERENCE
from firmware.core.certificate import DRIFT_PPM

PROGRAMS = ("ptp4l", "phc2sys", "chronyd")
_SHM_SEGMENT = 0
# What a slave with software stamps is off by at most on a quiet switch: the unevenness of two network stacks, not measurable here.
_SHM_DELAY_S = 0.0001
# chronyd by itself slews by 83,333 ppm: frames a second apart would be stamped 1.08 s apart, no device could follow the box, and each would
# seem to have jumped. As much as two crystals may part (DRIFT_PPM) is no news to anybody: 36 ms, an hour of holdover, take six minutes.
_SLEW_PPM_MAX = DRIFT_PPM


def configuration(program: str, settings: ClockSettings) -> str:
    """The file of one of PROGRAMS; phc2sys has none, and is given its command line instead."""
    return {"ptp4l": _ptp4l, "phc2sys": _phc2sys, "chronyd": _chronyd}[program](settings)


def _ptp4l(settings: ClockSettings) -> str:
    is_hardware = settings.time_stamping == "hardware"
    rows = [
        ("domainNumber", settings.domain), ("priority1", settings.priority1), ("priority2", settings.priority2),
        ("clockClass", CLOCK_CLASS), ("network_transport", settings.transport), ("delay_mechanism", settings.delay_mechanism),
        ("time_stamping", settings.time_stamping), ("logSyncInterval", settings.sync_log2_s),
        ("logMinDelayReqInterval", 0), ("logAnnounceInterval", 1),
        # ptp4l's own commands over the network are read-only; the control socket is a file, and its group's.
        ("uds_address", settings.ptp4l), ("use_syslog", 1), ("summary_interval", 6),
        # Clients that answer NetSync Monitor send their requests unicast; without this ptp4l would answer them to everybody.
        ("hybrid_e2e", int(settings.delay_mechanism == "E2E")),
    ]  # fmt: skip
    # One empty datagram on its port is a fault to ptp4l, and by its default it then stays away for sixteen seconds; and a machine that is
    # busy for longer than the millisecond it waits for the stamp of what it sent is one as well (tests/room/test_hostile_ptp.py).
    rows += [("fault_reset_interval", "ASAP"), ("tx_timestamp_timeout", 50)]
    if not settings.yields:
        rows.append(("masterOnly", 1))
    if not is_hardware:
        # It measures and hands on what it finds; to steer is chronyd's. Without a master there is nothing to hand on.
        rows += [("clock_servo", "ntpshm"), ("ntpshm_segment", _SHM_SEGMENT)]
    # Never a step by ptp4l itself but the first: what records goes by this clock.
    rows += [("step_threshold", "0.0"), ("first_step_threshold", "0.00002")]
    body = "\n".join(f"{name} {value}" for name, value in rows)
    head = f"# Made by `scrubjay clock --configuration ptp4l`; change scrubjay.toml, not this file.\n[global]\n{body}\n"
    if not settings.serves:
        return f"{head}# Not to be started: [clock] serves is off.\n[]\n"
    if not settings.interface:
        return f"{head}# Not to be started: [clock] interface names no room interface.\n[]\n"
    return f"{head}[{settings.interface}]\n"


def _phc2sys(settings: ClockSettings) -> str:
    if settings.time_stamping != "hardware" or not (settings.serves and settings.interface):
        return ""
    socket = f"-z {settings.ptp4l} -n {settings.domain}"
    return f"-a -r -r {socket} -S 0\n" if settings.yields else f"-s CLOCK_REALTIME -c {settings.interface} -w {socket} -S 0\n"


def _chronyd(settings: ClockSettings) -> str:
    rows = [f"server {name} iburst minpoll 4 maxpoll 6" for name in settings.ntp_servers]
    if settings.time_stamping == "software" and settings.yields and settings.serves and settings.interface:
        # ptp4l serves and hands on UTC with software stamps; `prefer` because a clock of the room is nearer than any server.
        rows.append(f"refclock SHM {_SHM_SEGMENT} refid {PTP_REFERENCE} poll 0 dpoll -2 delay {_SHM_DELAY_S} prefer")
    rows += [
        "driftfile /var/lib/chrony/drift",
        # Set once after the start, when a box comes out of a drawer with the year 1970; later it is slewed, however long that takes,
        # and the clock station reports whatever steps it nevertheless.
        "makestep 0.1 3", f"maxslewrate {_SLEW_PPM_MAX}",
        "leapsectz right/UTC", "rtcsync", "cmdport 323", "bindcmdaddress 127.0.0.1", "port 0",
    ]  # fmt: skip
    return "# Made by `scrubjay clock --configuration chronyd`; change scrubjay.toml, not this file.\n" + "\n".join(rows) + "\n"

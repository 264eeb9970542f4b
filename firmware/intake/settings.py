"""Section [intake] of scrubjay.toml."""

from dataclasses import dataclass

from firmware.core.sensitive_names import FIELD_NAMES
from firmware.core.settings import setting


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """What is listened to, and how long lower priorities may wait for company."""

    interface: str = setting("eth1", "Mirror port to hear published messages on; normally capture's.")
    p1_ports: tuple[int, ...] = setting((47001,), "UDP ports of priority 1 (alarms).", low=1, high=65_535)
    p2_ports: tuple[int, ...] = setting((47002,), "UDP ports of priority 2 (warnings).", low=1, high=65_535)
    p3_ports: tuple[int, ...] = setting((47003,), "UDP ports of priority 3 (deferred, maintenance).", low=1, high=65_535)
    p4_ports: tuple[int, ...] = setting((47004,), "UDP ports of priority 4 (everything else).", low=1, high=65_535)
    syslog_ports: tuple[int, ...] = setting(
        (514,), "UDP ports of any priority: what the message states, else by its severity.", low=1, high=65_535
    )
    devices: tuple[str, ...] = setting((), 'Names of devices by source address: "10.0.0.5=robot-1".')
    event_priorities: tuple[str, ...] = setting(
        ("patient-injury=1", "routine-maintenance=3"),
        'Priority of events whatever their severity or port: "event=1" to "event=4".',
    )
    event_words: tuple[str, ...] = setting(
        ("patient injury=patient-injury", "patient injured=patient-injury"),
        'Words that tell of an event where a message names none: "tool broken=tool-failure"; the event then sets the priority.',
    )
    stated_priorities: tuple[str, ...] = setting((), 'Other scales that devices state, in ours: "0=1", "urgent=1", "5=3".')
    subscribe: tuple[str, ...] = setting(
        ("* *",), 'Whose messages are taken, the first that fits decides: "DEVICE PROCESS" with * and ?, "!" in front for not.'
    )
    sensitive_fields: tuple[str, ...] = setting(FIELD_NAMES, "Names of fields tagged as sensitive, in any spelling.")
    listen_interface: str = setting("", "The room interface devices may connect to the box on, the only one. Empty: all.")
    listen_address: str = setting("", "Address of the box to listen on. Empty: all of them.")
    syslog_udp_listen: int = setting(
        0, "UDP port to take syslog on (RFC 5426, usually 514). 0: off, as for the following.", low=0, high=65_535
    )
    syslog_tcp_listen: int = setting(0, "TCP port to take syslog on (RFC 6587, usually 601).", low=0, high=65_535)
    syslog_tls_listen: int = setting(0, "TCP port to take syslog on, with TLS (RFC 5425, usually 6514).", low=0, high=65_535)
    hl7_listen: int = setting(0, "TCP port to take HL7 v2 on and acknowledge it (MLLP, usually 2575).", low=0, high=65_535)
    hl7_tls_listen: int = setting(0, "The same with TLS.", low=0, high=65_535)
    dicom_listen: int = setting(
        0, "TCP port to be told of procedure steps on (DICOM MPPS, usually 11112); any called title is taken.", low=0, high=65_535
    )
    dicom_tls_listen: int = setting(0, "The same with TLS (usually 2762).", low=0, high=65_535)
    igtl_listen: int = setting(0, "TCP port to take OpenIGTLink on (usually 18944); STATUS is kept.", low=0, high=65_535)
    hl7_utc_offset: str = setting("", 'Time zone of HL7 times that name none: "+08:00". Empty: such a time is kept as a claim.')
    sdc_address: str = setting(
        "", "The box's address on the room interface, to find SDC devices from and hear their alerts. Empty: off."
    )
    sdc_devices: tuple[str, ...] = setting((), "Endpoint references of the SDC devices to hear. Empty: every one found.")
    tls_certificate: str = setting("", "PEM file of the box's certificate in the room, for the listeners with TLS and for SDC.")
    tls_key: str = setting("", "PEM file of its key. Empty: in the certificate's file.")
    tls_ca: str = setting(
        "", "PEM file of who certifies devices; then every caller must show a certificate. Empty: none is asked for."
    )
    callers_max: int = setting(32, "Devices connected to one port at the same time.", low=1, high=1_024)
    p2_batch_ms: int = setting(50, "Longest a priority 2 message waits for others before it is written.", low=0, high=60_000)
    p3_batch_ms: int = setting(250, "The same for priority 3.", low=0, high=60_000)
    p4_batch_ms: int = setting(1_000, "The same for priority 4.", low=0, high=60_000)
    alarms_per_s: int = setting(
        20,
        "Priority 1 messages of one device that go at once, a second; more of them wait behind everybody else's.",
        low=1,
        high=10_000,
    )
    alarms_at_once: int = setting(200, "The same in a burst.", low=1, high=100_000)
    batch_count: int = setting(500, "Most messages in one item; reaching it writes at once.", low=1, high=5_000)
    backlog_count: int = setting(20_000, "Messages held while the disk takes none; beyond it the newest of the lowest priority go.", low=1, high=1_000_000)  # fmt: skip
    backlog_bytes: int = setting(16 << 20, "The same in bytes.", low=1 << 20, high=1 << 30)
    duplicate_count: int = setting(8_192, "Messages remembered in order to drop copies of them.", low=0, high=1_000_000)
    device_uncertainty_ms: int = setting(
        1_000, "How far a device's own clock is taken to be off, at most.", low=0, high=86_400_000
    )

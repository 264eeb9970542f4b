"""Section [intake] of scrubjay.toml."""

from dataclasses import dataclass

from firmware.core.sensitive import FIELD_NAMES
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
    p2_batch_ms: int = setting(50, "Longest a priority 2 message waits for others before it is written.", low=0, high=60_000)
    p3_batch_ms: int = setting(250, "The same for priority 3.", low=0, high=60_000)
    p4_batch_ms: int = setting(1_000, "The same for priority 4.", low=0, high=60_000)
    batch_count: int = setting(500, "Most messages in one item; reaching it writes at once.", low=1, high=5_000)
    backlog_count: int = setting(20_000, "Messages held while the disk takes none; beyond it the newest of the lowest priority go.", low=1, high=1_000_000)  # fmt: skip
    backlog_bytes: int = setting(16 << 20, "The same in bytes.", low=1 << 20, high=1 << 30)
    duplicate_count: int = setting(8_192, "Messages remembered in order to drop copies of them.", low=0, high=1_000_000)
    device_uncertainty_ms: int = setting(
        1_000, "How far a device's own clock is taken to be off, at most.", low=0, high=86_400_000
    )

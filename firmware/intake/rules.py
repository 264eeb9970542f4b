"""The settings of intake as rules for its entrance. Pure."""

from collections.abc import Callable

from firmware.core.entrance import Rules, Subscription, Words
from firmware.core.errors import BadSettings
from firmware.core.message import Priority, is_token
from firmware.core.sensitive_names import SensitiveNames
from firmware.core.timestamp import MS
from firmware.intake.settings import IntakeSettings


def rules_of(settings: IntakeSettings) -> Rules:
    """Raises BadSettings naming the entry that cannot be read."""
    ports: dict[int, Priority | None] = dict.fromkeys(settings.syslog_ports)
    by_priority = (settings.p4_ports, settings.p3_ports, settings.p2_ports, settings.p1_ports)
    for priority, listed in zip(reversed(Priority), by_priority, strict=True):
        ports |= dict.fromkeys(listed, priority)  # a port listed twice keeps the more urgent
    devices = _pairs("devices", settings.devices, '"10.0.0.5=robot-1"', is_token)
    events = _pairs("event_priorities", settings.event_priorities, '"patient-injury=1"', _is_priority)
    words = _pairs("event_words", settings.event_words, '"patient injury=patient-injury"', is_token)
    stated = _pairs("stated_priorities", settings.stated_priorities, '"0=1"', _is_priority)
    try:
        subscription = Subscription.of(settings.subscribe)
    except ValueError as entry:
        raise BadSettings(f'[intake] subscribe: expected "DEVICE PROCESS", both with * and ?, got {str(entry)!r}') from None
    return Rules(
        ports=ports,
        devices=devices,
        event_priorities={event: Priority(int(value)) for event, value in events.items()},
        names=SensitiveNames.of(settings.sensitive_fields),
        device_uncertainty_ns=settings.device_uncertainty_ms * MS,
        subscription=subscription,
        words=Words.of(words),
        stated_priorities={said: Priority(int(value)) for said, value in stated.items()},
    )


def _is_priority(value: str) -> bool:
    return value in ("1", "2", "3", "4")


def _pairs(name: str, entries: tuple[str, ...], example: str, is_value: Callable[[str], bool]) -> dict[str, str]:
    pairs = {}
    for entry in entries:
        key, equals, value = (part.strip() for part in entry.partition("="))
        if not (key and equals and is_value(value)):
            raise BadSettings(f"[intake] {name}: expected entries such as {example}, got {entry!r}")
        pairs[key] = value
    return pairs

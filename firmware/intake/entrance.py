"""From a datagram to a message: who, when, how urgent, what in it is sensitive. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from drivers.clock import ClockState, Now, Timestamp
from firmware.core.datagram import OPAQUE, decoded
from firmware.core.errors import BadSettings
from firmware.core.frame import ip_text
from firmware.core.message import Field, Message, Priority, is_token
from firmware.core.priority import SEVERITY_OF, priority_of
from firmware.core.said import Said
from firmware.core.sensitive import SensitiveNames, find_tags
from firmware.core.timestamp import MS, SECOND
from firmware.intake.settings import IntakeSettings

KIND = "published"
# Kinds the box uses for what it says itself; a device that claims one is not believed.
OWN_KINDS = frozenset({"health", "command-result", "evidence-result", "error", "live"})
YEAR_2000_TAI_NS = (946_684_800 + 32) * SECOND  # TAI was 32 s ahead then
AHEAD_NS_MAX = 86_400 * SECOND  # a day: every time zone mistake passes, a clock that was never set does not


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings, ready for use. ports: to the priority of a destination port, None for a syslog port."""

    ports: Mapping[int, Priority | None]
    devices: Mapping[str, str]
    event_priorities: Mapping[str, Priority]
    names: SensitiveNames
    device_uncertainty_ns: int


def rules_of(settings: IntakeSettings) -> Rules:
    """Raises BadSettings naming the entry that cannot be read."""
    ports: dict[int, Priority | None] = dict.fromkeys(settings.syslog_ports)
    by_priority = (settings.p4_ports, settings.p3_ports, settings.p2_ports, settings.p1_ports)
    for priority, listed in zip(reversed(Priority), by_priority, strict=True):
        ports |= dict.fromkeys(listed, priority)  # a port listed twice keeps the more urgent
    devices = _pairs("devices", settings.devices, '"10.0.0.5=robot-1"', is_token)
    events = _pairs(
        "event_priorities", settings.event_priorities, '"patient-injury=1"', lambda value: value in ("1", "2", "3", "4")
    )
    return Rules(
        ports=ports,
        devices=devices,
        event_priorities={event: Priority(int(value)) for event, value in events.items()},
        names=SensitiveNames.of(settings.sensitive_fields),
        device_uncertainty_ns=settings.device_uncertainty_ms * MS,
    )


def message_of(
    payload: bytes,
    *,
    source_ip: bytes,
    port: int,
    stamp_utc_ns: int,
    now: Now,
    rules: Rules,
    count: Callable[[str], None],
    is_altered: bool = False,
) -> Message:
    """The message a datagram is. Never raises: whatever the bytes, something was said and is kept.

    stamp_utc_ns: when the frame was heard. count: told of claims not believed ("absurd_time") and bytes that
    made no sense ("undecodable"). is_altered: not what was sent; one wrong bit unmarks a name, so it is kept as bytes and not read.
    """
    said = Said("opaque", attachment=(OPAQUE, payload), undecodable=True) if is_altered else decoded(payload)
    address = ip_text(source_ip)
    device = rules.devices.get(address, address)
    received = replace(now.timestamp, tai_ns=stamp_utc_ns + now.tai_offset_s * SECOND)
    fields: dict[str, Field] = dict(said.fields)
    if said.undecodable:
        count("undecodable")
    if said.device is not None and said.device != device:
        fields["claimed_device"] = said.device
    process = _name(said.process, "process", "unknown", fields)
    kind = _name(said.kind, "kind", KIND, fields, refused=OWN_KINDS)
    event = said.event if is_token(said.event) else None
    if said.event is not None and event is None:
        fields["claimed_event"] = said.event
    port_priority = rules.ports.get(port)
    priority = priority_of(
        stated=said.priority, event=event, event_priorities=rules.event_priorities, port=port_priority, severity=said.severity
    )
    return Message(
        device=device, process=process, kind=kind, priority=priority,
        severity=SEVERITY_OF[priority] if said.severity is None else said.severity,
        origin_time=_origin(said, received, now, rules, fields, count), received_time=received,
        sequence=said.sequence, event=event, text=said.text, fields=fields, attachment=said.attachment,
        tags=find_tags(said.text, fields, said.attachment, names=rules.names),
    )  # fmt: skip


def _origin(
    said: Said, received: Timestamp, now: Now, rules: Rules, fields: dict[str, Field], count: Callable[[str], None]
) -> Timestamp:
    claimed = said.time_tai_ns
    if claimed is None and said.time_utc_ns is not None:
        claimed = said.time_utc_ns + now.tai_offset_s * SECOND
    if claimed is not None and YEAR_2000_TAI_NS <= claimed <= received.tai_ns + AHEAD_NS_MAX:
        return Timestamp(claimed, rules.device_uncertainty_ns, "device", ClockState.FREE)
    if claimed is not None:
        fields["claimed_time_ns"] = max(-(1 << 62), min(claimed, 1 << 62))
        count("absurd_time")
    return replace(received, source="arrival")


def _name(
    claimed: str | None, what: str, otherwise: str, fields: dict[str, Field], *, refused: frozenset[str] = frozenset()
) -> str:
    if claimed is not None and is_token(claimed) and claimed not in refused:
        return claimed
    if claimed is not None:
        fields[f"claimed_{what}"] = claimed
    return otherwise


def _pairs(name: str, entries: tuple[str, ...], example: str, is_value: Callable[[str], bool]) -> dict[str, str]:
    pairs = {}
    for entry in entries:
        key, equals, value = (part.strip() for part in entry.partition("="))
        if not (key and equals and is_value(value)):
            raise BadSettings(f"[intake] {name}: expected entries such as {example}, got {entry!r}")
        pairs[key] = value
    return pairs

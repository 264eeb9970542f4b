"""From what was said to a message: who, when, how urgent, what in it is sensitive. Pure.

Used by intake, which hears messages live, and by recall, which reads the same ones back from the segments: one rule for both, so
that both copies of a message have one identity (S2-035).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import translate

from drivers.clock import ClockState, Now, Timestamp
from firmware.core.certificate import DeviceOffset
from firmware.core.datagram import OPAQUE, decoded
from firmware.core.frame import ip_text
from firmware.core.message import Field, Message, Priority, is_token, packed_single
from firmware.core.priority import SEVERITY_OF, priority_of
from firmware.core.said import Said
from firmware.core.sensitive import find_tags, find_tags_below
from firmware.core.sensitive_names import SensitiveNames
from firmware.core.timestamp import SECOND

KIND = "published"
# Kinds the box uses for what it says itself; a device that claims one is not believed.
OWN_KINDS = frozenset(
    {
        "health",
        "command-result",
        "evidence-result",
        "error",
        "live",
        "discarded",
        "export",
        "slice",
        "session",
        "feedback",
        "update",
        "rollout",
    }
)
ANSWER_KINDS = frozenset({"command-result", "evidence-result"})  # to an order: somebody waits for them
YEAR_2000_TAI_NS = (946_684_800 + 32) * SECOND  # TAI was 32 s ahead then
# Copies of a message that has no time of its own (mirror ports send both directions) come within microseconds; a publisher that
# repeats itself within a second or two.
COPIES_NS = 5 * SECOND
AHEAD_NS_MAX = 86_400 * SECOND  # a day: every time zone mistake passes, a clock that was never set does not


@dataclass(frozen=True, slots=True)
class Subscription:
    """Whose messages are taken (S2-041). rules: (device, process, wanted) as patterns, the first that fits decides; none fits: no."""

    rules: tuple[tuple["re.Pattern[str]", "re.Pattern[str]", bool], ...]

    @classmethod
    def of(cls, entries: tuple[str, ...]) -> "Subscription":
        """From "DEVICE PROCESS" with * and ?, "!" in front for "not these". Raises ValueError naming the entry."""
        rules = []
        for entry in entries:
            words = entry.removeprefix("!").split()
            if len(words) != 2:
                raise ValueError(entry)
            device, process = (re.compile(translate(word)) for word in words)
            rules.append((device, process, not entry.startswith("!")))
        return cls(tuple(rules))

    def wants(self, device: str, process: str) -> bool:
        """Whether this process of this device is subscribed to."""
        for devices, processes, wanted in self.rules:
            if devices.match(device) and processes.match(process):
                return wanted
        return False


EVERYBODY = Subscription.of(("* *",))


@dataclass(frozen=True, slots=True)
class Words:
    """Events a text tells of, for publishers that name none (S2-030): words, looked for in any case, to the event's name."""

    events: Mapping[str, str] = field(default_factory=dict)
    pattern: "re.Pattern[str] | None" = None

    @classmethod
    def of(cls, events: Mapping[str, str]) -> "Words":
        if not events:
            return cls()
        # The longest first: "patient injury" must not be hidden behind "patient".
        listed = "|".join(re.escape(word) for word in sorted(events, key=len, reverse=True))
        return cls(
            {word.casefold(): event for word, event in events.items()}, re.compile(rf"(?<!\w)(?:{listed})(?!\w)", re.IGNORECASE)
        )

    def event_in(self, text: str | None) -> str | None:
        """The event of the first word found, None for none."""
        found = self.pattern.search(text) if self.pattern is not None and text is not None else None
        return None if found is None else self.events.get(found[0].casefold())


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings of intake, ready for use.

    ports: to the priority of a destination port, None for one whose messages say themselves how urgent they are.
    stated_priorities: what a device's own scale says to our priority, by the text of it.
    """

    ports: Mapping[int, Priority | None]
    devices: Mapping[str, str]
    event_priorities: Mapping[str, Priority]
    names: SensitiveNames
    device_uncertainty_ns: int
    subscription: Subscription = EVERYBODY
    words: Words = field(default_factory=Words)
    stated_priorities: Mapping[str, Priority] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """A message, and what the same work gave beside it. single: packed, a batch of one. key: equal for its copies, however they came."""

    message: Message
    identity: bytes
    single: bytes
    key: bytes


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
    offset: DeviceOffset | None = None,
) -> Message:
    """The message a datagram is. Never raises: whatever the bytes, something was said and is kept.

    stamp_utc_ns: when the frame was heard. count: told of claims not believed ("absurd_time") and bytes that
    made no sense ("undecodable"). is_altered: not what was sent; one wrong bit unmarks a name, so it is kept as bytes and not read.
    offset: of the sender's clock, where it is measured: it says how far its stamp may be off; the stamp itself stays as it was said.
    """
    said = Said("opaque", attachment=(OPAQUE, payload), undecodable=True) if is_altered else decoded(payload)
    return message_from(
        said, address=ip_text(source_ip), port=rules.ports.get(port), stamp_utc_ns=stamp_utc_ns, now=now, rules=rules, count=count,
        offset=offset,
    )  # fmt: skip


def message_from(
    said: Said,
    *,
    address: str,
    port: Priority | None,
    stamp_utc_ns: int,
    now: Now,
    rules: Rules,
    count: Callable[[str], None],
    offset: DeviceOffset | None = None,
) -> Message:
    """The message of what somebody said, by whatever way. address: whose; the site's name for it is the device's.

    port: the priority of the port it came to, None where that says nothing.
    """
    device = rules.devices.get(address, address)
    offset_ns = now.tai_offset_s * SECOND
    received = Timestamp(stamp_utc_ns + offset_ns, now.timestamp.uncertainty_ns, now.timestamp.source, now.timestamp.state)
    fields: dict[str, Field] = dict(said.fields)
    if said.undecodable:
        count("undecodable")
    if said.device is not None and said.device != device:
        fields["claimed_device"] = said.device
    process = _name(said.process, "process", "unknown", fields)
    kind = _name(said.kind, "kind", KIND, fields, refused=OWN_KINDS)
    event = said.event
    if event is None:
        event = rules.words.event_in(said.text)
    elif not is_token(event):
        fields["claimed_event"], event = event, None
    stated = said.priority
    if rules.stated_priorities:
        word = fields.get("claimed_priority") if stated is None else int(stated)
        stated = rules.stated_priorities.get(str(word), stated)
    priority = priority_of(stated=stated, event=event, event_priorities=rules.event_priorities, port=port, severity=said.severity)
    return Message(
        device=device, process=process, kind=kind, priority=priority,
        severity=SEVERITY_OF[priority] if said.severity is None else said.severity,
        origin_time=_origin(said, received, offset_ns, rules, fields, count, offset), received_time=received,
        sequence=said.sequence, event=event, text=said.text, fields=fields, attachment=said.attachment,
        tags=(
            *find_tags(said.text, fields, said.attachment, names=rules.names),
            *find_tags_below(said.heading, said.text, names=rules.names), *said.tags,
        ),
    )  # fmt: skip


def entry_of(message: Message, *, is_unique: bool = False) -> Entry:
    """A message with its identity and its bytes.

    A message with a count of its own and no time is recognised by the count: of its copies each arrives at another moment.
    is_unique: it carries an identifier of another kind, and the same holds.
    """
    identity, single = packed_single(message)
    key = identity
    if message.origin_time.source == "arrival" and (is_unique or message.sequence is not None):
        key = replace(message, origin_time=replace(message.origin_time, tai_ns=0)).identity
    return Entry(message, identity, single, key)


def _origin(
    said: Said,
    received: Timestamp,
    offset_ns: int,
    rules: Rules,
    fields: dict[str, Field],
    count: Callable[[str], None],
    offset: DeviceOffset | None,
) -> Timestamp:
    claimed = said.time_tai_ns
    if claimed is None and said.time_utc_ns is not None:
        claimed = said.time_utc_ns + offset_ns
    if claimed is not None and YEAR_2000_TAI_NS <= claimed <= received.tai_ns + AHEAD_NS_MAX:
        furthest_ns = offset.at(received.tai_ns).furthest_ns if offset is not None and offset.method.is_measured else None
        if furthest_ns is not None:
            return Timestamp(claimed, furthest_ns, "device", ClockState.LOCKED)
        return Timestamp(claimed, rules.device_uncertainty_ns, "device", ClockState.FREE)
    if claimed is not None:
        fields["claimed_time_ns"] = max(-(1 << 62), min(claimed, 1 << 62))
        count("absurd_time")
    return Timestamp(received.tai_ns, received.uncertainty_ns, "arrival", received.state)


def _name(
    claimed: str | None, what: str, otherwise: str, fields: dict[str, Field], *, refused: frozenset[str] = frozenset()
) -> str:
    if claimed is not None and is_token(claimed) and claimed not in refused:
        return claimed
    if claimed is not None:
        fields[f"claimed_{what}"] = claimed
    return otherwise

"""Beside the entrance: plain messages go through quickly, everything else is handed back for the entrance to judge.

`turnstile.c` decides what is plain, by what the entrance has taught it: which sources it has met, which names are harmless, which
processes are subscribed to. Nothing it lets through differs by a byte from what the entrance would have made (tests/core/test_turnstile.py).
"""

from drivers.clock import ClockState, Now
from drivers.tap import Block
from firmware.core._turnstile import Turnstile as Pass
from firmware.core.certificate import DeviceOffset
from firmware.core.entrance import EVERYBODY, OWN_KINDS, Rules, Words
from firmware.core.message import Message, stamp_tail
from firmware.core.sensitive import bare_names, is_harmless, may_end_one
from firmware.core.timestamp import SECOND

# What of a frame comes back. Plain: device, priority, key (as `Entry.key`), the message packed as a batch of one, stamp (UTC ns).
# Not plain: None, its length on the wire, its bytes as captured, nothing, stamp.
Row = tuple[str | None, int, bytes, bytes, int]
Note = tuple[str, int, int]  # a sender's address, its stamp furthest ahead of its arrival, that arrival; both ns TAI

NAMES_A_MESSAGE = 64  # learned from one; more than that is no form of message but a document
_CBOR = frozenset({0xD9, *range(0xA0, 0xC0)})  # what a message in CBOR can begin with
_INT64 = 1 << 63


class Turnstile:
    """For one set of rules."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._is_everybody = rules.subscription.rules == EVERYBODY.rules
        # A site whose scale has a word for "nothing was stated" has every message judged by the entrance.
        ports = {} if "None" in rules.stated_priorities else {port: int(wish or 0) for port, wish in rules.ports.items()}
        self._pass = Pass(
            ports,
            tuple((event.encode(), int(priority)) for event, priority in rules.event_priorities.items()),
            tuple(kind.encode() for kind in OWN_KINDS),
            _searchable(rules.words),
            _without_uncertainty("device", ClockState.FREE),
            _without_uncertainty("device", ClockState.LOCKED),
            rules.device_uncertainty_ns,
            self._is_everybody,
            bool(rules.stated_priorities),
            all(word.isascii() for word in rules.names.words),
        )

    def hear(self, block: Block, now: Now) -> tuple[list[Row], list[Note], bool]:
        """Each frame of a block in its order, what senders' stamps say of their clocks, and whether the block was whole."""
        ours = now.timestamp
        return self._pass.hear(
            block.data, block.frame_count, now.tai_offset_s * SECOND,
            stamp_tail(ours.uncertainty_ns, ours.source, ours.state), stamp_tail(ours.uncertainty_ns, "arrival", ours.state),
        )  # fmt: skip

    def learn(self, payload: bytes, message: Message, *, source_ip: bytes, address: str, offset: DeviceOffset | None) -> None:
        """What the entrance made of one; the next of its like may be plain. offset: as the entrance was given it."""
        if payload[0] not in _CBOR:
            return
        interval = _measured(offset)
        self._pass.learn_source(source_ip, address, message.device, interval is not None, *(interval or (0, 0, 0)))
        if not self._is_everybody and self._rules.subscription.wants(message.device, message.process):
            self._pass.learn_process(source_ip, message.process.encode())
        for name in list(message.fields)[:NAMES_A_MESSAGE]:
            if name.isascii() and is_harmless(name, self._rules.names):
                self._pass.learn_field(name.encode())
        texts = [message.text or "", *(value for value in message.fields.values() if isinstance(value, str))]
        names = dict.fromkeys(name for text in texts for name in bare_names(text))
        for name in list(names)[:NAMES_A_MESSAGE]:
            if name.isascii() and is_harmless(name, self._rules.names) and not may_end_one(name, self._rules.names):
                self._pass.learn_name(name.encode())

    def forget_sources(self) -> None:
        """What is known of their clocks has changed: each is learned again with its next message."""
        self._pass.forget_sources()


def _without_uncertainty(source: str, state: ClockState) -> bytes:
    return stamp_tail(0, source, state)[1:]


def _measured(offset: DeviceOffset | None) -> tuple[int, int, int] | None:
    if offset is None or not offset.method.is_measured or offset.low_ns is None or offset.high_ns is None:
        return None
    if max(abs(offset.low_ns), abs(offset.high_ns), abs(offset.at_tai_ns)) >= _INT64:
        return None
    return offset.low_ns, offset.high_ns, offset.at_tai_ns


def _searchable(words: Words) -> tuple[bytes, ...] | None:
    """Words to look for byte by byte, ignoring the case of ASCII; None where one has letters of case beyond it."""
    if words.pattern is None:
        return ()
    if any(c.lower() != c.upper() for c in words.pattern.pattern if not c.isascii()):
        return None
    return tuple(word.lower().encode() for word in words.events)

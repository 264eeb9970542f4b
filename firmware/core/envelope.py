"""What crosses the broker: envelopes (whole or in chunks) one way, acknowledgements and signed commands the other.

`envelope.cddl` beside this file is the format; everything here comes from foreign hands and is checked.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import cbor2

from firmware.core import compression
from firmware.core.cbor import decoded_cbor
from firmware.core.compression import CODECS, DICTIONARIES, DICTIONARY, Choice, Codec, Conditions
from firmware.core.errors import BadItem
from firmware.core.message import Priority
from firmware.core.release import BODY_BYTES_MAX, KINDS, Kind, checked_facts, checked_identity, is_figure

VERSION = 1
# Where nobody has measured the link: a small board behind 10 Mbit/s.
UNKNOWN = Conditions(rate_bytes_per_s=1.25e6)
ENVELOPE_BYTES_MAX = BODY_BYTES_MAX + (1 << 20)  # a body that compression made larger, and its head
COMMAND_BYTES_MAX = 65_536
ACK_IDENTITIES_MAX = 4_096
SIGNED_PREFIX = b"scrubjay command 1"  # So that a signature made for a command fits nothing else this key signs.
_INT64 = 1 << 63


@dataclass(frozen=True, slots=True)
class Envelope:
    """One item on its way to the hub. body: compressed with `codec`; raw_size: its bytes before that. dictionary: number, with deflate."""

    box: str
    kind: Kind
    priority: Priority
    first_tai_ns: int
    last_tai_ns: int
    codec: Codec
    raw_size: int
    body: bytes
    identity: bytes
    asked_by: bytes | None = None
    facts: Mapping[str, int | str] = field(default_factory=dict)
    dictionary: int | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a packed envelope. offset, size: bytes; digest: SHA-256 of the whole; size: of the whole."""

    offset: int
    size: int
    digest: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class Ack:
    """What the hub has: committed envelopes by identity, and for long ones how many bytes in sequence.

    custody: what a relay has on its own disk; the hub's word about it will follow.
    """

    committed: tuple[bytes, ...] = ()
    partial: Mapping[bytes, int] = field(default_factory=dict)
    custody: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Order:
    """What a command asks for. deed: "retrieval", "session", "feedback". counter: strictly increasing for each signer as it signs, not as they arrive. Times: ns TAI."""

    identity: bytes
    signer: str
    box: str
    deed: str
    counter: int
    made_tai_ns: int
    expires_tai_ns: int
    parameters: Mapping[str, int | str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Command:
    """An order as the bytes that were signed, and the signature."""

    order: bytes
    signature: bytes

    @property
    def signed_bytes(self) -> bytes:
        """What the signature is over."""
        return SIGNED_PREFIX + self.order


def sealed_envelope(
    *,
    box: str,
    kind: Kind,
    priority: Priority,
    first_tai_ns: int,
    last_tai_ns: int,
    content: bytes,
    asked_by: bytes | None = None,
    facts: Mapping[str, int | str] | None = None,
    choice: Choice | None = None,
    body: bytes | None = None,
) -> Envelope:
    """An envelope around `content`, compressed as `choice` says (None: as is best where nobody has measured the link).

    body: the content as the chosen codec has made it, where that was done a piece at a time. What did not shrink goes as it is.
    """
    choice = choice or compression.chosen(content, UNKNOWN, is_small_group=kind == "group")
    if body is None:
        packer = compression.packer(choice.codec, has_dictionary=choice.has_dictionary, size=len(content))
        body = packer.compress(content) + packer.flush()
    codec, dictionary = choice.codec, DICTIONARY if choice.has_dictionary else None
    if len(body) >= len(content):
        codec, dictionary, body = "none", None, content
    return Envelope(
        box=box, kind=kind, priority=priority, first_tai_ns=first_tai_ns, last_tai_ns=last_tai_ns,
        codec=codec, raw_size=len(content), body=body,
        identity=_identity(box, kind, priority, first_tai_ns, last_tai_ns, asked_by, content),
        asked_by=asked_by, facts=facts or {}, dictionary=dictionary,
    )  # fmt: skip


def content_of(envelope: Envelope) -> bytes:
    """The body as it was before compression, checked against the identity. Raises BadItem; never inflates beyond `raw_size`."""
    content = compression.unpacked(envelope.codec, envelope.body, size=envelope.raw_size, dictionary_id=envelope.dictionary)
    if len(content) != envelope.raw_size:
        raise BadItem(f"expected {envelope.raw_size} bytes after decompression, got another number")
    expected = _identity(
        envelope.box, envelope.kind, envelope.priority, envelope.first_tai_ns, envelope.last_tai_ns, envelope.asked_by, content
    )
    if expected != envelope.identity:
        raise BadItem("expected the identity that follows from the content")
    return content


def packed(envelope: Envelope) -> bytes:
    """The envelope as it lies in outbox/ and crosses the broker."""
    row: dict[int, object] = {
        0: VERSION, 1: envelope.identity, 2: envelope.box, 3: envelope.kind, 4: int(envelope.priority),
        5: [envelope.first_tai_ns, envelope.last_tai_ns], 6: envelope.codec, 7: envelope.raw_size, 8: envelope.body,
    }  # fmt: skip
    if envelope.asked_by is not None:
        row[9] = envelope.asked_by
    if envelope.facts:
        row[10] = dict(envelope.facts)
    if envelope.dictionary is not None:
        row[11] = envelope.dictionary
    return cbor2.dumps(row, canonical=True)


def unpacked(data: bytes) -> Envelope:
    """The envelope as it was packed; raises BadItem. The content is checked by `content_of`, not here."""
    if len(data) > ENVELOPE_BYTES_MAX:
        raise BadItem(f"expected an envelope of at most {ENVELOPE_BYTES_MAX} bytes, got {len(data)}")
    row = decoded_cbor(data)
    match row:
        case {
            0: 1, 1: bytes(identity), 2: str(box), 3: str(kind), 4: int(priority),
            5: [int(first), int(last)], 6: str(codec), 7: int(raw_size), 8: bytes(body),
        } if (
            len(identity) == 16 and is_name(box) and kind in KINDS and codec in CODECS
            and 1 <= priority <= 4 and 0 <= raw_size <= BODY_BYTES_MAX and abs(first) < _INT64 and abs(last) < _INT64
            and (row.get(11) is None or (codec == "deflate" and type(row[11]) is int and row[11] in DICTIONARIES))
        ):  # fmt: skip
            return Envelope(
                box=box, kind=kind, priority=Priority(priority), first_tai_ns=first, last_tai_ns=last,
                codec=codec, raw_size=raw_size, body=body, identity=identity,
                asked_by=checked_identity(row.get(9)), facts=checked_facts(row.get(10, {})), dictionary=row.get(11),
            )  # fmt: skip
    raise BadItem(f"expected an envelope of version {VERSION} (envelope.cddl)")


def chunk_packed(chunk: Chunk) -> bytes:
    """A chunk as published under bulk/."""
    return cbor2.dumps({0: VERSION, 1: chunk.offset, 2: chunk.size, 3: chunk.digest, 4: chunk.data}, canonical=True)


def chunk_unpacked(data: bytes) -> Chunk:
    """Raises BadItem; a chunk never reaches beyond its envelope's size."""
    match decoded_cbor(data):
        case {0: 1, 1: int(offset), 2: int(size), 3: bytes(digest), 4: bytes(piece)} if (
            len(digest) == 32 and 0 < size <= ENVELOPE_BYTES_MAX and offset >= 0 and offset + len(piece) <= size and piece
        ):
            return Chunk(offset, size, digest, piece)
    raise BadItem(f"expected a chunk of version {VERSION} (envelope.cddl)")


def ack_packed(ack: Ack) -> bytes:
    """An acknowledgement as published."""
    row: dict[int, object] = {0: VERSION}
    if ack.committed:
        row[1] = list(ack.committed)
    if ack.partial:
        row[2] = dict(ack.partial)
    if ack.custody:
        row[3] = list(ack.custody)
    return cbor2.dumps(row, canonical=True)


def ack_unpacked(data: bytes) -> Ack:
    """Raises BadItem."""
    row = decoded_cbor(data)
    if isinstance(row, dict) and row.get(0) == VERSION:
        committed, partial, custody = row.get(1, []), row.get(2, {}), row.get(3, [])
        if (
            isinstance(committed, list)
            and isinstance(partial, dict)
            and isinstance(custody, list)
            and len(committed) + len(partial) + len(custody) <= ACK_IDENTITIES_MAX
            and all(isinstance(entry, bytes) and len(entry) == 16 for entry in (*committed, *partial, *custody))
            and all(isinstance(size, int) and 0 <= size <= ENVELOPE_BYTES_MAX for size in partial.values())
        ):
            return Ack(tuple(committed), partial, tuple(custody))
    raise BadItem(f"expected an acknowledgement of version {VERSION} (envelope.cddl)")


def order_packed(order: Order) -> bytes:
    """The bytes to sign."""
    return cbor2.dumps(
        {
            0: order.identity, 1: order.signer, 2: order.box, 3: order.deed, 4: order.counter,
            5: [order.made_tai_ns, order.expires_tai_ns], 6: dict(order.parameters),
        },
        canonical=True,
    )  # fmt: skip


def order_unpacked(data: bytes) -> Order:
    """Raises BadItem. Says nothing about who signed it."""
    if len(data) > COMMAND_BYTES_MAX:
        raise BadItem(f"expected an order of at most {COMMAND_BYTES_MAX} bytes, got {len(data)}")
    match decoded_cbor(data):
        case {
            0: bytes(identity), 1: str(signer), 2: str(box), 3: str(deed), 4: int(counter),
            5: [int(made), int(expires)], 6: dict(parameters),
        } if (
            len(identity) == 16 and is_name(signer) and is_name(box) and is_name(deed) and 0 <= counter < _INT64
            and abs(made) < _INT64 and abs(expires) < _INT64 and len(parameters) <= 64
            and all(isinstance(key, str) and len(key) <= 64 for key in parameters)
            and all(value is None or is_figure(value, characters_max=4096) for value in parameters.values())
        ):  # fmt: skip
            return Order(identity, signer, box, deed, counter, made, expires, parameters)
    raise BadItem("expected an order (envelope.cddl)")


def command_packed(command: Command) -> bytes:
    """A command as published."""
    return cbor2.dumps({0: VERSION, 1: command.order, 2: command.signature}, canonical=True)


def command_unpacked(data: bytes) -> Command:
    """Raises BadItem."""
    if len(data) > COMMAND_BYTES_MAX + 256:
        raise BadItem(f"expected a command of at most {COMMAND_BYTES_MAX} bytes, got {len(data)}")
    match decoded_cbor(data):
        case {0: 1, 1: bytes(order), 2: bytes(signature)} if len(signature) == 64:
            return Command(order, signature)
    raise BadItem(f"expected a command of version {VERSION} (envelope.cddl)")


def is_name(value: str) -> bool:
    """Whether this may name a box, a site, a signer or a deed: [a-z0-9][a-z0-9-]{2,62}."""
    return (
        3 <= len(value) <= 63
        and value.isascii()
        and value[0] != "-"
        and all(c.isdigit() or c.islower() or c == "-" for c in value)
    )


def _identity(box: str, kind: str, priority: int, first: int, last: int, asked_by: bytes | None, content: bytes) -> bytes:
    head: list[object] = [box, kind, int(priority), [first, last]]
    if asked_by is not None:
        # Two orders for the same frames get two answers, each its own (storm seed 58).
        head.append(asked_by)
    return hashlib.sha256(cbor2.dumps(head, canonical=True) + content).digest()[:16]

"""What must be true of a box and a hub whatever happened to them. `Witness` watches while it happens, `findings` judges afterwards.

A checker never asks a station: it looks at the wire, at disk operations as they happen, at what lies on the disks in the end,
and at what the hub's database says.
"""

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from drivers.disk import Disk
from drivers.link import LinkRequest
from drivers.tap import HeardFrame
from firmware.clock.interval import WINDOW_NS
from firmware.core import lz4chain, pcapng
from firmware.core.certificate import DeviceOffset, account_from
from firmware.core.cold import Cold
from firmware.core.digest import of_file
from firmware.core.envelope import ack_unpacked, chunk_unpacked, content_of, unpacked
from firmware.core.errors import BadItem, Corrupt, Missing
from firmware.core.layout import FRAMES, SEAL
from firmware.core.message import Message
from firmware.core.message import unpacked as messages_of
from firmware.core.receipt import unpacked as receipt_of
from firmware.core.seal import Seal
from firmware.core.seal import unpacked as seal_of
from firmware.core.spool import ATTEMPTS_MAX
from firmware.core.store import Store
from firmware.core.thaw import restored
from firmware.core.timestamp import MS, SECOND
from firmware.core.topics import parsed
from firmware.core.verify import verify
from simulator.parrots import Told, planted
from simulator.ptp.virtual_room import TrueOffset
from simulator.world import Life, Machine, WorldBoard

FrameKey = tuple[int, bytes]  # stamp, a digest of the bytes: among so many storms two with the same CRC-32 met (seed 1047)
MessageKey = tuple[object, ...]
SPOOLS = (
    "missed", "inbox", "noticed/session", "noticed/slice", "flush", "release", "outbox", "commands/received",
    "commands/verified/retrieval", "commands/verified/session", "commands/verified/feedback",
)  # fmt: skip
WHOLE_BYTES_MAX = 8192  # as the storm's settings say (chunk_bytes): what is longer goes in pieces, behind every whole alarm
# What the box says itself names nobody.
OWN_PROCESSES = (
    "capture", "clock", "command", "feedback", "health", "retention", "retrieval", "session", "slice",
)  # fmt: skip
UNNOTICED_NS = 50 * MS  # [clock] step_ms
MEASURING_S = 1.0  # A probe is under way for a tenth of a second, and published with the next look at the clock.
# A loss is noted when it is noticed: a stretch (1 s) and a sync (0.5 s) after the frame, or a poll (1 s) later.
NOTICED_NS = 3 * SECOND


@dataclass(slots=True)
class Asked:
    """One order of the hub's own. power_cuts: of the box when it was made; later ones may take unsynced frames it has seen.

    made_ns: true time. A clock set back stamps later frames into a time already asked for; those it need not hold.
    """

    identity: bytes
    made_ns: int
    since_utc_ns: int
    until_utc_ns: int
    power_cuts: int


@dataclass(slots=True)
class Witness:
    """What was seen while it happened."""

    box: Machine
    hub: Machine
    offered: dict[FrameKey, int] = field(default_factory=dict)  # with the true time
    synced: set[FrameKey] = field(default_factory=set)
    sealed: dict[str, tuple[Seal, tuple[FrameKey, ...]]] = field(default_factory=dict)  # every segment ever published
    promised: dict[MessageKey, str] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    forged: set[bytes] = field(default_factory=set)
    pinned: set[str] = field(default_factory=set)
    poison: set[str] = field(default_factory=set)
    spoiled: set[str] = field(default_factory=set)  # segments of which the disk did not give back some file for a while
    told: list[Told] = field(default_factory=list)
    clock_steps_ns: int = 0
    power_cuts: int = 0
    gate_kills: int = 0
    publication_count: int = 0
    certified: int = 0  # offsets published as measured
    # The truth about a device's clock when the box's showed so many ns TAI: once, never, or more than once.
    true_offsets: Callable[[str, int], Sequence[TrueOffset]] = lambda device, box_tai_ns: ()
    _certificates: set[DeviceOffset] = field(default_factory=set)
    seen: list[str] = field(default_factory=list)
    _visible: dict[str, tuple[Life | None, list[Message]]] = field(default_factory=dict)  # with who published it
    _read_to: dict[str, int] = field(default_factory=dict)
    _durable: set[str] = field(default_factory=set)  # names in the outbox whose publish has returned
    _identities: dict[str, bytes] = field(default_factory=dict)
    _on_wire: set[bytes] = field(default_factory=set)
    _sent_names: set[str] = field(default_factory=set)  # under which something is on the wire; it may be made anew meanwhile
    _names: dict[bytes, set[str]] = field(default_factory=dict)  # under which what was sent lay in the outbox when it was
    _kept: set[bytes] = field(default_factory=set)  # a relay has said that it has them
    _kept_names: set[str] = field(default_factory=set)  # a name says which messages; made anew, they are the same ones
    _pieces: dict[str, dict[int, bytes]] = field(default_factory=dict)
    _planted: tuple[bytes, ...] = field(default_factory=planted)

    def watch(self) -> None:
        """From now on."""
        self.box.disk.after = self._operation
        self.box.world.published = self._published
        self.box.world.connecting = self._connecting
        self.box.world.turned = self._turned

    def heard(self, frames: Iterable[HeardFrame]) -> None:
        """These passed by on the wire."""
        for frame in frames:
            self.offered[frame.stamp_ns, _digest(frame.data)] = self.box.world.now_ns

    def power_was_cut(self) -> None:
        """The page cache is gone; what was read of open files may be too."""
        self.power_cuts += 1
        self._visible.clear()
        self._read_to.clear()

    # The box's disk.

    def _operation(self, what: str, path: str) -> None:
        directory, _, name = path.rpartition("/")
        if what == "sync" and name == FRAMES:
            self._frames_synced(path)
        elif directory == "segments" and what == "rename" and not name.startswith("."):
            self._segment_sealed(name)
        elif directory == "inbox" and what == "rename" and "~" not in name and not name.startswith("."):
            # One that is put back was published by somebody else, whose promise it is; and who may have been killed before it was
            # one: the turn of whoever looked at the item promises nothing (storm seed 663).
            if name not in self._visible:
                try:
                    self._visible[name] = self.box.world.current, messages_of(self.box.disk.read(path))
                except BadItem:
                    return
        elif path == "state/clock" and what == "rename":
            self._look_at_offsets(self.box.disk.read(path))
        elif path == "inbox" and what == "sync_dir":
            self._promise(list(self._visible))
        elif directory == "outbox" and what == "rename":
            self._identities.pop(name, None)
        elif path == "outbox" and what == "sync_dir":
            self._durable |= {entry for entry in self.box.disk.list("outbox") if not entry.startswith(".")}

    def _look_at_offsets(self, data: bytes) -> None:
        """A certificate contains the truth. What is only reported or bounded is labelled so, and may be wrong.

        Three things an interval is not claimed for (interval.py). A clock that was set since it was measured: nobody can know before
        the next probe. One that was set by less than a probe is wide, behind a bad cable: what was known before contradicts nothing
        and is kept as long as probes are intersected (storm seed 54). And one that is steered harder than any crystal drifts.

        A step of the box's own clock that is too small to be noticed moves the moment a certificate is for by as much: a device set just
        behind that moment counts as set (storm seed 3017).
        """
        for row in account_from(data).devices:
            if not row.method.is_measured:
                continue
            assert row.low_ns is not None and row.high_ns is not None
            self._certificates.add(row)
            known = self.true_offsets(row.device, row.at_tai_ns)
            around = [*known, *self.true_offsets(row.device, row.at_tai_ns + UNNOTICED_NS)]
            if not known or not all(true.is_even and true.steady_s > MEASURING_S + WINDOW_NS / SECOND for true in around):
                continue
            self.certified += 1
            if not any(row.low_ns <= true.ns <= row.high_ns for true in known):
                self.seen.append(
                    f"{row.device} was certified by {row.method.value} within {row.low_ns} to {row.high_ns} ns, in truth {known[0].ns} ns"
                )

    def _look_at_seal(self, name: str, rows: Sequence[DeviceOffset]) -> None:
        """A seal certifies what the clock station did, and nothing else."""
        if any(row.method.is_measured and row not in self._certificates for row in rows):
            self.seen.append(f"the seal of {name} certifies an offset nobody measured")

    def _turned(self, life: Life) -> None:
        # Whatever a writer did or forgot in its turn: with the turn its publish has returned. One killed before that promised nothing.
        if life.machine is self.box and not self.box.is_sick:
            self._promise([name for name, (writer, _) in self._visible.items() if writer is life])

    def _promise(self, names: Sequence[str]) -> None:
        for name in names:
            self.promised |= {key_of(message): token_of(message) for message in self._visible.pop(name)[1]}

    def _frames_synced(self, path: str) -> None:
        disk = self.box.disk
        start, size = self._read_to.get(path, 0), disk.synced_bytes(path)
        for offset, stored in lz4chain.spans(lambda at, count: disk.read(path, offset=start + at, size=count), size - start):
            link = disk.read(path, offset=start + offset, size=stored)
            self.synced |= set(_frame_keys(lz4chain.decompressed(link)))
        self._read_to[path] = size

    def _segment_sealed(self, name: str) -> None:
        disk = self.box.disk
        keys = tuple(_stored_frames(disk, f"segments/{name}"))
        seal = seal_of(disk.read(f"segments/{name}/{SEAL}"))
        self.sealed[name] = seal, keys
        if seal.time is not None:
            self._look_at_seal(name, seal.time.devices)

    # The wire to the broker.

    def _connecting(self, board: WorldBoard, request: LinkRequest) -> None:
        # The second connection carries bulk only: when it begins anew, what is on the first is still on its way.
        if board.identity is self.box.identity and not request.client.endswith("/bulk"):
            self._on_wire.clear()
            self._sent_names.clear()

    def _published(self, board: WorldBoard, topic: str, data: bytes) -> None:
        where = parsed(topic)
        if where is not None and where.channel == "ack" and board.identity not in (self.box.identity, self.hub.identity):
            for identity in ack_unpacked(data).custody:
                self._kept.add(identity)
                self._kept_names |= self._names.get(identity, set())
        if board.identity is not self.box.identity or where is None:
            return
        self.publication_count += 1
        self._look_for_identities(f"a publication on {where.channel}", data)
        if where.channel in ("p1", "p2", "p3", "p4"):
            envelope = unpacked(data)
            self._look_for_identities(f"an envelope on {where.channel}", content_of(envelope))
            self._look_at_priorities(int(envelope.priority), where.channel)
            self._on_wire.add(envelope.identity)
            # A message read back from the segments, and a gate that was killed before it settled, make the same item once more, with a
            # clock that is judged otherwise (seeds 2 and 11 with a relay).
            names = {name for name, known in self._waiting() if known == envelope.identity}
            self._sent_names |= names
            self._names.setdefault(envelope.identity, set()).update(names)
        elif where.channel == "bulk" and where.transfer is not None:
            chunk = chunk_unpacked(data)
            pieces = self._pieces.setdefault(where.transfer, {})
            pieces[chunk.offset] = chunk.data
            whole = b"".join(piece for _, piece in sorted(pieces.items()))
            identity = bytes.fromhex(where.transfer)
            if len(whole) == chunk.size:
                self._look_for_identities("an envelope in pieces", content_of(unpacked(whole)))
            name = next((name for name, known in self._waiting() if known == identity), None)
            if name is not None:
                self._look_at_priorities(int(name[1]), where.channel)
            self._on_wire.add(identity)

    def _look_for_identities(self, what: str, data: bytes) -> None:
        if any(word in data for word in self._planted):
            self.seen.append(f"something identifiable left in {what}")

    def _look_at_priorities(self, priority: int, channel: str) -> None:
        if self.box.is_sick:
            return  # it may be unable to look
        for name, identity in self._waiting():
            if channel in ("p1", "p2") and self.box.disk.size(f"outbox/{name}") > WHOLE_BYTES_MAX:
                continue  # An alarm does not wait behind the evidence of an earlier one.
            if (
                int(name[1]) < priority
                and name in self._durable
                and name not in self._sent_names | self._kept_names
                and identity not in self._on_wire | self._kept
            ):
                self.seen.append(f"priority {priority} was sent on {channel} while {name} waited")
                return

    def _waiting(self) -> Iterator[tuple[str, bytes]]:
        for entry in self.box.disk.list("outbox"):
            if entry.startswith(".") or "~" in entry:
                continue
            if entry not in self._identities:
                try:
                    self._identities[entry] = unpacked(self.box.disk.read(f"outbox/{entry}")).identity
                except BadItem:
                    continue
            yield entry, self._identities[entry]


def key_of(message: Message) -> MessageKey:
    """What stays of a message when something in it was taken out: who, when, how important; and of the box's own words, all."""
    return _key(
        message.device, message.process, message.kind, int(message.priority), int(message.severity), message.origin_time.tai_ns,
        None if message.sequence is None else str(message.sequence), message.event, message.text,
    )  # fmt: skip


def _key(*columns: Any) -> MessageKey:  # Any: as the database gives them
    return columns if columns[1] in OWN_PROCESSES else columns[:-1]


def token_of(message: Message) -> str:
    """For people: which message a finding is about."""
    words = [message.process, *(message.text or "").split()]
    return next((word for word in words if word.startswith("tok-")), f"{message.process}/{message.kind}")


def counted(database: str) -> dict[str, int]:
    """How much of what only now and then happens there was, by the hub's word: for the table."""
    ((sessions,),) = _rows(database, "select count(*) from sessions where state = 'complete'")
    ((slices,),) = _rows(database, "select count(*) from commands where signer = box")
    ((fired,),) = _rows(database, "select count(*) from firings")
    return {"sessions": sessions, "slices": slices, "fired": fired}


def findings(witness: Witness, database: str) -> list[str]:
    """Everything that should not be, after the faults are over and all is drained and stopped."""
    return [
        *(f"{count} × {crash}" for crash, count in Counter([*witness.box.crashes, *witness.hub.crashes]).items()),
        *dict.fromkeys(witness.seen),
        *_messages(witness, database),
        *_frames(witness),
        *_second_copies(witness, database),
        *_cold(witness),
        *_pinned(witness),
        *_commands(witness, database),
        *_sessions(database),
        *_advice(witness, database),
        *_rules(database),
        *_leftovers(witness),
        *_hub_holds(witness, database),
    ]


def _messages(witness: Witness, database: str) -> Iterator[str]:
    """Every message whose publish into the inbox returned is at the hub exactly once."""
    counts: Counter[MessageKey] = Counter()
    for row in _rows(
        database, "select device, process, kind, priority, severity, origin_tai_ns, sequence, event, text from messages"
    ):
        counts[_key(*row)] += 1
    missing = [token for key, token in witness.promised.items() if counts[key] == 0]
    twice = [f"{key[1]}/{key[2]}" for key, count in counts.items() if count > 1]
    if missing:
        yield f"{len(missing)} of {len(witness.promised)} promised messages never reached the hub: {', '.join(missing[:5])}"
    if twice:
        yield f"{len(twice)} messages are at the hub more than once: {', '.join(twice[:5])}"


def _frames(witness: Witness) -> Iterator[str]:
    """Seals verify; what was synced is sealed; what is missing is stated."""
    disk = witness.box.disk
    verdict = verify(disk, "segments", witness.box.identity.public_key())
    for finding in verdict.findings:
        if witness.spoiled and finding.what == "reordered":
            continue  # A chain that went on from a seal that could not be read, and can be now.
        yield f"verify: {finding.segment}: {finding.what}: {finding.text}"
    recorded: Counter[FrameKey] = Counter()
    seals: list[Seal] = []
    for name in Store(disk).names():
        seals.append(seal_of(disk.read(f"segments/{name}/{SEAL}")))
        keys = list(_stored_frames(disk, f"segments/{name}"))
        recorded.update(keys)
        if len(keys) != seals[-1].frames:
            yield f"{name}: {len(keys)} frames where the seal says {seals[-1].frames}"
    for name in _deleted(witness):
        seals.append(witness.sealed[name][0])
        recorded.update(witness.sealed[name][1])
    lost = witness.synced - recorded.keys()
    if lost:
        yield f"{len(lost)} frames were synced and are in no sealed segment"
    strange = recorded.keys() - witness.offered.keys()
    if strange:
        yield f"{len(strange)} recorded frames were never on the wire"
    twice = sum(count > 1 for count in recorded.values())
    if twice:
        yield f"{twice} frames are recorded more than once"
    yield from _unstated(witness, recorded, seals)


def _second_copies(witness: Witness, database: str) -> Iterator[str]:
    """Every published message the recorder has, all frames of it, is at the hub, whatever intake heard of it (S2-034)."""
    disk = witness.box.disk
    names = [name for name in Store(disk).names() if name not in witness.spoiled]
    held = {digest for name in names for _, digest in _stored_frames(disk, f"segments/{name}")}
    arrived = {
        word
        for process, text in _rows(database, "select process, text from messages")
        for word in (process, *(text or "").split())
    }
    recorded = [told.token for told in witness.told if all(_digest(frame) in held for frame in told.frames)]
    missing = [token for token in recorded if token not in arrived]
    if missing:
        yield f"{len(missing)} of {len(recorded)} recorded messages never reached the hub: {', '.join(missing[:5])}"


def _cold(witness: Witness) -> Iterator[str]:
    """What was rewritten restores the very file that was sealed, as the witness saw it when it was."""
    disk = witness.box.disk
    for name in Store(disk).names():
        if not Store(disk).segment(name).is_cold():
            continue
        made, _ = witness.sealed[name]
        try:
            digest = of_file(made.piece_bytes)
            for piece in restored(disk, "segments", name):
                digest.update(piece)
        except (Corrupt, Missing) as trouble:
            yield f"{name}: does not restore: {trouble}"
            continue
        if digest.digest() != made.frames_digest:
            yield f"{name}: restores other bytes than were sealed"


def _pinned(witness: Witness) -> Iterator[str]:
    """What somebody held is there."""
    for name in sorted(witness.pinned - set(Store(witness.box.disk).names())):
        yield f"{name}: pinned, and gone"


def _deleted(witness: Witness) -> list[str]:
    """Segments the box deleted with a receipt, which verify has found in order; their frames are accounted for."""
    disk = witness.box.disk
    names = {receipt_of(disk.read(f"receipts/{name}")).segment for name in disk.list("receipts") if not name.startswith(".")}
    return sorted(names & witness.sealed.keys() - set(disk.list("segments")))


def _unstated(witness: Witness, recorded: Counter[FrameKey], seals: Sequence[Seal]) -> Iterator[str]:
    slack = NOTICED_NS + witness.clock_steps_ns
    spans = [(gap.first_ns, gap.last_ns) for seal in seals for gap in seal.gaps if gap.frames is None or gap.cause == "several"]
    # A segment that was interrupted lost with its writer's memory what it would have said about drops: they are unknown.
    spans += [
        (seal.opened.tai_ns - seal.tai_offset_s * SECOND, max(seal.last_ns or 0, *(gap.last_ns for gap in seal.gaps), 0))
        for seal in seals
        if seal.cause in ("interrupted", "disk_failed")
    ]
    missing = [stamp for stamp, crc in witness.offered if (stamp, crc) not in recorded]
    outside = [stamp for stamp in missing if not any(first - slack <= stamp <= last + slack for first, last in spans)]
    stated = sum(count for seal in seals for count in seal.drops.values())
    if len(outside) > stated:
        yield f"{len(outside)} of {len(witness.offered)} frames are neither recorded nor in a stated gap, {stated} are stated as dropped"


def _commands(witness: Witness, database: str) -> Iterator[str]:
    """Each order of the hub's is answered by as many frames as the store holds; nobody else's is carried out."""
    disk = witness.box.disk
    frames = [key for name in Store(disk).names() for key in _stored_frames(disk, f"segments/{name}")]
    rows = {row[0]: row for row in _rows(database, "select command, frames, complete from evidence")}
    for asked in witness.asked:
        state = _rows(database, "select state, detail from commands where identity = ?", asked.identity)
        is_given_up = state == [("refused", "too_many_attempts")]
        if is_given_up and witness.power_cuts + witness.gate_kills >= ATTEMPTS_MAX - 1:
            continue  # Whether the order or the weather ended the process, the box cannot know; the hub was told, and may ask again.
        if asked.identity not in rows or not rows[asked.identity][2]:
            yield f"order {asked.identity.hex()[:8]} was never answered in full; the hub says {state}"
            continue
        held = [key for key in frames if asked.since_utc_ns <= key[0] <= asked.until_utc_ns]
        least = sum(witness.offered.get(key, 0) <= asked.made_ns for key in held) if not witness.spoiled else 0
        got = rows[asked.identity][1]
        gone = witness.power_cuts > asked.power_cuts or bool(_deleted(witness))
        if got < least or (got > len(held) and not gone):
            yield f"order {asked.identity.hex()[:8]}: {got} frames of evidence, the store holds {least} to {len(held)}"
    for identity in rows.keys() & witness.forged:
        yield f"a forged or foreign order {identity.hex()[:8]} was carried out"
    # What the box asks of itself because of an event is in its own name; a rule's orders are the hub's.
    own = {row[0] for row in _rows(database, "select identity from commands where signer = box")}
    ruled = {bytes.fromhex(word.split()[1]) for words in _done(database) for word in words if word.startswith("retrieve ")}
    for identity in rows.keys() - {asked.identity for asked in witness.asked} - witness.forged - own - ruled:
        yield f"evidence nobody asked for: {identity.hex()[:8]}"
    for identity in own - {identity for identity, row in rows.items() if row[2]}:
        yield f"a slice {identity.hex()[:8]} was ordered and never came in full"


def _rules(database: str) -> Iterator[str]:
    """What a rule fired for was done, all of it and once, and what caused it is at the hub."""
    for rule, state, done in _rows(database, "select rule, state, done from firings"):
        deeds = [words.split()[0] for words in json.loads(done)]
        if state != "done" or (rule == "storm" and deeds != ["call", "retrieve", "advise"]):
            yield f"rule {rule} fired and what it asks for is {state}: {', '.join(deeds) or 'nothing'}"
    for (rule,) in _rows(
        database, "select rule from firings f where not exists (select 1 from messages m where m.box = f.box and m.identity = f.cause)"
        " and not exists (select 1 from envelopes e where e.box = f.box and e.identity = f.cause)",
    ):  # fmt: skip
        yield f"rule {rule} fired for a message that is not there"
    ((open_calls,),) = _rows(database, "select count(*) from calls where rule = 'storm'")
    if open_calls > 1:
        yield f"{open_calls} calls of one rule are open"


def _done(database: str) -> list[list[str]]:
    return [json.loads(done) for (done,) in _rows(database, "select done from firings")]


def _advice(witness: Witness, database: str) -> Iterator[str]:
    """What the hub advised was shown, or the hub knows why not; nobody else's advice was; orders for sessions are answered, too."""
    shown = {bytes.fromhex(name.rpartition("-")[2]) for name in witness.box.disk.list("feedback") if not name.startswith(".")}
    for identity in shown & witness.forged:
        yield f"forged advice {identity.hex()[:8]} was shown"
    for identity, deed, state, detail in _rows(
        database, "select identity, deed, state, detail from commands where deed in ('feedback', 'session')"
    ):
        if state not in ("done", "refused", "expired"):
            yield f"an order of {deed} {identity.hex()[:8]} was never answered; the hub says {state} {detail}"
        if deed == "feedback" and state == "done" and identity not in shown:
            yield f"advice {identity.hex()[:8]} was answered and not shown"


def _sessions(database: str) -> Iterator[str]:
    """Of each session that was closed everything is at the hub, and it knows; no two are open."""
    rows = _rows(database, "select session, state, missing from sessions")
    for session, state, missing in rows:
        if state == "closed":
            yield f"session {session} is closed and not complete: {missing} messages of it are missing"
    if sum(state == "open" for _, state, _ in rows) > 1:
        yield "more than one session is open"


def _leftovers(witness: Witness) -> Iterator[str]:
    """Spools are drained, and in quarantine is nothing but what was planted there."""
    disk = witness.box.disk
    for path in SPOOLS:
        # Hidden ones are what a killed writer left; the consumer's next start removes them, and nobody reads them before.
        names = [name for name in disk.list(path) if not name.startswith(".")]
        if names:
            yield f"{path} is not drained: {', '.join(names[:3])}"
    for machine in (witness.box, witness.hub):
        for path in _files(machine.disk, "quarantine"):
            if not path.endswith(".reason"):
                continue
            name, reason = path.rpartition("/")[2].removesuffix(".reason"), machine.disk.read(path).decode("utf-8", "replace")
            # Killed four times over one order a process gives it up, and says so: here that is the storm's doing, not the order's.
            given_up = name.startswith("cmd-") and reason.startswith("too many attempts")
            if name not in witness.poison and not given_up:
                yield f"{machine.name}: in quarantine: {path}: {reason}"


def _hub_holds(witness: Witness, database: str) -> Iterator[str]:
    """Nothing identifiable in the hub's database or files."""
    words = planted()
    for path in _files(witness.hub.disk, ""):
        data = witness.hub.disk.read(path)
        if any(word in data for word in words):
            yield f"the hub holds something identifiable in {path.partition('/')[0]}/"
    for text, fields, attachment in _rows(database, "select text, fields, attachment from messages"):
        said = json.dumps(json.loads(fields), ensure_ascii=False) if fields else ""
        data = f"{text}{said}".encode() + (attachment or b"")
        if any(word in data for word in words):
            yield "the hub holds something identifiable in a message"


def _rows(database: str, query: str, *values: object) -> list[tuple[Any, ...]]:  # Any: columns are of their query's types
    base = sqlite3.connect(database)
    try:
        return base.execute(query, values).fetchall()
    finally:
        base.close()


def _files(disk: Disk, path: str) -> Iterator[str]:
    for name in disk.list(path):
        below = f"{path}/{name}" if path else name
        try:
            disk.size(below)
        except Missing:
            yield from _files(disk, below)
        else:
            yield below


def _stored_frames(disk: Disk, directory: str) -> Iterator[FrameKey]:
    """Of one segment, hot or cold."""
    try:
        if disk.exists(f"{directory}/{FRAMES}"):
            yield from _hot_frames(disk, f"{directory}/{FRAMES}")
            return
        form = Cold(disk, directory)
        for run in form.runs:
            for raw in form.restored(run):
                yield from _frame_keys(raw)
    except (Corrupt, BadItem, Missing):
        return  # verify names it


def _hot_frames(disk: Disk, path: str) -> Iterator[FrameKey]:
    for offset, stored in lz4chain.spans(lambda at, count: disk.read(path, offset=at, size=count), disk.size(path)):
        yield from _frame_keys(lz4chain.decompressed(disk.read(path, offset=offset, size=stored)))


def _frame_keys(section: bytes) -> Iterator[FrameKey]:
    # A link that begins no section of its own refers to the interfaces described in the first one.
    described = (
        section
        if section[:4] == b"\x0a\x0d\x0d\x0a"
        else pcapng.section_header() + pcapng.interface("x") * pcapng.DESCRIBED_INTERFACES_MAX + section
    )
    for packet in pcapng.packets(described):
        yield packet.stamp_ns, _digest(packet.data)


def _digest(frame: bytes) -> bytes:
    return hashlib.blake2b(frame, digest_size=8).digest()

"""After a power cut or a crash: what lies hidden is finished or removed, and the chain of seals goes on where it was.

Believes the frames, never the index. Twice is as good as once: a power cut during recovery is recovered from in the same way.
"""

from dataclasses import dataclass, replace

from drivers.disk import Disk
from drivers.identity import Identity
from firmware.core import index, lz4chain, pcapng, receipt, seal
from firmware.core.digest import PIECE_BYTES, pieces
from firmware.core.errors import BadItem, Corrupt, DiskFailed, Missing
from firmware.core.index import Header, Record
from firmware.core.layout import FRAMES, INDEX, NOTED, SEAL, name_of, sequence_of
from firmware.core.noted import noted
from firmware.core.receipt import Receipt
from firmware.core.seal import Gap, Seal
from firmware.core.segment import TITLE_JOINT, described, is_by_hardware, surveyed
from firmware.core.segment_writer import Losses, publish
from firmware.core.timestamp import SECOND, ClockState, Now, Timestamp, compact, parse_utc

NEXT_NS = 2 * SECOND  # The next segment is opened at once when one is sealed; later than this, something was in between.


@dataclass(frozen=True, slots=True)
class Chain:
    """The newest link: its sequence (0 when there is none yet) and the digest the next seal holds."""

    sequence: int
    digest: bytes | None


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was found. sealed: names now published; frames: in them; removed: leftovers without a whole stretch that nobody misses.
    unreadable: hidden segments that the disk does not give back; they stay as they are, and the next start tries again.

    silent_since_ns: UTC; from then until now no seal says anything, because the newest did not end in an orderly stop and nothing
    after it was worth sealing. None where the seals tell all.
    """

    chain: Chain
    sealed: tuple[str, ...]
    frames: int
    removed: int
    silent_since_ns: int | None = None
    unreadable: int = 0


def chain_end(disk: Disk, path: str, receipts: str) -> Chain:
    """The newest link among sealed segments and receipts of deleted ones."""
    chain = Chain(0, None)
    # The newest is looked for first: a hundred thousand seals are not read to get to the last one.
    numbered = [(sequence_of(name) or 0, name) for name in disk.list(path) if not name.startswith(".")]
    last, newest = max(numbered, default=(0, ""))
    if last:
        try:
            # The digest of what is there, readable or not: a damaged seal is verify's to report, the chain goes on.
            chain = Chain(last, seal.digest(disk.read(f"{path}/{newest}/{SEAL}")))
        except (Missing, DiskFailed):
            chain = Chain(last, None)  # One bad place in a seal must not keep a box from recording for the rest of its life.
    for name in disk.list(receipts):
        # Years of receipts need not be read at every start: their names end in the segment's.
        sequence = sequence_of(name.partition("-")[2])
        if sequence is not None and sequence <= chain.sequence:
            continue
        try:
            deleted = receipt.unpacked(disk.read(f"{receipts}/{name}"))
        except DiskFailed:
            # Its name says how far the chain went.
            chain = Chain(sequence, None) if sequence is not None else chain
        except (BadItem, Missing):
            continue
        else:
            if deleted.sequence > chain.sequence:
                digest = deleted.seal_digest if deleted.seal_digest != receipt.UNREAD else None
                chain = Chain(deleted.sequence, digest)
    return chain


def recover(
    disk: Disk, path: str, receipts: str, *, identity: Identity, now: Now, cause: str = "interrupted", is_heard_on: bool = False
) -> Recovered:
    """Finish or remove every hidden segment. Raises DiskFull or DiskFailed; then nothing is lost and it may be called again.

    is_heard_on: the caller goes on with the very rings of who wrote them, so that from their ends until now there is no gap.
    cause: "interrupted"; or "disk_failed", by the very process that wrote them, which knows itself what was lost.
    """
    disk.sync_dir(path)  # A name that was seen but not yet durable must be before the chain is built on it.
    chain = chain_end(disk, path, receipts)
    sealed: list[str] = []
    frames = removed = unreadable = 0
    silent, is_told = _unfinished(disk, path, chain), False
    hidden = [name for name in disk.list(path) if name.startswith(".") and sequence_of(name) is not None]
    for name in sorted(hidden, key=lambda entry: sequence_of(entry) or 0):
        found = None
        if not _is_deleted(disk, receipts, name[1:]):
            # Where no seal tells since when nobody speaks, a segment that holds nothing must: the process that comes now would
            # know it in memory only, and may be interrupted as well (storm seeds 503, 593).
            must_speak = not silent and not is_told and bool(_named(name))
            silent_ns = min(silent, default=None)
            if not _is_readable(disk, f"{path}/{name}"):
                unreadable += 1
                silent += [] if is_told else _named(name)
                continue
            losses = noted(disk, f"{path}/{name}") if cause == "interrupted" else Losses({})
            if is_kept := must_speak or (bool(losses.drops or losses.gaps) and bool(_named(name))):
                _begin_anew_if_empty(disk, f"{path}/{name}")
            found = _finish(
                disk, path, name, chain=chain, identity=identity, now=now, cause=cause, silent_ns=silent_ns, is_kept=is_kept,
                is_heard_on=is_heard_on, losses=losses,
            )  # fmt: skip
        if found is None:
            disk.remove(f"{path}/{name}")
            removed += 1
            silent += [] if is_told else _named(name)
            continue
        made, digest = found
        # Sealed just now, it says itself until when nothing was heard; sealed by its writer and only not renamed, it does not.
        is_told = made.made == now.timestamp
        silent = [] if is_told else _end_of(made)
        chain = Chain(made.sequence, digest)
        sealed.append(made.name)
        frames += made.frames
    return Recovered(chain, tuple(sealed), frames, removed, min(silent, default=None), unreadable)


def _is_readable(disk: Disk, hidden: str) -> bool:
    """Whether the disk gives back every byte of it. What it does not is for a later start, or for a person with better tools: sealing what
    is before a bad place would cut off what is behind it."""
    for file in (FRAMES, INDEX, SEAL, NOTED):
        at = 0
        try:
            while piece := disk.read(f"{hidden}/{file}", offset=at, size=PIECE_BYTES):
                at += len(piece)
        except Missing:
            continue
        except DiskFailed:
            return False
    return True


def _unfinished(disk: Disk, path: str, chain: Chain) -> list[int]:
    """When the newest segment was sealed, UTC ns, unless it ended in an orderly stop."""
    newest = next((name for name in disk.list(path) if not name.startswith(".") and sequence_of(name) == chain.sequence), None)
    try:
        made = seal.unpacked(disk.read(f"{path}/{newest}/{SEAL}")) if newest is not None else None
    except (BadItem, DiskFailed, Missing):
        # verify names it. What it says of its end nobody can read: then it is not known what was heard since it began.
        return _named(f".{newest}")
    return _end_of(made) if made is not None else []


def _end_of(made: Seal) -> list[int]:
    """When it was sealed, UTC ns, unless in an orderly stop."""
    return [made.made.tai_ns - made.tai_offset_s * SECOND] if made.cause != "stop" else []


def _named(name: str) -> list[int]:
    """The moment in a hidden segment's name, UTC ns; none where its digits are no date."""
    try:
        return [parse_utc(name[1:17])]
    except ValueError:
        return []


def _begun_last(disk: Disk, path: str, now: Now) -> int:
    """The latest moment before now, UTC ns, in the name of a sealed segment; 0 where there is none."""
    latest = compact(max(0, now.utc_ns))
    sealed = [name for name in disk.list(path) if not name.startswith(".") and sequence_of(name) is not None]
    named = [name[:16] for name in sealed if name[:16] <= latest]
    return max(_named(f".{max(named)}"), default=0) if named else 0


def _is_deleted(disk: Disk, receipts: str, name: str) -> bool:
    """Whether there is a receipt for this segment: then it was sealed, and deleted on purpose."""
    for entry in disk.list(receipts):
        if sequence_of(entry.partition("-")[2]) in (None, sequence_of(name)):
            deleted = _receipt(disk, f"{receipts}/{entry}")
            if deleted is not None and deleted.segment == name:
                return True
    return False


def _receipt(disk: Disk, path: str) -> Receipt | None:
    try:
        return receipt.unpacked(disk.read(path))
    except (BadItem, DiskFailed, Missing):
        return None


def _begin_anew_if_empty(disk: Disk, hidden: str) -> None:
    """A frames file without a whole stretch becomes a section without frames, which Wireshark opens like any other."""
    path = f"{hidden}/{FRAMES}"
    try:
        first = next(iter(surveyed(disk, path)), None)
    except Missing:
        first = None
    if first is None or first[0].frames:
        disk.write(path, lz4chain.compressed(pcapng.section_header() + pcapng.interface(""), is_first=True))


def _finish(
    disk: Disk,
    path: str,
    name: str,
    *,
    chain: Chain,
    identity: Identity,
    now: Now,
    cause: str,
    silent_ns: int | None,
    is_kept: bool,
    is_heard_on: bool,
    losses: Losses,
) -> tuple[Seal, bytes] | None:
    """The segment sealed as far as it goes, or None when it holds no whole stretch and need not be kept.

    silent_ns: as Recovered's: what its writer knew of the time before, and had neither sealed nor noted yet, is lost with it.
    losses: what it had noted.
    """
    hidden = f"{path}/{name}"
    records: list[Record] = []
    interfaces: list[str] = []
    hardware = 0
    digest = pieces()
    is_ended = False
    try:
        for record, link, stamped in surveyed(disk, f"{hidden}/{FRAMES}"):
            records.append(record)
            hardware += stamped
            digest.update(link)
            is_ended = lz4chain.is_last(link)
            if len(records) == 1:
                interfaces = [name for name, _ in described(link) if not is_by_hardware(name)]
    except Missing:
        return None
    frames = sum(record.frames for record in records)
    already = _already_sealed(disk, hidden, digest.digest(), chain, identity.public_key())
    if already is not None:
        return already, publish(disk, path, already)
    if not records or records[0].frames or (frames == 0 and not is_kept):
        return None
    size = records[-1].offset + records[-1].stored_bytes
    file = disk.reopen(f"{hidden}/{FRAMES}", size=size)
    try:
        if not is_ended:
            file.append([lz4chain.END_MARK])
            digest.update(lz4chain.END_MARK)
            size += len(lz4chain.END_MARK)
            records[-1] = replace(records[-1], stored_bytes=records[-1].stored_bytes + len(lz4chain.END_MARK))
        file.sync()
    finally:
        file.close()

    first_ns = min((record.first_ns for record in records if record.frames), default=None)
    last_ns = max((record.last_ns for record in records if record.frames), default=None)
    began_ns = first_ns if first_ns is not None else min(_named(name))
    header = _header(disk, hidden, chain.sequence + 1, began_ns, now)
    data = index.packed_header(header) + b"".join(index.packed_record(record) for record in records)
    disk.write(f"{hidden}/{INDEX}", data)
    disk.sync(f"{hidden}/{INDEX}")
    sequence = chain.sequence + 1
    right_name = name[1:] if sequence_of(name) == sequence else name_of(began_ns, sequence)
    if right_name != name[1:]:
        disk.rename(hidden, f"{path}/.{right_name}")
    opened_ns = header.opened.tai_ns - header.tai_offset_s * SECOND
    ended_ns = last_ns if last_ns is not None else opened_ns
    # One that a clock of 1970 wrote did not end before those that were begun before it: else all they hold would be called lost, too.
    since_ns = max(ended_ns, _begun_last(disk, path, now))
    gaps = losses.gaps if is_heard_on else (*losses.gaps, Gap(cause, since_ns, max(since_ns, now.utc_ns), None))
    is_noted = any(gap.cause == "interrupted" and gap.first_ns == silent_ns for gap in losses.gaps)
    if silent_ns is not None and opened_ns - silent_ns > NEXT_NS and not is_noted:
        gaps = (Gap("interrupted", silent_ns, opened_ns, None), *gaps)
    made = Seal(
        box=identity.name, name=right_name, sequence=sequence, first_ns=first_ns, last_ns=last_ns, tai_offset_s=header.tai_offset_s,
        frames=frames, frames_hardware=hardware,
        bytes_wire=sum(record.bytes_wire for record in records), bytes_captured=sum(record.bytes_captured for record in records),
        drops=losses.drops, gaps=gaps, opened=header.opened, made=now.timestamp,
        interface=TITLE_JOINT.join(interfaces), frames_bytes=size, frames_digest=digest.digest(), piece_bytes=PIECE_BYTES, index_digest=seal.digest(data),
        previous=chain.digest, cause=cause, public_key=identity.public_key(),
    )  # fmt: skip
    made = made.signed(identity.sign(made.body()))
    return made, publish(disk, path, made)


def _already_sealed(disk: Disk, hidden: str, frames_digest: bytes, chain: Chain, public_key: bytes) -> Seal | None:
    """Its own seal, when the power went between the seal and the rename and all of it is as the seal says."""
    try:
        made = seal.unpacked(disk.read(f"{hidden}/{SEAL}"))
        fits = (
            # A seal that was not synced may be torn anywhere, its signature included.
            made.is_signed_by(public_key)
            and f".{made.name}" == hidden.rpartition("/")[2]
            and made.sequence == chain.sequence + 1
            and made.previous == chain.digest
            and made.frames_digest == frames_digest
            and made.frames_bytes == disk.size(f"{hidden}/{FRAMES}")
            and made.index_digest == seal.digest(disk.read(f"{hidden}/{INDEX}"))
        )
    except (Missing, BadItem):
        return None
    return made if fits else None


def _header(disk: Disk, hidden: str, sequence: int, first_ns: int, now: Now) -> Header:
    """What the index knew about the opening, or what the frames tell of it."""
    try:
        found = index.unpacked_header(disk.read(f"{hidden}/{INDEX}", size=index.HEADER_SIZE))
        return Header(sequence, found.opened, found.tai_offset_s)
    except (Corrupt, Missing):
        tai_ns = first_ns + now.tai_offset_s * SECOND
        return Header(sequence, Timestamp(tai_ns, SECOND, "frames", ClockState.FREE), now.tai_offset_s)

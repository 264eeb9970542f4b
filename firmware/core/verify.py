"""Whether a store is what its box recorded: every seal, the chain between them, every byte, and every place left empty.

What is a finding and what a statement: verdict.py.
A cold segment is restored whole: its stretches against the digests the box signed, its file against the seal where LZ4 allows.
What no chain can show from within is that its newest end was cut off: compare the last digest with one kept elsewhere.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from drivers.disk import Disk
from firmware.core import exported, lz4chain, receipt, seal
from firmware.core.cold import Cold
from firmware.core.digest import of_file
from firmware.core.errors import BadItem, Corrupt, DiskFailed, Missing
from firmware.core.index import HEADER_SIZE, Record, unpacked_header, unpacked_records
from firmware.core.layout import COLD, COLD_FILES, COLD_SEAL, FILES, FRAMES, INDEX, SEAL, sequence_of
from firmware.core.noted import noted
from firmware.core.receipt import SUM, Receipt, Sum
from firmware.core.seal import Seal
from firmware.core.stated import Begun, say_losses, say_pause, say_seal
from firmware.core.timestamp import SECOND, iso
from firmware.core.verdict import Verdict

_PIECE = 4 << 20
EXPORTS = "exports"


@dataclass(frozen=True, slots=True)
class _Link:
    """One place in the chain, or several from `first` on that a sum of receipts accounts for. digest: of the (last) seal."""

    sequence: int
    name: str
    digest: bytes
    seal: Seal | None
    first: int | None = None

    @property
    def begin(self) -> int:
        """Its lowest sequence."""
        return self.sequence if self.first is None else self.first


def verify(
    disk: Disk,
    path: str = "segments",
    public_key: bytes | None = None,
    *,
    receipts: str = "receipts",
    progress: Callable[[int, int], object] = lambda done, of: None,
) -> Verdict:
    """Read the whole store once. public_key: the box's; without it the key in the first seal is taken and returned for comparison.

    progress: gets (done, of) after each name in `path`; of terabytes that takes hours.
    """
    verdict = Verdict(public_key=public_key)
    links: list[_Link] = []
    opened = []
    names = disk.list(path)
    for done, name in enumerate(names, start=1):
        if sequence_of(name) is None:
            verdict.found(name, "foreign", "expected segments in this directory, this is none")
        elif name.startswith("."):
            opened.append(name)
        elif (link := _sealed(disk, path, name, verdict)) is not None:
            links.append(link)
        progress(done, len(names))
    # Receipts first, for whoever sums up meanwhile removes them when the sum is written: one that is not read here is in the sum.
    read = _read(disk, receipts, verdict)
    total = _sum(disk, receipts, verdict)
    if total is not None:
        # Deleted since it was verified, and summed up already.
        links = [link for link in links if not total.accounts_for(link.sequence) or disk.exists(f"{path}/{link.name}")]
    for row in _receipts(read, receipts, total, verdict, is_there=lambda name: disk.exists(f"{path}/{name}")):
        links.append(_Link(row.sequence, row.segment, _known(row.seal_digest), None))
    if total is not None:
        links += [_Link(run.last, f"{receipts}/{SUM}", _known(run.seal_digest), None, run.first) for run in total.runs]
    links.sort(key=lambda link: link.sequence)
    _chain(links, verdict)
    begun = [Begun.of(link.seal, name=link.name, sequence=link.sequence) for link in links if link.seal is not None]
    ended = {link.sequence: link.seal for link in links if link.seal is not None and link.seal.cause == "stop"}
    begun += [found for name in opened if (found := _open(disk, path, name, verdict)) is not None]
    for beginning in begun:
        if (before := ended.get(beginning.sequence - 1)) is not None:
            say_pause(before, beginning, verdict)
    verdict.statements.sort(
        key=lambda row: sequence_of(row.segment) or 0
    )  # As it happened, deletions and pauses where they belong.
    _exports(disk, verdict)
    return verdict


@contextmanager
def _naming(verdict: Verdict, name: str, what: str) -> Iterator[None]:
    """What the disk does not give back is a finding, and the rest is judged all the same."""
    try:
        yield
    except DiskFailed as problem:
        verdict.found(name, "unreadable", f"{what}: {problem}")


def _sealed(disk: Disk, path: str, name: str, verdict: Verdict) -> _Link | None:
    """None where it was deleted since the directory was listed: its receipt says so, and without one the chain has a hole."""
    directory = f"{path}/{name}"
    link = _Link(sequence_of(name) or 0, name, b"", None)
    try:
        files = set(disk.list(directory))
    except DiskFailed as problem:
        verdict.found(name, "unreadable", f"directory: {problem}")
        verdict.segments += 1
        return link
    if not files and not disk.exists(directory):
        return None
    is_cold = FRAMES not in files and bool({COLD, COLD_SEAL} & files)
    if not is_cold:
        files -= {COLD, COLD_SEAL}  # Being rewritten, or that was interrupted: the hot form is the truth.
    files -= {f".{COLD}", f".{COLD_SEAL}", f".{FRAMES}"}
    expected = COLD_FILES if is_cold else FILES
    for file in sorted(files - set(expected)):
        verdict.found(name, "foreign", f"expected {', '.join(expected)}, there is one more file: {file!r}")
    for file in sorted(set(expected) - files):
        verdict.found(name, "missing", f"expected the file {file}, it is not there")
    verdict.segments += 1
    try:
        data = disk.read(f"{directory}/{SEAL}")
        made = seal.unpacked(data)
    except Missing:
        return link if disk.exists(directory) else None
    except BadItem as problem:
        verdict.found(name, "altered", f"seal: {problem}")
        return link
    except DiskFailed as problem:
        verdict.found(name, "unreadable", f"seal: {problem}")
        return link
    if verdict.public_key is None:
        verdict.public_key = made.public_key
    if not made.is_signed_by(verdict.public_key):
        verdict.found(name, "unsigned", "seal: expected the box's signature, this is another's or the seal was altered")
    if made.name != name:
        verdict.found(name, "reordered", f"expected the segment its seal was made for, {made.name!r}")
    if made.sequence != link.sequence:
        verdict.found(name, "reordered", f"expected sequence {made.sequence} in its name")
    with _naming(verdict, name, "cold form"):
        if is_cold or not _compare_hot(disk, directory, made, verdict):
            try:
                _compare_cold(disk, directory, made, seal.digest(data), verdict)
            except Missing:
                _compare_hot(disk, directory, made, verdict)  # Thawed meanwhile, deleted, or named already.
    with _naming(verdict, name, "index"):
        _compare_index(disk, directory, made, verdict)
    say_seal(made, verdict)
    verdict.frames += made.frames
    verdict.frames_hardware += made.frames_hardware
    verdict.bytes_wire += made.bytes_wire
    return _Link(link.sequence, name, seal.digest(data), made)


def _compare_hot(disk: Disk, directory: str, made: Seal, verdict: Verdict) -> bool:
    """The frames against the seal. A finding names the stretch, so that the rest can still be used.

    False when they are not there: named already, or rewritten into the cold form since.
    """
    try:
        size, digest = disk.size(f"{directory}/{FRAMES}"), _digest(disk, f"{directory}/{FRAMES}", made.piece_bytes)
        if (size, digest) != (made.frames_bytes, made.frames_digest):
            verdict.found(
                made.name,
                "altered",
                f"frames: expected the {made.frames_bytes} bytes that were sealed, got others{_where(disk, directory)}",
            )
    except Missing:
        return False
    except DiskFailed as problem:
        verdict.found(made.name, "unreadable", f"frames: {problem}{_where(disk, directory)}")
    return True


def _compare_cold(disk: Disk, directory: str, made: Seal, seal_digest: bytes, verdict: Verdict) -> None:
    """The cold form against its own seal, and what it restores against both. Raises Missing when it is not there, or no more."""
    name = made.name
    try:
        form = Cold(disk, directory)
    except Corrupt as problem:
        verdict.found(name, "altered", f"cold form: {problem}")
        return
    word = form.seal
    if not word.is_signed_by(verdict.public_key or made.public_key):
        verdict.found(name, "unsigned", "cold seal: expected the box's signature, this is another's or it was altered")
        return
    named = (word.name, word.sequence, word.seal_digest, word.frames_bytes, word.frames_digest)
    if named != (name, made.sequence, seal_digest, made.frames_bytes, made.frames_digest):
        verdict.found(name, "reordered", f"cold seal: expected that of this segment, it was made for {word.name!r}")
        return
    if (disk.size(f"{directory}/{COLD}"), _digest(disk, f"{directory}/{COLD}")) != (word.cold_bytes, word.cold_digest):
        verdict.found(name, "altered", f"cold form: expected the {word.cold_bytes} bytes that were signed, got others")
    raw_digest, frames_digest, is_whole = hashlib.sha256(), of_file(made.piece_bytes), True
    for run in form.runs:
        try:
            for _, raw, link in form.links(run):
                raw_digest.update(raw)
                frames_digest.update(link)
        except Corrupt as problem:
            first = run.links[0].offset if run.links else 0
            verdict.found(
                name, "altered", f"cold form: the stretches from byte {first} of the frames on do not restore: {problem}"
            )
            is_whole = False
    if not is_whole:
        return
    if raw_digest.digest() != word.raw_digest:
        verdict.found(name, "altered", "cold form: expected the pcapng that was signed, got another")
    elif frames_digest.digest() != made.frames_digest:
        verdict.stated(
            name,
            "cold",
            "every frame is proved by the cold seal; the packed file that was sealed is not made again here, "
            f"its packer was the one of {word.library}",
        )


def _compare_index(disk: Disk, directory: str, made: Seal, verdict: Verdict) -> None:
    try:
        data = disk.read(f"{directory}/{INDEX}")
    except Missing:
        return  # named already
    if seal.digest(data) != made.index_digest:
        verdict.found(
            made.name, "altered", "index: expected the bytes that were sealed, got others; the frames can be searched without it"
        )
        return
    try:
        unpacked_header(data)
    except Corrupt as problem:
        verdict.found(made.name, "altered", f"index: {problem}")
        return
    records, _ = unpacked_records(data)
    if sum(record.frames for record in records) != made.frames:
        verdict.found(made.name, "altered", f"index: expected {made.frames} frames as sealed")
    if not _adjoining(records, made.frames_bytes):
        verdict.found(made.name, "altered", "index: expected stretches that follow each other to the end of the frames")


def _adjoining(records: list[Record], size: int) -> bool:
    end = 0
    for record in records:
        if record.offset != end:
            return False
        end += record.stored_bytes
    return end == size


def _where(disk: Disk, directory: str) -> str:
    """The first stretch that does not read, for the finding."""
    path = f"{directory}/{FRAMES}"
    size = disk.size(path)
    end = 0
    try:
        for offset, stored in lz4chain.spans(lambda at, count: disk.read(path, offset=at, size=count), size):
            lz4chain.decompressed(disk.read(path, offset=offset, size=stored))
            end = offset + stored
    except (Corrupt, DiskFailed):
        return f"; the stretch at byte {end} does not read"
    return f"; the stretch at byte {end} does not read" if end != size else "; every stretch reads"


def _chain(links: list[_Link], verdict: Verdict) -> None:
    """Sequences without holes and each seal holding the digest of the one before; a receipt stands for a deleted segment."""
    before: _Link | None = None
    for link in links:
        if before is not None and link.sequence == before.sequence:
            if link.digest == before.digest and (link.seal is None) != (before.seal is None):
                # The receipt is made before the segment goes; between the two, both are there.
                before = link if link.seal is not None else before
                continue
            verdict.found(
                link.name, "reordered", f"expected one segment of sequence {link.sequence}, there is also {before.name!r}"
            )
        elif before is not None and link.begin != before.sequence + 1:
            verdict.found(
                link.name,
                "missing",
                f"expected sequence {before.sequence + 1} before it, the segments up to {link.begin - 1} are missing",
            )
        elif before is None and link.begin != 1:
            verdict.found(
                link.name, "missing", f"expected sequence 1 or a receipt for it, the segments before {link.begin} are missing"
            )
        elif link.seal is not None and before is not None and before.digest and link.seal.previous != before.digest:
            verdict.found(
                link.name, "reordered", f"expected the digest of {before.name!r} in its seal, one of them was exchanged"
            )
        elif link.seal is not None and before is None and link.seal.previous is not None:
            verdict.found(link.name, "missing", "expected a first segment, its seal names one before it")
        before = link
    if before is not None:
        verdict.last_digest = before.digest


def _names(disk: Disk, path: str, verdict: Verdict) -> list[str]:
    """What lies beside the segments; nothing, and a finding, where the disk does not say."""
    with _naming(verdict, path, "directory"):
        return disk.list(path)
    return []


def _known(digest: bytes) -> bytes:
    """Nothing where nobody could read what it would be of: what is not known contradicts nothing."""
    return digest if digest != receipt.UNREAD else b""


def _sum(disk: Disk, path: str, verdict: Verdict) -> Sum | None:
    name = f"{path}/{SUM}"
    try:
        made = receipt.sum_unpacked(disk.read(name))
    except Missing:
        return None
    except BadItem as problem:
        verdict.found(name, "altered", str(problem))
        return None
    except DiskFailed as problem:
        verdict.found(name, "unreadable", str(problem))
        return None
    if verdict.public_key is not None and not made.signed_by(verdict.public_key):
        verdict.found(name, "unsigned", "sum of receipts: expected the box's signature, this is another's or it was altered")
    count = sum(run.last - run.first + 1 for run in made.runs)
    causes = ", ".join(f"{cause} {many}" for cause, many in sorted(made.causes.items()))
    verdict.stated(
        name,
        "deleted",
        f"{count} segments from {made.segments[0]} to {made.segments[1]} deleted; of their receipts a sum is kept: {causes}",
    )
    return made


def _read(disk: Disk, path: str, verdict: Verdict) -> dict[str, bytes | DiskFailed]:
    """Every receipt by its name, or why the disk does not give it back."""
    found: dict[str, bytes | DiskFailed] = {}
    for name in _names(disk, path, verdict):
        if name.startswith(".") or name == SUM:
            continue
        try:
            found[name] = disk.read(f"{path}/{name}")
        except Missing:
            continue
        except DiskFailed as problem:
            found[name] = problem
    return found


def _receipts(
    read: Mapping[str, bytes | DiskFailed], path: str, total: Sum | None, verdict: Verdict, *, is_there: Callable[[str], bool]
) -> list[Receipt]:
    rows: dict[bytes, tuple[str, Receipt]] = {}
    for name, data in read.items():
        number = name.partition("-")[0]
        if total is not None and number.isdecimal() and int(number) <= total.number:
            continue  # One that the sum accounts for is on its way out.
        if isinstance(data, DiskFailed):
            verdict.found(name, "unreadable", f"receipt: {data}")
            continue
        try:
            row = receipt.unpacked(data)
        except BadItem as problem:
            verdict.found(name, "altered", f"receipt: {problem}")
            continue
        if verdict.public_key is not None and not row.signed_by(verdict.public_key):
            verdict.found(name, "unsigned", "receipt: expected the box's signature, this is another's or the receipt was altered")
        unread = ", its seal could not be read any more" if row.seal_digest == receipt.UNREAD else ""
        if is_there(row.segment):
            # Pinned while its receipt was written, or the power went before it was removed.
            text = f"not deleted yet: a receipt for it was written {iso(row.made.tai_ns)} (TAI), {row.cause}, and it is here; if pinned it stays"
            verdict.stated(row.segment, "receipt", f"{text}{unread}")
        else:
            verdict.stated(row.segment, "deleted", f"deleted {iso(row.made.tai_ns)} (TAI) with a receipt: {row.cause}{unread}")
        rows[seal.digest(data)] = name, row
    followed = {row.previous for _, row in rows.values() if row.previous is not None}
    if sum(row.previous is None for _, row in rows.values()) > 1 or len(followed) != sum(
        row.previous is not None for _, row in rows.values()
    ):
        verdict.found(path, "reordered", "expected receipts in one chain, two claim the same place")
    for file, row in rows.values():
        if row.previous is not None and row.previous not in rows and (total is None or row.previous != total.digest):
            verdict.found(file, "missing", "receipt: expected the receipt made before it, it is missing")
    return [row for _, row in rows.values()]


def _exports(disk: Disk, verdict: Verdict) -> None:
    """What was carried away by hand: a chain of its own, of which nothing may be missing but its newest end."""
    before: tuple[int, bytes] | None = None
    for name in sorted(_names(disk, EXPORTS, verdict)):
        if name.startswith("."):
            continue
        try:
            data = disk.read(f"{EXPORTS}/{name}", size=exported.EXPORTED_BYTES_MAX + 1)
            row = exported.unpacked(data)
        except Missing:
            continue
        except BadItem as problem:
            verdict.found(name, "altered", f"record of an export: {problem}")
            before = None
            continue
        except DiskFailed as problem:
            verdict.found(name, "unreadable", f"record of an export: {problem}")
            before = None
            continue
        if verdict.public_key is not None and not row.is_signed_by(verdict.public_key):
            verdict.found(
                name, "unsigned", "record of an export: expected the box's signature, this is another's or it was altered"
            )
        if (row.number, row.previous) != ((1, None) if before is None else (before[0] + 1, before[1])):
            verdict.found(
                name, "missing", "record of an export: expected the record made before it, it is missing or was exchanged"
            )
        verdict.stated(name, "exported", f"{row.frames} frames were carried away {iso(row.made.tai_ns)} (TAI), {row.form}")
        before = row.number, seal.digest(data)


def _open(disk: Disk, path: str, name: str, verdict: Verdict) -> Begun | None:
    """The segment still being written has no seal, but checksums: what its index names must read. How it began, where that is known."""
    try:
        data = disk.read(f"{path}/{name}/{INDEX}")
        if not any(data[:HEADER_SIZE]):
            # Its header was written and never synced: a power cut leaves nothing, or the zeros of a block that was only promised.
            verdict.stated(name, "open", "begun, and cut off before anything of it was durable")
            return None
        header = unpacked_header(data)
        records, _ = unpacked_records(data)
        size = disk.size(f"{path}/{name}/{FRAMES}")
        whole = [record for record in records if record.offset + record.stored_bytes <= size]
        for record in whole:
            lz4chain.decompressed(disk.read(f"{path}/{name}/{FRAMES}", offset=record.offset, size=record.stored_bytes))
        losses = noted(disk, f"{path}/{name}")
    except Missing:
        return None
    except Corrupt as problem:
        verdict.found(name, "altered", str(problem))
        return None
    except DiskFailed as problem:
        verdict.found(name, "unreadable", str(problem))
        return None
    frames = sum(record.frames for record in whole)
    text = f"still being written or not yet recovered, {frames} frames so far"
    if len(whole) < len(records):
        # The index is not synced with the frames, and who copies them takes it later: no honest box can help that.
        beyond = sum(record.frames for record in records) - frames
        text += (
            f"; of {beyond} frames more that its index names the file is too short: copied while it was written, or a power cut"
        )
    verdict.stated(name, "open", text)
    say_losses(name, losses.drops, losses.gaps, verdict)
    first_ns = min((record.first_ns for record in whole if record.frames), default=None)
    opened_ns = header.opened.tai_ns - header.tai_offset_s * SECOND
    return Begun(name, header.sequence, header.opened, opened_ns, first_ns, losses.gaps)


def _digest(disk: Disk, path: str, piece_bytes: int | None = None) -> bytes:
    digest, at = of_file(piece_bytes), 0
    while piece := disk.read(path, offset=at, size=_PIECE):
        digest.update(piece)
        at += len(piece)
    return digest.digest()

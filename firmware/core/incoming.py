"""Long envelopes being received: one file each, appended to in sequence, whole when its digest is right.

Nothing here is synced: what a power cut leaves wrong, the digest finds, and the box is asked for it again.
"""

import hashlib
from dataclasses import dataclass

from drivers.disk import Disk
from firmware.core.envelope import Chunk
from firmware.core.errors import Missing
from firmware.core.report import Report

INCOMING = "incoming"
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Progress:
    """After a chunk. size: bytes in sequence now; whole: the file to read the envelope from, when it is complete."""

    size: int
    whole: str | None = None


class Incoming:
    """The directory incoming/."""

    def __init__(self, disk: Disk, report: Report, *, per_box: int) -> None:
        self._disk = disk
        self._report = report
        self._per_box = per_box
        self._touched: dict[str, int] = {}  # by name; a count, not a time
        self._count = 0

    def start(self) -> None:
        """Make the directory."""
        self._disk.mkdir(INCOMING)

    def take(self, site: str, box: str, identity: bytes, chunk: Chunk) -> Progress:
        """Append what is new of a chunk. Raises DiskFull or DiskFailed."""
        # By box and digest too: nobody appends to another's file, and an envelope made anew under its old identity starts anew.
        name = f"{site}.{box}.{identity.hex()}-{chunk.digest[:8].hex()}"
        path = f"{INCOMING}/{name}"
        try:
            have = min(self._disk.size(path), chunk.size)
        except Missing:
            have = 0
            self._make_room(f"{site}.{box}.")
        self._count += 1
        self._touched[name] = self._count
        end = chunk.offset + len(chunk.data)
        if chunk.offset > have:
            self._report.count("chunks_ahead")
        elif end <= have:
            self._report.count("chunks_again")
        else:
            file = self._disk.reopen(path, size=have) if have else self._disk.create(path)
            try:
                file.append([memoryview(chunk.data)[have - chunk.offset :]])
            finally:
                file.close()
            have = end
            self._report.count("chunks")
        if have < chunk.size:
            return Progress(have)
        if self._digest(path, chunk.size) == chunk.digest:
            return Progress(have, path)
        self._report.drop("bad_digest")
        self.forget(path)
        return Progress(0)

    def forget(self, path: str) -> None:
        """It is in the repository, or worthless."""
        self._touched.pop(path.removeprefix(f"{INCOMING}/"), None)
        try:
            self._disk.remove(path)
        except Missing:
            return

    def _make_room(self, prefix: str) -> None:
        names = [name for name in self._disk.list(INCOMING) if name.startswith(prefix)]
        names.sort(key=lambda name: self._touched.get(name, 0))
        for name in names[: max(0, len(names) - self._per_box + 1)]:
            self._report.drop("incoming_given_up")
            self.forget(f"{INCOMING}/{name}")

    def _digest(self, path: str, size: int) -> bytes:
        digest = hashlib.sha256()
        for offset in range(0, size, _READ_BYTES):
            digest.update(self._disk.read(path, offset=offset, size=min(_READ_BYTES, size - offset)))
        return digest.digest()

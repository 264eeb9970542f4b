"""What may be offered to boxes: editions, and the files they are made of, by digest. published/ is served to whoever asks."""

import hashlib
from collections.abc import Mapping

from drivers.board import Board
from drivers.disk import AppendFile
from firmware.core import edition
from firmware.core.download import DOWNLOAD_BYTES_MAX
from firmware.core.durable import make_directory
from firmware.core.edition import Edition
from firmware.core.errors import BadItem, Missing
from firmware.core.timestamp import SECOND, iso
from firmware.hub.repository import Repository

PUBLISHED = "published"
SHOWN_MAX = 200
EXPIRED_NS = 24 * 3600 * SECOND  # after the end of an edition its files go: a box whose clock is behind is still fetching
DIGITS = 64
Plain = dict[str, object]


class Arriving:
    """A file on its way into published/, from somebody who says its digest first. Nobody sees it before it is whole and of that digest."""

    def __init__(self, board: Board, digits: str, who: str) -> None:
        """who: a name only this upload has. Raises BadItem, DiskFull, DiskFailed."""
        if len(digits) != DIGITS or not set(digits) <= set("0123456789abcdef"):
            raise BadItem("expected a SHA-256 as 64 hexadecimal digits")
        self._disk = board.disk
        self._digits = digits
        self._hidden = f"{PUBLISHED}/.{digits}-{who}"
        make_directory(self._disk, PUBLISHED)
        self._file: AppendFile = self._disk.create(self._hidden)
        self._digest = hashlib.sha256()

    def append(self, data: bytes) -> None:
        """More of it. Raises BadItem when it is too long, DiskFull, DiskFailed."""
        if self._file.size + len(data) > DOWNLOAD_BYTES_MAX:
            raise BadItem(f"expected at most {DOWNLOAD_BYTES_MAX} bytes")
        self._file.append([data])
        self._digest.update(data)

    def finish(self) -> int:
        """It is all there: bytes of it. Raises BadItem when it is not what was said, DiskFull, DiskFailed."""
        size = self._file.size
        if self._digest.hexdigest() != self._digits or not size:
            raise BadItem("expected a file of this SHA-256, what came has another")
        self._file.sync()
        self._file.close()
        self._disk.rename(self._hidden, f"{PUBLISHED}/{self._digits}")
        self._disk.sync_dir(PUBLISHED)
        return size

    def give_up(self) -> None:
        """Whatever happened: nothing of it stays hidden here. After `finish` it does nothing."""
        self._file.close()
        try:
            self._disk.remove(self._hidden)
        except Missing:
            return


def clear_arriving(board: Board) -> None:
    """At the start of whoever takes files in: what a former life began."""
    for name in board.disk.list(PUBLISHED):
        if name.startswith("."):
            board.disk.remove(f"{PUBLISHED}/{name}")


def publish(board: Board, repository: Repository, text: object, now_tai_ns: int) -> Edition:
    """An edition, once its files are here. The same again changes nothing. Raises BadItem, RepositoryFailed, DiskFailed.

    Only what a key trusted here has signed: a box would refuse it, but the hub's room is not everybody's.
    """
    data = edition.from_text(text)
    found = edition.opened(data, board.identity.trusted())
    for bundle in found.bundles:
        try:
            size = board.disk.size(f"{PUBLISHED}/{bundle.wish.name}")
        except Missing:
            raise BadItem(f"expected its file {bundle.wish.name} to be published first") from None
        if size != bundle.size:
            raise BadItem(f"expected its file {bundle.wish.name} to have {bundle.size} bytes, it has {size}")
    with repository.transaction():
        for row in of_version(repository, found.version):
            former = edition.read(row["signed"])[0]
            if former.board == found.board and former.number != found.number:
                raise BadItem(f"expected version {found.version} to keep its number {former.number}, got {found.number}")
        repository.change(
            "insert or ignore into editions values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            identity_of(data), found.version, found.number, found.board, found.channel, found.kind, found.from_tai_ns,
            found.until_tai_ns, data, now_tai_ns,
        )  # fmt: skip
    _remove_expired(board, repository, now_tai_ns)
    return found


def _remove_expired(board: Board, repository: Repository, now_tai_ns: int) -> None:
    """Files that only editions name which no box takes any more: a system is a hundred megabytes, and there is one each month. What no edition
    names stays, for it may be on the way to one."""
    named: dict[str, bool] = {}  # file to whether it may still be fetched
    for row in repository.rows("select signed, until_tai_ns from editions"):
        for bundle in edition.read(row["signed"])[0].bundles:
            name = bundle.wish.name
            named[name] = named.get(name, False) or now_tai_ns - row["until_tai_ns"] <= EXPIRED_NS
    for name in board.disk.list(PUBLISHED):
        if not named.get(name, True):
            board.disk.remove(f"{PUBLISHED}/{name}")


def of_version(repository: Repository, version: str) -> list[Mapping[str, bytes]]:
    """Rows of this version's editions, the latest first."""
    return [
        {"identity": row["identity"], "signed": row["signed"]}
        for row in repository.rows(
            "select identity, signed from editions where version = ? order by published_tai_ns desc, identity", version
        )
    ]


def by_identity(repository: Repository, identity: bytes) -> tuple[Edition, bytes] | None:
    """The edition and its signed bytes."""
    rows = repository.rows("select signed from editions where identity = ?", identity)
    return (edition.read(rows[0]["signed"])[0], bytes(rows[0]["signed"])) if rows else None


def identity_of(data: bytes) -> bytes:
    """What an edition is called here: the first 16 bytes of its SHA-256."""
    return hashlib.sha256(data).digest()[:16]


def listed(repository: Repository, *, tai_offset_s: int) -> list[Plain]:
    """The latest first."""
    found: list[Plain] = []
    for row in repository.rows("select * from editions order by published_tai_ns desc, identity limit ?", SHOWN_MAX):
        bundles = edition.read(row["signed"])[0].bundles
        found.append(
            {
                "edition": row["identity"].hex(), "version": row["version"], "number": row["number"], "board": row["board"],
                "channel": row["channel"], "kind": row["kind"], "from": iso(row["from_tai_ns"] - tai_offset_s * SECOND),
                "until": iso(row["until_tai_ns"] - tai_offset_s * SECOND),
                "published": iso(row["published_tai_ns"] - tai_offset_s * SECOND),
                "bundles": [{"sha256": b.wish.name, "bytes": b.size, "base": b.base} for b in bundles],
            }
        )  # fmt: skip
    return found

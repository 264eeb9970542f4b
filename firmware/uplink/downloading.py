"""Files this machine is to have, asked for piece by piece: wanted/ to downloads/, behind everything that is more important.

A file grows hidden, in sequence. What lies before the last multiple of SYNC_BYTES it has grown beyond was synced, so a new life goes
on there, and nothing has to be written down. One stretch is on its way at a time, as long as an alarm can bear to wait behind.
"""

import hashlib

from drivers.board import Board
from drivers.clock import Monotonic, Now
from drivers.disk import AppendFile
from firmware.core.download import (
    DOWNLOADS,
    WANTED,
    WISH_BYTES_MAX,
    Piece,
    Want,
    Wish,
    piece_unpacked,
    want_packed,
    wish_unpacked,
)
from firmware.core.durable import make_directory
from firmware.core.errors import BadItem, DiskFailed, DiskFull, Missing, NotConnected, TooLarge
from firmware.core.report import Report
from firmware.core.spool import Spool
from firmware.core.timestamp import MS, SECOND
from firmware.uplink.lane import Lane
from firmware.uplink.settings import UplinkSettings
from firmware.uplink.standing import WANT, Standing
from firmware.uplink.wire import Wire

SYNC_BYTES = 1 << 20
# A stretch that took longer than SLOW_NS is halved, one that took less than FAST_NS doubled. An alarm's acknowledgement comes down behind
# it, on a connection of its own but the same line.
STRETCH_BYTES_MIN, STRETCH_BYTES_FIRST = 4096, 16_384
FAST_NS, SLOW_NS = 100 * MS, 300 * MS
PATIENCE_NS_MIN, PATIENCE_NS_MAX = 2 * SECOND, 60 * SECOND  # Until it is asked for again, twice as long each time.
OTHERS_NS = 8 * SECOND  # Patience beyond which another file has its turn: nobody may ever answer for this one.
AGAIN_NS = 30 * SECOND  # After a full or failed disk.
DIGEST_BYTES_A_STEP = 4 << 20
WRONG_MAX = 3  # A file of another digest, so often in a row, is not what is meant by it.


class Downloading:
    """One file at a time, by name; the next when it is there, or when nobody answers for it."""

    def __init__(self, board: Board, settings: UplinkSettings, report: Report, *, standing: Standing, wire: Wire) -> None:
        self._disk = board.disk
        self._settings = settings
        self._report = report
        self._standing = standing
        self._wire = wire
        self._wanted = Spool(board.disk, WANTED)
        self._lane: Lane | None = None  # the one whose connection hears pieces
        self._wish: Wish | None = None
        self._file: AppendFile | None = None
        self._have = 0
        self._asked: Want | None = None
        self._asked_at = Monotonic(0)
        self._patience_ns = PATIENCE_NS_MIN
        self._stretch_bytes = STRETCH_BYTES_FIRST
        self._digest: hashlib._Hash | None = None  # of what is all there
        self._digested = 0
        self._wrong: dict[str, int] = {}
        self._hold: Monotonic | None = None

    def start(self) -> None:
        """The spool wanted/ is ours to consume; downloads/ ours to write."""
        self._wanted.start(self._report.drop)
        make_directory(self._disk, DOWNLOADS)

    def grounded(self) -> None:
        """The connection is gone, and with it what was on its way."""
        self._lane = self._asked = None
        self._patience_ns = PATIENCE_NS_MIN

    def step(self, now: Now, *, is_quiet: bool) -> bool:
        """Ask for the next stretch, if it is time to. is_quiet: nothing more important waits. Whether there is more to do at once."""
        if self._hold is not None and now.monotonic < self._hold:
            return False
        self._hold = None
        try:
            if not self._choose(now.monotonic):
                return False
            if self._wish is not None and self._have == self._wish.size:
                return self._finish(now.monotonic)
            self._ask(now.monotonic, is_quiet=is_quiet)
        except (DiskFull, DiskFailed) as trouble:
            self._pause(trouble, now.monotonic)
        except (NotConnected, TooLarge):
            self._lane = None  # Disconnected is on its way.
        return False

    def hear(self, payload: bytes, now: Monotonic) -> None:
        """A piece, or what somebody says is one."""
        try:
            piece = piece_unpacked(payload)
        except BadItem:
            self._report.drop("bad_piece")
            return
        asked = self._asked
        if asked is None or piece.wish != asked.wish or piece.offset + len(piece.data) > asked.offset + asked.count:
            self._report.drop("piece_not_asked_for")
        elif piece.offset != self._have:
            # Again, or behind one that was lost: then it is asked for when patience is over.
            self._report.count("pieces_out_of_turn")
        else:
            try:
                self._append(piece)
            except (DiskFull, DiskFailed) as trouble:
                self._pause(trouble, now)
                return
            self._report.count("pieces")
            self._report.count("piece_bytes", len(piece.data))
            self._patience_ns = PATIENCE_NS_MIN
            if self._have == asked.offset + asked.count:
                self._learn(now.since(self._asked_at), is_full=asked.count == self._stretch_bytes)
                self._asked = None
            else:
                self._report.gauge("downloading_bytes", self._have)

    def is_wanting(self) -> bool:
        """Whether it would ask, were there a connection."""
        return self._wish is not None and self._asked is None

    def next_wish(self) -> Monotonic | None:
        """When it is to be stepped without anything having arrived."""
        if self._hold is not None:
            return self._hold
        return self._asked_at.after(self._patience_ns) if self._asked is not None else None

    # Which file.

    def _choose(self, now: Monotonic) -> bool:
        """Whether there is a file to ask for."""
        if self._wish is not None and self._disk.exists(f"{WANTED}/{self._wish.name}"):
            return True
        self._leave()
        return self._begin_after("")

    def _begin_after(self, name: str) -> bool:
        """The first wish behind this name, or from the beginning."""
        names = self._wanted.names()
        for candidate in [*(n for n in names if n > name), *(n for n in names if n <= name)]:
            wish = self._wish_of(candidate)
            if wish is not None:
                self._begin(wish, names)
                return True
        self._remove_others(names)
        self._report.gauge("downloading", "none")
        return False

    def _wish_of(self, name: str) -> Wish | None:
        try:
            wish = wish_unpacked(self._wanted.peek(name, size=WISH_BYTES_MAX + 1) or b"")
            if wish.name != name:
                raise BadItem("expected a wish to be called by its digest")
        except BadItem:
            self._report.drop("bad_wish")
            self._wanted.settle_named(name)
            return None
        if self._disk.exists(f"{DOWNLOADS}/{name}"):
            self._wanted.settle_named(name)  # It is there, and the end came before that was said.
            return None
        return wish

    def _begin(self, wish: Wish, names: list[str]) -> None:
        self._leave()
        self._remove_others(names)
        path = _hidden(wish)
        try:
            size = self._disk.size(path)
        except Missing:
            size = 0
        # What lies behind the last sync is not believed: the power may have gone, and its bytes be anything.
        self._have = min(wish.size, max(0, size - 1) // SYNC_BYTES * SYNC_BYTES)
        if size and self._have == 0:
            self._disk.remove(path)
        if wish.size - self._have > self._disk.free_bytes() - self._settings.download_reserve_mb * (1 << 20):
            raise DiskFull(f"expected room for {wish.size - self._have} bytes beside download_reserve_mb")
        self._file = self._disk.reopen(path, size=self._have) if self._have else self._disk.create(path)
        if not self._have:
            self._disk.sync_dir(DOWNLOADS)
        self._wish, self._stretch_bytes, self._patience_ns = wish, STRETCH_BYTES_FIRST, PATIENCE_NS_MIN
        self._report.gauge("downloading", wish.name[:16])
        self._report.gauge("downloading_bytes", self._have)
        self._report.gauge("downloading_size", wish.size)

    def _leave(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = self._wish = self._asked = self._digest = None

    def _remove_others(self, names: list[str]) -> None:
        """Begun files that nobody wants any more."""
        for entry in self._disk.list(DOWNLOADS):
            if entry.startswith(".") and entry[1:] not in names:
                self._disk.remove(f"{DOWNLOADS}/{entry}")
                self._report.count("downloads_forgotten")

    # Its bytes.

    def _ask(self, now: Monotonic, *, is_quiet: bool) -> None:
        assert self._wish is not None
        if self._asked is not None:
            if now.since(self._asked_at) < self._patience_ns:
                return
            self._report.count("asked_again")
            self._asked = None
            self._patience_ns = min(PATIENCE_NS_MAX, 2 * self._patience_ns)
            self._stretch_bytes = max(STRETCH_BYTES_MIN, self._stretch_bytes // 2)
            if self._patience_ns > OTHERS_NS and len(self._wanted.names()) > 1:
                self._begin_after(self._wish.name)
                assert self._wish is not None, "the one in hand is still wanted, if no other is"
        lane = self._wire.lane_for_bulk(now)
        if lane is None or not is_quiet or len(lane) >= lane.connection.receive_maximum:
            return  # What makes room on it wakes us.
        if not self._standing.may_say(WANT, lane):
            return
        if lane is not self._lane:
            lane.link.subscribe([self._wire.topic("piece")])
            self._lane = lane
        want = Want(self._wish, self._have, min(self._stretch_bytes, self._wish.size - self._have))
        lane.say(WANT, self._wire.topic("want"), want_packed(want), now)
        self._asked, self._asked_at = want, now
        self._report.count("wants")

    def _append(self, piece: Piece) -> None:
        """In sequence; never beyond a multiple of SYNC_BYTES before what is in front of it is on the disk."""
        assert self._file is not None
        data = memoryview(piece.data)
        while data:
            room = SYNC_BYTES - self._have % SYNC_BYTES
            self._file.append([data[:room]])
            self._have += len(data[:room])
            data = data[room:]
            if self._have % SYNC_BYTES == 0:
                self._file.sync()

    def _finish(self, now: Monotonic) -> bool:
        """It is all there: look whether it is what was meant, some at a time, and give it its name."""
        assert self._wish is not None and self._file is not None
        wish, path = self._wish, _hidden(self._wish)
        if self._digest is None:
            self._file.sync()
            self._digest, self._digested = hashlib.sha256(), 0
        data = self._disk.read(path, offset=self._digested, size=DIGEST_BYTES_A_STEP)
        self._digest.update(data)
        self._digested += len(data)
        if self._digested < wish.size and data:
            return True
        is_right = self._digest.digest() == wish.digest
        self._leave()
        if is_right:
            self._disk.rename(path, f"{DOWNLOADS}/{wish.name}")
            self._disk.sync_dir(DOWNLOADS)
            self._wanted.settle_named(wish.name)
            self._wrong.pop(wish.name, None)
            self._report.count("downloads")
            return True
        self._disk.remove(path)
        self._report.drop("bad_digest")
        self._wrong[wish.name] = self._wrong.get(wish.name, 0) + 1
        if self._wrong[wish.name] >= WRONG_MAX:
            del self._wrong[wish.name]
            self._wanted.settle_named(wish.name)
            self._report.drop("download_given_up")
        return True

    def _learn(self, took_ns: int, *, is_full: bool) -> None:
        if took_ns > SLOW_NS:
            self._stretch_bytes = max(STRETCH_BYTES_MIN, self._stretch_bytes // 2)
        elif took_ns < FAST_NS and is_full:
            self._stretch_bytes = min(4 * self._settings.chunk_bytes, 2 * self._stretch_bytes)

    def _pause(self, trouble: DiskFull | DiskFailed, now: Monotonic) -> None:
        """What is there stays there; what was on its way is asked for again."""
        self._report.drop("download_disk_full" if isinstance(trouble, DiskFull) else "download_disk_failed")
        self._leave()
        self._hold = now.after(AGAIN_NS)


def _hidden(wish: Wish) -> str:
    return f"{DOWNLOADS}/.{wish.name}"

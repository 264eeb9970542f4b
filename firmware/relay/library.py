"""Files that boxes of the house are to have, fetched from the hub once for all of them. Bounded: what nobody asks for goes."""

from drivers.clock import Monotonic
from drivers.disk import Disk
from firmware.core.download import DOWNLOADS, WANTED, WISH_BYTES_MAX, Wish, wish_packed, wish_unpacked
from firmware.core.durable import make_directory
from firmware.core.errors import BadItem, Missing
from firmware.core.report import Report
from firmware.core.spool import Spool
from firmware.core.timestamp import SECOND

WISHES_MAX = (
    8  # Of what was never asked for before; a box that asks for anything at all must not fill the disk, nor keep out others.
)
WISH_NS = 600 * SECOND  # A wish nobody has repeated for so long is taken back: a box asks once a minute at least.
LOOK_NS = 10 * SECOND  # So long a file may come before room is made for it.


class Library:
    """wanted/ as one of its writers, downloads/ as its only consumer. Which file is used how recently is of this life."""

    def __init__(self, disk: Disk, report: Report, *, bytes_max: int) -> None:
        self._disk = disk
        self._report = report
        self._bytes_max = bytes_max
        self._wanted = Spool(disk, WANTED)
        self._asked: dict[str, Monotonic] = {}
        self._look_due = Monotonic(0)

    def start(self, now: Monotonic) -> None:
        """What is there counts as asked for now."""
        for directory in (WANTED, DOWNLOADS):
            make_directory(self._disk, directory)
        self._asked = dict.fromkeys((*self._wanted.names(), *self._files()), now)

    def wanted(self, wish: Wish, now: Monotonic) -> None:
        """A box has asked for it. Raises DiskFull, DiskFailed."""
        waiting = self._wanted.names()
        if wish.name not in waiting and not self._disk.exists(f"{DOWNLOADS}/{wish.name}"):
            if len(waiting) >= WISHES_MAX or wish.size > self._bytes_max:
                self._report.drop("wish_refused")
                return
            if self._disk.free_bytes() < wish.size + self._bytes_max:
                # Beside the others it would never begin: who fetches it sees to it that all of it has room.
                self._make_room(wish.size)
            self._wanted.publish(wish.name, wish_packed(wish))
            self._report.count("wishes")
        self._asked[wish.name] = now

    def keep_house(self, now: Monotonic) -> None:
        """Take back what nobody asks for any more, and make room for what has begun to come: what has not may be nowhere."""
        if now < self._look_due:
            return
        self._look_due = now.after(LOOK_NS)
        self._make_room(sum(map(self._coming_bytes, self._wanted.names())))
        self._asked = {name: at for name, at in self._asked.items() if name in self._wanted.names() or name in self._files()}
        for name in self._wanted.names():
            if now.since(self._asked.setdefault(name, now)) >= WISH_NS:
                self._wanted.settle_named(name)
                self._report.count("wishes_taken_back")

    def _make_room(self, size: int) -> None:
        files = sorted(self._files(), key=lambda name: (self._asked.get(name, Monotonic(0)), name))
        held = {name: self._disk.size(f"{DOWNLOADS}/{name}") for name in files}
        for name in files:
            if sum(held.values()) + size <= self._bytes_max:
                return
            try:
                self._disk.remove(f"{DOWNLOADS}/{name}")
            except Missing:
                pass
            held.pop(name)
            self._report.count("files_given_up")

    def _coming_bytes(self, name: str) -> int:
        """The whole size of a file of which something is here, else 0."""
        part = f"{DOWNLOADS}/.{name}"
        try:
            has_begun = self._disk.exists(part) and self._disk.size(part) > 0
            return wish_unpacked(self._wanted.peek(name, size=WISH_BYTES_MAX + 1) or b"").size if has_begun else 0
        except (BadItem, Missing):
            return 0  # Whole by now, or no wish of ours.

    def _files(self) -> list[str]:
        return [name for name in self._disk.list(DOWNLOADS) if not name.startswith(".")]

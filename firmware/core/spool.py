"""A spool directory: items handed from one station to the next by renaming a file. The one idea everything rests on.

1. Publish = write `.name`, sync it, rename to `name`, sync the directory; only then acknowledge to whoever sent it.
2. One consumer a directory, any number of writers, each with names only it can choose. No locks.
3. Take counts the attempt before the work; the fifth attempt goes to quarantine with its reason.
4. Settle = publish onward first, then remove. Twice must be as good as once.
5. Start-up removes hidden leftovers. There is no other recovery code.

The attempts stand in the name, `name~2`: counting is a rename, needs no second file and survives a crash of the process. It is
not synced, because what it guards against is an item that ends the process, not a power cut.
"""

import re
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass

from drivers.disk import Buffer, Disk
from firmware.core.durable import make_directory, move
from firmware.core.errors import DiskFailed, DiskFull, Missing

ATTEMPTS_MAX = 5  # A poison item costs four restarts of one process (systemd: 4 × 100 ms), then it is out of the way.
# What quarantine may hold; nobody empties it but a person. Beyond it what sorts last goes: names begin with the priority.
QUARANTINE_ITEMS_MAX = 500
QUARANTINE_BYTES_MAX = 256 << 20
TAKE_BYTES_MAX = 16 << 20  # Two of the largest batches; what one look may bring into memory, beyond its last item.
# Items of the inbox that a flooding device filled: sorted behind intake's others, and grouped by themselves.
FLOOD_ITEMS = "intake.flood-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,159}")


@dataclass(frozen=True, slots=True)
class Item:
    """One taken item. name: as its writer chose it. attempt: 1 at the first take."""

    name: str
    attempt: int
    data: bytes


class Spool:
    """One spool directory.

    path: the directory. What cannot be handled goes to quarantine/<path>/, its reason beside it: a directory of the consumer's
    own, so that rights on the one are rights on the other.
    """

    def __init__(self, disk: Disk, path: str) -> None:
        self.disk = disk
        self.path = path
        self.quarantine = f"quarantine/{path}"
        self.quarantined_count = 0
        self._drop: Callable[[str], object] | None = None

    def start(self, drop: Callable[[str], object]) -> None:
        """Make the directory, and remove what a writer left hidden. Called by the consumer and by no one else.

        drop: told "quarantine_full" for each item that had to leave quarantine, for there is no other place to count it (Report.drop).
        """
        self._drop = drop
        make_directory(self.disk, self.path)
        make_directory(self.disk, self.quarantine)
        for name in self.disk.list(self.path):
            if name.startswith("."):
                self._forget(name)

    def publish(self, name: str, data: Buffer) -> None:
        """The item is in the directory, and stays there whatever happens, when this returns."""
        self.publish_all([(name, data)])

    def publish_all(self, items: Iterable[tuple[str, Buffer]]) -> None:
        """Several items for one sync of the directory; all are durable on return, none is visible before its bytes are."""
        waiting = list(items)
        for name, data in waiting:
            assert _NAME.fullmatch(name), "an item's name is its writer's to choose, within the alphabet"
            self._hide(name, data)
        for name, data in waiting:
            try:
                self.disk.rename(f"{self.path}/.{name}", f"{self.path}/{name}")
            except Missing:
                # Its consumer started just now, and took what we had not yet published for a leftover. It starts only once.
                self._hide(name, data)
                self.disk.rename(f"{self.path}/.{name}", f"{self.path}/{name}")
        if waiting:
            self.disk.sync_dir(self.path)

    def names(self) -> list[str]:
        """Writers' names of what waits, in order."""
        return sorted(_split(entry)[0] for entry in self.disk.list(self.path) if not entry.startswith("."))

    def take(self, after: str = "") -> Item | None:
        """The first item with a name above `after`, its attempt counted; None when there is none.

        An item on its fifth attempt is quarantined ("too many attempts") and the next is tried.
        """
        entries = sorted(
            ((*_split(entry), entry) for entry in self.disk.list(self.path) if not entry.startswith(".")),
        )
        for name, attempts, entry in entries:
            if name <= after:
                continue
            item = self._take(name, attempts, entry)
            if item is not None:
                return item
        return None

    def take_new(self, known: Container[str], *, count_max: int) -> list[Item]:
        """At most this many items whose names are not in `known`, in order, attempts counted: one look at the directory for all.

        An item that was attempted before is handed out alone: were it the one that ends the process, those taken with it would
        share its attempts and, in the end, its quarantine.
        """
        entries = sorted((*_split(entry), entry) for entry in self.disk.list(self.path) if not entry.startswith("."))
        items: list[Item] = []
        for name, attempts, entry in entries:
            if len(items) >= count_max or (items and attempts) or sum(len(item.data) for item in items) > TAKE_BYTES_MAX:
                break
            if name in known:
                continue
            try:
                item = self._take(name, attempts, entry)
            except (DiskFull, DiskFailed):
                continue  # One that cannot even be moved to quarantine now must not hold up, or use up the attempts of, the others.
            if item is not None:
                items.append(item)
                if attempts:
                    break
        return items

    def take_named(self, name: str) -> Item | None:
        """The item of this name, its attempt counted; None when it is gone or has gone to quarantine."""
        for entry in self.disk.list(self.path):
            if not entry.startswith(".") and _split(entry)[0] == name:
                return self._take(*_split(entry), entry)
        return None

    def is_spent(self, name: str) -> bool:
        """Whether the next `take` would quarantine it: for who owes somebody an answer, which has to be given first."""
        return any(_split(entry) == (name, ATTEMPTS_MAX - 1) for entry in self.disk.list(self.path))

    def peek(self, name: str, *, size: int | None = None) -> bytes | None:
        """The item's bytes without counting an attempt, for who must look before deciding when; None when it is gone."""
        for entry in self.disk.list(self.path):
            if not entry.startswith(".") and _split(entry)[0] == name:
                try:
                    return self.disk.read(f"{self.path}/{entry}", size=size)
                except Missing:
                    return None
        return None

    def settle(self, item: Item) -> None:
        """Its work is done and what came of it is durable elsewhere. Settling twice is as good as once.

        An item of attempt 0 is one that was put back.
        """
        entry = f"{item.name}~{item.attempt}" if item.attempt else item.name
        try:
            self.disk.remove(f"{self.path}/{entry}")
        except Missing:
            return

    def settle_named(self, name: str) -> None:
        """`settle` for who kept only the name."""
        for entry in self.disk.list(self.path):
            if not entry.startswith(".") and _split(entry)[0] == name:
                self._forget(entry)

    def put_back(self, item: Item) -> None:
        """It was looked at and is in order, its work comes later: this attempt, and those before it, do not count against it.

        For a consumer that gathers items over minutes: otherwise four restarts in that time would quarantine the innocent.
        """
        try:
            self.disk.rename(f"{self.path}/{item.name}~{item.attempt}", f"{self.path}/{item.name}")
        except Missing:
            return

    def reject(self, item: Item, reason: str) -> None:
        """It cannot be handled: move it to quarantine with the reason, which must not repeat its contents."""
        self._quarantine(item.name, f"{item.name}~{item.attempt}", reason)

    def _hide(self, name: str, data: Buffer) -> None:
        hidden = f"{self.path}/.{name}"
        self.disk.write(hidden, data)
        try:
            self.disk.sync(hidden)
        except Missing:  # As in publish_all.
            self.disk.write(hidden, data)
            self.disk.sync(hidden)

    def _take(self, name: str, attempts: int, entry: str) -> Item | None:
        attempt = attempts + 1
        if attempt >= ATTEMPTS_MAX:
            self._quarantine(name, entry, f"too many attempts: {attempts} of {ATTEMPTS_MAX - 1} did not finish")
            return None
        counted = f"{self.path}/{name}~{attempt}"
        try:
            self.disk.rename(f"{self.path}/{entry}", counted)
            return Item(name, attempt, self.disk.read(counted))
        except Missing:
            return None

    def _quarantine(self, name: str, entry: str, reason: str) -> None:
        # The reason first: a reason without its item is harmless, an item without its reason is a riddle.
        place = f"{self.quarantine}/{name}"
        self.disk.write(f"{place}.reason", reason.encode())
        self.disk.sync(f"{place}.reason")
        self.disk.sync_dir(self.quarantine)
        try:
            move(self.disk, f"{self.path}/{entry}", place)
        except Missing:
            return
        self.disk.sync_dir(self.quarantine)
        self.disk.sync_dir(self.path)
        self.quarantined_count += 1
        self._make_room_in_quarantine()

    def _make_room_in_quarantine(self) -> None:
        sizes: dict[str, int] = {}
        for entry in self.disk.list(self.quarantine):
            if not entry.endswith(".reason"):
                try:
                    sizes[entry] = self.disk.size(f"{self.quarantine}/{entry}")
                except Missing:
                    continue  # A person has just taken it, or has made a directory here.
        size = sum(sizes.values())
        for entry in sorted(sizes, reverse=True):
            if len(sizes) <= QUARANTINE_ITEMS_MAX and size <= QUARANTINE_BYTES_MAX:
                return
            # The item first: its reason alone says that there was one.
            for name in (entry, f"{entry}.reason"):
                try:
                    self.disk.remove(f"{self.quarantine}/{name}")
                except Missing:
                    continue
            size -= sizes.pop(entry)
            if self._drop is not None:
                self._drop("quarantine_full")

    def _forget(self, entry: str) -> None:
        try:
            self.disk.remove(f"{self.path}/{entry}")
        except Missing:
            return


def _split(entry: str) -> tuple[str, int]:
    name, mark, attempts = entry.rpartition("~")
    if mark and attempts.isdecimal():
        return name, int(attempts)
    return entry, 0

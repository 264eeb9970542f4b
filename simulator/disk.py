"""A disk that keeps the contract's promises and not one more.

What was written is in the page cache (what every reader sees); what was synced is on the platter (what a power cut leaves).
At a cut each thing that was not synced is decided by the seed, as badly as POSIX allows: a file may come back as it last was,
cut short, or with garbage or a hole where bytes were promised; of a directory's changes any may be lost and any kept, except that a
renamed thing is never lost under both names and that changes of one name keep their order.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from random import Random

from drivers.disk import Buffer, parts
from drivers.errors import DiskFailed, DiskFull, Missing

_PAGE = 4096
NAMES_A_BLOCK = 32  # of a directory; one more takes another block, whose room has to be there. An empty directory has its first.


class PowerCut(BaseException):
    """The power went. Not an Exception: nothing in the firmware may live through it."""


class Failing(Enum):
    """How a sick disk behaves."""

    NOT = "healthy"
    READ_ONLY = "read-only"
    GONE = "every operation fails"


@dataclass(slots=True, eq=False)
class _File:
    """The bytes below `base` are on the platter and unchanged; `tail` is what the platter holds beyond them."""

    data: bytearray = field(default_factory=bytearray)
    base: int = 0
    tail: bytes = b""
    names: int = 0
    bad_at: int | None = None  # from this byte on the platter gives nothing back


@dataclass(slots=True, eq=False)
class _Change:
    """Names set or (None) removed in one directory, all or none. `arrives`: where a renamed thing went; it may not vanish before."""

    entries: dict[str, "_Node | None"]
    arrives: "tuple[_Directory, _Change] | None" = None


@dataclass(slots=True, eq=False)
class _Directory:
    """entries: as every reader sees it. durable: as the platter has it. pending: the changes between them, in order."""

    entries: dict[str, "_Node"] = field(default_factory=dict)
    durable: dict[str, "_Node"] = field(default_factory=dict)
    pending: list[_Change] = field(default_factory=list)


_Node = _File | _Directory


class SimulatedDisk:
    """An in-memory Disk. Give it a `before` hook to count, cut the power or kill at any operation that changes something.

    before: (number, operation, path) of each, before it happens. after: (operation, path) of each that succeeded; of a rename or
    link the new path.
    """

    def __init__(self, *, capacity_bytes: int = 1 << 30) -> None:
        self.capacity_bytes = capacity_bytes
        self.failing = Failing.NOT
        self.is_cached_only = False  # it takes nothing past the page cache (tmpfs)
        self.is_slow = False  # a sync that was begun does not end until this is over
        self.operations = 0
        self.before: Callable[[int, str, str], None] | None = None
        self.after: Callable[[str, str], None] | None = None
        self.used_bytes = 0
        self._root = _Directory()
        self._power = 0  # grows with every cut: handles of an earlier life are dead
        self._watchers: list[tuple[_Directory, Callable[[], None]]] = []

    # The contract.

    def write(self, path: str, data: Buffer) -> None:
        self._operation("write", path)
        file = self._fresh(path)
        if not self._has_room(len(data)):
            self._unlink(path)
            raise DiskFull(f"expected room for {len(data)} bytes, {self.free_bytes()} are left")
        file.data += data
        self.used_bytes += len(data)
        self._done("write", path)

    def create(self, path: str) -> "SimulatedFile":
        self._operation("create", path)
        return SimulatedFile(self, path, self._fresh(path))

    def reopen(self, path: str, *, size: int) -> "SimulatedFile":
        self._operation("reopen", path)
        file = self._file(path)
        if size > len(file.data):
            raise DiskFailed(f"expected a file of at least {size} bytes, it has {len(file.data)}")
        self._truncate(file, size)
        return SimulatedFile(self, path, file)

    def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        self._readable()
        file = self._file(path)
        end = len(file.data) if size is None else min(len(file.data), offset + size)
        if file.bad_at is not None and offset < end and end > file.bad_at:
            raise DiskFailed("expected the disk to obey, it does not give this back")
        return bytes(file.data[offset:end])

    def read_into(self, path: str, room: memoryview, *, offset: int = 0) -> int:
        data = self.read(path, offset=offset, size=len(room))
        room[: len(data)] = data
        return len(data)

    def size(self, path: str) -> int:
        self._readable()
        return len(self._file(path).data)

    def exists(self, path: str) -> bool:
        self._readable()
        return self._node(path) is not None

    def list(self, path: str) -> list[str]:
        self._readable()
        node = self._node(path)
        return sorted(node.entries) if isinstance(node, _Directory) else []

    def mkdir(self, path: str) -> None:
        if isinstance(self._node(path), _Directory):
            return
        self._operation("mkdir", path)
        directory = self._root
        for name in parts(path):
            child = directory.entries.get(name)
            if child is None:
                self._check_room_for_name(directory, is_directory=True)
                child = _Directory()
                _change(directory, {name: child})
            if not isinstance(child, _Directory):
                raise DiskFailed("expected a directory, a file has this name")
            directory = child

    def sync(self, path: str) -> None:
        self._operation("sync", path)
        _sync_file(self._file(path))
        self._done("sync", path)

    def sync_dir(self, path: str) -> None:
        self._operation("sync_dir", path)
        node = self._node(path)
        if not isinstance(node, _Directory):
            raise Missing("expected a directory to sync, there is none")
        _sync_directory(node)
        self._done("sync_dir", path)

    def rename(self, old: str, new: str) -> None:
        self._operation("rename", old)
        source, old_name = self._parent(old)
        target, new_name = self._parent(new)
        node = source.entries.get(old_name)
        if node is None:
            raise Missing("expected a file to rename, there is none")
        replaced = target.entries.get(new_name)
        if replaced is not None and (isinstance(node, _Directory) or isinstance(replaced, _Directory)):
            raise DiskFailed("expected a free name for a directory, it is taken")
        if node is replaced:
            return
        if replaced is None:
            self._check_room_for_name(target)
        if source is target:
            _change(source, {old_name: None, new_name: node})
        else:
            arrival = _change(target, {new_name: node})
            _change(source, {old_name: None}, arrives=(target, arrival))
        if isinstance(replaced, _File):
            self._drop_name(replaced)
        self._notice(new)
        self._done("rename", new)

    def link(self, old: str, new: str) -> None:
        self._operation("link", old)
        file = self._file(old)
        target, new_name = self._parent(new)
        if new_name in target.entries:
            return
        self._check_room_for_name(target)
        _change(target, {new_name: file})
        file.names += 1
        self._notice(new)
        self._done("link", new)

    def remove(self, path: str) -> None:
        # File by file, as the kernel wants it: the end may come in the middle, and what is left has lost any of its files.
        node = self._node(path)
        for name in sorted(node.entries, reverse=True) if isinstance(node, _Directory) else ():
            self.remove(f"{path}/{name}")
        self._operation("remove", path)
        self._unlink(path)

    def synced_bytes(self, path: str) -> int:
        """How much of a file, from its beginning, a power cut would leave for certain. Not of the contract: for checkers."""
        return self._file(path).base

    def free_bytes(self) -> int:
        return max(0, self.capacity_bytes - self.used_bytes)

    def total_bytes(self) -> int:
        return self.capacity_bytes

    # What the world does to it.

    def fill(self, *, leave_bytes: int) -> None:
        """Somebody else takes the room: this many bytes are left from now on, as long as nothing is removed."""
        self.capacity_bytes = self.used_bytes + leave_bytes

    def spoil(self, path: str, *, at: int = 0) -> None:
        """A bad place: of this file, whatever it is called by then, nothing is given back from byte `at` on."""
        self._file(path).bad_at = at

    def heal(self) -> None:
        """Every bad place gives back what it held."""
        for file in _files(self._root):
            file.bad_at = None

    def power_cut(self, random: Random) -> None:
        """Back to what the platter holds, undecided things by `random`. Every open file is dead."""
        self._power += 1
        _settle_at_cut(self._root, random)
        self.used_bytes = 0
        counted: set[int] = set()
        for file in _files(self._root):
            if id(file) in counted:
                file.names += 1
                continue
            counted.add(id(file))
            file.names = 1
            file.data = bytearray(_after_cut(file, random))
            file.base, file.tail = len(file.data), b""
            self.used_bytes += len(file.data)

    def watch(self, path: str, ring: Callable[[], None]) -> None:
        """Call `ring` when a name that is not hidden appears in this directory: in this one, and in no other that has its name later.

        Raises Missing.
        """
        node = self._node(path)
        if not isinstance(node, _Directory):
            raise Missing("expected a directory to watch, there is none")
        self._watchers.append((node, ring))

    def forget_watchers(self, rings: set[Callable[[], None]]) -> None:
        """These waiters are gone (their process ended)."""
        self._watchers = [(directory, ring) for directory, ring in self._watchers if ring not in rings]

    # The small print.

    def _operation(self, what: str, path: str) -> None:
        if self.before is not None:
            self.before(self.operations, what, path)
        self.operations += 1
        if self.failing is not Failing.NOT:
            raise DiskFailed(f"expected a disk to write on, it is {self.failing.value}")

    def _done(self, what: str, path: str) -> None:
        if self.after is not None:
            self.after(what, path)

    def _readable(self) -> None:
        if self.failing is Failing.GONE:
            raise DiskFailed(f"expected a disk to read, {self.failing.value}")

    def _node(self, path: str) -> "_Node | None":
        node: _Node | None = self._root
        for name in parts(path):
            if not isinstance(node, _Directory):
                return None
            node = node.entries.get(name)
        return node

    def _file(self, path: str) -> _File:
        node = self._node(path)
        if not isinstance(node, _File):
            raise Missing("expected a file, there is none")
        return node

    def _parent(self, path: str) -> tuple[_Directory, str]:
        names = parts(path)
        node = self._node("/".join(names[:-1]))
        if not isinstance(node, _Directory):
            raise Missing("expected a directory to work in, there is none")
        return node, names[-1]

    def _fresh(self, path: str) -> _File:
        directory, name = self._parent(path)
        former = directory.entries.get(name)
        if isinstance(former, _Directory):
            raise DiskFailed("expected a file, a directory has this name")
        if former is None:
            self._check_room_for_name(directory)
        file = _File(names=1)
        _change(directory, {name: file})
        if former is not None:
            self._drop_name(former)
        self._notice(path)
        return file

    def _unlink(self, path: str) -> None:
        directory, name = self._parent(path)
        node = directory.entries.get(name)
        if node is None:
            raise Missing("expected something to remove, there is nothing")
        _change(directory, {name: None})
        for file in [node] if isinstance(node, _File) else _files(node):
            self._drop_name(file)

    def _drop_name(self, file: _File) -> None:
        file.names -= 1
        if file.names == 0:
            self.used_bytes -= len(file.data)

    def _check_room_for_name(self, directory: _Directory, *, is_directory: bool = False) -> None:
        """Raises DiskFull. A file's bytes are not all that takes room: a directory does, and so does its next block of names."""
        wants_block = is_directory or (directory.entries and len(directory.entries) % NAMES_A_BLOCK == 0)
        if wants_block and not self._has_room(_PAGE):
            raise DiskFull(f"expected room for one more name, {self.free_bytes()} bytes are left")

    def _has_room(self, size: int) -> bool:
        return self.used_bytes + size <= self.capacity_bytes

    def _truncate(self, file: _File, size: int) -> None:
        if size < file.base:
            file.tail = bytes(file.data[size : file.base]) + file.tail
            file.base = size
        if file.names:
            self.used_bytes -= len(file.data) - size
        del file.data[size:]

    def _notice(self, path: str) -> None:
        *directory, name = parts(path)
        if not name.startswith("."):
            node = self._node("/".join(directory))
            for watched, ring in self._watchers:
                if watched is node:
                    ring()


class SimulatedFile:
    """The AppendFile of a SimulatedDisk."""

    def __init__(self, disk: SimulatedDisk, path: str, file: _File) -> None:
        self._disk = disk
        self._path = path
        self._file = file
        self._power = disk._power
        self._open = True
        self._syncing: int | None = None  # bytes a sync was begun for
        self._failed: DiskFailed | None = None

    @property
    def size(self) -> int:
        return len(self._file.data)

    @property
    def is_cached_only(self) -> bool:
        return self._disk.is_cached_only

    def append(self, parts: Sequence[Buffer]) -> None:
        self._alive()
        self._disk._operation("append", self._path)
        size = sum(len(part) for part in parts)
        if not self._disk._has_room(size):
            raise DiskFull(f"expected room for {size} bytes, {self._disk.free_bytes()} are left")
        for part in parts:
            self._file.data += part
        if self._file.names:
            self._disk.used_bytes += size

    def sync(self) -> None:
        self._alive()
        self._syncing = None
        self._sync(len(self._file.data))
        if self._failed is not None:
            raise self._failed

    def start_sync(self) -> None:
        """It is over when somebody looks, and no sooner: in between the power may go."""
        if not self.is_syncing():
            self._syncing = len(self._file.data)

    def is_syncing(self) -> bool:
        self._alive()
        if self._syncing is not None and self._disk.is_slow:
            return True
        begun, self._syncing = self._syncing, None
        if begun is not None:
            self._sync(begun)
        if self._failed is not None:
            raise self._failed
        return False

    def _sync(self, size: int) -> None:
        if self._failed is None:
            try:
                self._disk._operation("sync", self._path)
            except DiskFailed as trouble:
                self._failed = trouble
                return
            _sync_file(self._file, size)
            self._disk._done("sync", self._path)

    def close(self) -> None:
        self._open = False

    def _alive(self) -> None:
        assert self._open, "a file that was closed is not written"
        assert self._power == self._disk._power, "a file opened before a power cut is not written after it"


def _change(
    directory: _Directory, entries: "dict[str, _Node | None]", arrives: "tuple[_Directory, _Change] | None" = None
) -> _Change:
    _apply(directory.entries, entries)
    change = _Change(entries, arrives)
    directory.pending.append(change)
    return change


def _apply(names: "dict[str, _Node]", entries: "dict[str, _Node | None]") -> None:
    for name, node in entries.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _sync_file(file: _File, size: int | None = None) -> None:
    """The first `size` bytes; None: all."""
    if size is None or size >= len(file.data):
        file.base, file.tail = len(file.data), b""
    elif size > file.base:
        # What the platter held beyond stays there until it is written over.
        file.base, file.tail = size, file.tail[size - file.base :]


def _sync_directory(directory: _Directory) -> None:
    pending, directory.pending = directory.pending, []
    for change in pending:
        # A thing may not leave here for good before it has arrived elsewhere: a journal commits both together.
        if change.arrives is not None and change.arrives[1] in change.arrives[0].pending:
            _sync_directory(change.arrives[0])
        _apply(directory.durable, change.entries)


def _settle_at_cut(root: _Directory, random: Random) -> None:
    """Decide every directory's pending changes, from the root down through what the platter still has."""
    everywhere: list[_Directory] = []
    _collect(root, everywhere, set())
    kept: set[int] = set()
    for directory in everywhere:
        chance = random.choice((None, 0.5, 0.9))  # None: all up to a point; else: each for itself
        reached = random.randint(0, len(directory.pending))
        for position, change in enumerate(directory.pending):
            if position < reached if chance is None else random.random() < chance:
                kept.add(id(change))
    for directory in everywhere:
        for change in directory.pending:
            arrived = (
                change.arrives is None or change.arrives[1] not in change.arrives[0].pending or id(change.arrives[1]) in kept
            )
            if id(change) in kept and arrived:
                _apply(directory.durable, change.entries)
    for directory in everywhere:
        directory.pending = []
        directory.entries = dict(directory.durable)


def _collect(directory: _Directory, into: list[_Directory], seen: set[int]) -> None:
    if id(directory) in seen:
        return
    seen.add(id(directory))
    into.append(directory)
    nodes = [*directory.entries.values(), *directory.durable.values()]
    nodes += [node for change in directory.pending for node in change.entries.values() if node is not None]
    for node in nodes:
        if isinstance(node, _Directory):
            _collect(node, into, seen)


def _files(directory: _Directory) -> Iterator[_File]:
    """Every file below, once for each of its names."""
    for node in directory.entries.values():
        if isinstance(node, _File):
            yield node
        else:
            yield from _files(node)


def _after_cut(file: _File, random: Random) -> bytes:
    """What such a file comes back as."""
    head, tail, new = bytes(file.data[: file.base]), file.tail, bytes(file.data[file.base :])
    if not tail and not new:
        return head
    style = random.randrange(4)
    if style == 0:
        return head + tail
    if style == 1:
        return head + new
    whole = random.randint(0, len(new))
    if style == 2:
        return head + new[:whole]
    # The size reached the disk before the bytes did: zeros, or what the blocks held before.
    lost = len(new) - whole
    if random.random() >= 0.5:
        return head + new[:whole] + random.randbytes(lost)
    # Or before some of the bytes: what went past the page cache is there, a page that waited in it is not.
    hole = min(lost, _PAGE) if whole % 2 else lost
    return head + new[:whole] + bytes(hole) + new[whole + hole :]

"""The disk, real: every path is resolved below one open directory, and every promise is a sync of the kernel's.

ext4, XFS and btrfs keep what `drivers/disk.py` promises (rename atomic, fsync of the directory makes it last); vfat and most
network file systems do not, and are no place for a store.
"""

import errno
import mmap
import os
import stat
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from drivers.disk import Buffer, parts
from drivers.errors import DiskFailed, DiskFull, Missing

FILE_MODE = 0o660
DIRECTORY_MODE = 0o770  # less the umask; who else may is the group's business (rootfs/usr/lib/tmpfiles.d)
IOV_MAX = 1024  # limits.h; parts of one vectored write
DIRECT_BYTES_MIN = 128 << 10  # Of one append past the page cache; below, asking the device costs more than the copy it saves.
DIRECT_BLOCK = 4096  # O_DIRECT wants places and sizes in the file system's blocks, and no disk has larger ones than a page.
DIRECT_BUFFER = 1 << 20  # For what does not lie in memory as it will in the file.
SLOW_S = 0.1  # A disk that took this long for one append is busy; the ring lasts for some of that, the page cache for far more.
SLOW_APPENDS = 64  # are then left to the page cache: a second of a saturated Gbit/s; twice as many each time it is slow again.
OFFSET_MAX = (
    1 << 62
)  # of a file; what lies beyond, as an altered file may ask for, is beyond its end, and no number of the kernel's
# A segment is four files, however small. Where fewer than a tenth of the inodes are left they are the room there is: nobody would delete a
# thing on an ext4 full of small files, for its bytes are free.
NAMES_SHORT = 10
_FULL = (errno.ENOSPC, errno.EDQUOT)
_MISSING = (errno.ENOENT, errno.ENOTDIR)


class LinuxDisk:
    """A directory tree below `root`, which is made when it is not there. monotonic: seconds, to notice a slow disk by."""

    def __init__(self, root: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._root = -1
        with _TROUBLES:
            root.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
            # A place to start from, not to read: on the box a process may walk through the root of the store and not list it.
            self._root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.root = root
        self.monotonic = monotonic

    def write(self, path: str, data: Buffer) -> None:
        with _TROUBLES:
            descriptor = self._fresh(path)
            try:
                _write_all(descriptor, [data], 0)
            except OSError:
                os.unlink(_plain(path), dir_fd=self._root)
                raise
            finally:
                os.close(descriptor)

    def create(self, path: str) -> "LinuxFile":
        with _TROUBLES:
            return LinuxFile(self, path, self._fresh(path), 0)

    def reopen(self, path: str, *, size: int) -> "LinuxFile":
        with _TROUBLES:
            descriptor = self._open(path, os.O_RDWR)
            try:
                found = os.fstat(descriptor).st_size
                if size > found:
                    raise DiskFailed(f"expected a file of at least {size} bytes, it has {found}")
                os.ftruncate(descriptor, size)
            except (OSError, DiskFailed):
                os.close(descriptor)
                raise
            return LinuxFile(self, path, descriptor, size)

    def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        with _TROUBLES:
            descriptor = self._open(path, os.O_RDONLY)
            try:
                wanted = max(0, os.fstat(descriptor).st_size - offset) if size is None else size
                if offset > OFFSET_MAX:
                    return b""
                pieces = []
                while wanted:
                    piece = os.pread(descriptor, wanted, offset)
                    if not piece:
                        break
                    pieces.append(piece)
                    offset += len(piece)
                    wanted -= len(piece)
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)
            finally:
                os.close(descriptor)

    def read_into(self, path: str, room: memoryview, *, offset: int = 0) -> int:
        with _TROUBLES:
            descriptor = self._open(path, os.O_RDONLY)
            try:
                done = 0
                while done < len(room) and offset <= OFFSET_MAX:
                    taken = os.preadv(descriptor, (room[done:],), offset + done)
                    if not taken:
                        break
                    done += taken
                return done
            finally:
                os.close(descriptor)

    def size(self, path: str) -> int:
        with _TROUBLES:
            found = os.stat(_plain(path), dir_fd=self._root, follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode):
            raise Missing("expected a file, there is none")
        return found.st_size

    def exists(self, path: str) -> bool:
        with _TROUBLES:
            try:
                os.stat(_plain(path), dir_fd=self._root, follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):
                return False
            return True

    def list(self, path: str) -> list[str]:
        with _TROUBLES:
            try:
                descriptor = self._open(path, os.O_RDONLY | os.O_DIRECTORY)
            except (FileNotFoundError, NotADirectoryError):
                return []
            try:
                with os.scandir(descriptor) as entries:
                    return sorted(entry.name for entry in entries)
            finally:
                os.close(descriptor)

    def mkdir(self, path: str) -> None:
        with _TROUBLES:
            names = parts(path)
            for depth in range(1, len(names) + 1):
                here = "/".join(names[:depth])
                try:
                    os.mkdir(here, DIRECTORY_MODE, dir_fd=self._root)
                except FileExistsError:
                    if not stat.S_ISDIR(os.stat(here, dir_fd=self._root, follow_symlinks=False).st_mode):
                        raise DiskFailed("expected a directory, a file has this name") from None

    def sync(self, path: str) -> None:
        with _TROUBLES:
            descriptor = self._open(path, os.O_RDONLY)
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)

    def sync_dir(self, path: str) -> None:
        with _TROUBLES:
            descriptor = self._open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def rename(self, old: str, new: str) -> None:
        with _TROUBLES:
            os.rename(_plain(old), _plain(new), src_dir_fd=self._root, dst_dir_fd=self._root)

    def link(self, old: str, new: str) -> None:
        with _TROUBLES:
            try:
                os.link(_plain(old), _plain(new), src_dir_fd=self._root, dst_dir_fd=self._root, follow_symlinks=False)
            except FileExistsError:
                self.size(old)  # Missing, when there is nothing to link at all

    def remove(self, path: str) -> None:
        with _TROUBLES:
            try:
                os.unlink(_plain(path), dir_fd=self._root)
            except IsADirectoryError:
                import shutil  # Here: it brings every archive format along, and who only reads needs none.

                shutil.rmtree(_plain(path), dir_fd=self._root)

    def free_bytes(self) -> int:
        with _TROUBLES:
            found = os.fstatvfs(self._root)
        free_bytes = found.f_bavail * found.f_frsize
        if found.f_favail * NAMES_SHORT < found.f_files:  # 0 < 0 where there are as many as wanted (btrfs)
            return min(free_bytes, found.f_blocks * found.f_frsize * found.f_favail // found.f_files)
        return free_bytes

    def total_bytes(self) -> int:
        with _TROUBLES:
            found = os.fstatvfs(self._root)
        return found.f_blocks * found.f_frsize

    def close(self) -> None:
        """Let go of the store, for who has to take it away from under himself; closing twice is as good as once. Not of the contract."""
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def __del__(self) -> None:
        self.close()  # As with any file of Python's: a stick that nobody reads any more is not held, or it could never be unmounted.

    def _open(self, path: str, flags: int) -> int:
        return os.open(_plain(path) or ".", flags | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._root)

    def open_direct(self, path: str) -> int:
        """A file once more, to be written past the page cache; -1 where that is not possible (tmpfs)."""
        try:
            return self._open(path, os.O_WRONLY | os.O_DIRECT)
        except OSError:
            return -1

    def _fresh(self, path: str) -> int:
        """A new file. The old one of this name is unlinked, not cut: another name of it (a pin, a kept copy) keeps its bytes."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(_plain(path), flags, FILE_MODE, dir_fd=self._root)
        except FileExistsError:
            os.unlink(_plain(path), dir_fd=self._root)
            return os.open(_plain(path), flags, FILE_MODE, dir_fd=self._root)


class LinuxFile:
    """The AppendFile of a LinuxDisk.

    A large append goes past the page cache (O_DIRECT): its whole blocks straight from the caller's memory to the device, which costs
    less than half of the copy through the cache, wears no other file's pages out of it, and does not come in waves. The bytes before
    and behind go through the cache, and the kernel keeps both of one mind for every reader.
    """

    def __init__(self, disk: LinuxDisk, path: str, descriptor: int, size: int) -> None:
        self._disk = disk
        self._path = path
        self._descriptor = descriptor
        self._size = size
        self._direct: int | None = None  # None: not tried yet
        self._buffer: mmap.mmap | None = None
        self._to_cache = 0  # appends the page cache takes, because the disk is slow,
        self._rest = SLOW_APPENDS  # and how many it will be next time
        self._syncing: threading.Thread | None = None
        self._problem: OSError | None = None  # The kernel tells of bytes it lost once only.

    @property
    def size(self) -> int:
        return self._size

    @property
    def is_cached_only(self) -> bool:
        return self._direct == -1

    def append(self, parts: Sequence[Buffer]) -> None:
        with _TROUBLES:
            try:
                if len(parts) == 1 and len(parts[0]) >= DIRECT_BYTES_MIN and self._goes_direct():
                    written = self._append_direct(memoryview(parts[0]).cast("B"))
                else:
                    written = _write_all(self._descriptor, parts, self._size)
            except OSError:
                os.ftruncate(self._descriptor, self._size)
                raise
        self._size += written

    def _goes_direct(self) -> bool:
        if self._to_cache:
            self._to_cache -= 1
            return False
        if self._syncing is not None and self._syncing.is_alive():
            return False  # A device that empties its cache makes writes wait until it has, and that may be longer than the ring lasts.
        if self._direct is None:
            self._direct = self._disk.open_direct(self._path)
        return self._direct >= 0

    def _append_direct(self, data: memoryview) -> int:
        size = self._size
        at = head = -size % DIRECT_BLOCK
        tail = head + (len(data) - head) // DIRECT_BLOCK * DIRECT_BLOCK
        _write_all(self._descriptor, [data[:head]], size)
        began = self._disk.monotonic()
        while at < tail:
            taken = self._write_blocks(data[at:tail], size + at)
            if taken == 0:
                break
            at += taken
        if self._disk.monotonic() - began > SLOW_S:
            self._to_cache, self._rest = self._rest, 2 * self._rest
        _write_all(self._descriptor, [data[at:]], size + at)
        return len(data)

    def _write_blocks(self, data: memoryview, place: int) -> int:
        """Some of these whole blocks at their place; 0 when the cache has to take them, now and for the rest of the file."""
        assert self._direct is not None
        try:
            return os.pwrite(self._direct, data, place) // DIRECT_BLOCK * DIRECT_BLOCK
        except OSError as problem:
            if problem.errno != errno.EINVAL:
                raise
        # It lies in memory as no device can fetch it: by way of a page of our own.
        if self._buffer is None:
            self._buffer = mmap.mmap(-1, DIRECT_BUFFER)
        size = min(len(data), DIRECT_BUFFER)
        self._buffer[:size] = data[:size]
        try:
            with memoryview(self._buffer) as whole:
                return os.pwrite(self._direct, whole[:size], place) // DIRECT_BLOCK * DIRECT_BLOCK
        except OSError as problem:
            if problem.errno != errno.EINVAL:
                raise
            os.close(self._direct)
            self._direct = -1
            return 0

    def sync(self) -> None:
        self._wait()
        with _TROUBLES:
            if self._problem is None:
                self._sync()
            if self._problem is not None:
                raise self._problem

    def start_sync(self) -> None:
        if not self.is_syncing():
            # A thread, for Linux has no other way to have bytes and their places in the file synced without waiting.
            syncing = threading.Thread(target=self._sync, name="sync", daemon=True)
            try:
                syncing.start()
            except RuntimeError:
                self._sync()  # No thread is to be had (TasksMax, memory): to wait costs less than to end.
            else:
                self._syncing = syncing

    def is_syncing(self) -> bool:
        if self._syncing is not None and self._syncing.is_alive():
            return True
        self._wait()
        with _TROUBLES:
            if self._problem is not None:
                raise self._problem
        return False

    def _sync(self) -> None:
        try:
            os.fdatasync(self._descriptor)
        except OSError as problem:
            self._problem = problem

    def _wait(self) -> None:
        if self._syncing is not None:
            self._syncing.join()
            self._syncing = None

    def close(self) -> None:
        self._wait()  # else its number might be another file's by then
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if self._direct is not None and self._direct >= 0:
            os.close(self._direct)
        self._direct = None
        self._buffer = None


class _Troubles:
    """The kernel's errors as ours, named by consequence; the path stays out of it, for names may come from outside.

    A class, for the recorder goes through it several times a stretch: contextlib's generator costs ten times as much.
    """

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, problem: BaseException | None, _traceback: object) -> None:
        if not isinstance(problem, OSError):
            return
        name = errno.errorcode.get(problem.errno or 0, "unknown")
        if problem.errno in _FULL:
            raise DiskFull(f"expected room on the disk, the kernel answered {name}") from None
        if problem.errno == errno.EFBIG:
            raise DiskFailed("expected a file system that takes a file this long, it does not (FAT32 ends at 4 GiB)") from None
        if problem.errno in _MISSING:
            raise Missing("expected a file or directory, there is none") from None
        if problem.errno == errno.EACCES:
            raise DiskFailed("expected the right to this store, the kernel answered EACCES; its owner and root have it") from None
        raise DiskFailed(f"expected the disk to obey, the kernel answered {name}") from None


_TROUBLES = _Troubles()


def _plain(path: str) -> str:
    return "/".join(parts(path))


def _write_all(descriptor: int, pieces: Sequence[Buffer], place: int) -> int:
    """Every byte, at this place of the file; one pwritev for up to 1,024 pieces unless the kernel takes it in parts."""
    if len(pieces) == 1:
        size = len(pieces[0])
        if size == 0 or os.pwritev(descriptor, pieces, place) == size:  # nearly always; what was taken in part is written again
            return size
    waiting = [memoryview(piece).cast("B") for piece in pieces if len(piece)]
    total = 0
    while waiting:
        taken = os.pwritev(descriptor, waiting[:IOV_MAX], place + total)
        total += taken
        while waiting and taken >= len(waiting[0]):
            taken -= len(waiting[0])
            del waiting[0]
        if taken:
            waiting[0] = waiting[0][taken:]
    return total

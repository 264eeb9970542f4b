"""The bell, real: epoll over an eventfd, one inotify instance and the stations' own descriptors."""

import ctypes
import os
import select
import struct
import time
from collections.abc import Collection
from pathlib import Path

from drivers.clock import Monotonic
from drivers.errors import DiskFailed, Missing

IN_MOVED_TO = 0x80  # inotify(7)
IN_CREATE = 0x100
IN_ONLYDIR = 0x01000000
_EVENT = struct.Struct("=iIII")  # wd, mask, cookie, length of the name that follows
_ENOENT = 2


class LinuxBell:
    """One process's waiter. root: where the store's paths begin."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._inotify = int(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        if self._inotify < 0:
            raise DiskFailed("expected an inotify instance; raise fs.inotify.max_user_instances")
        self._eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll = select.epoll()
        self._epoll.register(self._inotify, select.EPOLLIN)
        self._epoll.register(self._eventfd, select.EPOLLIN)
        self._watched: set[int] = set()
        self._is_open = True

    def watch_directory(self, path: str) -> None:
        place = os.fsencode(self._root / path)
        if self._libc.inotify_add_watch(self._inotify, place, IN_MOVED_TO | IN_CREATE | IN_ONLYDIR) < 0:
            if ctypes.get_errno() == _ENOENT:
                raise Missing("expected a directory to watch, there is none")
            raise DiskFailed("expected an inotify watch; raise fs.inotify.max_user_watches")

    def watch_descriptors(self, descriptors: Collection[int]) -> None:
        wanted = set(descriptors)
        for descriptor in self._watched - wanted:
            try:
                self._epoll.unregister(descriptor)
            except OSError:
                pass  # closed meanwhile: the kernel has forgotten it already
        for descriptor in wanted:
            # A number may have been closed and given out again since the last call; only the kernel knows, so it is asked.
            try:
                self._epoll.modify(descriptor, select.EPOLLIN)
            except FileNotFoundError:
                self._epoll.register(descriptor, select.EPOLLIN)
        self._watched = wanted

    def wait(self, until: Monotonic | None) -> None:
        while True:
            left_ns = None if until is None else until.ns - time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            if left_ns is not None and left_ns <= 0:
                return
            ready = [descriptor for descriptor, _ in self._epoll.poll(None if left_ns is None else left_ns / 1e9)]
            if self._eventfd in ready:
                os.eventfd_read(self._eventfd)
                return
            if any(descriptor != self._inotify for descriptor in ready):
                return
            if self._inotify in ready and self._something_appeared():
                return

    def ring(self) -> None:
        if self._is_open:  # A signal may still come.
            os.eventfd_write(self._eventfd, 1)

    def close(self) -> None:
        self._is_open = False
        self._epoll.close()
        os.close(self._eventfd)
        os.close(self._inotify)

    def _something_appeared(self) -> bool:
        """Whether among what inotify has is anything but a hidden name: those are writers still writing."""
        data = os.read(self._inotify, 65_536)
        position = 0
        while position < len(data):
            _, _, _, size = _EVENT.unpack_from(data, position)
            position += _EVENT.size
            if not data[position : position + size].startswith(b"."):
                return True  # also an overflow or a vanished directory, which have no name: better a false ring than none
            position += size
        return False

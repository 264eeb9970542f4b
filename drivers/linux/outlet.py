"""The outlet, real: a descriptor that is never waited for."""

import errno
import fcntl
import os
import select
import stat

from drivers.disk import Buffer
from drivers.errors import OutletClosed

F_SETPIPE_SZ = 1031  # fcntl(2)
PIPE_BYTES = 1 << 20  # What an ordinary user may ask for: with 64 KiB a reader that looks fifty times a second gets 26 Mbit/s.
WRITE_BYTES = 1 << 20


class LinuxOutlet:
    """descriptor: open for writing, given over to this outlet. Its former blocking mode comes back when it is closed."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        self._blocked = os.get_blocking(descriptor)
        os.set_blocking(descriptor, False)
        if self._is_pipe:
            try:
                fcntl.fcntl(descriptor, F_SETPIPE_SZ, PIPE_BYTES)
            except OSError:
                pass  # More than is allowed here: then it stays as it is.

    def fileno(self) -> int:
        return self._descriptor if self._is_pipe else -1

    def write(self, data: Buffer, *, patience_s: float = 0.0) -> int:
        view = memoryview(data).cast("B")
        taken = 0
        if not len(view) and self._is_pipe and self._is_broken():
            raise OutletClosed("the reader went away", is_reader=True)
        while taken < len(view):
            try:
                taken += os.write(self._descriptor, view[taken : taken + WRITE_BYTES])
            except BlockingIOError:
                if not self._becomes_ready(patience_s):
                    break
            except BrokenPipeError:
                raise OutletClosed("the reader went away", is_reader=True) from None
            except OSError as problem:
                raise OutletClosed(f"it takes nothing more: {os.strerror(problem.errno or errno.EIO)}", is_reader=False) from None
        return taken

    def close(self) -> None:
        if self._descriptor < 0:
            return
        os.set_blocking(self._descriptor, self._blocked)
        os.close(self._descriptor)
        self._descriptor = -1

    def _becomes_ready(self, patience_s: float) -> bool:
        return patience_s > 0 and bool(select.select([], [self._descriptor], [], patience_s)[1])

    def _is_broken(self) -> bool:
        look = select.poll()
        look.register(self._descriptor, 0)
        return any(event & select.POLLERR for _, event in look.poll(0))

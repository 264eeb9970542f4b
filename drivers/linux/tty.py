"""The serial line, real: termios in raw mode, never blocking, opened again after it went away (a USB adapter pulled and put back)."""

import os
import termios
from typing import Any

from drivers.errors import Missing

READ_BYTES_MAX = 4096
WAITING_BYTES_MAX = 64 << 10


class LinuxTty:
    """device: path of the line. speed_bit_per_s: one of termios's speeds."""

    def __init__(self, device: str, *, speed_bit_per_s: int = 115_200) -> None:
        self._device = device
        self._speed = int(getattr(termios, f"B{speed_bit_per_s}"))
        self._waiting = bytearray()
        self._descriptor = -1
        self._hung_up = False
        self._former: list[Any] = []  # Any: what tcgetattr gave, five numbers, two speeds and a list of control characters
        self._refused = ""  # why the last attempt to open it failed; "" where nothing is there
        self._open()
        if self._descriptor < 0:
            raise Missing(f"expected a serial line at {device}, {self._refused or 'there is none'}")

    def fileno(self) -> int:
        return self._descriptor

    def read(self) -> bytes:
        self._flush()
        if self._descriptor < 0:
            return b""
        try:
            data = os.read(self._descriptor, READ_BYTES_MAX)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self._lost()  # a hang-up: readable for ever and never anything there
        return data

    def write(self, data: bytes) -> None:
        self._waiting += data
        self._flush()
        del self._waiting[: max(0, len(self._waiting) - WAITING_BYTES_MAX)]

    def waiting(self) -> int:
        return len(self._waiting)

    def hung_up(self) -> bool:
        was, self._hung_up = self._hung_up, False
        return was

    def close(self) -> None:
        if self._descriptor < 0:
            return
        try:
            termios.tcsetattr(self._descriptor, termios.TCSANOW, self._former)
        except termios.error:
            pass  # the line is gone; so are its settings
        self._lost()

    def _open(self) -> None:
        try:
            descriptor = os.open(self._device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        except OSError as problem:
            # Mostly a person who is not of the line's group: to hear that there is none would send him to look for the cable.
            self._refused = f"the system says: {problem.strerror}; `ls -l {self._device}` shows whose it is"
            return
        try:
            self._former = termios.tcgetattr(descriptor)
            characters = list(self._former[6])
            characters[termios.VMIN], characters[termios.VTIME] = 1, 0  # nothing there is EAGAIN, so that b"" means a hang-up
            control = termios.CS8 | termios.CREAD | termios.CLOCAL
            raw: list[Any] = [termios.IGNBRK, 0, control, 0, self._speed, self._speed, characters]
            termios.tcsetattr(descriptor, termios.TCSANOW, raw)
        except termios.error:
            os.close(descriptor)
            self._refused = "this is none"
            return
        self._descriptor = descriptor

    def _flush(self) -> None:
        if self._descriptor < 0:
            self._open()
        if self._descriptor < 0 or not self._waiting:
            return
        try:
            del self._waiting[: os.write(self._descriptor, self._waiting)]
        except BlockingIOError:
            return
        except OSError:
            self._lost()

    def _lost(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1
        self._hung_up = True
        self._waiting.clear()

"""The SDC consumer, real: drivers/linux/sdc.py in a process of its own, and its lines read here without waiting."""

import ipaddress
import json
import os
import subprocess
import sys
from dataclasses import asdict
from importlib.util import find_spec

from drivers.alerts import TEXT_MAX, Alert, AlertEvent, AlertRequest, Ended, Joined, Left
from drivers.errors import ListenFailed

READ_BYTES = 65_536
LINE_BYTES_MAX = 65_536  # the longest it writes has four texts of TEXT_MAX, six bytes a character at most
END_S = 5.0
CHILD = ["-m", "drivers.linux.sdc"]


class LinuxAlerts:
    """Raises ListenFailed when the library is not installed."""

    def __init__(self, request: AlertRequest) -> None:
        if find_spec("sdc11073") is None:
            raise ListenFailed("expected the package sdc11073 (pip install 'scrubjay[sdc]') to hear SDC alerts")
        self._child: subprocess.Popen[bytes] | None = subprocess.Popen(
            [sys.executable, *CHILD, json.dumps(asdict(request))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self._child.stdout is not None
        self._pipe = self._child.stdout.fileno()
        os.set_blocking(self._pipe, False)
        self._line = b""

    def fileno(self) -> int:
        return -1 if self._child is None else self._pipe

    def events(self) -> list[AlertEvent]:
        if self._child is None:
            return []
        try:
            data = os.read(self._pipe, READ_BYTES)
        except BlockingIOError:
            return []
        if not data:
            return self._ended("it ended")
        *lines, self._line = (self._line + data).split(b"\n")
        found: list[AlertEvent] = []
        for line in lines:
            event = _event(line)
            if event is None:
                return found + self._ended("it said what it should not")
            found.append(event)
        if len(self._line) > LINE_BYTES_MAX:
            return found + self._ended("it said more than it should")
        return found

    def close(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        assert child.stdin is not None and child.stdout is not None
        child.stdin.close()  # It unsubscribes, and goes.
        try:
            child.wait(END_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        child.stdout.close()

    def _ended(self, reason: str) -> list[AlertEvent]:
        assert self._child is not None
        self._child.kill()
        self.close()
        return [Ended(reason)]


def _event(line: bytes) -> AlertEvent | None:
    """One line, None when it is none of ours."""
    try:
        row = json.loads(line)
        address = row["address"]
        if address:
            ipaddress.ip_address(address)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    match row:
        case {"event": "joined", "device": str(device)}:
            return Joined(device[:TEXT_MAX], address)
        case {"event": "left", "device": str(device), "reason": str(reason)}:
            return Left(device[:TEXT_MAX], address, reason[:TEXT_MAX])
        case {
            "event": "alert", "device": str(device), "handle": str(handle), "code": str(code), "text": str(text), "priority": str(priority),
            "kind": str(kind), "present": bool(present), "is_on": bool(is_on), "since_utc_ns": (int() | None) as since,
        }:  # fmt: skip
            return Alert(
                device[:TEXT_MAX],
                address,
                handle[:TEXT_MAX],
                code[:64],
                text[:TEXT_MAX],
                priority[:8],
                kind[:8],
                present,
                is_on,
                since,
            )
    return None

"""Supervision, real: the sd_notify(3) protocol from both sides.

`LinuxSupervisor` is what a process says to whoever watches it, systemd or the `LinuxKeeper` below, which keeps the processes
of a role on a laptop.
"""

import ctypes
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from drivers.supervisor import Ended, Ready

# As systemd names them (sd_listen_fds(3)), but that LISTEN_FDS counts from descriptor 3 on; the keeper of a laptop starts its
# processes with other numbers, and says them.
NUMBERS_VARIABLE = "SCRUBJAY_LISTEN_NUMBERS"
FIRST_NUMBER = 3  # SD_LISTEN_FDS_START
KEPT_MAX = 32  # descriptors of one process; a recorder of eight interfaces keeps eight
KEEPER_VARIABLE = "SCRUBJAY_KEEPER"  # the keeper's process id, so that a child can tell that its keeper is gone
PR_SET_PDEATHSIG = 1  # prctl(2)
LOG_BYTES_MAX = 4 << 20  # A log longer than this is put aside at the next start of its process, and the one before it forgotten.
READ_BYTES = 4096  # one notification; systemd's own limit


class LinuxSupervisor:
    """Speaks to NOTIFY_SOCKET when there is one; SIGTERM, SIGINT and SIGHUP, its terminal's end, are the wish to end."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = os.environ if environment is None else environment
        self._stop = False
        self._ring: Callable[[], None] = _silent
        self._former: dict[int, object] = {}
        address = self._environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if address else None
        self._kept = _inherited(self._environment)
        if environment is None:
            for name in (NUMBERS_VARIABLE, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
                os.environ.pop(name, None)  # They were meant for us, not for a program that we start.

    def listen(self, ring: Callable[[], None]) -> None:
        """Take the keeper's signals from now on, and ring when one comes. Only a main thread can; elsewhere nothing changes."""
        self._ring = ring
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # nohup(1): it was asked to survive its terminal
            former = signal.signal(number, self._asked)
            self._former.setdefault(number, former)
        keeper = self._environment.get(KEEPER_VARIABLE)
        if keeper is not None:
            # A keeper killed with SIGKILL cannot stop its children; the kernel tells them. Asked first, looked at second.
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if str(os.getppid()) != keeper:
                self._stop = True

    def close(self) -> None:
        """The signals as they were; for tests, a process keeps its supervisor to its end."""
        for number, former in self._former.items():
            signal.signal(number, former)  # type: ignore[arg-type]  # what signal() itself returned
        self._former.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ready(self, status: str) -> None:
        self._say(f"READY=1\nSTATUS={status}")

    def alive(self) -> None:
        self._say("WATCHDOG=1")

    def stopping(self) -> None:
        self._say("STOPPING=1")

    def stop_requested(self) -> bool:
        return self._stop

    @property
    def keeps(self) -> bool:
        """systemd says how many it would keep since version 254, the box has 257."""
        return self._socket is not None and self._environment.get("FDSTORE", "0") not in ("", "0")

    def keep(self, title: str, descriptor: int) -> None:
        if not self.keeps:
            return
        # Removed first: under one title systemd would keep both, and hand out both. A crash between the two costs the next life this
        # descriptor, as if it had come a moment earlier.
        self.forget(title)
        self._say(f"FDSTORE=1\nFDPOLL=0\nFDNAME={title}", descriptor)

    def forget(self, title: str) -> None:
        if self.keeps:
            self._say(f"FDSTOREREMOVE=1\nFDNAME={title}")

    def kept(self) -> Mapping[str, int]:
        return self._kept

    def _asked(self, number: int, frame: object) -> None:
        self._stop = True
        self._ring()

    def _say(self, text: str, descriptor: int | None = None) -> None:
        if self._socket is None:
            return
        attached = [] if descriptor is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [descriptor]))]
        try:
            # Not socket.send_fds: it forgets flags and address (so in CPython 3.11).
            self._socket.sendmsg([text.encode()], attached, socket.MSG_DONTWAIT, self._address)
        except OSError:
            pass  # Nobody listens, or not fast enough: a process does not end because its watcher did.


@dataclass(slots=True, eq=False)
class _Kept:
    name: str
    process: "subprocess.Popen[bytes]"
    pidfd: int
    notify: socket.socket
    deadline_ns: int  # monotonic; killed when it is past
    watched: bool = False  # has said it is ready: from now on the watchdog's time counts
    stopping: bool = False


class LinuxKeeper:
    """Keeps processes on a laptop, each in a process group of its own.

    logs: directory for <name>.log. watchdog_s: longest silence of a process that is ready. start_s, stop_s: longest time to
    become ready and to end. `fileno` is an epoll descriptor over everything that can happen, the watchdog's timer included.
    """

    def __init__(self, logs: Path, *, watchdog_s: float = 10.0, start_s: float = 60.0, stop_s: float = 20.0) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._logs = logs
        self._watchdog_ns, self._start_ns, self._stop_ns = (int(s * 1e9) for s in (watchdog_s, start_s, stop_s))
        # A path and not an abstract name: abstract names end at the network namespace, and a child may be put into one.
        self._sockets = Path(tempfile.mkdtemp(prefix="scrubjay-"))
        self._kept: dict[str, _Kept] = {}
        self._stored: dict[str, dict[str, int]] = {}  # by process: title to descriptor; for its next life
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._timer = int(self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))
        self._epoll = select.epoll()
        self._epoll.register(self._timer, select.EPOLLIN)

    def fileno(self) -> int:
        return self._epoll.fileno()

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        assert name not in self._kept, "one process a name"
        place = self._sockets / name
        place.unlink(missing_ok=True)
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        notify.bind(str(place))
        own = {
            "NOTIFY_SOCKET": str(place),
            "WATCHDOG_USEC": str(self._watchdog_ns // 1000),
            KEEPER_VARIABLE: str(os.getpid()),
            "FDSTORE": str(KEPT_MAX),
        }
        stored = self._stored.get(name, {})
        if stored:
            own |= {
                "LISTEN_FDS": str(len(stored)),
                "LISTEN_FDNAMES": ":".join(stored),
                NUMBERS_VARIABLE: " ".join(map(str, stored.values())),
            }
        with _log(self._logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                list(command), env=dict(environment) | own, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, process_group=0,
                pass_fds=tuple(stored.values()),
            )  # fmt: skip
        pidfd = os.pidfd_open(process.pid)
        self._kept[name] = _Kept(name, process, pidfd, notify, _monotonic() + self._start_ns)
        self._epoll.register(pidfd, select.EPOLLIN)
        self._epoll.register(notify.fileno(), select.EPOLLIN)
        self._set_timer()

    def events(self) -> list[Ended | Ready]:
        happened: list[Ended | Ready] = []
        for kept in list(self._kept.values()):
            for text, descriptors in _received(kept.notify):
                self._store(kept.name, text, descriptors)
                if b"READY=1" in text and not kept.watched:
                    kept.watched = True
                    happened.append(Ready(kept.name))
                if b"STOPPING=1" in text and not kept.stopping:
                    kept.stopping, kept.deadline_ns = True, _monotonic() + self._stop_ns
                elif kept.watched and not kept.stopping:
                    kept.deadline_ns = _monotonic() + self._watchdog_ns
            if _has_ended(kept.pidfd):
                happened.append(self._buried(kept))
            elif kept.deadline_ns <= _monotonic():
                kept.deadline_ns = _monotonic() + self._stop_ns  # it will come as Ended; not killed again at every call
                _signal_group(kept.process.pid)
        self._set_timer()
        return happened

    def stop(self, name: str) -> None:
        kept = self._kept.get(name)
        if kept is not None and not kept.stopping:
            kept.stopping, kept.deadline_ns = True, _monotonic() + self._stop_ns
            kept.process.send_signal(signal.SIGTERM)
            self._set_timer()

    def kill(self, name: str) -> None:
        kept = self._kept.get(name)
        if kept is not None:
            _signal_group(kept.process.pid)

    def close(self) -> None:
        """End everything that still runs, now, and clear up."""
        for kept in list(self._kept.values()):
            _signal_group(kept.process.pid)
            self._buried(kept)
        for stored in self._stored.values():
            for descriptor in stored.values():
                os.close(descriptor)
        self._stored.clear()
        self._epoll.close()
        os.close(self._timer)
        shutil.rmtree(self._sockets, ignore_errors=True)

    def _store(self, name: str, text: bytes, descriptors: list[int]) -> None:
        rows = text.decode("ascii", "replace").splitlines()
        title = next((row.removeprefix("FDNAME=") for row in rows if row.startswith("FDNAME=")), "")
        stored = self._stored.setdefault(name, {})
        if "FDSTOREREMOVE=1" in rows and title in stored:
            os.close(stored.pop(title))
        if "FDSTORE=1" in rows and title and len(descriptors) == 1 and title not in stored and len(stored) < KEPT_MAX:
            stored[title] = descriptors.pop()
        for descriptor in descriptors:
            os.close(descriptor)

    def _buried(self, kept: _Kept) -> Ended:
        # While it is not reaped its number cannot be given to anybody else: the last moment to end what it left behind.
        _signal_group(kept.process.pid)
        code = kept.process.wait()
        for text, descriptors in _received(kept.notify):
            self._store(kept.name, text, descriptors)  # its last words; a ring left a moment before the end is left
        self._epoll.unregister(kept.pidfd)
        self._epoll.unregister(kept.notify.fileno())
        os.close(kept.pidfd)
        kept.notify.close()
        del self._kept[kept.name]
        return Ended(kept.name, code)

    def _set_timer(self) -> None:
        """Readable when the next deadline is due; disarmed when there is none."""
        due = min((kept.deadline_ns for kept in self._kept.values()), default=0)
        seconds, ns = divmod(due, 1_000_000_000)
        self._libc.timerfd_settime(self._timer, 1, struct.pack("@qqqq", 0, 0, seconds, ns), None)  # 1: TFD_TIMER_ABSTIME


def _silent() -> None:
    """The ring before there is a bell."""


def _monotonic() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def _log(path: Path) -> Path:
    if path.exists() and path.stat().st_size > LOG_BYTES_MAX:
        path.replace(path.with_name(f"{path.name}.1"))
    return path


def _received(notify: socket.socket) -> list[tuple[bytes, list[int]]]:
    said = []
    while True:
        try:
            text, descriptors, _, _ = socket.recv_fds(notify, READ_BYTES, KEPT_MAX, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return said
        said.append((text, descriptors))


def _inherited(environment: Mapping[str, str]) -> dict[str, int]:
    """What the keeper gave along. Not meant for this process: nothing."""
    numbers = environment.get(NUMBERS_VARIABLE)
    if numbers is None and environment.get("LISTEN_PID") != str(os.getpid()):
        return {}
    titles = environment.get("LISTEN_FDNAMES", "").split(":")
    try:
        count = int(environment.get("LISTEN_FDS", "0"))
        descriptors = (
            [int(word) for word in numbers.split()] if numbers is not None else list(range(FIRST_NUMBER, FIRST_NUMBER + count))
        )
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)  # or a program we start would keep a ring alive that nobody reads
    except (ValueError, OSError):
        return {}
    return dict(zip(titles, descriptors, strict=False))


def _has_ended(pidfd: int) -> bool:
    return bool(select.select([pidfd], [], [], 0)[0])


def _signal_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass

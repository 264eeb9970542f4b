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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drivers.supervisor import Ended, Ready, Standing

# As systemd names them (sd_listen_fds(3)), but that LISTEN_FDS counts from descriptor 3 on; the keeper of a laptop starts its
# processes with other numbers, and says them.
NUMBERS_VARIABLE = "SCRUBJAY_LISTEN_NUMBERS"
HEIR_VARIABLE = "SCRUBJAY_HEIR"  # the descriptor on which an heir hears from its elder
FIRST_NUMBER = 3  # SD_LISTEN_FDS_START
KEPT_MAX = 32  # descriptors of one process; a recorder of eight interfaces keeps eight
KEEPER_VARIABLE = "SCRUBJAY_KEEPER"  # the keeper's process id, so that a child can tell that its keeper is gone
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)
LOG_BYTES_MAX = 4 << 20  # A log longer than this is put aside at the next start of its process, and the one before it forgotten.
READY_WORD, TURN_WORD = b"ready", "turn"  # what an heir says, and what its elder says at the end
READ_BYTES = 4096  # one notification; systemd's own limit


class LinuxSupervisor:
    """Speaks to NOTIFY_SOCKET when there is one; SIGTERM, SIGINT and SIGHUP, its terminal's end, are the wish to end."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = os.environ if environment is None else environment
        self._stop = False
        self._ring: Callable[[], None] = _silent
        self._former: dict[int, Any] = {}  # Any: what signal() itself returned
        address = self._environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if address else None
        self._kept = _inherited(self._environment)
        self._owed: list[tuple[str, str]] = []  # (title, what is to be said of it), for which the keeper's queue had no room
        self._elder = _elder(self._environment)
        self._elder_id = os.getppid()
        self._hands_over = False
        self._is_reborn = False  # an heir whose elder may not be gone yet: the keeper is not its parent before
        if environment is None:
            for name in (NUMBERS_VARIABLE, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", HEIR_VARIABLE):
                os.environ.pop(name, None)  # They were meant for us, not for a program that we start.

    def listen(self, ring: Callable[[], None]) -> None:
        """Take the keeper's signals from now on, and ring when one comes. Only a main thread can; elsewhere nothing changes."""
        self._ring = ring
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            # To whoever knows tcpdump they ask for its counts, which are told once a second here; unheard they would end us unsealed.
            self._former.setdefault(number, signal.signal(number, signal.SIG_IGN))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # nohup(1): it was asked to survive its terminal
            former = signal.signal(number, self._asked)
            self._former.setdefault(number, former)
        if self._elder is not None:
            self._is_reborn = KEEPER_VARIABLE in self._environment
        else:
            self._follow_keeper()

    def _follow_keeper(self) -> None:
        """A keeper killed with SIGKILL cannot stop its children; the kernel tells them."""
        keeper = self._environment.get(KEEPER_VARIABLE)
        if keeper is not None:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # Asked first, looked at second.
            if str(os.getppid()) != keeper:
                self._stop = True

    def close(self) -> None:
        """The signals as they were; for tests, a process keeps its supervisor to its end."""
        for number, former in self._former.items():
            signal.signal(number, former)
        self._former.clear()
        for descriptor in self._kept.values():
            os.close(descriptor)
        self._kept.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ready(self, status: str) -> None:
        self._say(f"READY=1\nSTATUS={status}")

    def alive(self) -> None:
        self._say_owed()
        self._say("WATCHDOG=1")
        if self._is_reborn and os.getppid() != self._elder_id:
            self._is_reborn = False
            self._follow_keeper()

    def stopping(self) -> None:
        self._say_owed()
        self._say("STOPPING=1")

    def stop_requested(self) -> bool:
        return self._stop

    def bequeath(self, command: Sequence[str], environment: Mapping[str, str]) -> "LinuxHeir":
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            own = {**self._environment, **environment, HEIR_VARIABLE: str(theirs.fileno())}
            process: subprocess.Popen[bytes] | None
            try:
                process = subprocess.Popen(list(command), env=own, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),))
            except OSError:
                process = None  # No program there, or no process to be had (TasksMax, memory): its end of the wire is closed, so it failed.
        ours.setblocking(False)
        return LinuxHeir(self, process, ours)

    def await_turn(self) -> bool:
        if self._elder is None:
            return True
        elder, self._elder = self._elder, None
        with elder:
            try:
                elder.send(READY_WORD)
                word, descriptors, _, _ = socket.recv_fds(elder, READ_BYTES, KEPT_MAX, socket.MSG_CMSG_CLOEXEC)
            except OSError:
                return False
        mark, *titles = word.decode("ascii", "replace").split("\n")
        if mark != TURN_WORD:
            return False
        self._kept = dict(zip(titles, descriptors, strict=False))
        return True

    @property
    def hands_over(self) -> bool:
        return self._hands_over

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
        self._kept[title] = os.dup(descriptor)  # ours too, for an heir
        self._owed.append((title, f"FDSTORE=1\nFDPOLL=0\nFDNAME={title}"))
        self._say_owed()

    def forget(self, title: str) -> None:
        if self.keeps:
            if title in self._kept:
                os.close(self._kept.pop(title))
            # What was owed of it is void: at most two sentences a title are.
            self._owed = [owed for owed in self._owed if owed[0] != title]
            self._owed.append((title, f"FDSTOREREMOVE=1\nFDNAME={title}"))
            self._say_owed()

    def kept(self) -> Mapping[str, int]:
        return dict(self._kept)

    def _asked(self, number: int, frame: object) -> None:
        self._stop = True
        self._ring()

    def _say_owed(self) -> None:
        """In its order, as far as there is room: a ring that stays with the keeper unasked tells the next life that nothing is missing."""
        while self._owed:
            title, text = self._owed[0]
            if not self._say(text, self._kept.get(title) if text.startswith("FDSTORE=") else None):
                return
            del self._owed[0]

    def _say(self, text: str, descriptor: int | None = None) -> bool:
        """False when the keeper's queue is full: what must not be lost is said again."""
        if self._socket is None:
            return True
        attached = [] if descriptor is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [descriptor]))]
        try:
            # Not socket.send_fds: it forgets flags and address (so in CPython 3.11).
            self._socket.sendmsg([text.encode()], attached, socket.MSG_DONTWAIT, self._address)
        except BlockingIOError:
            return False
        except OSError:
            pass  # Nobody listens: a process does not end because its watcher did.
        return True


class LinuxHeir:
    """A process started by its elder. They speak over a socket of their own: "ready", and once the turn with all descriptors."""

    def __init__(self, elder: LinuxSupervisor, process: "subprocess.Popen[bytes] | None", wire: socket.socket) -> None:
        self._elder = elder
        self._process = process
        self._wire = wire
        self._standing = Standing.STARTING

    def fileno(self) -> int:
        return self._wire.fileno() if self._standing is Standing.STARTING else -1

    def standing(self) -> Standing:
        if self._standing is not Standing.FAILED:
            try:
                word = self._wire.recv(READ_BYTES)
                self._standing = Standing.READY if word == READY_WORD else Standing.FAILED
            except BlockingIOError:
                pass
            except OSError:
                self._standing = Standing.FAILED
        return self._standing

    def announce(self) -> None:
        assert self._standing is Standing.READY and self._process is not None, "who is not ready does not take over"
        self._elder._hands_over = True
        # Before the turn is handed over: were we to end in between, the keeper would start a third one beside the heir.
        self._elder._say(f"MAINPID={self._process.pid}")

    def hand_over(self) -> None:
        kept = self._elder.kept()
        self._wire.setblocking(True)
        try:
            socket.send_fds(self._wire, ["\n".join([TURN_WORD, *kept]).encode()], list(kept.values()))
        except OSError:
            pass  # It ended. The keeper notices, and starts another; what we kept is the keeper's as well.
        self._wire.close()

    def dismiss(self) -> None:
        self._standing = Standing.FAILED
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._wire.close()


@dataclass(slots=True, eq=False)
class _Kept:
    name: str
    process: "subprocess.Popen[bytes]"  # as it was started; its group is that of all its heirs
    main: int  # the process that is watched: the one started, or its heir
    pidfd: int  # of that one
    notify: socket.socket
    deadline_ns: int  # monotonic; killed when it is past
    elders: list[int] = field(
        default_factory=list
    )  # ended or about to; the one started stays a zombie, which keeps its number its own
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
        self._libc.prctl(PR_SET_CHILD_SUBREAPER, 1)  # An heir is ours when its elder has ended, as on the box it is systemd's.
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
        self._kept[name] = _Kept(name, process, process.pid, pidfd, notify, _monotonic() + self._start_ns)
        self._epoll.register(pidfd, select.EPOLLIN)
        self._epoll.register(notify.fileno(), select.EPOLLIN)
        self._set_timer()

    def events(self) -> list[Ended | Ready]:
        happened: list[Ended | Ready] = []
        for kept in list(self._kept.values()):
            for text, descriptors in _received(kept.notify):
                self._store(kept.name, text, descriptors)
                self._follow_heir(kept, text)
                if b"READY=1" in text and not kept.watched:
                    kept.watched = True
                    happened.append(Ready(kept.name))
                if b"STOPPING=1" in text and not kept.stopping:
                    kept.stopping, kept.deadline_ns = True, _monotonic() + self._stop_ns
                elif kept.watched and not kept.stopping:
                    kept.deadline_ns = _monotonic() + self._watchdog_ns
            kept.elders = [elder for elder in kept.elders if not _is_reaped(elder)]
            if _has_ended(kept.pidfd):
                happened.append(self._buried(kept))
            elif kept.deadline_ns <= _monotonic():
                kept.deadline_ns = _monotonic() + self._stop_ns  # it will come as Ended; not killed again at every call
                _signal_group(kept.process.pid)
        self._set_timer()
        return happened

    def processes(self) -> dict[str, int]:
        """The process watched under each name."""
        return {name: kept.main for name, kept in self._kept.items()}

    def stop(self, name: str) -> None:
        kept = self._kept.get(name)
        if kept is not None and not kept.stopping:
            kept.stopping, kept.deadline_ns = True, _monotonic() + self._stop_ns
            signal.pidfd_send_signal(kept.pidfd, signal.SIGTERM)
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
        self._libc.prctl(PR_SET_CHILD_SUBREAPER, 0)
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

    def _follow_heir(self, kept: _Kept, text: bytes) -> None:
        """MAINPID=: the process watched under this name is another from now on. Only one of its own group: it was started by it."""
        word = next((row.removeprefix(b"MAINPID=") for row in text.splitlines() if row.startswith(b"MAINPID=")), b"")
        try:
            heir = int(word)
            if os.getpgid(heir) != kept.process.pid:
                return
            pidfd = os.pidfd_open(heir)
        except (ValueError, OSError):
            return
        self._epoll.unregister(kept.pidfd)
        os.close(kept.pidfd)
        if kept.main != kept.process.pid:
            kept.elders.append(kept.main)
        kept.main, kept.pidfd = heir, pidfd
        kept.deadline_ns = _monotonic() + self._watchdog_ns
        self._epoll.register(pidfd, select.EPOLLIN)

    def _buried(self, kept: _Kept) -> Ended:
        # While it is not reaped its number cannot be given to anybody else: the last moment to end what it left behind.
        _signal_group(kept.process.pid)
        codes = {kept.process.pid: kept.process.wait()} | _reaped(kept.process.pid)
        code = codes.get(kept.main, -int(signal.SIGKILL))
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


def _reaped(group: int) -> dict[int, int]:
    """Process to exit status of whoever of this group became ours; all of it was killed."""
    codes: dict[int, int] = {}
    while True:
        try:
            process, status = os.waitpid(-group, 0)
        except ChildProcessError:
            return codes
        codes[process] = os.waitstatus_to_exitcode(status)


def _is_reaped(elder: int) -> bool:
    try:
        return os.waitpid(elder, os.WNOHANG)[0] == elder
    except ChildProcessError:
        return False  # Its own elder has not ended yet, so that it is not ours.


def _elder(environment: Mapping[str, str]) -> socket.socket | None:
    number = environment.get(HEIR_VARIABLE, "")
    if not number.isdecimal():
        return None
    os.set_inheritable(int(number), False)
    return socket.socket(fileno=int(number))


def _received(notify: socket.socket) -> list[tuple[bytes, list[int]]]:
    said: list[tuple[bytes, list[int]]] = []
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

"""A wire of our own: two ends of a veth pair in a network namespace that nothing else knows and that ends with the last socket."""

import ctypes
import os
import shutil
import socket
import subprocess
from pathlib import Path
from types import TracebackType

CLONE_NEWNET = 0x40000000
HEARS, SENDS = "hears", "sends"
HEARS_TOO, SENDS_TOO = "hears2", "sends2"  # a second cable
PAIRS = ((HEARS, SENDS), (HEARS_TOO, SENDS_TOO))
ETH_P_ALL = 3


def why_not() -> str | None:
    """What is missing for a wire, or None."""
    if shutil.which("ip") is None:
        return "no wire: the program `ip` (iproute2) is not installed"
    try:
        with Wire():
            return None
    except OSError as problem:
        return f"no wire: the privilege to make a network namespace and a veth pair is missing ({problem})"


class Wire:
    """What is sent at one end is heard at the other. The calling thread is inside the namespace within the `with` block.

    cables: 1, or 2.
    """

    def __init__(self, *, cables: int = 1) -> None:
        self._pairs = PAIRS[:cables]
        self._senders: dict[str, socket.socket] = {}

    def __enter__(self) -> "Wire":
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._libc = ctypes.CDLL(None, use_errno=True)
        if self._libc.unshare(CLONE_NEWNET):
            os.close(self._home)
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
        except OSError:
            pass  # A kernel without IPv6 sends none of its own accord, which is what is wanted.
        for hears, sends in self._pairs:
            if not self._connect(hears, sends):
                self._leave()
                raise OSError("ip link add type veth")
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        for sender in self._senders.values():
            sender.close()
        self._leave()

    def socket_at(self, end: str) -> socket.socket:
        """Sends at this end, hears nothing."""
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sender.bind((end, 0))
        return sender

    def send(self, frames: list[bytes], *, end: str = SENDS) -> None:
        """One after the other; each has been heard at the other end when this returns."""
        for frame in frames:
            self._senders[end].send(frame)

    def cut(self, hears: str = HEARS) -> None:
        """The interface is taken out."""
        assert not _ip("link", "delete", hears)

    def connect(self, hears: str = HEARS, sends: str = SENDS) -> None:
        """A cable that was cut is there again, a new one under the same names."""
        assert self._connect(hears, sends)

    def set(self, end: str, *words: str) -> None:
        """`ip link set`: up, down, name, mtu …"""
        assert not _ip("link", "set", end, *words)

    def _connect(self, hears: str, sends: str) -> bool:
        if _ip("link", "add", hears, "type", "veth", "peer", "name", sends):
            return False
        for end in (hears, sends):
            _ip("link", "set", end, "arp", "off", "multicast", "off", "mtu", "9000", "up")
        former = self._senders.pop(sends, None)
        if former is not None:
            former.close()
        self._senders[sends] = self.socket_at(sends)
        return True

    def _leave(self) -> None:
        self._libc.setns(self._home, CLONE_NEWNET)
        os.close(self._home)


def _ip(*words: str) -> int:
    return subprocess.run(["ip", *words], check=False, capture_output=True, timeout=10).returncode

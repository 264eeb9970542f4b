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
    """What is sent at one end is heard at the other. The calling thread is inside the namespace within the `with` block."""

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
        self._sender: socket.socket | None = None
        if _ip("link", "add", HEARS, "type", "veth", "peer", "name", SENDS):
            self._leave()
            raise OSError("ip link add type veth")
        for end in (HEARS, SENDS):
            _ip("link", "set", end, "arp", "off", "multicast", "off", "mtu", "9000", "up")
        self._sender = self.socket_at(SENDS)
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        if self._sender is not None:
            self._sender.close()
        self._leave()

    def socket_at(self, end: str) -> socket.socket:
        """Sends at this end, hears nothing."""
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sender.bind((end, 0))
        return sender

    def send(self, frames: list[bytes]) -> None:
        """One after the other; each has been heard at the other end when this returns."""
        assert self._sender is not None
        for frame in frames:
            self._sender.send(frame)

    def cut(self) -> None:
        """The interface is taken out."""
        assert not _ip("link", "delete", HEARS)

    def _leave(self) -> None:
        self._libc.setns(self._home, CLONE_NEWNET)
        os.close(self._home)


def _ip(*words: str) -> int:
    return subprocess.run(["ip", *words], check=False, capture_output=True, timeout=10).returncode

"""The egress, real: one HTB class at the link's rate (tc-htb(8)), and in it strict priorities by the sockets' own (tc-pfifo_fast(8)).

    htb 1: ─ class 1:1 rate ─ pfifo_fast 10: ─ band 0  urgent    socket priority 6
                                               band 1  ordinary  everything else
                                               band 2  bulk      socket priority 2

One class and not one for each priority: HTB shares what is left between classes by their rates; here the least important gets nothing
while there is anything else. pfifo_fast and not prio: its table of priorities is the one we want (include/net/sch_generic.h), and
it is in every kernel. `gso_max_segs 1`: TCP hands segments down in packets of up to 64 KiB whatever ethtool says, and HTB sends one
whole: an alarm waited 259 ms behind it at 2 Mbit/s, 5 to 28 without (fleet study §2).
"""

import re
import shutil
import subprocess
from collections.abc import Sequence

from drivers.errors import EgressFailed

COMMAND_S_MAX = 10  # One call of tc or ip; they take milliseconds.
PLACES = "/usr/sbin:/sbin:/usr/bin:/bin"  # A unit's path may have no sbin.
BURST_BYTES = 1600  # One packet: what may leave at once after a pause, and has to be waited for.
_INTERFACE = re.compile(r"[A-Za-z0-9_.-]{1,15}")
_RATE = re.compile(r"class htb 1:1 root .*?rate (?P<number>[0-9.]+)(?P<unit>[KMG]?)bit ")
_UNITS = {"": 0.001, "K": 1, "M": 1000, "G": 1_000_000}


class LinuxEgress:
    """tc and ip, as iproute2 has them. prefix: words before each command, for another network namespace."""

    def __init__(self, prefix: Sequence[str] = ()) -> None:
        self._prefix = tuple(prefix)

    def shape(self, interface: str, rate_kbit: int) -> None:
        assert 8 <= rate_kbit <= 10_000_000, "as the settings allow"
        _checked(interface)
        rate = f"{rate_kbit}kbit"
        try:
            # `replace` of a root that is ours already would keep its classes; a short moment without any is no harm.
            self._forget(interface)
            self._run("tc", "qdisc", "add", "dev", interface, "root", "handle", "1:", "htb", "default", "1", "r2q", "1")
            self._run(
                "tc", "class", "add", "dev", interface, "parent", "1:", "classid", "1:1", "htb",
                "rate", rate, "ceil", rate, "burst", str(BURST_BYTES), "cburst", str(BURST_BYTES), "quantum", "1514",
            )  # fmt: skip
            self._run("tc", "qdisc", "add", "dev", interface, "parent", "1:1", "handle", "10:", "pfifo_fast")
            self._run("ip", "link", "set", "dev", interface, "gso_max_segs", "1")
        except EgressFailed:
            self._forget(interface)
            raise

    def release(self, interface: str) -> None:
        _checked(interface)
        self._forget(interface)
        self._run("ip", "link", "set", "dev", interface, "gso_max_segs", "65535")

    def rate_kbit(self, interface: str) -> int | None:
        _checked(interface)
        match = _RATE.search(self._run("tc", "class", "show", "dev", interface))
        return round(float(match["number"]) * _UNITS[match["unit"]]) if match else None

    def _forget(self, interface: str) -> None:
        try:
            self._run("tc", "qdisc", "del", "dev", interface, "root")
        except EgressFailed:
            return  # There was none but the system's own.

    def _run(self, *command: str) -> str:
        program = shutil.which(command[0], path=PLACES)
        if program is None:
            raise EgressFailed(f"expected the command {command[0]} (package iproute2), it is not installed")
        try:
            done = subprocess.run(
                [*self._prefix, program, *command[1:]], capture_output=True, text=True, timeout=COMMAND_S_MAX, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as problem:
            raise EgressFailed(f"{command[0]} could not be run: {type(problem).__name__}") from None
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()[0]
            raise EgressFailed(f"{' '.join(command)}: {said}")
        return done.stdout


def _checked(interface: str) -> None:
    if not _INTERFACE.fullmatch(interface) or interface.startswith("-"):
        raise EgressFailed(f"expected an interface's name, got {interface!r}")

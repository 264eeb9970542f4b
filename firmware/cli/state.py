"""How a box is, and a message as a task device sends it."""

import argparse
import json
import os

from drivers.clock import Monotonic
from firmware.cli.commands import ROOT_DEFAULT, Commands, settings_arguments
from firmware.cli.given import own_key_of, say, settings_of, store_at
from firmware.core.errors import BadItem, Missing
from firmware.core.timestamp import SECOND

FULL_BYTES = 1 << 20  # Below it a report may not find room any more.


def register(commands: Commands) -> None:
    """Put these commands on the command line."""
    sub = commands.add("status", _status, "what every process did, and what it could not do, by cause")
    sub.add_argument("--root", default=ROOT_DEFAULT, help="directory of the store (default %(default)s)")
    sub.add_argument("--json", action="store_true")

    sub = commands.add(
        "promises", _promises, "which of the box's promises were seen kept since it started; status 1 when one was not"
    )
    sub.add_argument("--root", default=ROOT_DEFAULT, help="directory of the store (default %(default)s)")
    sub.add_argument(
        "--after", type=int, default=0, metavar="S", help="seconds after the boot from which on what was seen counts"
    )
    sub.add_argument("--json", action="store_true")

    sub = commands.add("clock", _clock, "how good the box's time is, and how far each device's clock is from it")
    sub.add_argument("--configuration", choices=("ptp4l", "phc2sys", "chronyd"), help="print what this program is to be told")
    sub.add_argument("--json", action="store_true")
    settings_arguments(sub)

    sub = commands.add("publish", _publish, "send a message as a task device would")
    sub.add_argument("text")
    sub.add_argument("--priority", type=int, choices=(1, 2, 3, 4), default=2)
    sub.add_argument("--severity", type=int, choices=range(8), default=5, help="RFC 5424: 0 emergency … 7 debug")
    sub.add_argument("--process", default="cli")
    sub.add_argument("--event", help="key that messages about one event share")
    sub.add_argument("--field", action="append", default=[], metavar="NAME=VALUE")
    sub.add_argument(
        "--to", default="255.255.255.255", metavar="ADDRESS", help="broadcast, multicast or a host (default %(default)s)"
    )


def _status(a: argparse.Namespace) -> int:
    from drivers.linux.clock import LinuxClock
    from drivers.linux.disk import LinuxDisk
    from firmware.health.status import as_json, lines, read_states

    now_tai_ns = LinuxClock().now().timestamp.tai_ns
    root = store_at(a.root, holds="state")
    disk = LinuxDisk(root)
    states = read_states(disk)
    if not a.json and os.statvfs(root).f_flag & os.ST_RDONLY:
        # What a kernel does to a file system in which it has found an error: the last that is reported may well be "recording".
        print("THE DISK IS READ-ONLY: nothing is recorded, and reports cannot be written: those below are older than they look\n")
    elif not a.json and disk.free_bytes() < FULL_BYTES:
        print("THE DISK IS FULL: make room; reports cannot be written, those below are older than they look\n")
    print(
        json.dumps(as_json(states, now_tai_ns=now_tai_ns), indent=1)
        if a.json
        else "\n".join(lines(states, now_tai_ns=now_tai_ns))
    )
    return 0 if states else 1


def _promises(a: argparse.Namespace) -> int:
    from drivers.linux.clock import LinuxClock
    from drivers.linux.disk import LinuxDisk
    from firmware.core.state import read_states
    from firmware.health.promises import account_of, as_json, lines, promises
    from firmware.roles import ROLES

    if a.after < 0:
        raise ValueError(f"--after: expected 0 or more seconds after the boot, got {a.after}")
    disk = LinuxDisk(store_at(a.root, holds="state"))
    processes = [process.name for process in ROLES["box"]]
    states, account = read_states(disk), account_of(disk)
    now, since = LinuxClock().now(), Monotonic(a.after * SECOND)
    rows = promises(disk, states, account, processes, own_key_of(a.root), now=now, since=since)
    say(json.dumps(as_json(rows), indent=1) if a.json else "\n".join(lines(rows)))
    return 0 if all(row.is_kept for row in rows) else 1


def _clock(a: argparse.Namespace) -> int:
    from drivers.linux.clock import LinuxClock
    from drivers.linux.disk import LinuxDisk
    from firmware.clock.configuration import configuration
    from firmware.clock.settings import ClockSettings
    from firmware.core.clock_page import STATE, lines

    if a.configuration:
        if a.json:
            raise ValueError("--configuration: expected without --json; it is the program's own file")
        a.role = "box"
        print(configuration(a.configuration, settings_of(a).of(ClockSettings)), end="")
        return 0
    try:
        data = LinuxDisk(store_at(a.root, holds="state")).read(STATE)
        page = lines(data, now=LinuxClock().now())
    except Missing:
        print("null" if a.json else "the clock process has not said anything yet")
        return 1
    except BadItem as problem:
        raise ValueError(f"{STATE}: {problem}") from None
    print(data.decode() if a.json else "\n".join(page))
    return 0


def _publish(a: argparse.Namespace) -> int:
    import socket

    from drivers.linux.clock import LinuxClock
    from firmware.core.message import is_token
    from firmware.intake.publisher import VARIABLE, Publisher

    for pair in a.field:
        if not pair.partition("=")[0] or "=" not in pair:
            raise ValueError(f"--field: expected NAME=VALUE, got {pair!r}")
    names = [pair.partition("=")[0] for pair in a.field]
    if len(set(names)) < len(names):
        raise ValueError(f"--field: expected each name once, got {max(names, key=names.count)!r} more often")
    for option, token in (("--process", a.process), ("--event", a.event)):
        if token is not None and not is_token(token):
            raise ValueError(f"{option}: expected a word of 1 to 64 characters [A-Za-z0-9._:/-], got {token!r}")
    try:
        socket.getaddrinfo(a.to or "?", None, socket.AF_INET)
    except (OSError, UnicodeError):
        raise ValueError(f"--to: expected an IPv4 address or a host's name that is known here, got {a.to!r}") from None
    fields = dict(pair.partition("=")[::2] for pair in a.field)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        publisher = Publisher(wire.sendto, host=a.to, process=a.process, clock_utc_ns=lambda: LinuxClock().now().utc_ns)
        try:
            sent = publisher.publish(a.priority, a.text, severity=a.severity, event=a.event, fields=fields)
        except OSError as problem:
            raise ValueError(
                f"--to: expected an address this machine has a way to, {a.to} cannot be sent to, the system says: {problem.strerror};"
                " a network's own broadcast address, such as 10.0.0.255, needs no route"
            ) from None
    if not sent:
        print(f"not sent: {VARIABLE}={os.environ[VARIABLE]} leaves out priority {a.priority} of {a.process}")
        return 1
    print(f"sent to {a.to} port {47000 + a.priority}; a datagram is not acknowledged")
    return 0

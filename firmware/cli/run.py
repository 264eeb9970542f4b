"""The roles: run one, one process of it, or its console; its settings, its identity, its way out."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from firmware.cli import versions
from firmware.cli.commands import ROOT_DEFAULT, Commands, settings_arguments
from firmware.cli.given import board_of, check_tap, directory_for, key_from, recording_into, settings_of
from firmware.core.errors import BadSettings

if TYPE_CHECKING:
    from firmware.core.settings import Settings

LINE_DEFAULT = "/dev/ttyS0"


def register(commands: Commands) -> None:
    """Put these commands on the command line."""
    sub = commands.add("run", _run, "all processes of a role, or one of them")
    sub.add_argument("role", choices=("box", "relay", "hub"))
    sub.add_argument("--process", help="only this one, in this process; what systemd starts")
    sub.add_argument("--without", action="append", default=[], metavar="PROCESS", help="all but this one")
    settings_arguments(sub)

    sub = commands.add("egress", _egress, "shape the way out as [uplink] says, what is urgent first; needs the privilege to")
    sub.add_argument("role", nargs="?", default="box", choices=("box", "relay"))
    settings_arguments(sub)

    sub = commands.add("settings", _settings_table, "every setting, what it means, its range, and where its value comes from")
    sub.add_argument("role", nargs="?", default="box", choices=("box", "relay", "hub"))
    sub.add_argument("--changed", action="store_true", help="only those that are not at their default")
    sub.add_argument("--json", action="store_true")
    settings_arguments(sub)

    sub = commands.add("identity", _identity, "who this machine is, and whose commands it takes; made at first use")
    sub.add_argument("--root", default=ROOT_DEFAULT, help="directory of the store (default %(default)s)")
    sub.add_argument("--directory", help="directory of the identity (default: identity/ in the store)")
    sub.add_argument("--name", default="", help="call it so from now on")
    sub.add_argument("--site", default="")
    sub.add_argument(
        "--trust", action="append", default=[], metavar="SIGNER=KEY", help="take this signer's commands; the key in hexadecimal"
    )
    sub.add_argument("--json", action="store_true")

    sub = commands.add("console", _console, "the serial console")
    sub.add_argument("--tty", metavar="DEVICE", help=f"the line (default: [console] device, or {LINE_DEFAULT})")
    settings_arguments(sub)


def _run(a: argparse.Namespace) -> int:
    from firmware.roles import ROLES, run_process

    settings = _hub_settings_of(a) if a.role == "hub" else settings_of(a)
    processes = {process.name: process for process in ROLES[a.role]}
    unknown = {name for name in (*a.without, *([a.process] if a.process else [])) if name not in processes}
    if unknown:
        raise BadSettings(f"role {a.role} has no process {min(unknown)!r}; its processes are {', '.join(processes)}")
    if a.process is not None and a.without:
        raise ValueError("--without: expected without --process, which names the only one to run")
    names = [name for name in processes if name not in a.without]
    if not names:  # Else it would stay up and do nothing, and look like one that records.
        raise ValueError(f"--without: expected a process that is left to run, all of the role {a.role} are left out")
    if a.process is not None:
        from drivers.linux.slots import ground

        versions.become_official(a.root, a.process)
        board = board_of(
            a, settings, keeps_time=a.process == "clock", make_slots=versions.slots_in(a) if a.process == "update" else None
        )
        if a.process == "capture":
            # Or the first segment would be the last: it could not be sealed, and nothing after it be written.
            board.identity.check()
        with recording_into(a.root, is_box=True) if a.process == "capture" else nullcontext():
            run_process(
                processes[a.process],
                board,
                settings,
                running=versions.running(),
                launch=versions.succession_in(a.root),
                ground=ground(),
            )
        return 0
    _check_values(a.role, settings)
    if a.role == "hub":
        _check_certificate(settings)
    _check_key(Path(a.root), settings)
    _keep(a, names)
    return 0


def _hub_settings_of(a: argparse.Namespace) -> "Settings":
    """With the database in the store, unless another place is named: whoever starts the hub from elsewhere wants the same boxes."""
    from firmware.hub.settings import HubSettings

    database = Path(a.root).resolve() / settings_of(a).of(HubSettings).database
    return settings_of(a, ("--root", f"[hub]\ndatabase = {json.dumps(str(database), ensure_ascii=False)}"))


def _check_values(role: str, settings: "Settings") -> None:
    """What only a station can judge, judged before any is started: a keeper would start them again and again in vain, and so would systemd,
    which asks nobody before it: there whoever writes a file asks `scrubjay settings`."""
    from firmware.core.connection import check_brokers
    from firmware.core.envelope import is_name
    from firmware.hub.hours import Hours
    from firmware.hub.reach import check_page
    from firmware.hub.rollout import shares_of
    from firmware.hub.settings import HubSettings
    from firmware.relay.settings import RelaySettings
    from firmware.roles import BoardSettings
    from firmware.uplink.settings import UplinkSettings

    board = settings.of(BoardSettings)
    for what, value in (("name", board.name), ("site", board.site)):
        if value and not is_name(value):
            raise BadSettings(f"[board] {what}: expected 3 to 63 of a-z, 0-9 and '-', got {value!r}")
    if role == "hub":
        check_brokers(settings.of(HubSettings).brokers)
        check_page(settings.of(HubSettings))
        Hours.of(settings.of(HubSettings).update_hours)
        shares_of(settings.of(HubSettings).rollout_phases)
        return
    if role == "relay":
        check_brokers(settings.of(RelaySettings).brokers)
        check_brokers(settings.of(UplinkSettings).peers())
        return
    from drivers.frame_filter import compiled
    from firmware.capture.settings import CaptureSettings
    from firmware.group.parts import Parts
    from firmware.group.settings import GroupSettings
    from firmware.intake.doors import doors_of
    from firmware.intake.rules import rules_of
    from firmware.intake.settings import IntakeSettings
    from firmware.live.settings import LiveSettings
    from firmware.live.station import checked
    from firmware.session.rules import Rules as SessionRules
    from firmware.session.settings import SessionSettings
    from firmware.slice import whole
    from firmware.slice.rules import Rules as SliceRules
    from firmware.slice.settings import SliceSettings

    check_brokers(settings.of(UplinkSettings).peers())
    compiled(settings.of(CaptureSettings).filter)
    rules_of(settings.of(IntakeSettings))
    doors_of(settings.of(IntakeSettings))
    Parts.of(settings.of(GroupSettings).leave_out)
    check_tap(board)
    checked(settings.of(LiveSettings))
    SessionRules.of(settings.of(SessionSettings))
    slices = settings.of(SliceSettings)
    SliceRules.of(slices.rules, around_s=slices.around_s)
    whole.check(slices.whole_every_s)


def _check_certificate(settings: "Settings") -> None:
    """On the machine that has it, and no other."""
    from firmware.hub.reach import check_certificate
    from firmware.hub.settings import HubSettings

    check_certificate(settings.of(HubSettings))


def _check_key(root: Path, settings: "Settings") -> None:
    """One that is there already, for the same reason. Raises DiskFailed."""
    from drivers.linux.identity import LinuxIdentity
    from firmware.roles import BoardSettings

    directory = Path(settings.of(BoardSettings).identity or root / "identity")
    if all((directory / name).exists() for name in ("key", "key.pub", "name", "site")):
        LinuxIdentity(directory).check()


def _keep(a: argparse.Namespace, names: Sequence[str]) -> None:
    from drivers.linux.bell import LinuxBell
    from drivers.linux.clock import LinuxClock
    from drivers.linux.supervisor import LinuxKeeper, LinuxSupervisor
    from firmware.core.keep import keep

    root = directory_for(a.root).resolve()
    shared = [
        f"--root={root}",
        *(f"--settings={Path(path).resolve()}" for path in a.settings),
        *(f"--set={pair}" for pair in a.set),
    ]
    command = [sys.executable, "-m", "firmware.cli", "run", a.role, *shared]
    bell, supervisor = LinuxBell(root), LinuxSupervisor()
    supervisor.listen(bell.ring)
    keeper = LinuxKeeper(root / "logs")
    try:
        keep(
            {name: [*command, "--process", name] for name in names},
            environment=dict(os.environ),
            keeper=keeper,
            clock=LinuxClock(),
            bell=bell,
            supervisor=supervisor,
            say=lambda line: print(f"role={a.role} {line}", flush=True),
        )
    finally:
        keeper.close()


def _egress(a: argparse.Namespace) -> int:
    from drivers.linux.egress import LinuxEgress
    from firmware.uplink.egress import brought_about
    from firmware.uplink.settings import UplinkSettings

    print(brought_about(LinuxEgress(), settings_of(a).of(UplinkSettings)))
    return 0


def _settings_table(a: argparse.Namespace) -> int:
    settings = settings_of(a)
    _check_values(a.role, settings)
    rows = [row for row in settings.rows() if row[3] or not a.changed]
    ranges = settings.ranges()
    if a.json:
        named = [
            {"setting": r[0], "value": r[1], "default": r[2], "range": ranges.get(r[0]), "from": r[3], "meaning": r[4]}
            for r in rows
        ]
        print(json.dumps(named, indent=1))
        return 0
    for name, value, default, origin, meaning in rows:
        print(f"{name} = {value!r}" + (f"  (default {default!r}, from {origin})" if origin else ""))
        print(f"    {meaning}" + (f" [{ranges[name]}]" if name in ranges else ""))
    return 0


def _identity(a: argparse.Namespace) -> int:
    from drivers.linux.identity import LinuxIdentity, introduce, trust
    from firmware.core.envelope import is_name

    directory = Path(a.directory or Path(a.root) / "identity")
    trusted: dict[str, bytes] = {}
    for pair in a.trust:  # All of them, before anything is changed.
        signer, equals, key = pair.partition("=")
        if not equals or not is_name(signer):
            raise ValueError(f"--trust: expected SIGNER=64 hexadecimal digits, got {pair!r}")
        if signer in trusted:  # Which of two keys was meant nobody knows, and the other one could give orders.
            raise ValueError(f"--trust: expected each signer once, got {signer} more often")
        trusted[signer] = key_from(key, f"--trust {signer}")
    introduce(directory, name=a.name, site=a.site)
    identity = LinuxIdentity(directory)
    before = identity.trusted()
    for signer, public_key in trusted.items():
        trust(directory, signer, public_key)
    identity.check()
    row = {"name": identity.name, "site": identity.site, "public_key": identity.public_key().hex()}
    known = {signer: key.hex() for signer, key in identity.trusted().items()}
    if a.json:
        print(json.dumps({**row, "trusted": known}, indent=1))
        return 0
    print("\n".join(f"{key}: {value}" for key, value in row.items()))
    for signer, key in known.items():
        former = before.get(signer, b"").hex()
        print(f"trusted: {signer} {key}" + (f", in place of {former}" if former not in ("", key) else ""))
    return 0


def _console(a: argparse.Namespace) -> int:
    from drivers.linux.tty import LinuxTty
    from firmware.console.settings import ConsoleSettings
    from firmware.roles import BOX, run_process

    if a.tty == "":
        raise ValueError("--tty: expected the path of a serial line, it is empty")
    console = next(process for process in BOX if process.name == "console")
    a.role = "box"
    if a.tty is not None or not settings_of(a).of(ConsoleSettings).device:
        a.set = [*a.set, f"console.device={a.tty or LINE_DEFAULT}"]
    settings = settings_of(a)
    # The box's own console waits for its adapter; a person who named one that is not there waits in vain.
    LinuxTty(settings.of(ConsoleSettings).device).close()
    run_process(console, board_of(a, settings), settings, is_of_the_role=False)
    return 0

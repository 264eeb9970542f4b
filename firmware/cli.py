"""The command line: builds the real board, and hands it to whoever does the work. The only place that knows Linux.

Every list has --json; every error says what was expected, what came, and what to do. Exit status: 0 done, 1 the answer is no,
2 it could not be done.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from io import RawIOBase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from drivers.disk import Buffer
from firmware.core.errors import BadItem, BadSettings, Missing, TapFailed, Trouble
from firmware.core.timestamp import parse_utc

if TYPE_CHECKING:
    from drivers.linux.board import LinuxBoard
    from drivers.linux.vault import LinuxVault
    from drivers.outlet import Outlet
    from firmware.capture.options import Keep
    from firmware.capture.settings import CaptureSettings
    from firmware.core.settings import Settings
    from firmware.core.sift import Sift
    from firmware.core.store import Query

PROGRAM = "scrubjay"
ROOT_DEFAULT = "/var/lib/scrubjay"
DAYS_MAX = 36_500  # as [retention] takes it: by age nothing goes
RIGHT_TO_LISTEN = (
    "As an ordinary user: `sudo {program} record …`; or give the right to this user's shell only: `sudo setpriv --reuid=$USER"
    " --regid=$(id -g) --init-groups --inh-caps=+net_raw --ambient-caps=+net_raw $SHELL`; or to everything that this Python runs:"
    " `sudo setcap cap_net_raw=ep {python}`. On the box systemd gives it to the capture process alone"
)
VAULT_KEY = "/etc/scrubjay/vault.key"
FULL_BYTES = 1 << 20  # Below it a report may not find room any more.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parsed = _parser().parse_args(arguments)
    work: Callable[[argparse.Namespace], int] = parsed.work
    try:
        return work(parsed)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Our reader has seen enough; that is no error.
        return 0
    except (Trouble, ValueError) as problem:
        print(f"{PROGRAM}: {problem}", file=sys.stderr)
        return 2
    except OSError as problem:
        said = problem.strerror or type(problem).__name__
        print(
            f"{PROGRAM}: {problem.filename or 'the system'}: expected it to be usable, the system says: {said}", file=sys.stderr
        )
        return 2
    except KeyboardInterrupt:
        return 130


# ---- files named on the command line


def _bytes_of(path: str, what: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as problem:
        raise ValueError(f"{path}: expected {what}, it cannot be read: {problem.strerror}") from None


def _text_of(path: str, what: str) -> str:
    try:
        return _bytes_of(path, what).decode()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected {what}, it is not text (UTF-8)") from None


def _key(digits: str, where: str) -> bytes:
    if len(digits) != 64 or not set(digits) <= set("0123456789abcdefABCDEF"):
        raise ValueError(f"{where}: expected a public key of 64 hexadecimal digits, as `{PROGRAM} identity` prints it")
    return bytes.fromhex(digits)


def _key_of(path: str) -> bytes:
    return _key(_text_of(path, "a public key").strip(), path)


def _directory(path: str) -> Path:
    """Where something will be written; made when it is not there."""
    place = Path(path)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise ValueError(f"{path}: expected a directory, or a place for one: {problem.strerror}") from None
    return place


class _Output:
    """A file that is touched at the first byte: what is refused before that leaves the former file as it was."""

    def __init__(self, path: str | None) -> None:
        if path not in (None, "-") and (Path(path).is_dir() or not Path(path).absolute().parent.is_dir()):
            raise ValueError(f"{path}: expected a file to write, in a directory that is there")
        self._path = path
        self._file: RawIOBase | None = None

    def write(self, data: Buffer) -> int:
        if self._path is None:
            return len(data)
        if self._path == "-":
            # Unbuffered: whoever reads it shows the first frames while we search on, and no Ctrl-C finds half of one in a buffer.
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(sys.stdout.fileno(), rest) :]
            return len(data)
        self._file = self._file or Path(self._path).open("wb", buffering=0)  # noqa: SIM115  (closed by `close`)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) or 0 :]
        return len(data)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


# ---- roles and boards


def _run(a: argparse.Namespace) -> int:
    from firmware.roles import ROLES, run_process

    settings = _settings(a)
    processes = {process.name: process for process in ROLES[a.role]}
    unknown = {name for name in (*a.without, *([a.process] if a.process else [])) if name not in processes}
    if unknown:
        raise BadSettings(f"role {a.role} has no process {min(unknown)!r}; its processes are {', '.join(processes)}")
    if a.process is not None:
        run_process(processes[a.process], _board(a, settings, keeps_time=a.process == "clock"), settings)
        return 0
    _check_values(a.role, settings)
    _keep_role(a, [name for name in processes if name not in a.without])
    return 0


def _check_values(role: str, settings: "Settings") -> None:
    """What only a station can judge, judged before any is started: a keeper would start them again and again in vain."""
    from firmware.core.connection import check_brokers
    from firmware.hub.settings import HubSettings
    from firmware.relay.settings import RelaySettings
    from firmware.uplink.settings import UplinkSettings

    if role == "hub":
        check_brokers(settings.of(HubSettings).brokers)
        return
    if role == "relay":
        check_brokers(settings.of(RelaySettings).brokers)
        check_brokers(settings.of(UplinkSettings).peers())
        return
    from drivers.linux.frame_filter import frame_filter
    from firmware.capture.settings import CaptureSettings
    from firmware.intake.rules import rules_of
    from firmware.intake.settings import IntakeSettings
    from firmware.live.settings import LiveSettings
    from firmware.live.station import checked

    check_brokers(settings.of(UplinkSettings).peers())
    frame_filter(settings.of(CaptureSettings).filter)
    rules_of(settings.of(IntakeSettings))
    checked(settings.of(LiveSettings))


def _egress(a: argparse.Namespace) -> int:
    from drivers.linux.egress import LinuxEgress
    from firmware.uplink.egress import brought_about
    from firmware.uplink.settings import UplinkSettings

    print(brought_about(LinuxEgress(), _settings(a).of(UplinkSettings)))
    return 0


def _keep_role(a: argparse.Namespace, names: Sequence[str]) -> None:
    from drivers.linux.bell import LinuxBell
    from drivers.linux.clock import LinuxClock
    from drivers.linux.supervisor import LinuxKeeper, LinuxSupervisor
    from firmware.core.keep import keep

    root = _directory(a.root).resolve()
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


def _settings(a: argparse.Namespace) -> "Settings":
    from firmware.core.settings import Settings, layer_from_assignments
    from firmware.roles import SECTIONS

    layers = [(str(path), _text_of(path, "a settings file (TOML)")) for path in a.settings]
    if a.set:
        layers.append(layer_from_assignments(a.set))
    return Settings(SECTIONS[a.role], layers)


def _board(a: argparse.Namespace, settings: "Settings | None" = None, *, keeps_time: bool = False) -> "LinuxBoard":
    from drivers.linux.board import LinuxBoard
    from drivers.linux.identity import introduce
    from firmware.roles import BoardSettings

    section = settings.of(BoardSettings) if settings is not None else BoardSettings()
    root = _directory(a.root)
    identity = Path(section.identity) if section.identity else root / "identity"
    introduce(identity, name=section.name, site=section.site)
    if section.tap.startswith("recording:"):
        from simulator.tap import RecordingTap

        opener = RecordingTap.opener(section.tap.removeprefix("recording:"))
        return LinuxBoard(root, identity, open_tap=opener, keeps_time=keeps_time)
    if section.tap not in ("ring", "portable"):
        raise BadSettings(f"[board] tap: expected ring, portable or recording:FILE@SPEED, got {section.tap!r}")
    return LinuxBoard(root, identity, portable_tap=section.tap == "portable", keeps_time=keeps_time)


def _settings_table(a: argparse.Namespace) -> int:
    rows = [row for row in _settings(a).rows() if row[3] or not a.changed]
    if a.json:
        print(
            json.dumps([{"setting": r[0], "value": r[1], "default": r[2], "from": r[3], "meaning": r[4]} for r in rows], indent=1)
        )
        return 0
    for name, value, default, origin, meaning in rows:
        print(f"{name} = {value!r}" + (f"  (default {default!r}, from {origin})" if origin else "") + f"\n    {meaning}")
    return 0


def _identity(a: argparse.Namespace) -> int:
    from drivers.linux.identity import LinuxIdentity, introduce, trust
    from firmware.core.envelope import is_name

    directory = Path(a.directory or Path(a.root) / "identity")
    introduce(directory, name=a.name, site=a.site)
    for pair in a.trust:
        signer, equals, key = pair.partition("=")
        if not equals or not is_name(signer):
            raise ValueError(f"--trust: expected SIGNER=64 hexadecimal digits, got {pair!r}")
        trust(directory, signer, _key(key, f"--trust {signer}"))
    identity = LinuxIdentity(directory)
    row = {
        "name": identity.name,
        "site": identity.site,
        "public_key": identity.public_key().hex(),
        "trusted": {signer: key.hex() for signer, key in identity.trusted().items()},
    }
    print(json.dumps(row, indent=1) if a.json else "\n".join(f"{key}: {value}" for key, value in row.items()))
    return 0


# ---- the recorder alone


def _record(a: argparse.Namespace) -> int:
    from firmware.capture import options
    from firmware.capture.settings import CaptureSettings
    from firmware.core.settings import Settings

    if a.list:
        return _interfaces(a)
    settings = Settings({"capture": CaptureSettings}, options.layers(a)).of(CaptureSettings)
    keep = options.keep(a)
    with ExitStack() as stack:
        a.root = a.output or stack.enter_context(TemporaryDirectory(prefix="scrubjay-"))
        return _record_into(a, settings, keep, stack)


def _record_into(a: argparse.Namespace, settings: "CaptureSettings", keep: "Keep | None", stack: ExitStack) -> int:
    from drivers.errors import NotAllowed
    from firmware.capture import options
    from firmware.capture.record import check, record
    from firmware.retention.settings import RetentionSettings
    from firmware.retention.station import RetentionStation

    board = _board(a)
    try:
        check(board, settings, wait=a.wait)
    except NotAllowed as problem:
        raise NotAllowed(
            f"{problem}. {RIGHT_TO_LISTEN.format(program=PROGRAM, python=os.path.realpath(sys.executable))}"
        ) from None
    except TapFailed as problem:
        raise TapFailed(f"{problem}; `{PROGRAM} record --list` shows what there is, --wait begins without it") from None
    # Last: a recording that cannot begin leaves the former file as it was.
    outlet = stack.enter_context(closing(_outlet(a.write))) if a.write else None
    retention = (
        []
        if keep is None
        else [RetentionStation(board, RetentionSettings(budget_bytes=keep.size, retain_days=keep.days or DAYS_MAX))]
    )
    summary = record(
        board,
        settings,
        stops=options.stops(a),
        beside=retention,
        outlet=outlet,
        is_copy_all=not a.output,
        room_bytes=0 if not a.output else (keep.size or None) if keep is not None else None,
        progress=_silent if a.quiet else _Progress().show,
    )
    place = sys.stderr if a.write == "-" else sys.stdout
    print(json.dumps(summary.as_json()) if a.json else "\n".join(summary.lines()), file=place)
    if a.output and not a.json:
        print(
            f"  in {a.output}; `{PROGRAM} verify {a.output}` checks it, `{PROGRAM} find {a.output} -w FILE` takes from it",
            file=place,
        )
    never_heard = summary.report.gauges.get("interface") == "gone" and not summary.report.counts.get("frames")
    return 1 if summary.failed or never_heard or (a.fail_on_loss and not summary.is_whole) else 0


def _interfaces(a: argparse.Namespace) -> int:
    from dataclasses import asdict

    from drivers.linux.interfaces import interfaces
    from firmware.capture.options import table

    rows = interfaces()
    print(
        json.dumps([asdict(row) | {"is_silent": row.is_silent} for row in rows], indent=1) if a.json else "\n".join(table(rows))
    )
    return 0


def _outlet(path: str) -> "Outlet":
    from drivers.linux.outlet import LinuxOutlet

    if path != "-":
        if Path(path).is_dir() or not Path(path).absolute().parent.is_dir():
            raise ValueError(f"{path}: expected a file to write, in a directory that is there")
        return LinuxOutlet(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644))
    if sys.stdout.isatty():
        raise ValueError("-w -: expected a pipe or a file at standard output, this is a terminal; pcapng is no text")
    return LinuxOutlet(os.dup(sys.stdout.fileno()))


def _silent(line: str) -> None:
    """For who asked for no lines."""


class _Progress:
    """Lines for people at standard error: on a terminal one that changes, elsewhere one below the other."""

    def __init__(self) -> None:
        self._is_heard = True
        self._end = "\r" if sys.stderr.isatty() else "\n"

    def show(self, line: str) -> None:
        try:
            if self._is_heard:
                print(f"\x1b[K{line}" if self._end == "\r" else line, end=self._end, file=sys.stderr, flush=True)
        except OSError:
            self._is_heard = False  # Nobody reads them any more; the recording goes on.


# ---- reading a store


def _verify(a: argparse.Namespace) -> int:
    from drivers.linux.disk import LinuxDisk
    from firmware.core.verify import as_json, lines, verify

    key = _key_of(a.key) if a.key else _own_key(Path(a.directory))
    verdict = verify(LinuxDisk(_store(a.directory)), "segments", key)
    print(json.dumps(as_json(verdict), indent=1) if a.json else "\n".join(lines(verdict)))
    return 0 if verdict.ok else 1


def _own_key(directory: Path) -> bytes | None:
    path = _store(directory) / "identity" / "key.pub"
    return _key_of(str(path)) if path.exists() else None


def _store(directory: str | Path, *, holds: str = "segments") -> Path:
    """The root of a store, given itself or its segments/. holds: the directory that makes it one for this command."""
    path = Path(directory)
    if not path.is_dir():
        raise ValueError(f"expected the directory of a store, there is none at {directory}")
    root = path.resolve().parent if path.resolve().name == "segments" else path
    if not (root / holds).is_dir():
        # A store whose segments are gone must not pass as one in which nothing was altered.
        raise ValueError(f"expected a store with a directory {holds}/ at {directory}, there is none; nothing was looked at")
    return root


def _query(a: argparse.Namespace) -> "Query":
    from firmware.core.store import Query

    return Query(
        since_utc_ns=parse_utc(a.since) if a.since else None,
        until_utc_ns=parse_utc(a.until) if a.until else None,
        hosts=tuple(a.host),
        ports=tuple(a.port),
        macs=tuple(a.mac),
        protocols=tuple(a.proto),
        vlans=tuple(a.vlan),
    )


def _asked(a: argparse.Namespace) -> "tuple[Query, Sift]":
    """What the options ask for: the index narrows, the sift decides."""
    from firmware.core.sift import Sift

    words = (a.device, a.source, a.destination, a.kind, a.message, a.event, a.contains, a.filter, a.settings, a.set)
    if not any(words):
        return _query(a), Sift()  # Nobody has to be loaded who understands words: a third of the time until the first frame.
    from drivers.linux.clock import LinuxClock
    from drivers.linux.frame_filter import frame_filter
    from firmware.core.wording import Wording
    from firmware.intake.settings import IntakeSettings
    from firmware.retrieval.settings import RetrievalSettings
    from firmware.roles import interpreter

    if a.filter:
        frame_filter(a.filter)  # For the compiler's own words about it.
    a.role = "box"
    settings = _settings(a)
    understands = interpreter(
        settings.of(IntakeSettings), settings.of(RetrievalSettings), compile_filter=frame_filter, now=LinuxClock().now()
    )
    wording = Wording(
        devices=tuple(a.device),
        senders=tuple(a.source),
        receivers=tuple(a.destination),
        kinds=tuple(a.kind),
        message=_message_identity(a.message) if a.message else None,
        event=a.event,
        contains=a.contains or "",
        filter=a.filter or "",
    )
    return understands.understood(_query(a), wording)


def _message_identity(digits: str) -> bytes:
    if len(digits) != 32 or not set(digits.lower()) <= set("0123456789abcdef"):
        raise ValueError(f"--message: expected an identity of 32 hexadecimal digits, as `{PROGRAM} fleet watch` prints it")
    return bytes.fromhex(digits)


def _find(a: argparse.Namespace) -> int:
    import signal

    from drivers.linux.clock import LinuxClock
    from drivers.linux.disk import LinuxDisk
    from firmware.retrieval.find import find

    stopped: list[int] = []

    def stop(number: int, frame: object) -> None:
        stopped.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # A second Ctrl-C ends at once.

    query, sift = _asked(a)
    if a.order:
        return _find_in_order(a, query, sift)
    with closing(_Output(None if a.count else a.write)) as out:
        signal.signal(signal.SIGINT, stop)
        found = find(
            LinuxDisk(_store(a.directory)),
            query,
            sift,
            clock=LinuxClock(),
            sink=out.write,
            progress=lambda line: print(line, file=sys.stderr, flush=True),
            newest_first=a.newest_first,
            is_stopped=lambda: bool(stopped),
        )
    # On standard output only what was asked for there.
    said = sys.stderr if a.write == "-" and not a.count else sys.stdout
    if a.count and not a.json:
        print(found.frame_count)
        print("\n".join(found.lines()[1:]), file=sys.stderr)
    else:
        print(json.dumps(found.as_json()) if a.json else "\n".join(found.lines()), file=said)
    if stopped:
        return 130
    if found.damaged:
        return 2  # As grep: whatever was found, not everything could be looked at.
    return 0 if found.frame_count else 1


def _find_in_order(a: argparse.Namespace, query: "Query", sift: "Sift") -> int:
    from drivers.linux.clock import LinuxClock
    from drivers.linux.disk import LinuxDisk
    from firmware.intake.rules import rules_of
    from firmware.intake.settings import IntakeSettings
    from firmware.retrieval.chronology import order

    rules = rules_of(_settings(a).of(IntakeSettings))
    found = order(LinuxDisk(_store(a.directory)), query, sift, rules=rules, now=LinuxClock().now())
    print(json.dumps(found.as_json(), indent=1) if a.json else "\n".join(found.lines()))
    return 2 if found.damaged else 0 if found.rows else 1


def _ls(a: argparse.Namespace) -> int:
    from drivers.linux.disk import LinuxDisk
    from firmware.retrieval.listing import segments

    table = segments(LinuxDisk(_store(a.directory)))
    print(json.dumps(table.as_json(), indent=1) if a.json else "\n".join(table.lines()))
    return 0


def _index(a: argparse.Namespace) -> int:
    from drivers.linux.disk import LinuxDisk
    from firmware.retrieval.sums import sum_up

    def progress(done: int, of: int) -> None:
        if done % 1000 == 0 or done == of:
            print(f"{done} of {of} segments", file=sys.stderr, flush=True)

    done = sum_up(LinuxDisk(_store(a.directory)), progress=progress)
    print(f"{done} segments summed up in summary/; find opens only those that may answer")
    return 0


def _thaw(a: argparse.Namespace) -> int:
    from drivers.linux.disk import LinuxDisk
    from firmware.core.thaw import thaw

    disk = LinuxDisk(_store(a.directory))
    for segment in a.segment:
        print(f"{segment}: frames.pcapng.lz4 is back, {thaw(disk, 'segments', segment)} bytes, as it was sealed")
    return 0


def _pin(a: argparse.Namespace) -> int:
    from drivers.linux.clock import LinuxClock
    from drivers.linux.disk import LinuxDisk
    from firmware.core.shelf import rows
    from firmware.retention.pins import overlapping, pin

    disk = LinuxDisk(_store(a.directory))
    shelf = rows(disk)
    if a.segment:
        segments = a.segment
        unknown = set(segments) - {row.name for row in shelf if not row.is_open}
        if unknown:
            raise ValueError(f"expected sealed segments of this store, as `{PROGRAM} ls` shows them; there is no {min(unknown)}")
    elif a.since and a.until:
        segments = overlapping(shelf, since_utc_ns=parse_utc(a.since), until_utc_ns=parse_utc(a.until))
    else:
        raise ValueError("expected segments, or --since and --until")
    pin(disk, segments, reason=a.reason, now_utc_ns=LinuxClock().now().utc_ns)
    print("\n".join(segments) or "no sealed segment holds frames of that time")
    return 0 if segments else 1


def _unpin(a: argparse.Namespace) -> int:
    from drivers.linux.disk import LinuxDisk
    from firmware.retention.pins import unpin

    disk = LinuxDisk(_store(a.directory))
    for segment in a.segment:
        unpin(disk, segment)
    return 0


def _pins(a: argparse.Namespace) -> int:
    from drivers.linux.disk import LinuxDisk
    from firmware.retention.pins import pins

    held = pins(LinuxDisk(_store(a.directory)))
    if a.json:
        print(
            json.dumps([{"segment": entry.segment, "reason": entry.reason, "pinned": entry.pinned} for entry in held], indent=1)
        )
    else:
        print("\n".join(f"{entry.segment}  {entry.pinned}  {entry.reason}" for entry in held) or "nothing is pinned")
    return 0


def _vault(a: argparse.Namespace) -> int:
    from drivers.linux.vault import LinuxVault
    from firmware.vault.page import status

    vault = LinuxVault(Path(a.root), Path(a.key), destroyed=[Path(path) for path in a.destroys])
    if a.deed == "erase":
        return _erase(a, vault)
    if a.deed == "open":
        vault.open()
    row = status(vault)
    print(json.dumps(row, indent=1) if a.json else "\n".join(f"{key}: {value}" for key, value in row.items()))
    return 0


def _erase(a: argparse.Namespace, vault: "LinuxVault") -> int:
    from drivers.linux.clock import LinuxClock
    from drivers.linux.disk import LinuxDisk
    from drivers.linux.identity import LinuxIdentity
    from firmware.vault.erase import erase
    from firmware.vault.page import erased

    if not a.receipt:
        raise ValueError("expected --receipt FILE, outside the store: what was erased, signed, for whoever asks later")
    kept, root = Path(a.receipt).resolve(), _store(a.root).resolve()
    if kept.is_relative_to(root):
        raise ValueError(f"{a.receipt}: expected a place outside the store; in it the receipt would be erased as well")
    disk, identity, now = LinuxDisk(root), LinuxIdentity(root / "identity"), LinuxClock().now()
    key = identity.public_key()

    def keep(data: bytes) -> None:
        with kept.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        disk.close()

    done = erase(disk, vault, identity=identity, now=now, confirmed=a.confirm, keep=keep)
    row = erased(done, now, public_key=key, kept=str(kept))
    print(json.dumps(row, indent=1) if a.json else "\n".join(f"{name}: {value}" for name, value in row.items()))
    return 0


def _show(a: argparse.Namespace) -> int:
    from firmware.retrieval.listing import shown

    data = _bytes_of(a.file, "a file of a store")
    try:
        print("\n".join(shown(data)))
    except BadItem as problem:
        raise ValueError(f"{a.file}: {problem}; recordings open in Wireshark, state/*.json with `{PROGRAM} status`") from None
    return 0


def _status(a: argparse.Namespace) -> int:
    from drivers.linux.clock import LinuxClock
    from drivers.linux.disk import LinuxDisk
    from firmware.health.status import as_json, lines, read_states

    now_tai_ns = LinuxClock().now().timestamp.tai_ns
    disk = LinuxDisk(_store(a.root, holds="state"))
    states = read_states(disk)
    if not a.json and disk.free_bytes() < FULL_BYTES:
        print("THE DISK IS FULL: make room; reports cannot be written, those below are older than they look\n")
    print(
        json.dumps(as_json(states, now_tai_ns=now_tai_ns), indent=1)
        if a.json
        else "\n".join(lines(states, now_tai_ns=now_tai_ns))
    )
    return 0 if states else 1


def _clock(a: argparse.Namespace) -> int:
    from drivers.linux.clock import LinuxClock
    from drivers.linux.disk import LinuxDisk
    from firmware.clock.configuration import configuration
    from firmware.clock.settings import ClockSettings
    from firmware.core.clock_page import STATE, lines

    if a.configuration:
        a.role = "box"
        print(configuration(a.configuration, _settings(a).of(ClockSettings)), end="")
        return 0
    try:
        data = LinuxDisk(_store(a.root, holds="state")).read(STATE)
        page = lines(data, now=LinuxClock().now())
    except Missing:
        print("the clock process has not said anything yet")
        return 1
    except BadItem as problem:
        raise ValueError(f"{STATE}: {problem}") from None
    print(data.decode() if a.json else "\n".join(page))
    return 0


# ---- the room's side and the operator's side


def _publish(a: argparse.Namespace) -> int:
    import socket

    from drivers.linux.clock import LinuxClock
    from firmware.core.message import is_token
    from firmware.intake.publisher import Publisher

    for pair in a.field:
        if not pair.partition("=")[0] or "=" not in pair:
            raise ValueError(f"--field: expected NAME=VALUE, got {pair!r}")
    for option, token in (("--process", a.process), ("--event", a.event)):
        if token is not None and not is_token(token):
            raise ValueError(f"{option}: expected a word without spaces, got {token!r}")
    try:
        socket.getaddrinfo(a.to or "?", None, socket.AF_INET)
    except (OSError, UnicodeError):
        raise ValueError(f"--to: expected an IPv4 address or a host's name that is known here, got {a.to!r}") from None
    fields = dict(pair.partition("=")[::2] for pair in a.field)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        publisher = Publisher(wire.sendto, host=a.to, process=a.process, clock_utc_ns=lambda: LinuxClock().now().utc_ns)
        publisher.publish(a.priority, a.text, severity=a.severity, event=a.event, fields=fields)
    print(f"sent to {a.to} port {47000 + a.priority}; a datagram is not acknowledged")
    return 0


def _fleet_list(a: argparse.Namespace) -> int:
    from firmware.hub.fleet import Fleet, box_line, understood

    with understood(a.hub):
        boxes = Fleet(a.hub).boxes()
        print(json.dumps(boxes, indent=1) if a.json else "\n".join(map(box_line, boxes)) or "the hub has heard of no box")
    return 0


def _fleet_watch(a: argparse.Namespace) -> int:
    from firmware.hub.fleet import Fleet, message_line, understood

    with understood(a.hub):
        for message in Fleet(a.hub).watch():
            print(json.dumps(message) if a.json else message_line(message), flush=True)
    return 0


def _fleet_retrieve(a: argparse.Namespace) -> int:
    from firmware.hub.fleet import Fleet, Wish, understood

    if not a.about and not (a.since and a.until):
        raise ValueError("expected --about a message's identity, or --since and --until")
    wish = Wish(
        box=a.box,
        about=a.about,
        around_s=a.around,
        since_utc_ns=parse_utc(a.since) if a.since else None,
        until_utc_ns=parse_utc(a.until) if a.until else None,
        hosts=a.host,
        ports=a.port,
        reduce=a.reduce,
        rates=a.rates,
        error=a.error,
        only_message=a.only_message,
        priority=a.priority,
        criteria={
            "macs": a.mac, "protocols": a.proto, "vlans": a.vlan, "devices": a.device, "senders": a.source, "receivers": a.destination,
            "kinds": a.kind, "event": [a.event] if a.event else [], "contains": [a.contains] if a.contains else [],
            "filter": [a.filter] if a.filter else [],
        },
    )  # fmt: skip
    with closing(_Output(a.write)) as out, understood(a.hub):
        fleet = Fleet(a.hub)
        state = fleet.retrieve(
            wish,
            lambda now: print(
                f"{now['command']} {now['state']}: {now['parts']} parts, {now['frames']} frames"
                + (f", {now['detail']}" if now["detail"] else ""),
                file=sys.stderr,
            ),
        )
        if state["complete"] and a.write:
            fleet.download(state["download"], out)
        said = f"{state['state']}: {state['frames']} frames, {state['bytes']} bytes" + (
            f"; {state['detail']}" if state["detail"] else ""
        )
        print(json.dumps(state) if a.json else said)
        return 0 if state["complete"] else 1


def _fleet_cancel(a: argparse.Namespace) -> int:
    from firmware.hub.fleet import Fleet, understood

    with understood(a.hub):
        order = Fleet(a.hub).cancel(a.order)
    print(
        json.dumps({"command": order})
        if a.json
        else f"asked for the end of {a.order}; what was found until then will be complete"
    )
    return 0


def _console(a: argparse.Namespace) -> int:
    from firmware.roles import BOX, run_process

    console = next(process for process in BOX if process.name == "console")
    a.role, a.set = "box", [*a.set, f"console.device={a.tty}"]
    settings = _settings(a)
    run_process(console, _board(a, settings), settings)
    return 0


# ---- the simulator


def _demo(a: argparse.Namespace) -> int:
    from simulator.demo import demo

    return demo(Path(a.into), keep=a.keep, room=not a.no_room, say=lambda line: print(line, flush=True))


def _replay(a: argparse.Namespace) -> int:
    from simulator.replay import replay, send

    say: Callable[[str], None] = lambda line: print(line, flush=True)  # noqa: E731
    if a.to:
        return send(Path(a.file), a.to, speed=a.speed, say=say)
    return replay(Path(a.file), Path(a.into), speed=a.speed, say=say)


def _sim(a: argparse.Namespace) -> int:
    say: Callable[[str], None] = lambda line: print(line, flush=True)  # noqa: E731
    if a.what == "room":
        from simulator.room import stay

        return stay(say=say)
    from simulator.storm import table

    if a.count < 1 or a.seed < 0:
        raise ValueError(f"expected --seed from 0 and --count from 1, got {a.seed} and {a.count}")
    seeds = range(a.seed, a.seed + a.count)
    return table(seeds, say=say, relayed=a.relay)


def _bench(a: argparse.Namespace) -> int:
    bench = Path(__file__).parent.parent / "tests" / "bench"
    if not bench.is_dir():
        raise ValueError(f"expected the benchmarks in {bench}; they come with the source, not with the installed program")
    os.execv(sys.executable, [sys.executable, str(bench / "run.py"), *a.names])  # replaces us: their exit is ours


# ---- arguments


def _parser() -> argparse.ArgumentParser:
    from firmware.capture.options import arguments as record_arguments

    parser = argparse.ArgumentParser(
        PROGRAM, description="The operating-room recorder. Advisory and passive: it never commands a robot."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, work: Callable[[argparse.Namespace], int], meaning: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=meaning, description=meaning)
        sub.set_defaults(work=work)
        return sub

    def settings_arguments(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--root", default=ROOT_DEFAULT, help="directory of the store (default %(default)s)")
        sub.add_argument("--settings", action="append", default=[], metavar="FILE", help="TOML file; later ones win")
        sub.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="one setting; wins over files")

    sub = command("demo", _demo, "a simulated room, a box, a broker and a hub on this machine; prints what happens")
    sub.add_argument("--into", default="build/demo", help="directory of the results (default %(default)s)")
    sub.add_argument("--keep", action="store_true", help="stay up, with the hub's page on localhost")
    sub.add_argument("--no-room", action="store_true", help="replay the shipped recording instead of making a room")

    sub = command("run", _run, "all processes of a role, or one of them")
    sub.add_argument("role", choices=("box", "relay", "hub"))
    sub.add_argument("--process", help="only this one, in this process; what systemd starts")
    sub.add_argument("--without", action="append", default=[], metavar="PROCESS", help="all but this one")
    settings_arguments(sub)

    sub = command("egress", _egress, "shape the way out as [uplink] says, what is urgent first; needs the privilege to")
    sub.add_argument("role", nargs="?", default="box", choices=("box", "relay"))
    settings_arguments(sub)

    sub = command("settings", _settings_table, "every setting, what it means and where its value comes from")
    sub.add_argument("role", nargs="?", default="box", choices=("box", "relay", "hub"))
    sub.add_argument("--changed", action="store_true", help="only those that are not at their default")
    sub.add_argument("--json", action="store_true")
    settings_arguments(sub)

    sub = command("identity", _identity, "who this machine is, and whose commands it takes; made at first use")
    sub.add_argument("--root", default=ROOT_DEFAULT, help="directory of the store (default %(default)s)")
    sub.add_argument("--directory", help="directory of the identity (default: identity/ in the store)")
    sub.add_argument("--name", default="", help="call it so from now on")
    sub.add_argument("--site", default="")
    sub.add_argument(
        "--trust", action="append", default=[], metavar="SIGNER=KEY", help="take this signer's commands; the key in hexadecimal"
    )
    sub.add_argument("--json", action="store_true")

    sub = command(
        "record", _record, "only the recorder: interfaces into sealed segments, and a plain pcapng as well where wanted"
    )
    record_arguments(sub)

    sub = command("replay", _replay, "the whole chain on a recording, or the recording onto an interface")
    sub.add_argument("file")
    sub.add_argument("--speed", default="1", help="times real time, or max (default %(default)s)")
    sub.add_argument("--into", default="build/replay", help="directory of the results (default %(default)s)")
    sub.add_argument("--to", metavar="IFACE", help="send the frames here instead")

    sub = command("find", _find, "frames of a store by time, host, port, …; fields together narrow, several of one widen")
    sub.add_argument("directory")
    sub.add_argument("--since", help="UTC, 2026-11-22T10:15:00 or seconds since 1970")
    sub.add_argument("--until")
    sub.add_argument("--host", action="append", default=[], metavar="IP")
    sub.add_argument("--port", action="append", default=[], type=int)
    sub.add_argument("--mac", action="append", default=[])
    sub.add_argument("--proto", action="append", default=[], help="tcp, udp, icmp, arp, ptp, … or a number")
    sub.add_argument("--vlan", action="append", default=[], type=int)
    sub.add_argument("--device", action="append", default=[], metavar="NAME", help="by name, as [intake] devices gives them")
    sub.add_argument(
        "--from", dest="source", action="append", default=[], metavar="WHO", help="sent by: an address, or a device's name"
    )
    sub.add_argument("--to", dest="destination", action="append", default=[], metavar="WHO", help="sent to")
    sub.add_argument(
        "--kind", action="append", default=[], help="message, motion, temperature, stream, time, imaging, service, …"
    )
    sub.add_argument("--message", metavar="IDENTITY", help="the frame that carried this published message")
    sub.add_argument("--event", metavar="KEY", help="the frames that carried messages about this event")
    sub.add_argument("--contains", metavar="TEXT", help="bytes anywhere in the frame: a text, or 0x and hexadecimal digits")
    sub.add_argument("-f", "--filter", help="pcap-filter expression, as tcpdump takes it")
    sub.add_argument("-w", "--write", metavar="FILE", help="the frames, as pcapng, while it searches; - for standard output")
    sub.add_argument("--count", action="store_true", help="only how many")
    sub.add_argument(
        "--order", action="store_true", help="the published messages by corrected time, marked ~ where their order is not certain"
    )
    sub.add_argument("--newest-first", action="store_true", help="from the end of the store to its beginning")
    sub.add_argument("--json", action="store_true")
    sub.add_argument("--settings", action="append", default=[], metavar="FILE", help="the box's, for names of devices and ports")
    sub.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")

    sub = command("verify", _verify, "seals, chain, signatures, digests and gaps of a store; names whatever was altered")
    sub.add_argument("directory")
    sub.add_argument(
        "--key", metavar="FILE", help="the box's public key, 64 hexadecimal digits (default: identity/key.pub in the store)"
    )
    sub.add_argument("--json", action="store_true")

    sub = command("ls", _ls, "the segments of a store")
    sub.add_argument("directory")
    sub.add_argument("--json", action="store_true")

    sub = command("index", _index, "sum the segments up, so that find opens only those that may answer; a box does so by itself")
    sub.add_argument("directory")

    sub = command("thaw", _thaw, "bring cold segments back to frames.pcapng.lz4, byte for byte, for tools that read files")
    sub.add_argument("directory")
    sub.add_argument("segment", nargs="+", help="by name, as ls shows them")

    sub = command("pin", _pin, "hold segments: they are deleted neither for their age nor for room")
    sub.add_argument("directory")
    sub.add_argument("segment", nargs="*", help="by name, as ls shows them; or all of an interval:")
    sub.add_argument("--since", help="UTC, 2026-11-22T10:15:00 or seconds since 1970")
    sub.add_argument("--until")
    sub.add_argument("--reason", required=True, help="for the person who finds the pin years later")

    sub = command("unpin", _unpin, "hold segments no longer")
    sub.add_argument("directory")
    sub.add_argument("segment", nargs="+")

    sub = command("pins", _pins, "what is held, since when and why")
    sub.add_argument("directory")
    sub.add_argument("--json", action="store_true")

    sub = command("vault", _vault, "the store's encryption: how it stands, open it at the start, erase it with its key")
    sub.add_argument("deed", choices=("status", "open", "erase"))
    sub.add_argument("--root", default=ROOT_DEFAULT, help="directory of the store (default %(default)s)")
    sub.add_argument("--key", default=VAULT_KEY, help="file with its key of 64 bytes (default %(default)s)")
    sub.add_argument(
        "--destroys",
        action="append",
        default=[],
        metavar="FILE",
        help="what is destroyed instead of --key: the sealed key it was unsealed from",
    )
    sub.add_argument("--confirm", default="", metavar="NAME", help="erase: this box's name")
    sub.add_argument("--receipt", metavar="FILE", help="erase: where the signed receipt goes, outside the store")
    sub.add_argument("--json", action="store_true")

    sub = command("show", _show, "a seal, a batch of messages, a release item or an envelope, for people")
    sub.add_argument("file")

    sub = command("status", _status, "what every process did, and what it could not do, by cause")
    sub.add_argument("--root", default=ROOT_DEFAULT, help="directory of the store (default %(default)s)")
    sub.add_argument("--json", action="store_true")

    sub = command("clock", _clock, "how good the box's time is, and how far each device's clock is from it")
    sub.add_argument("--configuration", choices=("ptp4l", "phc2sys", "chronyd"), help="print what this program is to be told")
    sub.add_argument("--json", action="store_true")
    settings_arguments(sub)

    sub = command("publish", _publish, "send a message as a task device would")
    sub.add_argument("text")
    sub.add_argument("--priority", type=int, choices=(1, 2, 3, 4), default=2)
    sub.add_argument("--severity", type=int, choices=range(8), default=5, help="RFC 5424: 0 emergency … 7 debug")
    sub.add_argument("--process", default="cli")
    sub.add_argument("--event", help="key that messages about one event share")
    sub.add_argument("--field", action="append", default=[], metavar="NAME=VALUE")
    sub.add_argument(
        "--to", default="255.255.255.255", metavar="ADDRESS", help="broadcast, multicast or a host (default %(default)s)"
    )

    sub = command("console", _console, "the serial console")
    sub.add_argument("--tty", default="/dev/ttyS0")
    settings_arguments(sub)

    fleet = commands.add_parser("fleet", help="the operator's side: list, watch, retrieve").add_subparsers(
        required=True, metavar="WHAT"
    )
    for name, work, meaning in (
        ("list", _fleet_list, "the boxes of a hub and how they are"),
        ("watch", _fleet_watch, "messages as they arrive"),
        ("cancel", _fleet_cancel, "end a request for frames; what was found until then is complete"),
        ("retrieve", _fleet_retrieve, "ask a box for frames, wait for them, write them"),
    ):
        sub = fleet.add_parser(name, help=meaning, description=meaning)
        sub.set_defaults(work=work)
        sub.add_argument("--hub", default="http://127.0.0.1:8470", help="the hub's page (default %(default)s)")
        sub.add_argument("--json", action="store_true")
        if name == "cancel":
            sub.add_argument("order", metavar="COMMAND", help="32 hexadecimal digits, as retrieve says them")
    sub.add_argument("--box", required=True, help="whose frames")
    sub.add_argument("--about", metavar="IDENTITY", help="around this message")
    sub.add_argument("--around", type=int, default=30, metavar="SECONDS", help="before and after it (default %(default)s)")
    sub.add_argument("--since", help="UTC, 2026-11-22T10:15:00 or seconds since 1970")
    sub.add_argument("--until")
    sub.add_argument("--host", action="append", default=[], metavar="IP")
    sub.add_argument("--port", action="append", default=[], type=int)
    sub.add_argument("--mac", action="append", default=[])
    sub.add_argument("--proto", action="append", default=[])
    sub.add_argument("--vlan", action="append", default=[])
    sub.add_argument("--device", action="append", default=[], metavar="NAME", help="by a name the box knows")
    sub.add_argument(
        "--from", dest="source", action="append", default=[], metavar="WHO", help="sent by: an address, or a name the box knows"
    )
    sub.add_argument("--to", dest="destination", action="append", default=[], metavar="WHO", help="sent to")
    sub.add_argument(
        "--kind", action="append", default=[], help="message, motion, temperature, stream, time, imaging, service, …"
    )
    sub.add_argument("--event", metavar="KEY", help="the frames that carried messages about this event")
    sub.add_argument("--only-message", action="store_true", help="with --about: only the frame that carried it")
    sub.add_argument("--contains", metavar="TEXT", help="bytes anywhere in the frame: a text, or 0x and hexadecimal digits")
    sub.add_argument("-f", "--filter", help="pcap-filter expression, as tcpdump takes it")
    sub.add_argument("--priority", type=int, choices=(1, 2, 3, 4), help="how soon it should travel")
    sub.add_argument("--reduce", choices=("none", "filter", "sample", "change"), default="none", help="how much less will do")
    sub.add_argument("--rates", help='with sample: "motion=60,temperature=5,other=20" samples a second')
    sub.add_argument("--error", help='with change: largest error, "1%%" of a value\'s range or "0.5" in its unit')
    sub.add_argument("-w", "--write", metavar="FILE", help="the frames, as pcapng")

    sub = command("sim", _sim, "the simulator: a room in network namespaces, or storms of the whole box in virtual time")
    sub.add_argument("what", choices=("room", "storm"))
    sub.add_argument("--seed", type=int, default=1, help="storm: the first seed")
    sub.add_argument("--count", type=int, default=1, help="storm: how many seeds")
    sub.add_argument("--relay", action="store_true", help="storm: with a relay between box and hub")

    sub = command("bench", _bench, "figures beside their peers, measured in the same run")
    sub.add_argument("names", nargs="*", help="which; all without")
    return parser


if __name__ == "__main__":
    sys.exit(main())

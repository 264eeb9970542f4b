"""Versions of the application: how they stand, bundles made and installed, the history, and the way back."""

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from firmware.cli.commands import PROGRAM, ROOT_DEFAULT, Commands
from firmware.cli.given import about, bytes_of, store_at
from firmware.core.errors import BadItem, DiskFailed

if TYPE_CHECKING:
    from drivers.linux.identity import LinuxIdentity
    from drivers.linux.slots import LinuxSlots

BUNDLE_SUFFIX, SYSTEM_SUFFIX = ".scrubjay", ".raucb"
HOUR_NS = 3600 * 10**9
HOURS_MAX = 24 * 36_600  # A century; what lasts for ever cannot be said, and beyond two of them no box can read it.
NUMBER_MAX = (1 << 63) - 1


def register(commands: Commands) -> None:
    """Put these commands on the command line."""
    update = commands.group("update", "versions of the application: status, install, history, rollback, order, make, edition")

    sub = update.add("status", _status, "which version is official, which are test, and why")
    _store_arguments(sub)

    sub = update.add("history", _history, "every switch of every process, with its cause")
    _store_arguments(sub)

    sub = update.add("install", _install, "give a bundle to the update station; from a stick the highest for this board is taken")
    sub.add_argument("file", help=f"a bundle, or a directory with bundles (*{BUNDLE_SUFFIX})")
    _store_arguments(sub)

    sub = update.add("rollback", _rollback, "back to the version before, by a signed order that was carried here")
    sub.add_argument("order", metavar="FILE", help=f"as `{PROGRAM} update order` makes it where the signer's key is")
    _store_arguments(sub)

    sub = update.add("order", _order, "sign an order to go back to the version before; --root is the signer's store")
    sub.add_argument("--box", required=True, help="the box that is to go back")
    sub.add_argument("-w", "--write", required=True, metavar="FILE", help="the order, to be carried to the box")
    sub.add_argument(
        "--expires-h", type=int, default=24,
        help="how long it can be used, as far as the box takes one that old: [command] max_age_s, a day (default %(default)s)",
    )  # fmt: skip
    _store_arguments(sub)

    sub = update.add(
        "edition", _edition, "sign what is offered of a version: whole bundles and those beside a base, of one number and board"
    )
    sub.add_argument("bundles", nargs="+", metavar="BUNDLE", help=f"*{BUNDLE_SUFFIX}, or one system bundle (*.raucb)")
    sub.add_argument(
        "--channel", default="stable", help="boxes take editions of the channels they are set to (default %(default)s)"
    )
    sub.add_argument("--expires-h", type=int, default=24 * 90, help="how long it can be taken (default %(default)s)")
    sub.add_argument("--after-h", type=int, default=0, help="not before so many hours from now")
    sub.add_argument("--version", help="of a system bundle, which does not say it in our words")
    sub.add_argument("--number", type=int, help="likewise")
    sub.add_argument("--board", help="likewise; default: that of this machine")
    sub.add_argument("-w", "--write", required=True, metavar="FILE", help="NAME.edition")
    _store_arguments(sub)

    sub = update.add("make", _make, "a bundle of the application as it is installed here; --root is the signer's store")
    sub.add_argument("version", help="what it is called: digits, lower case letters, .+-")
    sub.add_argument("--number", type=int, required=True, help="grows from version to version; a box takes no lower one")
    sub.add_argument(
        "--base", metavar="BUNDLE", help="a whole bundle of the version that the boxes have: only what differs is put in"
    )
    sub.add_argument("--expires-h", type=int, default=24 * 90, help="how long it can be installed (default %(default)s)")
    sub.add_argument("-w", "--write", required=True, metavar="FILE", help=f"NAME{BUNDLE_SUFFIX}")
    _store_arguments(sub)


def _store_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--root", default=ROOT_DEFAULT, help="directory of the store (default %(default)s)")
    sub.add_argument("--json", action="store_true")


def _status(a: argparse.Namespace) -> int:
    from drivers.linux.disk import LinuxDisk
    from drivers.linux.slots import ground
    from firmware.update.page import page

    try:
        found = page(LinuxDisk(store_at(a.root, holds="updates")), ground())
    except BadItem as problem:
        raise ValueError(f"updates/standing: {problem}") from None
    print(json.dumps(found.as_json(), indent=1) if a.json else "\n".join(found.lines()))
    return 0


def _history(a: argparse.Namespace) -> int:
    from drivers.linux.disk import LinuxDisk
    from firmware.update.page import history

    rows = history(LinuxDisk(store_at(a.root, holds="updates")))
    if a.json:
        print(json.dumps([{"at": r.at, "process": r.process, "from": r.former, "to": r.version, "cause": r.cause} for r in rows], indent=1))  # fmt: skip
    else:
        print(
            "\n".join(f"{r.at}  {r.process}: {r.former or '-'} to {r.version or '-'}: {r.cause}" for r in rows) or "no switch yet"
        )
    return 0


def _install(a: argparse.Namespace) -> int:
    from drivers.linux.disk import LinuxDisk
    from drivers.linux.identity import LinuxIdentity
    from firmware.update.page import chosen, install

    root = store_at(a.root, holds="updates")
    trusted = LinuxIdentity(root / "identity").trusted()
    if Path(a.file).is_dir():
        files = sorted(Path(a.file).glob(f"*{BUNDLE_SUFFIX}"))
        try:
            data, _ = chosen(LinuxDisk(root), files, trusted, _slots(root))
        except OSError as problem:
            raise DiskFailed(f"{a.file}: expected bundles to be read, the system says: {problem.strerror}") from None
    else:
        data = bytes_of(a.file, "a bundle")
    with about(a.file):
        manifest = install(LinuxDisk(root), data, trusted)
    row = {
        "version": manifest.version,
        "number": manifest.counter,
        "signer": manifest.signer,
        "base": manifest.base,
        "bytes": len(data),
    }
    said = (
        f"version {manifest.version}, signed by {manifest.signer}, is with the update station; `{PROGRAM} update status` shows it"
    )
    print(json.dumps(row) if a.json else said)
    return 0


def _rollback(a: argparse.Namespace) -> int:
    from drivers.linux.disk import LinuxDisk
    from firmware.core.envelope import command_unpacked, order_unpacked
    from firmware.update.page import carry

    data = bytes_of(a.order, "a signed order")
    with about(a.order, f"a signed order, as `{PROGRAM} update order` makes it"):
        order = order_unpacked(command_unpacked(data).order)
    carry(LinuxDisk(store_at(a.root, holds="updates")), data)
    said = f"an order said to be signed by {order.signer} is with the command station, which checks it"
    print(json.dumps({"command": order.identity.hex()}) if a.json else said)
    return 0


def _order(a: argparse.Namespace) -> int:
    from drivers.linux.clock import LinuxClock
    from firmware.command.settings import CommandSettings
    from firmware.core.envelope import Command, Order, command_packed, is_name, order_packed

    if not is_name(a.box):
        raise ValueError(f"--box: expected a box's name, of 3 to 63 of a-z, 0-9 and -, got {a.box!r}")
    identity = _signer(a.root)
    now_ns = LinuxClock().now().timestamp.tai_ns
    # Its counter is the moment it was made, as the hub's are at the least (repository.py): both go upwards on one scale.
    order = Order(identity.entropy(16), identity.name, a.box, "update", now_ns, now_ns, now_ns + _hours(a) * HOUR_NS, {"rollback": "previous"})  # fmt: skip
    if _hours(a) * 3600 > (taken_s := CommandSettings().max_age_s):
        print(
            f"--expires-h: a box refuses one made more than {taken_s // 3600} hours ago, unless its [command] max_age_s is set to more",
            file=sys.stderr,
        )
    data = order_packed(order)
    Path(a.write).write_bytes(command_packed(Command(data, identity.sign(Command(data, b"").signed_bytes))))
    print(json.dumps({"command": order.identity.hex()}) if a.json else f"{a.write}: {a.box} goes back to its version before, signed by {identity.name}")  # fmt: skip
    return 0


def _edition(a: argparse.Namespace) -> int:
    from drivers.linux.clock import LinuxClock
    from firmware.core.edition import BUNDLES_MAX, Edition, Kind, Offered, signed
    from firmware.core.envelope import is_name
    from firmware.core.versions import is_version
    from firmware.update.bundle import opened

    identity = _signer(a.root)
    if not is_name(a.channel):
        raise ValueError(f"--channel: expected 3 to 63 of a-z, 0-9 and '-', got {a.channel!r}")
    if a.after_h < 0:
        raise ValueError(f"--after-h: expected 0 or more hours from now, got {a.after_h}")
    if len(a.bundles) > BUNDLES_MAX:
        raise ValueError(f"expected at most {BUNDLES_MAX} bundles in an edition, got {len(a.bundles)}")
    offered, said = [], set()
    known: dict[bytes, str] = {}
    kind: Kind = "system" if a.bundles[0].endswith(SYSTEM_SUFFIX) else "application"
    if kind == "application":
        for option, value in (("--version", a.version), ("--number", a.number), ("--board", a.board)):
            if value is not None:
                raise ValueError(f"{option}: expected for a system bundle only; one of the application says it itself")
    elif len(a.bundles) > 1:
        raise ValueError(f"expected one system bundle, got {len(a.bundles)} bundles")
    for path in a.bundles:
        if path.endswith(SYSTEM_SUFFIX) != (kind == "system"):
            raise ValueError(f"{path}: expected bundles of one kind")
        base = None
        if kind == "system":
            if not is_version(a.version or "") or not 0 < (a.number or 0) <= NUMBER_MAX:
                raise ValueError(
                    "expected for a system bundle --version (as it was built: digits, lower case letters, .+-) and --number (above 0)"
                )
            said.add((a.version, a.number, a.board or _slots(Path(a.root)).board))
            with Path(path).open("rb") as source:
                digest = hashlib.file_digest(source, "sha256").digest()
        else:
            data = bytes_of(path, "a bundle")
            with about(path):
                manifest = opened(data, {identity.name: identity.public_key()}).manifest
            base, digest = manifest.base, hashlib.sha256(data).digest()
            said.add((manifest.version, manifest.counter, manifest.board))
        if digest in known:
            raise ValueError(f"{path}: expected each bundle once, {known[digest]} is the same")
        known[digest] = path
        offered.append(Offered(digest, Path(path).stat().st_size, base))
    if len(said) != 1:
        raise ValueError(
            f"expected bundles of one version, number and board, got {', '.join(' '.join(map(str, row)) for row in sorted(said))}"
        )
    ((version, number, board),) = said
    now_ns, hours = LinuxClock().now().timestamp.tai_ns, _hours(a)
    if a.after_h >= hours:
        raise ValueError(f"--after-h: expected less than --expires-h ({hours}), got {a.after_h}: nobody could ever take it")
    edition = Edition(
        version, number, board, a.channel, kind, now_ns + a.after_h * HOUR_NS, now_ns + hours * HOUR_NS, identity.name, tuple(offered)
    )  # fmt: skip
    data = signed(edition, identity.sign)
    Path(a.write).write_bytes(data)
    row = {
        "version": version,
        "number": number,
        "board": board,
        "channel": a.channel,
        "bundles": len(offered),
        "bytes": len(data),
    }
    print(
        json.dumps(row)
        if a.json
        else f"{a.write}: version {version}, number {number}, channel {a.channel}, {len(offered)} bundles"
    )
    return 0


def _make(a: argparse.Namespace) -> int:
    from drivers.linux.clock import LinuxClock
    from firmware.core.versions import is_version
    from firmware.update.bundle import made, opened
    from firmware.update.page import program_files

    if not is_version(a.version) or not 0 < a.number <= NUMBER_MAX:
        raise ValueError(
            f"expected a version of digits, lower case letters, .+- and a number of 1 to 2^63 - 1, got {a.version!r} {a.number}"
        )
    identity = _signer(a.root)
    slots = _slots(Path(a.root))
    base, base_files = None, {}
    if a.base:
        with about(a.base):
            former = opened(bytes_of(a.base, "a bundle"), {identity.name: identity.public_key()})
        if former.manifest.base is not None:
            raise ValueError(f"--base: expected a whole bundle, {a.base} is one beside {former.manifest.base}")
        if former.manifest.version == a.version:
            raise ValueError(
                f"--base: expected a bundle of another version than {a.version}; a box that has it takes none of its name"
            )
        base, base_files = former.manifest.version, {file.path: data for file, data in former.contents(lambda path: b"")}
    now_ns = LinuxClock().now().timestamp.tai_ns
    data = made(
        dict(program_files(slots)), base_files, version=a.version, counter=a.number, board=slots.board, made_tai_ns=now_ns,
        expires_tai_ns=now_ns + _hours(a) * HOUR_NS, base=base, signer=identity.name, sign=identity.sign,
    )  # fmt: skip
    Path(a.write).write_bytes(data)
    row = {"version": a.version, "number": a.number, "board": slots.board, "base": base, "bytes": len(data)}
    print(json.dumps(row) if a.json else f"{a.write}: version {a.version} for {slots.board}, {len(data)} bytes" + (f" beside {base}" if base else ""))  # fmt: skip
    return 0


def _signer(root: str) -> "LinuxIdentity":
    """Whose key signs. One that is not there is not made, as a box's own is: where the place was mistyped nobody would trust it."""
    from drivers.linux.identity import LinuxIdentity

    directory = Path(root) / "identity"
    if not (directory / "key").exists():
        raise ValueError(
            f"--root: expected the signer's store, with its key in {directory}, there is none;"
            f" `{PROGRAM} identity --root {root} --name NAME` makes one"
        )
    return LinuxIdentity(directory)


def _hours(a: argparse.Namespace) -> int:
    hours = int(a.expires_h)
    if not 0 < hours <= HOURS_MAX:
        raise ValueError(f"--expires-h: expected 1 to {HOURS_MAX} hours from now, got {hours}")
    return hours


def _slots(root: Path) -> "LinuxSlots":
    from drivers.linux.slots import LinuxSlots

    return LinuxSlots(root, lambda process: (), lambda version: {})

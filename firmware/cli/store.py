"""A store as a whole: verify it, list it, sum it up, hold what must not go, erase it."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from firmware.cli.commands import PROGRAM, ROOT_DEFAULT, Commands
from firmware.cli.given import bytes_of, interval_of, key_of, own_key_of, say, store_at
from firmware.core.errors import BadItem, DiskFailed
from firmware.core.terminal import printable

if TYPE_CHECKING:
    from drivers.clock import Clock
    from drivers.disk import Disk
    from drivers.linux.vault import LinuxVault

VAULT_KEY = "/etc/scrubjay/vault.key"


def register(commands: Commands) -> None:
    """Put these commands on the command line."""
    sub = commands.add("verify", _verify, "seals, chain, signatures, digests and gaps of a store; names whatever was altered")
    sub.add_argument("directory")
    sub.add_argument(
        "--key", metavar="FILE", help="the box's public key, 64 hexadecimal digits (default: identity/key.pub in the store)"
    )
    sub.add_argument("--json", action="store_true")

    sub = commands.add("ls", _ls, "the segments of a store, or those with frames of an interval")
    sub.add_argument("directory")
    sub.add_argument("--since", help="UTC, 2026-11-22T10:15:00 or seconds since 1970")
    sub.add_argument("--until")
    sub.add_argument("--json", action="store_true")

    sub = commands.add(
        "index", _index, "sum the segments up, so that find opens only those that may answer; a box does so by itself"
    )
    sub.add_argument("directory")

    sub = commands.add("thaw", _thaw, "bring cold segments back to frames.pcapng.lz4, byte for byte, for tools that read files")
    sub.add_argument("directory")
    sub.add_argument("segment", nargs="+", help="by name, as ls shows them")

    sub = commands.add("pin", _pin, "hold segments: they are deleted neither for their age nor for room")
    sub.add_argument("directory")
    sub.add_argument("segment", nargs="*", help="by name, as ls shows them; or all of an interval:")
    sub.add_argument("--since", help="UTC, 2026-11-22T10:15:00 or seconds since 1970")
    sub.add_argument("--until")
    sub.add_argument("--reason", required=True, help="for the person who finds the pin years later")

    sub = commands.add("unpin", _unpin, "hold segments no longer")
    sub.add_argument("directory")
    sub.add_argument("segment", nargs="+")

    sub = commands.add("pins", _pins, "what is held, since when and why")
    sub.add_argument("directory")
    sub.add_argument("--json", action="store_true")

    sub = commands.add("vault", _vault, "the store's encryption: how it stands, open it at the start, erase it with its key")
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

    sub = commands.add("show", _show, "a seal, a batch of messages, a release item or an envelope, for people")
    sub.add_argument("file")


def _verify(a: argparse.Namespace) -> int:
    from drivers.linux.clock import LinuxClock
    from drivers.linux.disk import LinuxDisk
    from firmware.core.verdict import as_json, lines
    from firmware.core.verify import verify

    key = key_of(a.key) if a.key is not None else own_key_of(a.directory)
    verdict = verify(LinuxDisk(store_at(a.directory)), "segments", key, progress=spoken(LinuxClock()))
    say(json.dumps(as_json(verdict), indent=1) if a.json else "\n".join(lines(verdict)))
    return 0 if verdict.ok else 1


def spoken(clock: "Clock") -> Callable[[int, int], None]:
    """How far a long job is, said once a second: (done, of) segments."""
    from firmware.core.timestamp import SECOND, span

    began = last = clock.now().monotonic

    def progress(done: int, of: int) -> None:
        nonlocal last
        now = clock.now().monotonic
        if now.since(last) >= SECOND:
            last = now
            left = span(now.since(began) * (of - done) // done)
            print(f"{done} of {of} segments, about {left} to go", file=sys.stderr, flush=True)

    return progress


def _ls(a: argparse.Namespace) -> int:
    from drivers.linux.disk import LinuxDisk
    from firmware.core.shelf import as_json, each, lines

    since, until = interval_of(a)
    rows = each(LinuxDisk(store_at(a.directory)), since_utc_ns=since, until_utc_ns=until)
    for line in [json.dumps(as_json(rows), indent=1)] if a.json else lines(rows):
        print(line)
    return 0


def _index(a: argparse.Namespace) -> int:
    from drivers.linux.disk import LinuxDisk
    from firmware.retrieval.sums import sum_up

    def progress(done: int, of: int) -> None:
        if done % 1000 == 0 or done == of:
            print(f"{done} of {of} segments", file=sys.stderr, flush=True)

    done = sum_up(LinuxDisk(store_at(a.directory)), progress=progress)
    print(f"{done} segments summed up in summary/; find opens only those that may answer")
    return 0


def _thaw(a: argparse.Namespace) -> int:
    from drivers.linux.disk import LinuxDisk
    from firmware.core.thaw import thaw

    disk = LinuxDisk(store_at(a.directory))
    _known(disk, a.segment)
    for segment in a.segment:
        print(f"{segment}: frames.pcapng.lz4 is back, {thaw(disk, 'segments', segment)} bytes, as it was sealed")
    return 0


def _show(a: argparse.Namespace) -> int:
    from firmware.retrieval.listing import shown

    data = bytes_of(a.file, "a file of a store")
    try:
        print("\n".join(shown(data)))
    except BadItem as problem:
        raise ValueError(f"{a.file}: {problem}; recordings open in Wireshark, state/*.json with `{PROGRAM} status`") from None
    return 0


def _pin(a: argparse.Namespace) -> int:
    from drivers.linux.clock import LinuxClock
    from drivers.linux.disk import LinuxDisk
    from firmware.retention.pins import overlapping, pin, still_open

    disk, now_utc_ns = LinuxDisk(store_at(a.directory)), LinuxClock().now().utc_ns
    opened: list[str] = []
    is_to_come = False
    if a.segment and not (a.since or a.until):
        segments = a.segment
        _known(disk, segments)
    elif a.since and a.until and not a.segment:
        since, until = interval_of(a)
        assert since is not None and until is not None, "both were given"
        segments, opened = overlapping(disk, since_utc_ns=since, until_utc_ns=until), still_open(disk, until_utc_ns=until)
        is_to_come = until > now_utc_ns
    else:
        raise ValueError("expected segments, or --since and --until")
    pin(disk, segments, reason=a.reason, now_utc_ns=now_utc_ns, own=f".{os.getpid()}")
    _known(disk, segments)  # Retention may have been quicker; then this says so.
    print("\n".join(segments) or "no sealed segment holds frames of that time")
    for name in opened:
        print(
            f"NOT HELD: {name} is still being recorded; what is of that time in it can be pinned once it is sealed",
            file=sys.stderr,
        )
    if is_to_come:  # A hold until Friday is not one on Friday.
        print(
            "NOT HELD: what is still to be recorded; it can be pinned once it is sealed, with the same interval", file=sys.stderr
        )
    return 0 if segments else 1


def _known(disk: "Disk", segments: Sequence[str]) -> None:
    from firmware.core.store import Store

    unknown = set(segments) - set(Store(disk).names())
    if unknown:
        raise ValueError(f"expected sealed segments of this store, as `{PROGRAM} ls` shows them; there is no {min(unknown)}")


def _unpin(a: argparse.Namespace) -> int:
    from drivers.linux.disk import LinuxDisk
    from firmware.retention.pins import unpin

    unpin(LinuxDisk(store_at(a.directory)), *a.segment)
    return 0


def _pins(a: argparse.Namespace) -> int:
    from drivers.linux.disk import LinuxDisk
    from firmware.retention.pins import pins

    held = pins(LinuxDisk(store_at(a.directory)))
    if a.json:
        print(
            json.dumps([{"segment": entry.segment, "reason": entry.reason, "pinned": entry.pinned} for entry in held], indent=1)
        )
    else:
        rows = (f"{entry.segment}  {printable(entry.pinned)}  {printable(entry.reason)}" for entry in held)
        print("\n".join(rows) or "nothing is pinned")
    return 0


def _vault(a: argparse.Namespace) -> int:
    from drivers.linux.vault import LinuxVault
    from firmware.vault.page import status

    vault = LinuxVault(Path(a.root), Path(a.key), destroyed=[Path(path) for path in a.destroys])
    if a.deed == "erase":
        return _erase(a, vault)
    if a.deed == "open":
        vault.open()
    elif not Path(a.root).is_dir():  # To the vault it is plain until it is there; to a person that says that everybody reads it.
        raise ValueError(f"expected the directory of a store, there is none at {a.root}")
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
    kept, root = Path(a.receipt).resolve(), store_at(a.root).resolve()
    if kept.is_relative_to(root):
        raise ValueError(f"{a.receipt}: expected a place outside the store; in it the receipt would be erased as well")
    disk, identity, now = LinuxDisk(root), LinuxIdentity(root / "identity"), LinuxClock().now()
    key = identity.public_key()

    # Until the key is destroyed the receipt has this name: where that fails, or the power goes between, none says "erased" in vain.
    unfinished = kept.with_name(f"{kept.name}.unfinished")
    begun: list[Path] = []
    if kept.exists():
        raise ValueError(f"{a.receipt}: expected a name that is free, and no receipt is written over another; nothing was erased")

    def keep(data: bytes) -> None:
        # Forgotten by this machine, but not destroyed, the key would open everything again at the next start.
        absent = [path for path in a.destroys or [a.key] if not Path(path).is_file()]
        if absent:
            raise ValueError(
                f"expected in {absent[0]} the key that ends, there is none: --destroys names it where it is another than --key;"
                " nothing was erased. After an erasure that was cut short, start the machine anew: what is destroyed stays shut"
            )
        unfinished.unlink(missing_ok=True)  # of an attempt that did not destroy what is there
        keep_outside(unfinished, data)
        begun.append(unfinished)
        disk.close()

    try:
        done = erase(disk, vault, identity=identity, now=now, confirmed=a.confirm, keep=keep)
    except DiskFailed as trouble:
        if not begun:
            raise
        raise DiskFailed(
            f"{trouble}; the store is not known to be erased, its receipt stays {unfinished}. Mend what refused and erase again,"
            " or start the machine anew and ask `scrubjay vault status`"
        ) from None
    try:
        unfinished.rename(kept)
        sync_directory(kept.parent)
    except OSError:
        kept = unfinished  # The key is gone all the same, and it is said where its receipt is.
    row = erased(done, now, public_key=key, kept=str(kept))
    print(json.dumps(row, indent=1) if a.json else "\n".join(f"{name}: {value}" for name, value in row.items()))
    return 0


def keep_outside(path: Path, data: bytes) -> None:
    """A file that was not there before, durable on return: its bytes, and then its name. Where that fails there is none."""
    with path.open("xb") as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            path.unlink()
            raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Returns when the names in it would survive a power cut."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)

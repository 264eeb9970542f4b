"""The operator's side of versions: published, rolled out in phases, halted, taken back; `scrubjay fleet update`."""

import argparse
import getpass
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from firmware.cli.commands import PROGRAM, Commands
from firmware.cli.given import about, bytes_of


def register(fleet: Commands) -> None:
    """Put these commands on the command line."""
    update = fleet.group("update", "versions of the fleet: publish, start, status, halt, resume, back, history")

    sub = _add(update, "publish", _publish, "give the hub an edition and the bundles it is made of")
    sub.add_argument("edition", metavar="EDITION", help=f"as `{PROGRAM} update edition` signs it")
    sub.add_argument("bundles", nargs="+", metavar="BUNDLE")

    sub = _add(update, "start", _start, "roll a published version out, in phases")
    sub.add_argument("version")
    sub.add_argument("--box", action="append", default=[], help="this box, and no others but those named")
    sub.add_argument("--channel", help="where the version is published to several: to the boxes of this one")
    sub.add_argument("--board", help="likewise: for boxes of this board")
    sub.add_argument("--phase", action="append", default=[], metavar="SHARE", help='"3", "10%%" or "all", once for each phase')
    sub.add_argument("--soak-s", type=int, help="how long a box has to be well before it counts as good")
    sub.add_argument("--limit-s", type=int, help="a box that is not official by then counts as an error")
    sub.add_argument("--success-percent", type=int, help="so many of a phase have to be good before the next begins")
    sub.add_argument("--errors-percent", type=int, help="more errors than this halt it")
    _by(sub)

    sub = _add(update, "status", _status, "roll-outs, editions, and which version each box says it runs")
    sub.add_argument("number", type=int, nargs="?", help="of one roll-out: box by box")

    for name, to, meaning in (
        ("halt", "halted", "offer it to nobody any more"),
        ("resume", "running", "let a halted one go on; the boxes that failed are left out of the count"),
        ("back", "back", "order every box that runs it back to its version before, by signed orders, all at once"),
    ):
        sub = _add(update, name, _change, meaning)
        sub.add_argument("number", type=int, help="of the roll-out")
        sub.set_defaults(to=to)
        _by(sub)

    sub = _add(update, "history", _history, "every switch of every process, with its cause")
    sub.add_argument("--box", help="of one box")


def _add(update: Commands, name: str, work: Callable[[argparse.Namespace], int], meaning: str) -> argparse.ArgumentParser:
    sub = update.add(name, work, meaning)
    sub.add_argument("--hub", default="http://127.0.0.1:8470", help="the hub's page (default %(default)s)")
    sub.add_argument("--json", action="store_true")
    return sub


def _by(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--by", metavar="NAME", help="who wants it (default: your name on this machine, or at the hub)")


def _who(a: argparse.Namespace) -> str:
    try:
        return str(a.by or getpass.getuser())
    except KeyError:  # As in a container: a number without a name. Nobody who halts a roll-out has time for that.
        return f"user {os.getuid()}"


def _publish(a: argparse.Namespace) -> int:
    from firmware.core.edition import as_text, read
    from firmware.hub.fleet import Fleet, understood

    data = bytes_of(a.edition, "an edition")
    with about(a.edition, f"an edition, as `{PROGRAM} update edition` signs it"):
        wanted = {bundle.wish.name: bundle for bundle in read(data)[0].bundles}
    places = {}
    for path in map(Path, a.bundles):
        try:
            with path.open("rb") as source:
                places[hashlib.file_digest(source, "sha256").hexdigest()] = path
        except OSError as problem:
            raise ValueError(f"{path}: expected a bundle, it cannot be read: {problem.strerror}") from None
    missing = [bundle for digest, bundle in wanted.items() if digest not in places]
    if missing:
        names = ", ".join(f"{b.size} bytes" + (f" beside {b.base}" if b.base else "") for b in missing)
        raise ValueError(f"expected every bundle of the edition, not there: {names}")
    with understood(a.hub):
        fleet = Fleet(a.hub)
        for digest, bundle in wanted.items():
            with places[digest].open("rb") as source:
                fleet.put_file(digest, source, bundle.size)
        found = fleet.publish_edition(as_text(data))
    said = f"version {found['version']}, number {found['number']}, is published to the channel {found['channel']}"
    print(json.dumps(found) if a.json else f"{said}; `fleet update start {found['version']}` rolls it out")
    return 0


def _start(a: argparse.Namespace) -> int:
    from firmware.hub.fleet import Fleet, rollout_line, understood

    wish = {
        "version": a.version, "boxes": a.box or None, "channel": a.channel, "board": a.board, "phases": a.phase or None, "soak_s": a.soak_s,
        "limit_s": a.limit_s, "success_percent": a.success_percent, "errors_percent": a.errors_percent, "by": _who(a),
    }  # fmt: skip
    with understood(a.hub):
        row = Fleet(a.hub).start_rollout({name: value for name, value in wish.items() if value is not None})
        print(json.dumps(row) if a.json else rollout_line(row))
    return 0


def _status(a: argparse.Namespace) -> int:
    from firmware.hub.fleet import Fleet, edition_line, member_line, rollout_line, understood, version_line

    with understood(a.hub):
        if a.number is not None:
            row = Fleet(a.hub).rollout(a.number)
            print(json.dumps(row, indent=1) if a.json else "\n".join([rollout_line(row), *map(member_line, row["boxes"])]))
            return 0
        found = Fleet(a.hub).updates()
        lines = [
            "ROLL-OUTS", *(map(rollout_line, found["rollouts"]) if found["rollouts"] else ["none"]), "",
            "EDITIONS", *(map(edition_line, found["editions"]) if found["editions"] else ["none"]), "",
            "BOXES", *(map(version_line, found["boxes"]) if found["boxes"] else ["none has said which version it runs"]),
        ]  # fmt: skip
        print(json.dumps(found, indent=1) if a.json else "\n".join(lines))
    return 0


def _change(a: argparse.Namespace) -> int:
    from firmware.hub.fleet import Fleet, rollout_line, understood

    with understood(a.hub):
        row = Fleet(a.hub).change_rollout(a.number, to=a.to, by=_who(a))
        print(json.dumps(row) if a.json else rollout_line(row))
    return 0


def _history(a: argparse.Namespace) -> int:
    from firmware.hub.fleet import Fleet, switch_line, understood

    with understood(a.hub):
        rows = Fleet(a.hub).update_history(a.box)
        none = f"{a.box or 'no box'} has " + ("said nothing" if a.box else "said anything") + " of versions"
        print(json.dumps(rows, indent=1) if a.json else "\n".join(map(switch_line, rows)) or none)
    return 0

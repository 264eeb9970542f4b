"""The recorder alone, as a network engineer uses it."""

import argparse
import json
import os
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from firmware.capture.options import arguments as record_arguments
from firmware.cli.commands import PROGRAM, Commands
from firmware.cli.given import board_of, recording_into
from firmware.core.errors import TapFailed

if TYPE_CHECKING:
    from drivers.outlet import Outlet
    from firmware.capture.options import Keep
    from firmware.capture.settings import CaptureSettings
    from firmware.retention.settings import RetentionSettings

DAYS_MAX = 36_500  # as [retention] takes it: by age nothing goes
LINE_MB_PER_S = 125  # A saturated Gbit/s that does not compress: segments that are cut by size do not come faster.
RIGHT_TO_LISTEN = (
    "As an ordinary user: `sudo {program} record …`; or give the right to this user's shell only: `sudo setpriv --reuid=$USER"
    " --regid=$(id -g) --init-groups --inh-caps=+net_raw --ambient-caps=+net_raw $SHELL`; or to everything that this Python runs:"
    " `sudo setcap cap_net_raw=ep {python}`. On the box systemd gives it to the capture process alone"
)


def register(commands: Commands) -> None:
    """Put these commands on the command line."""
    sub = commands.add(
        "record", _record, "only the recorder: interfaces into sealed segments, and a plain pcapng as well where wanted"
    )
    record_arguments(sub)


def _record(a: argparse.Namespace) -> int:
    from drivers.frame_filter import frame_filter
    from firmware.capture import options
    from firmware.capture.settings import CaptureSettings
    from firmware.core.settings import Settings

    if a.list:
        return _interfaces(a)
    settings = Settings({"capture": CaptureSettings}, options.layers(a)).of(CaptureSettings)
    keep = options.keep(a)
    # Before there is a store: a slip of the pen leaves no directory with a key in it.
    frame_filter(settings.filter)
    _check(settings, wait=a.wait)
    with ExitStack() as stack:
        a.root = a.output or stack.enter_context(TemporaryDirectory(prefix="scrubjay-"))
        return _record_into(a, settings, keep, stack)


def _check(settings: "CaptureSettings", *, wait: bool) -> None:
    from drivers.errors import NotAllowed
    from drivers.linux.board import opened_tap
    from firmware.capture.record import check

    try:
        check(lambda request: opened_tap(request, {}), settings, wait=wait)
    except NotAllowed as problem:
        raise NotAllowed(
            f"{problem}. {RIGHT_TO_LISTEN.format(program=PROGRAM, python=os.path.realpath(sys.executable))}"
        ) from None
    except TapFailed as problem:
        raise TapFailed(f"{problem}; `{PROGRAM} record --list` shows what there is, --wait begins without it") from None


def _record_into(a: argparse.Namespace, settings: "CaptureSettings", keep: "Keep | None", stack: ExitStack) -> int:
    from firmware.capture import options
    from firmware.capture.record import record
    from firmware.retention.station import RetentionStation

    board = board_of(a)
    if a.write is not None:
        _check_outlet(a.write)
    stack.enter_context(recording_into(a.root))
    # Last: a recording that cannot begin leaves the former file as it was.
    outlet = stack.enter_context(closing(_outlet(a.write))) if a.write else None
    retention = [] if keep is None else [RetentionStation(board, kept(keep, settings))]
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
    return 1 if summary.failed or never_heard or summary.has_no_disk or (a.fail_on_loss and not summary.is_whole) else 0


def kept(keep: "Keep", settings: "CaptureSettings") -> "RetentionSettings":
    """What is to stay, as retention understands it. By age more must go in an hour than comes, however short the segments are."""
    from firmware.retention.settings import RetentionSettings

    by_itself = RetentionSettings().age_deletions_per_hour
    shortest_s = min(settings.segment_s, settings.segment_mb / LINE_MB_PER_S)
    return RetentionSettings(
        budget_bytes=keep.size, retain_days=keep.days or DAYS_MAX,
        age_deletions_per_hour=max(by_itself, min(100_000, round(2 * 3600 / shortest_s))),
    )  # fmt: skip


def _interfaces(a: argparse.Namespace) -> int:
    from dataclasses import asdict

    from drivers.linux.interfaces import interfaces
    from firmware.capture.options import table

    rows = interfaces()
    print(
        json.dumps([asdict(row) | {"is_silent": row.is_silent} for row in rows], indent=1) if a.json else "\n".join(table(rows))
    )
    return 0


def _check_outlet(path: str) -> None:
    if path != "-" and (Path(path).is_dir() or not Path(path).absolute().parent.is_dir()):
        raise ValueError(f"{path}: expected a file to write, in a directory that is there")
    if path == "-" and sys.stdout is None:
        raise ValueError("-w -: expected a pipe or a file at standard output, it is closed")
    if path == "-" and sys.stdout.isatty():
        raise ValueError("-w -: expected a pipe or a file at standard output, this is a terminal; pcapng is no text")


def _outlet(path: str) -> "Outlet":
    from drivers.linux.outlet import LinuxOutlet

    if path != "-":
        return LinuxOutlet(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644))
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

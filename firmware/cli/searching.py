"""Frames of a store, by what they are: the work of `find`."""

import argparse
import os
import signal
import sys
from contextlib import closing

from drivers.linux.clock import LinuxClock
from drivers.linux.disk import LinuxDisk
from firmware.cli.commands import PROGRAM
from firmware.cli.given import Output, interval_of, settings_of, store_at
from firmware.core.ahead import Ahead
from firmware.core.errors import BadItem
from firmware.core.query import Query, terms_of
from firmware.core.sift import Sift
from firmware.retrieval.find import find

# Of fewer, threads and the memory that each works in cost as much as they save.
STRETCHES_MIN = 8


def search(a: argparse.Namespace) -> int:
    """The command; its exit status."""
    stopped: list[int] = []

    def stop(number: int, frame: object) -> None:
        stopped.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # A second Ctrl-C ends at once.

    a.role = "box"  # whose settings may be given
    if a.count and a.write:
        raise ValueError("--count: expected without -w, for it writes no frames; find says how many it has written anyway")
    if a.order and (a.count or a.write or a.newest_first):
        raise ValueError("--order: expected without --count, -w and --newest-first; it shows messages, and writes no frames")
    query, sift = _asked(a)
    if a.newest_first and a.kind:
        from firmware.core.kinds import remembers

        if remembers(a.kind):  # A stream over TCP read from its end on is to a decoder what was lost or sent again.
            raise ValueError("--newest-first: expected without --kind motion, temperature and stream, told in the order heard")
    if a.order:
        return _in_order(a, query, sift)
    hands = Ahead(len(os.sched_getaffinity(0)), items_min=STRETCHES_MIN)
    with closing(Output(None if a.count else a.write)) as out, hands as ahead:
        signal.signal(signal.SIGINT, stop)
        found = find(
            LinuxDisk(store_at(a.directory)),
            query,
            sift,
            clock=LinuxClock(),
            sink=out.write,
            progress=lambda line: print(line, file=sys.stderr, flush=True),
            newest_first=a.newest_first,
            is_stopped=lambda: bool(stopped),
            ahead=ahead,
        )
    # On standard output only what was asked for there.
    said = sys.stderr if a.write == "-" and not a.count else sys.stdout
    if a.count and not a.json:
        print(found.frame_count)
        print("\n".join(found.lines()[1:]), file=sys.stderr)
    else:
        print(_as_json(found.as_json()) if a.json else "\n".join(found.lines()), file=said)
    if stopped:
        return 130
    if found.damaged:
        return 2  # As grep: whatever was found, not everything could be looked at.
    return 0 if found.frame_count else 1


def _as_json(value: object, indent: int | None = None) -> str:
    import json

    return json.dumps(value, indent=indent)


def _in_order(a: argparse.Namespace, query: Query, sift: Sift) -> int:
    from firmware.intake.rules import rules_of
    from firmware.intake.settings import IntakeSettings
    from firmware.retrieval.chronology import order

    rules = rules_of(settings_of(a).of(IntakeSettings))
    found = order(LinuxDisk(store_at(a.directory)), query, sift, rules=rules, now=LinuxClock().now())
    print(_as_json(found.as_json(), indent=1) if a.json else "\n".join(found.lines()))
    return 2 if found.damaged else 0 if found.rows else 1


def _asked(a: argparse.Namespace) -> tuple[Query, Sift]:
    """What the options ask for: the index narrows, the sift decides."""
    for option, word in (("--message", a.message), ("--event", a.event), ("--contains", a.contains), ("--filter", a.filter)):
        if word == "":  # A variable that was not set, mostly; everything is not what was asked for.
            raise ValueError(f"{option}: expected something to look for, it is empty")
    words = (a.device, a.source, a.destination, a.kind, a.message, a.event, a.contains, a.filter, a.settings, a.set)
    if not any(words):
        return _query(a), Sift()  # Nobody has to be loaded who understands words: a third of the time until the first frame.
    from drivers.frame_filter import frame_filter
    from firmware.core.wording import Wording
    from firmware.intake.settings import IntakeSettings
    from firmware.retrieval.settings import RetrievalSettings
    from firmware.roles import interpreter

    if a.filter:
        frame_filter(a.filter)  # For the compiler's own words about it.
    settings = settings_of(a)
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


def _query(a: argparse.Namespace) -> Query:
    since, until = interval_of(a)
    each = (
        *(("--host", value, Query(hosts=(value,))) for value in a.host),
        *(("--port", value, Query(ports=(value,))) for value in a.port),
        *(("--mac", value, Query(macs=(value,))) for value in a.mac),
        *(("--proto", value, Query(protocols=(value,))) for value in a.proto),
        *(("--vlan", value, Query(vlans=(value,))) for value in a.vlan),
    )
    for option, value, query in each:
        try:
            terms_of(query)
        except BadItem as problem:  # Of several, which it is.
            raise ValueError(f"{option}: {problem}, got {value!r}") from None
    return Query(
        since_utc_ns=since,
        until_utc_ns=until,
        hosts=tuple(a.host),
        ports=tuple(a.port),
        macs=tuple(a.mac),
        protocols=tuple(a.proto),
        vlans=tuple(a.vlan),
    )


def _message_identity(digits: str) -> bytes:
    if len(digits) != 32 or not set(digits.lower()) <= set("0123456789abcdef"):
        raise ValueError(f"--message: expected an identity of 32 hexadecimal digits, as `{PROGRAM} fleet watch` prints it")
    return bytes.fromhex(digits)

"""The operator's side: a hub's boxes, their messages, frames from them."""

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import closing

from firmware.cli.commands import Commands, frames_arguments
from firmware.cli.given import Output, interval_of, text_of
from firmware.cli.rollout import register as register_rollout
from firmware.core.advice import ADVICE

AROUND_S = 30


def register(commands: Commands) -> None:
    """Put these commands on the command line."""
    fleet = commands.group("fleet", "the operator's side: boxes, messages, frames, sessions, service calls, advice, rules")

    _add(fleet, "list", _list, "the boxes of a hub and how they are")
    _add(fleet, "watch", _watch, "messages as they arrive")

    sub = _add(fleet, "sessions", _sessions, "procedures, exercises and test runs, and whether all of each is here")
    sub.add_argument("--box", help="of one box")

    sub = _add(fleet, "session", _session, "have a box begin a session now, or end the one that is open")
    sub.add_argument("do", choices=("start", "close"))
    sub.add_argument("kind", nargs="?", choices=("procedure", "exercise", "test"), help="with start")
    sub.add_argument("--box", required=True)

    sub = _add(fleet, "calls", _calls, "service calls that are not closed")
    sub.add_argument("--all", action="store_true", help="closed ones, too")

    sub = _add(fleet, "call", _call, "acknowledge or close a service call")
    sub.add_argument("number", type=int)
    sub.add_argument("to", choices=("acknowledge", "close"))
    sub.add_argument("--by", required=True, metavar="NAME")
    sub.add_argument("--note", default="", help="for whoever reads it later")

    sub = _add(
        fleet, "advise", _advise, "advise the people around a box; without --advice: what was advised, and whether it was shown"
    )
    sub.add_argument("--box")
    sub.add_argument("--advice", choices=tuple(ADVICE))
    sub.add_argument("--about", metavar="IDENTITY", help="the message it is about")
    sub.add_argument("--device", help="the device it is about")
    sub.add_argument("--reason", help="in your words; shown as such")
    sub.add_argument("--expires", type=int, default=300, metavar="SECONDS", help="not shown after this (default %(default)s)")

    sub = _add(fleet, "rules", _rules, "what the hub does by itself about messages; a file of other rules replaces them")
    sub.add_argument("file", nargs="?", metavar="FILE")

    sub = _add(fleet, "cancel", _cancel, "end a request for frames; what was found until then is complete")
    sub.add_argument("order", metavar="COMMAND", help="32 hexadecimal digits, as retrieve says them")

    register_rollout(fleet)

    sub = _add(fleet, "retrieve", _retrieve, "ask a box for frames, wait for them, write them")
    sub.add_argument("--box", required=True, help="whose frames")
    sub.add_argument("--about", metavar="IDENTITY", help="around this message")
    sub.add_argument("--around", type=int, metavar="SECONDS", help=f"before and after it (default {AROUND_S})")
    frames_arguments(sub)
    sub.add_argument("--only-message", action="store_true", help="with --about: only the frame that carried it")
    sub.add_argument("--priority", type=int, choices=(1, 2, 3, 4), help="how soon it should travel")
    sub.add_argument("--reduce", choices=("none", "filter", "sample", "change"), default="none", help="how much less will do")
    sub.add_argument("--rates", help='with sample: "motion=60,temperature=5,other=20" samples a second')
    sub.add_argument("--every", type=int, metavar="N", help="with sample, in place of --rates: every N-th sample of each stream")
    sub.add_argument("--error", help='with change: largest error, "1%%" of a value\'s range or "0.5" in its unit')
    sub.add_argument("-w", "--write", metavar="FILE", help="the frames, as pcapng")


def _add(fleet: Commands, name: str, work: Callable[[argparse.Namespace], int], meaning: str) -> argparse.ArgumentParser:
    sub = fleet.add(name, work, meaning)
    sub.add_argument("--hub", default="http://127.0.0.1:8470", help="the hub's page (default %(default)s)")
    sub.add_argument("--json", action="store_true")
    return sub


def _list(a: argparse.Namespace) -> int:
    from firmware.hub.fleet import Fleet, box_line, understood

    with understood(a.hub):
        boxes, trouble = Fleet(a.hub).boxes()
        print(json.dumps(boxes, indent=1) if a.json else "\n".join(map(box_line, boxes)) or "the hub has heard of no box")
    if trouble:
        print(f"the hub does not hear all boxes: {trouble}; this is how they were", file=sys.stderr)
    return 0


def _watch(a: argparse.Namespace) -> int:
    from firmware.hub.fleet import Fleet, message_line, understood

    with understood(a.hub):
        for message in Fleet(a.hub).watch():
            print(json.dumps(message) if a.json else message_line(message), flush=True)
    return 0


def _sessions(a: argparse.Namespace) -> int:
    from firmware.hub.fleet import Fleet, session_line, understood

    with understood(a.hub):
        rows = Fleet(a.hub).sessions(a.box)
        none = "the hub has heard of no session" + (f" of {a.box}" if a.box else "")
        print(json.dumps(rows, indent=1) if a.json else "\n".join(map(session_line, rows)) or none)
    return 0


def _session(a: argparse.Namespace) -> int:
    from firmware.hub.fleet import Fleet, understood

    if (a.do == "start") != (a.kind is not None):
        raise ValueError("expected start with procedure, exercise or test; or close and nothing more")
    with understood(a.hub):
        order = Fleet(a.hub).session(a.box, a.kind)
    print(json.dumps({"command": order}) if a.json else f"asked {a.box}; `fleet sessions` tells when it is so")
    return 0


def _calls(a: argparse.Namespace) -> int:
    from firmware.hub.fleet import Fleet, call_line, understood

    with understood(a.hub):
        rows = Fleet(a.hub).calls(everything=a.all)
        print(json.dumps(rows, indent=1) if a.json else "\n".join(map(call_line, rows)) or "no service call is open")
    return 0


def _call(a: argparse.Namespace) -> int:
    from firmware.hub.fleet import Fleet, call_line, understood

    with understood(a.hub):
        to = {"acknowledge": "acknowledged", "close": "closed"}[a.to]
        call = Fleet(a.hub).change_call(a.number, to=to, by=a.by, note=a.note)
        print(json.dumps(call) if a.json else call_line(call))
    return 0


def _advise(a: argparse.Namespace) -> int:
    from firmware.hub.fleet import Fleet, advice_line, understood

    if (a.box is None) != (a.advice is None):
        raise ValueError("expected --box and --advice together, or neither")
    if a.advice is None and (a.about, a.device, a.reason) != (None, None, None):
        raise ValueError("expected --box and --advice with --about, --device and --reason; without all of them the list is shown")
    with understood(a.hub):
        fleet = Fleet(a.hub)
        if a.advice is None:
            rows = fleet.feedback()
            print(json.dumps(rows, indent=1) if a.json else "\n".join(map(advice_line, rows)) or "nothing was advised")
            return 0
        wish = {
            "box": a.box,
            "advice": a.advice,
            "about": a.about,
            "device": a.device,
            "reason": a.reason,
            "expires_s": a.expires,
        }
        order = fleet.advise({name: value for name, value in wish.items() if value is not None})
    print(json.dumps({"command": order}) if a.json else f"asked {a.box} to show it; `fleet advise` tells when it was")
    return 0


def _rules(a: argparse.Namespace) -> int:
    from firmware.hub.fleet import Fleet, understood

    # Read before a hub is asked: what is wrong with the file is not what is wrong with the hub.
    text = text_of(a.file, "a file of rules (TOML)") if a.file is not None else None
    with understood(a.hub):
        found = Fleet(a.hub).rules(text)
        print(json.dumps(found, indent=1) if a.json else found["text"].rstrip())
    return 0 if found["trouble"] is None else 1


def _cancel(a: argparse.Namespace) -> int:
    from firmware.hub.fleet import Fleet, understood

    with understood(a.hub):
        order = Fleet(a.hub).cancel(a.order)
    print(
        json.dumps({"command": order})
        if a.json
        else f"asked for the end of {a.order}; what was found until then will be complete"
    )
    return 0


def _retrieve(a: argparse.Namespace) -> int:
    from firmware.hub.fleet import Fleet, Wish, request_line, understood

    if not a.about and not (a.since and a.until):
        raise ValueError("expected --about a message's identity, or --since and --until")
    if a.about and (a.since or a.until):
        raise ValueError("--about: expected without --since and --until; --around says how long before and after it")
    for option, is_given in (("--around", a.around is not None), ("--only-message", a.only_message)):
        if is_given and not a.about:
            raise ValueError(f"{option}: expected with --about, the message it is around")
    if a.filter:
        from drivers.frame_filter import frame_filter

        frame_filter(a.filter)  # The box compiles it, too, and its refusal travels with what has time.
    since, until = interval_of(a)
    wish = Wish(
        box=a.box,
        about=a.about,
        around_s=AROUND_S if a.around is None else a.around,
        since_utc_ns=since,
        until_utc_ns=until,
        hosts=a.host,
        ports=a.port,
        reduce=a.reduce,
        rates=a.rates,
        every=a.every,
        error=a.error,
        only_message=a.only_message,
        priority=a.priority,
        criteria={
            "macs": a.mac, "protocols": a.proto, "vlans": [str(vlan) for vlan in a.vlan], "devices": a.device, "senders": a.source, "receivers": a.destination,
            "kinds": a.kind, "event": [a.event] if a.event else [], "contains": [a.contains] if a.contains else [],
            "filter": [a.filter] if a.filter else [],
        },
    )  # fmt: skip
    with closing(Output(a.write)) as out, understood(a.hub):
        fleet = Fleet(a.hub)
        state = fleet.retrieve(wish, lambda now: print(request_line(now), file=sys.stderr))
        if state["complete"] and a.write:
            fleet.download(state["download"], out)
        said = f"{state['state']}: {state['frames']} frames, {state['bytes']} bytes" + (
            f"; {state['detail']}" if state["detail"] else ""
        )
        print(json.dumps(state) if a.json else said)
        return 0 if state["complete"] else 1

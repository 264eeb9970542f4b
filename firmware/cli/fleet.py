"""The operator's side: a hub's boxes, their messages, frames from them."""

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import closing

from firmware.cli.commands import Commands, frames_arguments
from firmware.cli.given import Output
from firmware.core.timestamp import parse_utc


def register(commands: Commands) -> None:
    """Put these commands on the command line."""
    fleet = commands.group("fleet", "the operator's side: list, watch, retrieve")

    _add(fleet, "list", _list, "the boxes of a hub and how they are")
    _add(fleet, "watch", _watch, "messages as they arrive")

    sub = _add(fleet, "cancel", _cancel, "end a request for frames; what was found until then is complete")
    sub.add_argument("order", metavar="COMMAND", help="32 hexadecimal digits, as retrieve says them")

    sub = _add(fleet, "retrieve", _retrieve, "ask a box for frames, wait for them, write them")
    sub.add_argument("--box", required=True, help="whose frames")
    sub.add_argument("--about", metavar="IDENTITY", help="around this message")
    sub.add_argument("--around", type=int, default=30, metavar="SECONDS", help="before and after it (default %(default)s)")
    frames_arguments(sub)
    sub.add_argument("--only-message", action="store_true", help="with --about: only the frame that carried it")
    sub.add_argument("--priority", type=int, choices=(1, 2, 3, 4), help="how soon it should travel")
    sub.add_argument("--reduce", choices=("none", "filter", "sample", "change"), default="none", help="how much less will do")
    sub.add_argument("--rates", help='with sample: "motion=60,temperature=5,other=20" samples a second')
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
        boxes = Fleet(a.hub).boxes()
        print(json.dumps(boxes, indent=1) if a.json else "\n".join(map(box_line, boxes)) or "the hub has heard of no box")
    return 0


def _watch(a: argparse.Namespace) -> int:
    from firmware.hub.fleet import Fleet, message_line, understood

    with understood(a.hub):
        for message in Fleet(a.hub).watch():
            print(json.dumps(message) if a.json else message_line(message), flush=True)
    return 0


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
            "macs": a.mac, "protocols": a.proto, "vlans": [str(vlan) for vlan in a.vlan], "devices": a.device, "senders": a.source, "receivers": a.destination,
            "kinds": a.kind, "event": [a.event] if a.event else [], "contains": [a.contains] if a.contains else [],
            "filter": [a.filter] if a.filter else [],
        },
    )  # fmt: skip
    with closing(Output(a.write)) as out, understood(a.hub):
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

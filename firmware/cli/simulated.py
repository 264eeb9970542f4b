"""Demo, replay, storms and benchmarks: what needs no box."""

import argparse
import os
import sys
from pathlib import Path

from firmware.cli.commands import Commands

BENCHMARKS = (
    "recorder",
    "parts",
    "habits",
    "alarm",
    "intake",
    "gate",
    "uplink",
    "memory",
    "density",
    "reduction",
    "time",
    "compression",
    "find",
    "stenoread",
    "update",
    "day",
)  # in the order in which they are run; each is a file of tests/bench/


def register(commands: Commands) -> None:
    """Put these commands on the command line."""
    sub = commands.add("demo", _demo, "a simulated room, a box, a broker and a hub on this machine; prints what happens")
    sub.add_argument("--into", default="build/demo", help="directory of the results (default %(default)s)")
    sub.add_argument("--keep", action="store_true", help="stay up, with the hub's page on localhost")
    sub.add_argument("--no-room", action="store_true", help="replay the shipped recording instead of making a room")

    sub = commands.add("replay", _replay, "the whole chain on a recording, or the recording onto an interface")
    sub.add_argument("file")
    sub.add_argument("--speed", default="1", help="times real time, or max (default %(default)s)")
    sub.add_argument("--into", default="build/replay", help="directory of the results (default %(default)s)")
    sub.add_argument("--to", metavar="IFACE", help="send the frames here instead")

    sub = commands.add("sim", _sim, "the simulator: a room in network namespaces, or storms of the whole box in virtual time")
    sub.add_argument("what", choices=("room", "storm"))
    sub.add_argument("--seed", type=int, default=1, help="storm: the first seed")
    sub.add_argument("--count", type=int, default=1, help="storm: how many seeds")
    sub.add_argument("--relay", action="store_true", help="storm: with a relay between box and hub")

    sub = commands.add("bench", _bench, "figures beside their peers, measured in the same run")
    sub.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(BENCHMARKS)}; without any, all of them")


def _say(line: str) -> None:
    print(line, flush=True)  # Whoever watches through a pipe sees it when it happens.


def _demo(a: argparse.Namespace) -> int:
    from simulator.demo import demo

    return demo(_results(a.into), keep=a.keep, room=not a.no_room, say=_say)


def _replay(a: argparse.Namespace) -> int:
    from simulator.replay import replay, send

    if a.to == "":  # A variable that was not set, mostly.
        raise ValueError("--to: expected an interface, it is empty")
    if a.to is not None:
        return send(Path(a.file), a.to, speed=a.speed, say=_say)
    return replay(Path(a.file), _results(a.into), speed=a.speed, say=_say)


def _results(into: str) -> Path:
    if not into:
        raise ValueError("--into: expected a directory for the results, it is empty")
    return Path(into)


def _sim(a: argparse.Namespace) -> int:
    if a.what == "room":
        from simulator.room import stay

        return stay(say=_say)
    from simulator.storm import table

    if a.count < 1 or a.seed < 0:
        raise ValueError(f"expected --seed from 0 and --count from 1, got {a.seed} and {a.count}")
    seeds = range(a.seed, a.seed + a.count)
    return table(seeds, say=_say, relayed=a.relay)


def _bench(a: argparse.Namespace) -> int:
    bench = Path(__file__).parents[2] / "tests" / "bench"
    if not bench.is_dir():
        raise ValueError(f"expected the benchmarks in {bench}; they come with the source, not with the installed program")
    os.execv(sys.executable, [sys.executable, str(bench / "run.py"), *a.names])  # replaces us: their exit is ours

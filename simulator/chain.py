"""The whole chain as real processes on this machine: broker, hub and box, as `scrubjay run` starts them, in one directory.

    <directory>/box/      the box's store      <directory>/hub/      the hub's
    <directory>/broker/   mosquitto's files    <directory>/logs/     what the roles said

What the demo and `scrubjay replay` share. Everything is ended by its process id when the `with` block is left.
"""

import http.client
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import IO

from drivers.errors import Trouble
from simulator.broker import RealBroker, free_port

LOOK_AGAIN_S = 0.02  # While waiting for a figure: short against every figure we measure, and 50 looks a second cost nothing.
START_S_MAX = 30.0
END_S_MAX = 20.0  # A box seals its segment and sends what it has; then it is killed, and the report says so.
# Seconds where a real box has minutes, so that groups of all priorities close within a demo.
SHORT_GROUPS = {
    "p1_interval_s": 1,
    "p2_interval_s": 1,
    "p3_interval_s": 2,
    "p4_interval_s": 2,
    "lateness_ms": 300,
    "count_max": 200,
}
BOX, HUB, SITE = "or3-box", "hub-lab", "lab"


class ChainFailed(Trouble):
    """A part of the chain did not come up, or ended. Its log, named in the message, says why."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One station's figures, as its process last reported them."""

    counts: Mapping[str, int]
    drops: Mapping[str, int]
    gauges: Mapping[str, int | float | str]


NOTHING = Figures({}, {}, {})


class Chain:
    """Broker, hub and box. box_settings: lines of TOML by section, beside those that connect the three.

    directory: empty or not there; results stay in it. elsewhere: processes of the box that run by a command of their own, such as
    in a namespace of the room, because that is where their interface is.
    """

    def __init__(
        self,
        directory: Path,
        *,
        box_settings: Mapping[str, Mapping[str, object]],
        elsewhere: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._elsewhere = dict(elsewhere or {})
        self.directory = directory.resolve()
        self.box_root = self.directory / "box"
        self.hub_root = self.directory / "hub"
        self.logs = self.directory / "logs"
        self.broker = RealBroker(self.directory / "broker")
        self.database = self.hub_root / "hub.sqlite"
        self.page = f"http://127.0.0.1:{free_port()}"
        self._box_settings = box_settings
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._files: list[IO[bytes]] = []

    def __enter__(self) -> "Chain":
        for place in (self.box_root, self.hub_root, self.logs):
            place.mkdir(parents=True, exist_ok=True)
        try:
            self.broker.start()
            self._start_hub()
            self._start_box()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def figures(self, station: str, *, root: Path | None = None) -> Figures:
        """What a station of the box (or of another root) last reported; NOTHING before it did."""
        for path in sorted(((root or self.box_root) / "state").glob("[!.]*.json")):
            try:
                stations = json.loads(path.read_text())["stations"]
            except (OSError, ValueError, KeyError, TypeError):
                continue  # not written yet, or not a report of stations
            if station in stations:
                row = stations[station]
                return Figures(row["counts"], row["drops"], row["gauges"])
        return NOTHING

    def wait(self, what: str, condition: Callable[[], bool], *, timeout_s: float) -> float:
        """Seconds until the condition held. Raises ChainFailed when it did not in time, or a role ended meanwhile."""
        start = monotonic()
        while not condition():
            if monotonic() - start > timeout_s:
                raise ChainFailed(f"expected {what} within {timeout_s:g} s; see {self.logs}")
            self._look_away()
        return monotonic() - start

    def wait_until_it_hears(self) -> None:
        """Until the recorder and the intake listen, the box is at the broker, and the hub's page answers."""

        def ready() -> bool:
            station = self.figures
            return (
                station("capture").gauges.get("interface") == "heard"
                and station("intake").gauges.get("tap") == "open"
                and station("uplink").gauges.get("broker", "none") != "none"
            )

        self.wait("the hub's page", self.answers, timeout_s=START_S_MAX)
        self.wait("the box to hear and to be at its broker", ready, timeout_s=START_S_MAX)

    def call(self, *arguments: str, timeout_s: float = 60) -> "subprocess.CompletedProcess[str]":
        """`scrubjay …`, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "firmware.cli", *arguments], capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def get(self, path: str) -> bytes:
        """What the hub's page answers to GET. Raises ChainFailed for anything but 200."""
        connection = http.client.HTTPConnection(self.page.removeprefix("http://"), timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            if answer.status != 200:
                raise ChainFailed(f"expected 200 from the hub for {path}, got {answer.status}")
            return answer.read()
        except OSError as problem:
            raise ChainFailed(f"expected the hub's page at {self.page}, got {type(problem).__name__}") from problem
        finally:
            connection.close()

    def drained(self) -> bool:
        """Whether the intake has written all it heard, every spool between it and the hub is empty, and no group is open.

        Of the intake it is as true as its last report is new, two seconds at most.
        """
        spools = [self.box_root / name for name in ("inbox", "release", "outbox")]
        waiting = any(entry for spool in spools if spool.is_dir() for entry in spool.iterdir() if entry.is_file())
        unwritten = self.figures("intake").gauges.get("backlog_messages", 0)
        return not waiting and unwritten == 0 and self.figures("group").gauges.get("open_groups", 0) == 0

    def answers(self) -> bool:
        """Whether the hub's page is up."""
        try:
            self.get("/")
        except ChainFailed:
            return False
        return True

    def pid(self, role: str) -> int:
        """Process id of a role's keeper."""
        return self._processes[role].pid

    def stop_box(self) -> int:
        """Ask the box to end, so that its last segment is sealed; returns its exit status, the first that is not 0."""
        ended = [self._end(name) for name in ("box", *self._elsewhere)]
        return next((status for status in ended if status), 0)

    def close(self) -> None:
        """End box, hub and broker, in that order. Twice is as good as once."""
        for name in ("box", *self._elsewhere, "hub"):
            self._end(name)
        self.broker.stop()
        for file in self._files:
            file.close()
        self._files.clear()

    def _start_hub(self) -> None:
        port = self.page.rpartition(":")[2]
        settings: dict[str, dict[str, object]] = {
            "board": {"name": HUB, "site": SITE},
            "hub": {
                "brokers": [self.broker.address],
                "page_port": int(port),
                "database": str(self.database),
            },
        }
        self._start("hub", self.hub_root, settings)
        key = self.hub_root / "identity" / "key.pub"
        self.wait("the hub's key", key.exists, timeout_s=START_S_MAX)
        # The box takes commands of this hub and of nobody else; on a real box a person puts the file there.
        trusted = self.box_root / "identity" / "trusted"
        trusted.mkdir(parents=True, exist_ok=True)
        (trusted / f"{HUB}.pub").write_text(key.read_text())

    def _start_box(self) -> None:
        settings: dict[str, dict[str, object]] = {
            "board": {"name": BOX, "site": SITE},
            "uplink": {"brokers": [self.broker.address]},
        }
        for section, values in self._box_settings.items():
            settings.setdefault(section, {}).update(values)
        # No serial line here; everything else runs as on the box.
        absent = [word for name in ("console", *self._elsewhere) for word in ("--without", name)]
        self._start("box", self.box_root, settings, *absent)
        for name, command in self._elsewhere.items():
            self._start("box", self.box_root, settings, "--process", name, name=name, command=command)

    def _start(
        self,
        role: str,
        root: Path,
        settings: Mapping[str, Mapping[str, object]],
        *more: str,
        name: str | None = None,
        command: Sequence[str] = (),
    ) -> None:
        """name: what it is called here, where that is not its role. command: what runs it."""
        name = name or role
        path = self.directory / f"{role}.toml"
        path.write_text(toml(settings))
        log = (self.logs / f"{name}.log").open("ab")
        self._files.append(log)
        # Its own session: Ctrl-C goes to whoever drives the chain, who ends the roles in order.
        self._processes[name] = subprocess.Popen(
            [*command, sys.executable, "-m", "firmware.cli", "run", role, f"--root={root}", f"--settings={path}", *more],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Tells a role whom it belongs to (drivers/linux/supervisor.py): it ends when we are killed, too.
            env={**os.environ, "SCRUBJAY_KEEPER": str(os.getpid())},
        )

    def _end(self, role: str) -> int:
        process = self._processes.get(role)
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(END_S_MAX)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return process.returncode

    def _look_away(self) -> None:
        """Until a role ends, at most LOOK_AGAIN_S; raises ChainFailed when one has."""
        watched = [os.pidfd_open(process.pid) for process in self._processes.values() if process.returncode is None]
        try:
            select.select(watched, [], [], LOOK_AGAIN_S)
        finally:
            for descriptor in watched:
                os.close(descriptor)
        for role, process in self._processes.items():
            if process.returncode is None and process.poll() is not None:
                raise ChainFailed(f"the {role} ended with {process.returncode}; see {self.logs / role}.log")


def toml(sections: Mapping[str, Mapping[str, object]]) -> str:
    """Settings as a file. A JSON string, number, boolean or list of them is TOML too."""
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
        for name, values in sections.items()
    )

"""The trial of a version in its shadow store, and what it has to show: same frames, sound seals, an alarm through its gate, in budget."""

from collections.abc import Mapping, Sequence
from enum import Enum

from drivers.board import Board
from drivers.clock import Monotonic, Now
from drivers.slots import Slots, Usage
from drivers.slots import Trial as Running
from firmware.core.durable import make_directory
from firmware.core.errors import DiskFailed, Missing
from firmware.core.message import Message, Priority, Severity, packed
from firmware.core.spool import Spool
from firmware.core.timestamp import MS, SECOND
from firmware.core.verify import verify
from firmware.update.comparison import Recording
from firmware.update.settings import UpdateSettings

SHADOW = "shadow"
PROCESSES = (
    "capture",
    "gate",
)  # What hears, and what an alarm goes through; the others have one consumer for what they would take.
EDGE_NS = 2 * SECOND  # At both ends: one ring begins before the other, and a stretch reaches the disk a second later.
CLOCK_STEP_NS = SECOND  # between two looks; who merely steers a clock moves it by less in hours
START_NS_MAX = 90 * SECOND
STOP_NS_MAX = 60 * SECOND
LOOK_NS = 250 * MS
LAST_WORD_BYTES = 300
STEPS_A_LOOK = 16  # stretches compared before others have their turn


class _Stage(Enum):
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    COMPARING = "comparing"


class Trial:
    """One trial. `look` until it has a verdict."""

    def __init__(self, board: Board, slots: Slots, settings: UpdateSettings, version: str, now: Now) -> None:
        """Raises DiskFull, DiskFailed."""
        self._board = board
        self._settings = settings
        self._stage = _Stage.STARTING
        self._since = self._looked = now
        self._until = now
        self._deadline = now.monotonic.after(START_NS_MAX)
        self._recordings: tuple[Recording, Recording] | None = None
        self.faults: list[str] = []
        self.is_void = False  # The clock was set meanwhile, and frames are compared by their time: it shows nothing.
        clear(board)
        make_directory(board.disk, f"{SHADOW}/segments")
        self._running: Running = slots.begin_trial(version, PROCESSES)

    def look(self, now: Now) -> Sequence[str] | None:
        """What it did not show, in words; nothing: it holds up. None: not over yet."""
        rows = self._running.look()
        if self._was_clock_set(now) and self._stage in (_Stage.RUNNING, _Stage.STOPPING):
            self.is_void = True
            self.close()
            return self.faults
        if self._stage is _Stage.STARTING:
            self._await_start(rows, now)
        elif self._stage is _Stage.RUNNING:
            self._await_end(rows, now)
        elif self._stage is _Stage.STOPPING:
            self._await_stop(rows, now)
        elif self._compared():
            self.close()
            return self.faults
        if self.faults and self._stage in (_Stage.STARTING, _Stage.RUNNING):
            self.close()
            return self.faults
        return None

    def wake(self, now: Now) -> Monotonic:
        """When to look again."""
        return now.monotonic if self._stage is _Stage.COMPARING else now.monotonic.after(LOOK_NS)

    def close(self) -> None:
        """End it, whatever it is at."""
        self._running.close()

    def _was_clock_set(self, now: Now) -> bool:
        before, self._looked = self._looked, now
        return abs(now.utc_ns - before.utc_ns - now.monotonic.since(before.monotonic)) > CLOCK_STEP_NS

    def _await_start(self, rows: Mapping[str, Usage], now: Now) -> None:
        self._note_ends(rows)
        if all(row.is_ready for row in rows.values()):
            self._stage, self._since = _Stage.RUNNING, now
            self._deadline = now.monotonic.after(self._settings.trial_s * SECOND + 2 * EDGE_NS)
            self._raise_alarm(now)
        elif now.monotonic >= self._deadline:
            self.faults.append(f"its processes were not ready within {START_NS_MAX // SECOND} s")

    def _await_end(self, rows: Mapping[str, Usage], now: Now) -> None:
        self._note_ends(rows)
        if not self.faults and now.monotonic >= self._deadline:
            self._until = now
            self._judge_usage(rows, now)
            self._running.stop()
            self._stage = _Stage.STOPPING
            self._deadline = now.monotonic.after(STOP_NS_MAX)

    def _await_stop(self, rows: Mapping[str, Usage], now: Now) -> None:
        late = now.monotonic >= self._deadline
        if not all(row.code is not None for row in rows.values()) and not late:
            return
        self.faults += [f"{name} ended with {row.code} when asked to" for name, row in rows.items() if row.code not in (0, None)]
        if late:
            self.faults.append(f"it did not end within {STOP_NS_MAX // SECOND} s of being asked to")
        self._judge_alarm()
        self._judge_seals()
        since, until = self._since.utc_ns + EDGE_NS, self._until.utc_ns - EDGE_NS
        self._recordings = (
            Recording(self._board.disk, "segments", since_ns=since, until_ns=until),
            Recording(self._board.disk, f"{SHADOW}/segments", since_ns=since, until_ns=until),
        )
        self._stage = _Stage.COMPARING

    def _compared(self) -> bool:
        assert self._recordings is not None
        official, tried = self._recordings
        for _ in range(STEPS_A_LOOK):
            if not any([official.step(), tried.step()]):
                self.faults += official.differences(tried)
                if official.frames < self._settings.trial_frames_min:
                    self.faults.append(
                        f"only {official.frames} frames passed, at least {self._settings.trial_frames_min} have to be compared"
                    )
                return True
        return False

    def _note_ends(self, rows: Mapping[str, Usage]) -> None:
        for name, row in rows.items():
            if row.code is not None:
                self.faults.append(f"{name} ended with {row.code} in its trial{self._last_word(name)}")

    def _last_word(self, process: str) -> str:
        """The last line of its log: why it ended, most likely."""
        path = f"{SHADOW}/logs/{process}.log"
        try:
            size = self._board.disk.size(path)
            tail = self._board.disk.read(path, offset=max(0, size - LAST_WORD_BYTES))
        except (Missing, DiskFailed):
            return ""
        lines = tail.decode("utf-8", "replace").split("\n")
        words = [line for line in lines if line.strip()][-1:]
        return "".join(f" ({''.join(c if c.isprintable() else '?' for c in word)})" for word in words)

    def _judge_usage(self, rows: Mapping[str, Usage], now: Now) -> None:
        took_ns = max(1, now.monotonic.since(self._since.monotonic))
        for name, row in rows.items():
            held_mb, percent = row.memory_bytes >> 20, row.cpu_ns * 100 // took_ns
            if held_mb > self._settings.memory_mb_max:
                self.faults.append(f"{name} held {held_mb} MiB, at most {self._settings.memory_mb_max} are allowed")
            if percent > self._settings.cpu_percent_max:
                self.faults.append(f"{name} used {percent} % of a core, at most {self._settings.cpu_percent_max} are allowed")

    def _judge_seals(self) -> None:
        disk = self._board.disk
        try:
            key = bytes.fromhex(disk.read(f"{SHADOW}/identity/key.pub", size=256).decode("ascii", "replace").strip())
        except (Missing, ValueError):
            key = None
        verdict = verify(disk, f"{SHADOW}/segments", key)
        if not verdict.segments:
            self.faults.append("it sealed no segment")
        self.faults += [f"its own seals do not verify: {finding.what} {finding.text}" for finding in verdict.findings[:3]]

    def _raise_alarm(self, now: Now) -> None:
        """An alarm as intake would leave it; nobody outside the shadow hears of it, for there is no uplink in it."""
        spool = Spool(self._board.disk, f"{SHADOW}/inbox")
        make_directory(self._board.disk, f"{SHADOW}/inbox")
        alarm = Message(
            device=self._board.identity.name, process="update", kind="published", priority=Priority.P1, severity=Severity.ALERT,
            origin_time=now.timestamp, received_time=now.timestamp, event="trial", text="an alarm, to see whether it is delivered",
        )  # fmt: skip
        spool.publish(f"update-{max(0, now.timestamp.tai_ns):020d}-000000", packed([alarm]))

    def _judge_alarm(self) -> None:
        if not any(name.startswith("p1-") for name in self._board.disk.list(f"{SHADOW}/outbox")):
            self.faults.append("an alarm was not delivered through its gate")


def clear(board: Board) -> None:
    """Remove what a former trial left; the directory itself is the image's on the box."""
    for name in board.disk.list(SHADOW):
        board.disk.remove(f"{SHADOW}/{name}")

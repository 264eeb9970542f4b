"""An update station on a simulated board: bundles to give it, processes it sees, trials that go as the test wants."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from drivers.tap import HeardFrame, pack_block
from firmware.core import message
from firmware.core._kernel import Stretch
from firmware.core.segment_writer import Losses, SegmentWriter, Source
from firmware.core.spool import Spool
from firmware.core.timestamp import iso
from firmware.core.versions import IMAGE, official
from firmware.update.bundle import made
from firmware.update.record import Switch, rows_of
from firmware.update.settings import UpdateSettings
from firmware.update.station import UpdateStation
from simulator.board import SimulatedBoard
from simulator.identity import SimulatedIdentity
from simulator.slots import BOARD

MS, SECOND = 1_000_000, 1_000_000_000
PROCESSES = ("console", "gate", "capture", "update")
SIGNER = "vendor"
IMAGE_FILES = {
    "firmware/__init__.py": b'"""The program."""\n',
    "firmware/capture/station.py": b"# the recorder\n" * 400,
    "drivers/__init__.py": b'"""The world."""\n',
    "simulator/__init__.py": b"",
}


def files(mark: str, **more: bytes) -> dict[str, bytes]:
    """A version that differs from the image in one line."""
    return {**IMAGE_FILES, "firmware/capture/station.py": IMAGE_FILES["firmware/capture/station.py"] + mark.encode(), **more}


@dataclass
class Box:
    """The station and its world. holds_up: whether processes of a version come up; same: whether a trial records the same frames."""

    settings: UpdateSettings = field(default_factory=lambda: UpdateSettings(trial_s=5, guard_s=600))

    def __post_init__(self) -> None:
        self.board = SimulatedBoard()
        self.disk, self.clock, self.slots = self.board.disk, self.board.clock, self.board.the_slots
        self.slots.image = dict(IMAGE_FILES)
        self.signer = SimulatedIdentity(name=SIGNER)
        self.board.identity.trust(SIGNER, self.signer.public_key())
        self.shadow_identity = SimulatedIdentity(name="shadow")
        self.slots.when_begun, self.slots.when_ended = self._trial_begins, self._trial_ends
        self.comes_up: Callable[[str, str], bool] = lambda process, version: True
        self.trial_frames: Callable[[Sequence[HeardFrame]], Sequence[HeardFrame]] = lambda frames: frames
        self.trial_alarm = True
        self.running = dict.fromkeys(PROCESSES, IMAGE)
        self.since = dict.fromkeys(PROCESSES, iso(self.clock.now().utc_ns))
        self.down: set[str] = set()
        self.numbers = itertools.count(1)
        self._trial_ns = 0
        self.frame_count = 40
        self.disk.mkdir("state")
        self.disk.mkdir("segments")
        self.report()
        self.start()

    def start(self) -> None:
        """A new process of the station."""
        self.station = UpdateStation(self.board, self.settings, slots=self.slots, processes=PROCESSES)
        self.station.start(self.clock.now())

    # What arrives.

    def bundle(
        self, version: str, contents: Mapping[str, bytes] | None = None, *, counter: int = 0, base: str | None = IMAGE,
        base_files: Mapping[str, bytes] | None = None, board: str = BOARD, expires_s: int = 3600, signer: SimulatedIdentity | None = None,
        signed_as: str = SIGNER,
    ) -> bytes:  # fmt: skip
        now_ns = self.clock.now().timestamp.tai_ns
        return made(
            files(version) if contents is None else contents, (IMAGE_FILES if base_files is None else base_files) if base else {},
            version=version, counter=counter or next(self.numbers), board=board, made_tai_ns=now_ns,
            expires_tai_ns=now_ns + expires_s * SECOND, base=base, signer=signed_as, sign=(signer or self.signer).sign,
        )  # fmt: skip

    def give(self, data: bytes) -> None:
        Spool(self.disk, "updates/received").publish(f"bundle-{next(self.numbers):06d}", data)

    # What the world does.

    def report(self) -> None:
        """Every process says how it is; one whose mark has changed becomes that, if it comes up."""
        now = self.clock.now()
        for process in PROCESSES:
            wanted = official(self.disk, process, ground=self.slots.ground)
            heir = "none"
            if wanted != self.running[process] and process not in self.down:
                if self.comes_up(process, wanted):
                    self.running[process], self.since[process] = wanted, iso(now.utc_ns)
                else:
                    heir = f"{wanted} failed"
            if process in self.down:
                continue
            state = {
                "process": process, "at_tai_ns": now.timestamp.tai_ns,
                "stations": {"succession": {"gauges": {"version": self.running[process], "since": self.since[process], "heir": heir}}},
            }  # fmt: skip
            self.disk.write(f"state/{process}.json", json.dumps(state).encode())

    def crash(self, process: str) -> None:
        """It ended and is there again."""
        self.since[process] = f"{iso(self.clock.now().utc_ns)}#{next(self.numbers)}"

    def run(self, seconds: float = 60, *, every_ms: int = 500) -> None:
        for _ in range(int(seconds * 1000 / every_ms)):
            self.report()
            for _ in range(10_000):
                now = self.clock.now()
                wish = self.station.step(now)
                if wish is None or wish > now.monotonic:
                    break
            else:
                raise AssertionError("expected the station to come to rest")
            self.clock.advance(every_ms * MS)

    def order(self, **parameters: str) -> None:
        """An order as the command station hands it on."""
        from firmware.core.envelope import Order, order_packed

        now_ns = self.clock.now().timestamp.tai_ns
        number = next(self.numbers)
        order = Order(number.to_bytes(16, "big"), "hub-1", "box-1", "update", number, now_ns, now_ns + SECOND, parameters)
        self.disk.mkdir("commands/verified/update")
        Spool(self.disk, "commands/verified/update").publish(f"cmd-{number:032x}", order_packed(order))

    # What can be seen.

    def marks(self) -> dict[str, str]:
        return {process: official(self.disk, process) for process in PROCESSES}

    def history(self) -> Sequence[Switch]:
        return rows_of(self.disk.read("updates/history")) if self.disk.exists("updates/history") else []

    def said(self) -> list[str]:
        names = [name for name in self.disk.list("inbox") if not name.startswith(".")]
        return [row.text or "" for name in names for row in message.unpacked(self.disk.read(f"inbox/{name}"))]

    def versions(self) -> list[str]:
        return [name for name in self.disk.list("versions") if name != "official"]

    def contents(self, version: str) -> dict[str, bytes]:
        found: dict[str, bytes] = {}

        def walk(path: str) -> None:
            for name in self.disk.list(path):
                if self.disk.list(f"{path}/{name}"):
                    walk(f"{path}/{name}")
                else:
                    found[f"{path}/{name}".removeprefix(f"versions/{version}/")] = self.disk.read(f"{path}/{name}")

        walk(f"versions/{version}")
        assert self.slots.ground.encode() == found.pop("ground")
        return found

    # A trial: the same frames into the official store and the shadow's.

    def _trial_begins(self, version: str) -> None:
        self._trial_ns = self.clock.now().utc_ns

    def _trial_ends(self, version: str) -> None:
        span_ns = self.clock.now().utc_ns - self._trial_ns
        frames = [
            HeardFrame(self._trial_ns + n * span_ns // max(1, self.frame_count), bytes([n % 251]) * 80, 80)
            for n in range(self.frame_count)
        ]
        number = len(self.disk.list("segments")) + 1
        self._record("segments", frames, self.board.identity, number)
        self.disk.mkdir("shadow/identity")
        self.disk.write("shadow/identity/key.pub", self.shadow_identity.public_key().hex().encode())
        self._record("shadow/segments", self.trial_frames(frames), self.shadow_identity, 1)
        if self.trial_alarm and self.disk.list("shadow/inbox"):
            self.disk.mkdir("shadow/outbox")
            self.disk.write("shadow/outbox/p1-alarm", b"x")

    def _record(self, path: str, frames: Sequence[HeardFrame], identity: SimulatedIdentity, number: int) -> None:
        now = self.clock.now()
        writer = SegmentWriter(self.disk, path, sequence=number, first_utc_ns=now.utc_ns, source=Source("eth1"), now=now)
        stretch = Stretch(1 << 20)
        if frames:
            stretch.add(pack_block(frames, sequence=1), 0, 0, 0, 0)
            writer.write(stretch)
        previous = None
        if number > 1:
            from firmware.core import seal
            from firmware.core.store import Store

            last = Store(self.disk, path).names()[-1]
            previous = seal.digest(self.disk.read(f"{path}/{last}/seal"))
        writer.seal(identity, previous=previous, losses=Losses({}), cause="stop", now=now)


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture
def make_box() -> Callable[..., Box]:
    return Box

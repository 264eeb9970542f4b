"""The storm: one seed, one box and a hub, everything that can go wrong at once, then quiet; and in the end nothing may be missing.

box or hub                   network                       people
power cut at any operation   broker dies, refuses, lies    the hub asks for evidence
kill -9 of any process       links flap, answers double    somebody forges, somebody replays
disk full, failing, gone     interface pulled              clocks are set, the box's and the devices'
bad places on the disk       (every third seed; the disk gives them back in the end, as when a cable was loose)
poison in a spool            frames of any bytes           patients' names everywhere
ptp4l ends                   cables slow one way, cut      crystals get warm, a better clock lies
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import perf_counter

from drivers.clock import ClockState
from drivers.link import LinkRequest
from firmware.core.advice import ADVICE
from firmware.core.durable import make_directory, replace
from firmware.core.envelope import Command, Order, command_packed, order_packed
from firmware.core.layout import COLD, sequence_of
from firmware.core.message import Priority
from firmware.core.query import Query
from firmware.core.request import Request, as_parameters
from firmware.core.settings import Settings
from firmware.core.spool import Spool
from firmware.core.store import Store
from firmware.core.timestamp import MS, SECOND
from firmware.core.topics import Topic
from firmware.hub.affairs import POLICY, give_advice, order_session
from firmware.hub.affairs import RULES as RULES_FILE
from firmware.hub.order import request_evidence
from firmware.hub.repository import Repository
from firmware.retention.pins import pin
from firmware.roles import BOX, HUB, RELAY, SECTIONS, Process
from simulator.checkers import SPOOLS, Asked, Witness, counted, findings
from simulator.clock import TAI_OFFSET_S
from simulator.daemon import SimulatedDaemon
from simulator.disk import Failing
from simulator.identity import SimulatedIdentity
from simulator.link import LinkFaults, SimulatedLink
from simulator.parrots import Parrots
from simulator.ptp.virtual_room import VirtualRoom
from simulator.ptp.weather import END_OF_32_BITS_NS, ClockWeather
from simulator.world import BROKER, Machine, Wire, World, WorldBoard

CAPACITY_BYTES = 96 << 20
PTP4L = "ptp4l"
# Some storms are in the night in which 32 bits of seconds end, 2038-01-19T03:14:07Z; they begin a minute before.
SHARE_2038 = 0.15
SITE, BOX_NAME, RELAY_NAME, HUB_NAME = "site-1", "or3-box", "or3-relay", "hub-1"
WEATHER_NS = (100 * SECOND, 160 * SECOND)  # how long things go wrong
DRAIN_NS_MAX = 600 * SECOND  # the longest back-off (20 s here) many times over
# Short, so that minutes hold what otherwise takes days; every one of them is an ordinary value of its setting.
BOX_SETTINGS = """
[clock]
interface = "room"
ptp4l = "ptp4l"
chronyd = ""
probe_ms = 2000
probe_burst = 2
[capture]
segment_s = 30
reserve_mb = 1
[group]
p1_interval_s = 10
p2_interval_s = 15
p3_interval_s = 20
p4_interval_s = 20
[session]
opens = ["test: event=event-*[05]", "exercise: event=event-*[8]"]
closes = ["any: event=event-*[27]"]
restart_min = 1
settle_ms = 500
[slice]
rules = ["storm: event=event-*[469] -> around=3 send=3"]
[cold]
cold_after_h = 0
[health]
health_s = 3600
[retention]
budget_bytes = 200_000
[uplink]
brokers = ["broker:1883"]
backoff_s_max = 10
acknowledge_s_max = 10
chunk_bytes = 8192
"""
BAD_PLACES_EVERY, BAD_PLACE_NS = 3, 20 * SECOND
TAPS_EVERY = 3  # The box of every third seed, 2, 5, 8 …, listens to the two ports of a passive tap.
TAP_SETTINGS = "".join(f'[{section}]\ninterface = "eth1,eth2"\n' for section in ("capture", "intake", "live"))
HUB_SETTINGS = """
[hub]
brokers = ["broker:1883"]
relays = ["site-1/or3-relay"]
backoff_s_max = 5
resend_s = 15
command_expires_s = 3600
"""
RULES = """
[[rule]]
name = "storm"
when = "event=event-*[13]"
count = 2
within_s = 60
per = "fleet"
quiet_s = 5
per_hour_max = 12
around_s = 2
then = ["call", "retrieve", "advise"]
advice = "check-arm"
text = "Twice in a minute."
"""
RELAY_SETTINGS = """
[relay]
brokers = ["broker:1883"]
backoff_s_max = 5
[uplink]
brokers = ["outside:1883"]
backoff_s_max = 10
acknowledge_s_max = 10
chunk_bytes = 4096
"""
RELAYED_BOX_SETTINGS = """
[uplink]
route = "relay"
relays = ["broker:1883"]
brokers = ["nowhere:1883"]
"""


@dataclass(frozen=True, slots=True)
class StormResult:
    """One storm. findings: what should not be; empty is good. figures: how much happened, for the table."""

    seed: int
    findings: tuple[str, ...]
    figures: dict[str, int]
    virtual_s: float
    real_s: float
    relayed: bool = False

    @property
    def replay(self) -> str:
        """The one command that does it again."""
        return f"scrubjay sim storm --seed {self.seed}{' --relay' if self.relayed else ''}"

    def row(self) -> str:
        """For the table."""
        figures = "  ".join(f"{self.figures.get(name, 0):6d}" for name in COLUMNS)
        return f"{self.seed:6d}  {figures}  {self.virtual_s:7.0f}  {self.real_s:6.1f}  {'ok' if not self.findings else 'FAILED'}"


COLUMNS = (
    "frames", "messages", "orders", "forged", "cuts", "kills", "disk", "link", "clock", "cold", "deleted", "sessions", "slices", "fired",
)  # fmt: skip
HEADER = "  seed  " + "  ".join(f"{name:>6}" for name in COLUMNS) + "  virtual    real"


def run(seed: int, *, box: Sequence[Process] = BOX, hub: Sequence[Process] = HUB, relayed: bool = False) -> StormResult:
    """One storm from one seed. box, hub: other tables of processes, to see whether the checkers bite. relayed: a relay in between."""
    began = perf_counter()
    # In memory where there is such a place: the hub's database syncs, and it is not the disk of this machine that is tested.
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="scrubjay-storm-", dir=place) as directory:
        storm = _Storm(seed, f"{directory}/hub.sqlite", box, hub, relayed)
        found = storm.blow()
        return StormResult(
            seed,
            tuple(found),
            dict(storm.figures),
            storm.world.now_ns / 1e9 - storm.began_ns / 1e9,
            perf_counter() - began,
            relayed,
        )


def table(seeds: Iterable[int], *, say: Callable[[str], None], relayed: bool = False) -> int:
    """`scrubjay sim storm`: a row for each seed, findings and the command that replays them below. Returns an exit status."""
    say(HEADER)
    failed = 0
    for seed in seeds:
        result = run(seed, relayed=relayed)
        say(result.row())
        for finding in result.findings:
            say(f"        {finding}")
        if result.findings:
            failed += 1
            say(f"        again: {result.replay}")
    return 1 if failed else 0


@dataclass(slots=True)
class _Storm:
    seed: int
    database: str
    box_table: Sequence[Process]
    hub_table: Sequence[Process]
    relayed: bool = False
    figures: Counter[str] = field(default_factory=Counter)
    world: World = field(init=False)
    box: Machine = field(init=False)
    hub: Machine = field(init=False)
    relay: Machine | None = field(init=False, default=None)
    witness: Witness = field(init=False)
    parrots: Parrots = field(init=False)
    room: VirtualRoom = field(init=False)
    random: Random = field(init=False)
    began_ns: int = 0
    over: bool = False
    ended: bool = False
    _published_commands: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.world = World(self.seed)
        self.random = Random(self.seed ^ 0x5C2B)
        self.parrots = Parrots(Random(self.seed ^ 0xBEA2))
        if Random(self.seed ^ 0x2038).random() < SHARE_2038:
            self.world.timeline.tai_ns = END_OF_32_BITS_NS + (TAI_OFFSET_S - 60) * SECOND
        self.began_ns = self.world.now_ns
        layers = [("storm", BOX_SETTINGS)]
        if self.seed % TAPS_EVERY == TAPS_EVERY - 1:
            self.world.wire = Wire(("eth1", "eth2"), self.world)
            layers.append(("storm", TAP_SETTINGS))
        if self.relayed:
            self.world.begin_house(self.seed ^ 0x5EED)
            layers.append(("storm", RELAYED_BOX_SETTINGS))
        self.box = self.world.add(
            BOX_NAME, [process for process in self.box_table if process.build is not None and process.name != "console"],
            Settings(SECTIONS["box"], layers), site=SITE, capacity_bytes=CAPACITY_BYTES,
        )  # fmt: skip
        self.hub = self.world.add(
            HUB_NAME, [process for process in self.hub_table if process.build is not None],
            Settings(SECTIONS["hub"], [("storm", HUB_SETTINGS), ("storm", f"[hub]\ndatabase = {self.database!r}")]),
            site=SITE, capacity_bytes=CAPACITY_BYTES,
        )  # fmt: skip
        make_directory(self.hub.disk, POLICY)
        replace(self.hub.disk, POLICY, RULES_FILE, RULES.encode())
        if self.relayed:
            self.relay = self.world.add(
                RELAY_NAME, RELAY, Settings(SECTIONS["relay"], [("storm", RELAY_SETTINGS)]), site=SITE, capacity_bytes=CAPACITY_BYTES,
            )  # fmt: skip
        self.box.identity.trust(HUB_NAME, self.hub.identity.public_key())
        self.witness = Witness(self.box, self.hub)
        self.witness.watch()
        self.box.when_cut = self.witness.power_was_cut
        self.room = VirtualRoom(
            self.world, self.box.clock, random=Random(self.seed ^ 0xC10C), wire=self._passes,
            is_on=lambda: not self.box.is_off,
        )  # fmt: skip
        self.box.make_asker = self.room.asker
        self.box.daemons = {PTP4L: SimulatedDaemon(self.room.ptp4l)}
        self.witness.true_offsets = self.room.true_offsets

    def blow(self) -> list[str]:
        """Weather, then quiet, then the checkers."""
        for machine in self.machines:
            machine.start_all()
        self.world.run(2 * SECOND)
        weather_ns = self.random.randrange(*WEATHER_NS)
        self._voices()
        for deed, chance_s in (
            (self._cut_box_power, 40), (self._kill_box_process, 8), (self._kill_hub, 20), (self._fill_disk, 50), (self._sick_disk, 60),
            (self._bad_network, 25), (self._broker_dies, 50), (self._pull_interface, 80), (self._set_clock, 60), (self._lose_clock, 90), (self._leap, 200),
            (self._ask, 20), (self._advise, 25), (self._order_session, 40), (self._forge, 40), (self._replay, 40), (self._poison, 120), (self._cut_hub_power, 90),
            (self._strike_in_rewriting, 25), (self._pin, 30),
        ):  # fmt: skip
            self._now_and_then(deed, chance_s * SECOND)
        weather = ClockWeather(
            self.room, self.random, lambda begin, end, longest_s: self._for_a_while(begin, end, longest_s=longest_s)
        )
        for deed, chance_s in weather.deeds():
            self._now_and_then(self._counted(deed), chance_s * SECOND)
        if self.relay is not None:
            self._now_and_then(self._kill_relay, 15 * SECOND)
            self._now_and_then(self._cut_relay_power, 50 * SECOND)
        if self.seed % BAD_PLACES_EVERY == 0:
            self._bad_places(Random(self.seed ^ 0xBAD))
        self.world.run(weather_ns)
        self._calm()
        if not self._drain():
            self.figures["undrained"] += 1
        self._stop_box()
        self.world.run(5 * SECOND)
        self.figures |= {
            "promised": len(self.witness.promised), "publications": self.witness.publication_count, "turns": self.world.turn_count,
            "segments": len(self.box.disk.list("segments")), "synced": len(self.witness.synced), "certified": self.witness.certified,
            "deleted": len(self.box.disk.list("receipts")), "pinned": len(self.witness.pinned),
            "cold": sum(Store(self.box.disk).segment(name).is_cold() for name in Store(self.box.disk).names()),
            **counted(self.database),
        }  # fmt: skip
        return [*findings(self.witness, self.database), *self._relay_findings()]

    @property
    def machines(self) -> Sequence[Machine]:
        """All there are, from far to near."""
        return [machine for machine in (self.hub, self.relay, self.box) if machine is not None]

    def _relay_findings(self) -> list[str]:
        """What a relay leaves behind: nothing it kept for others, nothing in quarantine, nothing identifiable."""
        if self.relay is None:
            return []
        disk, found = self.relay.disk, [f"relay: {crash}" for crash in dict.fromkeys(self.relay.crashes)]
        for path in ("outbox", "sent", "commands/passing", "quarantine/outbox"):
            names = [name for name in disk.list(path) if not name.startswith(".")]
            if names:
                found.append(f"relay: {path} is not empty: {', '.join(names[:3])}")
        return found

    # Voices.

    def _voices(self) -> None:
        """A burst every now and then, until the storm is over; each with a little of everything."""
        if self.over:
            return
        random = self.random
        frames = list(self.parrots.chatter(random.randrange(1, 8)))
        if random.random() < 0.3:
            frames += self.parrots.noise(random.randrange(1, 5))
        if random.random() < 0.5:
            for _ in range(random.choice((1, 1, 1, 2, 12))):
                told = self.parrots.tell(self.room.clock_of)
                frames += told.frames
                self.witness.told.append(told)
                self.figures["messages"] += 1
        self.figures["frames"] += len(frames)
        self.witness.heard(self.world.put(self.box, frames))
        self.world.later(random.randrange(50 * MS, 900 * MS), self._voices)

    def _passes(self, frames: Sequence[bytes], into_room: bool) -> None:
        """PTP. When the box has ended it is nobody's any more."""
        if not self.ended:
            self.figures["ptp"] += len(frames)
            self.witness.heard(self.world.put(self.box, frames, into_room=into_room))

    # Faults. Each is over before the quiet.

    def _now_and_then(self, deed: Callable[[], None], every_ns: int) -> None:
        def again() -> None:
            if not self.over:
                deed()
                self.world.later(int(self.random.expovariate(1 / every_ns)), again)

        self.world.later(int(self.random.expovariate(1 / every_ns)), again)

    def _for_a_while(self, begin: Callable[[], None], end: Callable[[], None], *, longest_s: int) -> None:
        begin()
        self.world.later(self.random.randrange(1, longest_s * 1000) * MS, end)

    def _counted(self, deed: Callable[[], None]) -> Callable[[], None]:
        def counted() -> None:
            self.figures["clock"] += 1
            deed()

        return counted

    def _cut_box_power(self) -> None:
        self.figures["cuts"] += 1
        self.world.doom(self.box, None, self.random.randrange(60))

    def _cut_hub_power(self) -> None:
        self.figures["cuts"] += 1
        self.world.doom(self.hub, None, self.random.randrange(30))

    def _kill_box_process(self) -> None:
        self.figures["kills"] += 1
        name = self.random.choice([process.name for process in self.box.processes])
        self.witness.gate_kills += name == "gate"
        if self.random.random() < 0.7:
            self.world.doom(self.box, name, self.random.randrange(20))
        else:
            self.box.kill(name)

    def _strike_in_rewriting(self) -> None:
        """The power goes, or the steward is killed, while a segment gets its cold form: at any of the twenty operations that takes."""
        operations = self.random.randrange(20)
        if self.random.random() < 0.7:
            self.figures["cuts"] += 1
            self.world.doom(self.box, None, operations, path=f".{COLD}")
        else:
            self.figures["kills"] += 1
            self.world.doom(self.box, "steward", operations, path=f".{COLD}")

    def _kill_hub(self) -> None:
        self.figures["kills"] += 1
        self.world.doom(self.hub, "hub", self.random.randrange(10))

    def _kill_relay(self) -> None:
        self.figures["kills"] += 1
        assert self.relay is not None
        self.world.doom(self.relay, "relay", self.random.randrange(20))

    def _cut_relay_power(self) -> None:
        self.figures["cuts"] += 1
        assert self.relay is not None
        self.world.doom(self.relay, None, self.random.randrange(30))

    def _fill_disk(self) -> None:
        self.figures["disk"] += 1
        machine = self._some_machine()
        disk = machine.disk

        def begin() -> None:
            machine.sickness += 1
            disk.fill(leave_bytes=self.random.choice((0, 100, 5_000, 1 << 20, 3 << 20)))

        def end() -> None:
            machine.sickness -= 1
            disk.capacity_bytes = CAPACITY_BYTES

        self._for_a_while(begin, end, longest_s=15)

    def _some_machine(self) -> Machine:
        return self.random.choice((self.box, self.box, self.hub) if self.relay is None else (self.box, self.relay, self.hub))

    def _sick_disk(self) -> None:
        self.figures["disk"] += 1
        machine = self._some_machine()

        def begin() -> None:
            machine.sickness += 1
            machine.disk.failing = self.random.choice((Failing.READ_ONLY, Failing.READ_ONLY, Failing.GONE))

        def end() -> None:
            machine.sickness -= 1
            machine.disk.failing = Failing.NOT

        self._for_a_while(begin, end, longest_s=10)

    def _bad_places(self, random: Random) -> None:
        """From time to time one more, in some file of a segment. Out of a stream of its own, so that the rest of the weather stays what it was."""

        def again() -> None:
            is_there = not self.over and self.box.disk.failing is not Failing.GONE
            names = [name for name in self.box.disk.list("segments") if not name.startswith(".")] if is_there else []
            if names:
                name = random.choice(names)
                self.figures["disk"] += 1
                self.witness.spoiled.add(name)
                path = f"segments/{name}/{random.choice(self.box.disk.list(f'segments/{name}'))}"
                self.box.disk.spoil(path, at=random.randrange(self.box.disk.size(path) + 1))
            if not self.over:
                self.world.later(int(random.expovariate(1 / BAD_PLACE_NS)), again)

        self.world.later(int(random.expovariate(1 / BAD_PLACE_NS)), again)

    def _bad_network(self) -> None:
        self.figures["link"] += 1
        faults = LinkFaults(
            refuse=self.random.choice((0.0, 0.5)), drop=self.random.choice((0.0, 0.05)), quota=self.random.choice((0.0, 0.1)),
            twice=0.2, never=self.random.choice((0.0, 0.1)), late=0.2, lose=self.random.choice((0.0, 0.03)), again=0.2,
            mute=self.random.choice((0.0, 0.02)), delay_ns=self.random.choice((0, 50 * MS, 2 * SECOND)),
        )  # fmt: skip

        broker = self.random.choice(self.world.brokers) if self.relayed else self.world.broker

        def begin() -> None:
            broker.faults = faults

        def end() -> None:
            broker.faults = LinkFaults()

        self._for_a_while(begin, end, longest_s=20)

    def _broker_dies(self) -> None:
        self.figures["link"] += 1
        broker = self.random.choice(self.world.brokers) if self.relayed else self.world.broker

        def begin() -> None:
            broker.up = False
            broker.kill()

        def end() -> None:
            broker.up = True

        self._for_a_while(begin, end, longest_s=20)

    def _pull_interface(self) -> None:
        self.figures["link"] += 1
        wire = self.world.wire
        # One of two, or both; where there is one, nothing is drawn: a seed that failed once must stay what it was.
        ports = self.random.choice([(port,) for port in wire.ports] + [wire.ports]) if len(wire.ports) > 1 else wire.ports

        self._for_a_while(lambda: wire.break_off(*ports), wire.restore, longest_s=10)

    def _set_clock(self) -> None:
        self.figures["clock"] += 1
        ns = self.random.choice((-1, 1)) * self.random.choice((5 * MS, SECOND, 7 * SECOND))
        self.witness.clock_steps_ns += abs(ns)
        self.box.clock.step(ns)
        self.room.box_was_set()

    def _leap(self) -> None:
        """The end of a June: box and hub show the same second twice."""
        self.figures["clock"] += 1
        self.witness.clock_steps_ns += SECOND
        for machine in self.machines:
            machine.clock.leap()
        self.room.box_was_set()

    def _lose_clock(self) -> None:
        self.figures["clock"] += 1
        clock = self.box.clock

        def begin() -> None:
            clock.state, clock.uncertainty_ns = ClockState.HOLDOVER, 3 * MS

        def end() -> None:
            clock.state, clock.uncertainty_ns = ClockState.LOCKED, 50_000

        self._for_a_while(begin, end, longest_s=20)

    def _poison(self) -> None:
        """Something in the inbox no station wrote."""
        if self.box.is_sick or self.box.is_off:
            return
        name = f"poison-{len(self.witness.poison):04d}"
        self.witness.poison.add(name)
        Spool(self.box.disk, "inbox").publish(name, self.random.randbytes(self.random.randrange(80)))

    # People.

    def _ask(self) -> None:
        """The hub's page asks for the last seconds."""
        if self.hub.is_sick or self.hub.is_off:
            return
        now = self.hub.clock.now()
        until = now.utc_ns - self.random.choice((0, SECOND, 5 * SECOND))
        since = until - self.random.randrange(1, 20) * SECOND
        repository = Repository(self.database)
        order = request_evidence(
            WorldBoard(self.hub, "hub"), repository, box=BOX_NAME,
            request=Request(Query(since_utc_ns=since, until_utc_ns=until), self.random.choice((None, Priority.P1, Priority.P3))),
            about=None, made_tai_ns=now.timestamp.tai_ns, expires_tai_ns=now.timestamp.tai_ns + 3600 * SECOND,
        )  # fmt: skip
        repository.close()
        self.figures["orders"] += 1
        self.witness.asked.append(Asked(order.identity, self.world.now_ns, since, until, self.witness.power_cuts))
        data = order_packed(order)
        self._published_commands.append(command_packed(Command(data, self.hub.identity.sign(Command(data, b"").signed_bytes))))

    def _advise(self) -> None:
        """The hub's page passes on advice."""
        self._order(
            lambda board, repository: give_advice(board, repository, {"advice": self.random.choice(list(ADVICE))}, box=BOX_NAME)
        )

    def _order_session(self) -> None:
        """The hub's page begins or ends a session."""
        wish = self.random.choice(({"do": "close"}, {"do": "start", "kind": "procedure"}))
        self._order(lambda board, repository: order_session(board, repository, wish, box=BOX_NAME))

    def _order(self, made: Callable[[WorldBoard, Repository], Order]) -> None:
        if self.hub.is_sick or self.hub.is_off:
            return
        repository = Repository(self.database)
        made(WorldBoard(self.hub, "hub"), repository)
        repository.close()
        self.figures["orders"] += 1

    def _pin(self) -> None:
        """Somebody holds a segment, whichever it is."""
        if self.box.is_sick or self.box.is_off:
            return
        names = [name for name in self.box.disk.list("segments") if sequence_of(name) is not None and not name.startswith(".")]
        if not names:
            return
        name = self.random.choice(names)
        pin(self.box.disk, [name], reason="storm", now_utc_ns=self.box.clock.now().utc_ns)
        # A deletion whose receipt is there already goes on: the pin came too late.
        if not any(entry.endswith(name) for entry in self.box.disk.list("receipts")):
            self.witness.pinned.add(name)

    def _forge(self) -> None:
        """Somebody who is on the broker and not trusted orders evidence; or orders it of another box; or alters an order."""
        self.figures["forged"] += 1
        now = self.hub.clock.now()
        stranger = SimulatedIdentity(name="stranger", site=SITE, seed=self.random.getrandbits(30))
        style = self.random.randrange(4)
        evidence = as_parameters(Request(Query(since_utc_ns=now.utc_ns - 10 * SECOND, until_utc_ns=now.utc_ns)))
        deed, parameters = self.random.choice(
            (("retrieval", evidence), ("feedback", {"advice": "consider-stopping"}), ("session", {"do": "start", "kind": "test"}))
        )
        order = Order(
            identity=stranger.entropy(16), signer="stranger" if style == 0 else HUB_NAME, box="or4-box" if style == 1 else BOX_NAME,
            deed=deed, counter=now.timestamp.tai_ns // MS,
            made_tai_ns=now.timestamp.tai_ns - (7200 * SECOND if style == 2 else 0),
            expires_tai_ns=now.timestamp.tai_ns + (-3600 * SECOND if style == 2 else 600 * SECOND),
            parameters=parameters,
        )  # fmt: skip
        self.witness.forged.add(order.identity)
        data = order_packed(order)
        # Addressed to another box or expired, and really signed by the hub: wrong all the same.
        signer = self.hub.identity if style in (1, 2) else stranger
        self._slip_in(command_packed(Command(data, signer.sign(Command(data, b"").signed_bytes))))

    def _replay(self) -> None:
        """An order that was good once, again."""
        if self._published_commands:
            self.figures["forged"] += 1
            self._slip_in(self.random.choice(self._published_commands))

    def _slip_in(self, command: bytes) -> None:
        link = SimulatedLink({BROKER: self.world.brokers[0]}, self.world.timeline)
        link.connect(LinkRequest(BROKER, client="stranger"))

        def publish() -> None:
            link.events()
            if link._is_up:
                link.publish(str(Topic(SITE, BOX_NAME, "cmd")), command)
            link.close()

        self.world.later(3 * SECOND, publish)

    # Quiet.

    def _calm(self) -> None:
        self.over = True
        self.world.forget_doom()
        for machine in self.machines:
            machine.disk.failing = Failing.NOT
            machine.disk.capacity_bytes = CAPACITY_BYTES
            machine.disk.heal()
        for broker in self.world.brokers:
            broker.up, broker.faults = True, LinkFaults()
        self.world.wire.restore()
        self.room.calm()

    def _drain(self) -> bool:
        """Until the box has nothing left to do and the hub no order open, or the time is up."""
        for _ in range(DRAIN_NS_MAX // (5 * SECOND)):
            self.world.run(5 * SECOND)
            if self._is_drained():
                return True
        return False

    def _is_drained(self) -> bool:
        waiting = [(self.box, path) for path in SPOOLS] + [(self.hub, "commands/outgoing")]
        if self.relay is not None:
            waiting += [(self.relay, path) for path in ("outbox", "sent", "commands/passing")]
        return not any(not name.startswith(".") for machine, path in waiting for name in machine.disk.list(path))

    def _stop_box(self) -> None:
        """An orderly end: segments are sealed."""
        self.ended = True
        for life in list(self.box.lives.values()):
            if life.loop is not None:
                self.world.in_process(life, life.loop.stop)
        for life in self.box.lives.values():
            life.board.crash()
        self.box.lives.clear()
        self.box.is_off = True

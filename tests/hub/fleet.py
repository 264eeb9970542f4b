"""A hub and the boxes it rolls versions out to, in virtual time. The boxes' words are the test's."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from drivers.clock import ClockState, Timestamp
from drivers.link import Connected, Disconnected, LinkRequest, Received
from firmware.command.journal import Journal, Novelty
from firmware.core import message
from firmware.core.edition import Edition, Kind, Offered, as_text, from_text, opened, signed
from firmware.core.envelope import Order, ack_unpacked, command_unpacked, order_unpacked, packed, sealed_envelope
from firmware.core.message import Field, Message, Priority, Severity
from firmware.core.presence import Presence
from firmware.core.presence import packed as presence_packed
from firmware.core.timestamp import SECOND
from firmware.hub import editions, updates
from firmware.hub.editions import Arriving
from firmware.hub.repository import Repository
from firmware.hub.settings import HubSettings
from firmware.hub.station import HubStation
from simulator.board import SimulatedBoard
from simulator.clock import SimulatedClock, Timeline
from simulator.disk import SimulatedDisk
from simulator.identity import SimulatedIdentity
from simulator.link import SimulatedBroker, SimulatedLink

BROKER = "broker:1883"
TICK_S = 5
BOARD = "linux-x86_64-cpython-311"
BUNDLE = bytes(range(256)) * 300
VENDOR = SimulatedIdentity(name="vendor")


class Box:
    """What a box says. does: what comes of an edition, after `takes_s`: (outcome, words); None: nothing is ever heard of it."""

    def __init__(self, fleet: "Fleet", name: str) -> None:
        self.fleet, self.name, self.official = fleet, name, "image"
        self.link = fleet.make_link()
        self.orders: dict[bytes, Order] = {}
        self.journal = Journal()  # a box's own: what it takes for new, for said again and for replayed
        self.does: Callable[[str], tuple[str, str] | None] = lambda version: ("official", "")
        self.system = "1.0"  # of its slots; none: it has none
        self.losses = 0
        self.clock_ns = 0  # how far its clock is ahead
        self.is_there = True
        self._due: list[tuple[int, str, str, str]] = []
        self._outbox: dict[bytes, tuple[int, bytes]] = {}  # as the uplink keeps it: sent again until the hub has it
        self._health_due = 0
        self.link.connect(LinkRequest(BROKER, name))

    def step(self, now_ns: int) -> None:
        for event in self.link.events():
            match event:
                case Connected():
                    self.link.subscribe([f"scrubjay/v1/site-1/{self.name}/cmd", f"scrubjay/v1/site-1/{self.name}/ack"])
                    self.link.publish(f"scrubjay/v1/site-1/{self.name}/state", presence_packed(Presence("online", bytes(8), 1)))
                    self.says_version()
                case Disconnected():
                    self.link.connect(LinkRequest(BROKER, self.name))
                case Received(topic, payload) if topic.endswith("/ack"):
                    for identity in ack_unpacked(payload).committed:
                        self._outbox.pop(identity, None)
                case Received(topic, payload) if topic.endswith("/cmd") and self.is_there:
                    self._hear(order_unpacked(command_unpacked(payload).order), now_ns)
        for identity, (sent_ns, payload) in list(self._outbox.items()):
            if now_ns - sent_ns >= 20 * SECOND:
                self.link.publish(f"scrubjay/v1/site-1/{self.name}/p3", payload)
                self._outbox[identity] = (now_ns, payload)
        for row in [row for row in self._due if row[0] <= now_ns]:
            self._due.remove(row)
            _, version, outcome, words = row
            self.official = version if outcome == "official" else "image" if outcome == "taken back" else self.official
            self.says_version(version=version, outcome=outcome, text=words or outcome)
        if now_ns >= self._health_due and self.is_there and self.link.next_ns() is None:
            self._health_due = now_ns + 60 * SECOND
            self.say("health", "health", {"losses_going_on": self.losses})

    def _hear(self, order: Order, now_ns: int) -> None:
        answer: dict[str, Field] = {"command": order.identity.hex(), "result": "accepted"}
        novelty = self.journal.novelty(order)
        if novelty is Novelty.REPLAYED:
            self.say("command", "command-result", answer | {"result": "refused", "cause": "replayed"})
        if novelty is not Novelty.NEW:
            return
        self.journal = self.journal.accepting(order, now_ns).handing_on(order)
        self.orders[order.identity] = order
        self.say("command", "command-result", answer)
        if "system" in order.parameters:
            self.runs_system("0.9", "the system: an order wants to go back to slot B (0.9)")
            return
        if "rollback" in order.parameters:
            self._due.append((now_ns + 5 * SECOND, self.official, "taken back", "asked for by the hub"))
            return
        edition = opened(from_text(order.parameters["edition"]), {"vendor": VENDOR.public_key()})
        outcome = self.does(edition.version)
        if outcome is not None:
            self._due.append((now_ns + 60 * SECOND, edition.version, *outcome))

    def runs_system(self, name: str, text: str, /, *, state: str = "confirmed", **more: str) -> None:
        """After a switch of its slots."""
        self.system = name
        self.says_version(text=text, system_state=state, **more)

    def says_version(self, **more: str) -> None:
        text = more.pop("text", "how it stands")
        fields: dict[str, Field] = {
            "official": self.official, "previous": "image", "phase": "idle", "number": 1, "board": BOARD, "channels": "stable",
            **({"system": self.system, "system_state": "confirmed", "slot": "A", "other_slot": "0.9, confirmed"} if self.system else {}),
            **more,
        }  # fmt: skip
        self.say("update", "update", fields, text)

    def say(self, process: str, kind: str, fields: Mapping[str, Field], text: str = "") -> None:
        now_ns = self.fleet.timeline.tai_ns + self.clock_ns
        stamp = Timestamp(now_ns, 1000, "ptp", ClockState.LOCKED)
        said = Message(self.name, process, kind, Priority.P3, Severity.NOTICE, stamp, stamp, text=text, fields=fields)
        envelope = sealed_envelope(
            box=self.name,
            kind="group",
            priority=Priority.P3,
            first_tai_ns=now_ns,
            last_tai_ns=now_ns,
            content=message.packed([said]),
        )
        self._outbox[envelope.identity] = (0, packed(envelope))


class Fleet:
    """A hub and its boxes. Time moves TICK_S at a time."""

    def __init__(self, directory: Path, *, boxes: int, **settings: object) -> None:
        self.timeline = Timeline()
        self.broker = SimulatedBroker(self.timeline, receive_maximum=1000)
        self.board = SimulatedBoard(
            disk=SimulatedDisk(),
            clock=SimulatedClock(self.timeline),
            identity=SimulatedIdentity(name="hub-1"),
            make_link=self.make_link,
        )
        self.board.identity.trust("vendor", VENDOR.public_key())
        self.settings = HubSettings(
            brokers=(BROKER,), database=str(directory / "hub.sqlite"), **({"rollout_soak_s": 300, "rollout_limit_s": 1800} | settings)  # type: ignore[arg-type]
        )  # fmt: skip
        self.start()
        self.boxes: list[Box] = []
        self.run(15)
        self.boxes = [Box(self, f"box-{n:02d}") for n in range(boxes)]
        self.run(25)

    def make_link(self) -> SimulatedLink:
        return SimulatedLink({BROKER: self.broker}, self.timeline)

    def start(self) -> None:
        self.hub = HubStation(self.board, self.settings)
        self.hub.start(self.board.clock.now())
        self.repository = Repository(self.settings.database)

    def kill_hub(self) -> None:
        """SIGKILL, and another one."""
        for port in self.hub._ports:
            port.connection.link.disconnect()
        self.start()

    def run(self, seconds: int, *, until: Callable[[], bool] = lambda: False) -> None:
        for _ in range(max(1, seconds // TICK_S)):
            self.hub.step(self.board.clock.now())
            for box in self.boxes:
                box.step(self.timeline.tai_ns)
            self.timeline.advance(TICK_S * SECOND)
            if until():
                return

    def edition(
        self, version: str = "v2", *, number: int = 2, until_s: int = 10**7, channel: str = "stable", board: str = BOARD,
        kind: Kind = "application", more: Sequence[bytes] = (),
    ) -> str:  # fmt: skip
        now_ns = self.timeline.tai_ns
        files = [(BUNDLE, None), *((data, f"v{place}") for place, data in enumerate(more))]
        offered = tuple(Offered(hashlib.sha256(data).digest(), len(data), base) for data, base in files)
        made = Edition(version, number, board, channel, kind, now_ns, now_ns + until_s * SECOND, "vendor", offered)
        return as_text(signed(made, VENDOR.sign))

    def publish(self, text: str) -> None:
        arriving = Arriving(self.board, hashlib.sha256(BUNDLE).hexdigest(), "test")
        arriving.append(BUNDLE)
        arriving.finish()
        editions.publish(self.board, self.repository, text, self.timeline.tai_ns)

    def roll_out(self, version: str = "v2", **wish: object) -> int:
        found = updates.start(self.board, self.repository, self.settings, {"version": version, **wish}, by="ann")
        assert isinstance(found["number"], int)
        return found["number"]

    def shown(self, number: int = 1) -> dict[str, object]:
        return updates.shown(self.repository, number, tai_offset_s=37) or {}

    def state(self, number: int = 1) -> object:
        return self.shown(number)["state"]

    def change(self, to: str, number: int = 1) -> None:
        updates.change(self.board, self.repository, self.settings, number, {"to": to}, by="ben")

    def asked(self) -> list[str]:
        return [box.name for box in self.boxes if any("edition" in order.parameters for order in box.orders.values())]

    def says(self, kind: str) -> list[tuple[int, str]]:
        return [
            (row["priority"], row["text"])
            for row in self.repository.rows("select priority, text from messages where kind = ? order by number", kind)
        ]

"""The uplink: by priority, kept until the hub has it, and through whatever the broker does."""

from random import Random

import pytest

from drivers.link import Disconnected, LinkRequest
from firmware.core import release
from firmware.core.envelope import COMMAND_BYTES_MAX, Ack, ack_packed, packed, sealed_envelope
from firmware.core.message import Priority
from firmware.core.presence import unpacked as presence_unpacked
from firmware.uplink.station import UplinkStation
from simulator.disk import Failing, PowerCut
from simulator.identity import SimulatedIdentity
from simulator.link import LinkFaults, SimulatedLink
from tests.uplink.conftest import BROKERS, World

CMD = "scrubjay/v1/site-1/box-1/cmd"
ACK = "scrubjay/v1/site-1/box-1/ack"


def drops(world: World) -> dict[str, int]:
    return world.station.report.drops


def counts(world: World) -> dict[str, int]:
    return world.station.report.counts


def test_higher_priority_first_then_earlier_time(world: World) -> None:
    """(S2-060) A later alarm goes before an earlier report; equal priorities by time."""
    order = [(4, 1), (3, 5), (1, 9), (2, 7), (3, 2), (1, 8)]
    identities = {entry: world.put(*entry) for entry in order}
    world.run()

    assert [identities[entry] for entry in sorted(order)] == world.hub.envelopes
    assert ["p1", "p1", "p2", "p3", "p3", "p4"] == world.hub.topics[1:]


def test_an_item_stays_until_the_hub_has_it(world: World) -> None:
    """(S2-072) A PUBACK moves nothing; the hub's acknowledgement moves the item to sent/."""
    world.hub.answers = False
    identity = world.put(1, 1)
    world.run(5)
    assert len(world.disk.list("outbox")) == 1

    world.hub.tell(identity)
    world.run(2)
    assert [] == world.disk.list("outbox")
    assert len(world.disk.list("sent")) == 1
    assert counts(world)["acknowledged"] == 1


def test_unacknowledged_is_sent_again(world: World) -> None:
    """After acknowledge_s_max with a live connection, and not before."""
    world.hub.answers = False
    world.put(1, 1)
    world.run(19)
    assert len(world.hub.envelopes) == 1
    world.run(2)
    assert len(world.hub.envelopes) == 2
    assert counts(world)["resent"] == 1


def test_a_hub_that_comes_back_says_so(world: World) -> None:
    """An empty acknowledgement: what was sent to the former hub is sent again at once."""
    world.hub.answers = False
    world.put(1, 1)
    world.run(3)
    world.hub.tell()
    world.run(1)

    assert len(world.hub.envelopes) == 2


def test_acknowledgements_twice_unknown_and_malformed_are_harmless(world: World) -> None:
    """Counted, and nothing else."""
    identity = world.put(1, 1)
    world.run(1)
    world.hub.tell(identity, identity)
    world.hub.tell(bytes(16))
    world.hub.link.publish(ACK, b"\xff" * 40)
    world.run(1)

    assert counts(world)["acknowledged_again"] == 3
    assert drops(world) == {"bad_acknowledgement": 1}


def test_window_is_never_exceeded() -> None:
    """At most min(Receive Maximum, window) on the wire; the broker would end the connection otherwise (0x93)."""
    world = World(receive_maximum=5, window=50)
    for broker in world.brokers.values():
        broker.faults = LinkFaults(delay_ns=30_000_000)
    for number in range(100):
        world.put(number % 4 + 1, number)
    world.run(60)

    assert len(world.hub.envelopes) == 100
    assert counts(world)["connected"] == 1


def test_one_connection_and_one_publication_at_a_time() -> None:
    """A broker that takes no second connection from us, and one publication at once (mosquitto's max_inflight_messages 1): all of it goes."""
    world = World(receive_maximum=1, brokers=BROKERS[:1])
    broker, accept = world.brokers[BROKERS[0]], world.brokers[BROKERS[0]].connect

    def connect(link: SimulatedLink, request: LinkRequest) -> None:
        if request.client.endswith("/bulk"):
            link.push(world.timeline.tai_ns, Disconnected("the broker refused: 0x97"))
        else:
            accept(link, request)

    broker.connect = connect  # type: ignore[method-assign]
    for number in range(8):
        world.put(number % 4 + 1, number)
    world.run(60)

    assert len(world.hub.envelopes) == 8
    assert counts(world)["connected"] == 1


def test_an_alarm_finds_room_in_a_full_window() -> None:
    """(S2-060) A quarter of the window is kept for P1 and P2: an alarm does not wait for a silent hub to answer reports."""
    world = World(window=8)
    world.hub.answers = False
    for number in range(50):
        world.put(4, number)
    world.run(2)
    assert len(world.hub.envelopes) == 6
    alarm = world.put(1, 999)
    world.run(0.1)

    assert alarm == world.hub.envelopes[-1]


def test_nobody_listening_is_not_delivery(world: World) -> None:
    """PUBACK 0x10: kept, tried again after a pause, delivered when the hub is there."""
    world.hub.link.disconnect()
    world.run(1)
    world.put(1, 1)
    world.run(30)
    assert len(world.disk.list("outbox")) == 1
    assert 4 < counts(world)["refused_by_broker"] < 60
    world.hub.connect(BROKERS[0])
    world.run(6)

    assert [] == world.disk.list("outbox")


def test_brokers_are_tried_in_turn(world: World) -> None:
    """(S2-072) The first is down: the second takes over, and what was in flight goes through it."""
    world.hub.answers = False
    identity = world.put(1, 1)
    world.run(1)
    world.brokers[BROKERS[0]].up = False
    world.brokers[BROKERS[0]].kill()
    world.hub.connect(BROKERS[1])
    world.hub.answers = True
    world.run(5)

    assert [identity, identity] == world.hub.envelopes
    assert [] == world.disk.list("outbox")
    assert world.station.report.gauges["broker"] == BROKERS[1]


def test_attempts_are_spread_and_bounded() -> None:
    """Full jitter: random(0, min(backoff_s_max, 2^n)) between attempts; an hour without a broker is some hundred attempts."""
    world = World(backoff_s_max=60)
    for broker in world.brokers.values():
        broker.up = False
        broker.kill()
    world.run(3600)

    assert 80 < counts(world)["disconnected"] < 200


def test_a_broker_that_says_nothing_is_left(world: World) -> None:
    """Connected in name only: no PUBACK for half a minute, and another broker is tried."""
    world.brokers[BROKERS[0]].faults = LinkFaults(never=1.0)
    world.hub.answers = False
    world.put(1, 1)
    world.run(40)

    assert drops(world) == {"broker_stuck": 1}
    assert counts(world)["connected"] == 2


def test_birth_and_will_share_an_epoch(world: World) -> None:
    """Retained birth at each connection; the will of that connection carries its epoch."""
    world.run(1)
    world.brokers[BROKERS[0]].drop("site-1/box-1")
    world.run(5)
    said = [presence_unpacked(state) for state in world.hub.states]

    assert ["online", "lost"] == [entry.state for entry in said[:2]]
    assert said[0].epoch == said[1].epoch


def test_leaving_on_purpose_is_said(world: World) -> None:
    """Stop: "left", no will, and the link is given up."""
    world.run(1)
    world.station.stop(world.board.clock.now())
    world.hub.step()

    assert ["online", "left"] == [presence_unpacked(state).state for state in world.hub.states]


def test_what_is_no_envelope_goes_to_quarantine(world: World) -> None:
    """With its reason and without holding up what is behind it."""
    world.outbox.publish("p1-00000000000000000000-x", b"no envelope at all")
    identity = world.put(4, 1)
    world.run(2)

    assert [identity] == world.hub.envelopes
    assert ["p1-00000000000000000000-x", "p1-00000000000000000000-x.reason"] == world.disk.list("quarantine/outbox")
    assert drops(world) == {"not_an_envelope": 1}


def test_an_item_that_vanishes_is_counted(world: World) -> None:
    """Somebody else removed it between listing and reading; the rest goes on."""
    world.hub.answers = False
    identity = world.put(1, 1)
    world.run(1)
    world.disk.remove(f"outbox/{world.disk.list('outbox')[0]}")
    world.hub.tell(identity)
    world.run(1)

    assert drops(world) == {"vanished": 1}


@pytest.mark.parametrize("seed", range(3))
def test_power_lost_at_every_disk_operation(seed: int) -> None:
    """(S2-072) Whenever the power goes while items are sent and settled: all arrive, and none is in neither place."""
    cut_at = 0
    while True:
        world = World(chunk_bytes=4096)
        identities = {world.put(1, 1), world.put(4, 2, world.noise(9000)), world.put(2, 3)}
        names = set(world.disk.list("outbox"))
        start = world.disk.operations

        def cut(operation: int, what: str, path: str, start: int = start, at: int = cut_at) -> None:
            if operation - start == at:
                raise PowerCut

        world.disk.before = cut
        whole = answer_pieces(world)
        try:
            world.run(5)
            happened = False
        except PowerCut:
            happened = True
        world.disk.before = None
        world.disk.power_cut(Random(seed))
        assert names == set(world.disk.list("outbox")) | set(world.disk.list("sent"))
        world.crash()
        world.run(60)

        assert identities <= {*world.hub.envelopes, *whole}
        assert [] == world.disk.list("outbox")
        if not happened:
            assert cut_at >= 5  # three moves and the two directories were indeed cut at
            return
        cut_at += 1


def answer_pieces(world: World) -> list[bytes]:
    """A hub's answers to pieces: what it has in sequence, and the whole when it is whole. Returns the identities of the whole ones."""
    have: dict[bytes, int] = {}
    whole: list[bytes] = []

    def answer() -> None:
        for identity, chunk in world.hub.take_chunks():
            size = have.get(identity, 0)
            if chunk.offset <= size:
                have[identity] = max(size, chunk.offset + len(chunk.data))
            if have.get(identity, 0) == chunk.size:
                whole.append(identity)
                world.hub.tell(identity)
            else:
                world.hub.tell(**{identity.hex(): have.get(identity, 0)})

    world.before_step = answer
    return whole


def test_restart_with_items_in_flight(world: World) -> None:
    """Killed with a full window: everything is sent again by the new process, nothing counts as delivered."""
    world.hub.answers = False
    for number in range(10):
        world.put(1, number)
    world.run(1)
    world.crash()
    world.hub.answers = True
    world.run(5)

    assert len(world.hub.envelopes) == 20
    assert [] == world.disk.list("outbox")


def test_killed_again_and_again_is_no_reason_for_quarantine(world: World) -> None:
    """Ten ends of the process do not make an alarm a poison item."""
    world.hub.answers = False
    world.put(1, 1)
    for _ in range(10):
        world.run(1)
        world.crash()
    world.hub.answers = True
    world.run(5)

    assert len(world.disk.list("sent")) == 1


@pytest.mark.parametrize("failing", [Failing.READ_ONLY, Failing.GONE])
def test_a_sick_disk_ends_nothing(world: World, failing: Failing) -> None:
    """What cannot be moved is counted and tried again when the disk is well."""
    world.put(1, 1)
    world.disk.failing = failing
    world.run(20)
    world.disk.failing = Failing.NOT
    world.run(30)

    assert drops(world)
    assert len(world.disk.list("sent")) == 1


# Commands.


def test_a_command_is_handed_on_untouched(world: World) -> None:
    """To commands/received/, named by its digest; delivered twice it is one item."""
    world.run(1)
    for _ in range(2):
        world.hub.link.publish(CMD, b"not for the uplink to judge")
    world.run(1)
    (name,) = world.disk.list("commands/received")

    assert world.disk.read(f"commands/received/{name}") == b"not for the uplink to judge"
    assert name.startswith("cmd-") and len(name) == 36


def test_floods_and_giants_of_commands_are_bounded(world: World) -> None:
    """Longer than 64 KiB: dropped; more than a thousand waiting: dropped; both counted."""
    world.run(1)
    world.hub.link.publish(CMD, bytes(COMMAND_BYTES_MAX + 257))
    world.run(0.1)
    for number in range(1050):
        world.hub.link.publish(CMD, b"%d" % number)
        world.run(0.001)
    world.run(1)

    assert drops(world) == {"command_too_long": 1, "commands_full": 50}
    assert len(world.disk.list("commands/received")) == 1000


def test_a_full_disk_costs_the_command_not_the_uplink(world: World) -> None:
    """The hub publishes it again; meanwhile alarms leave."""
    world.run(1)
    identity = world.put(1, 1)
    world.disk.fill(leave_bytes=10)
    world.hub.link.publish(CMD, bytes(100))
    world.run(2)

    assert drops(world) == {"command_disk_full": 1}
    assert [identity] == world.hub.envelopes


# Long items.


def test_a_long_item_goes_in_pieces_and_resumes_at_any_byte() -> None:
    """(S2-060, S2-066) It begins at once; after a reconnect the first byte asks, and from where the hub says, wherever that is, pieces follow."""
    world = World(chunk_bytes=4096, bulk_window=2)
    identity = world.put(3, 1, world.noise(20_000))
    world.run(1)
    assert [(0, 4096), (4096, 4096)] == [(chunk.offset, len(chunk.data)) for chunk in world.hub.chunks]

    world.brokers[BROKERS[0]].drop("site-1/box-1")
    world.run(5, until=lambda: counts(world).get("connected") == 2)
    world.hub.connect(str(world.station.report.gauges["broker"]))
    world.hub.chunks.clear()
    world.run(10)
    assert (0, 1) == (world.hub.chunks[0].offset, len(world.hub.chunks[0].data))

    world.hub.chunks.clear()
    world.hub.tell(**{identity.hex(): 7777})
    world.run(1)
    assert [(7777, 4096), (11873, 4096)] == [(chunk.offset, len(chunk.data)) for chunk in world.hub.chunks]

    world.hub.tell(**{identity.hex(): 15_969})
    world.run(1)
    size = world.hub.chunks[0].size
    assert (15_969, size - 15_969) == (world.hub.chunks[2].offset, sum(len(chunk.data) for chunk in world.hub.chunks[2:]))

    world.hub.tell(identity)
    world.run(1)
    assert [] == world.disk.list("outbox")


def test_a_hub_that_lost_the_pieces_gets_them_again() -> None:
    """Silence, or an answer that does not move: asked anew, and the answer believed, also when it is less than before."""
    world = World(chunk_bytes=4096, bulk_window=4)
    identity = world.put(3, 1, world.noise(40_000))
    world.run(1)
    world.hub.tell(**{identity.hex(): 10_000})
    world.run(1)
    assert world.hub.chunks[-1].offset > 10_000
    world.run(25)
    questions = [chunk for chunk in world.hub.chunks if len(chunk.data) == 1]
    assert len(questions) == 1
    world.hub.tell(**{identity.hex(): 1})
    world.run(1)

    assert any(chunk.offset == 1 for chunk in world.hub.chunks)


def test_a_piece_fits_whatever_the_names() -> None:
    """(S2-060) A broker of short packets, and a relay that speaks for a box, all names as long as they may be."""
    world = World(brokers=BROKERS[:1])
    world.brokers[BROKERS[0]].packet_bytes_max = 4096
    world.board.identity = SimulatedIdentity(name="r" * 63, site="s" * 63)
    world.station = UplinkStation(world.board, world.settings, forwards=True)
    world.station.start(world.board.clock.now())
    world.hub.step()
    world.hub.link.subscribe(["scrubjay/v1/+/+/via/+/bulk/+"])
    envelope = sealed_envelope(
        box="b" * 63, kind="group", priority=Priority.P3, first_tai_ns=1, last_tai_ns=1, content=world.noise(20_000)
    )
    world.outbox.publish(release.name_of(Priority.P3, 1, "g1"), packed(envelope))
    world.run(1)

    assert {} == drops(world)
    assert sum(len(chunk.data) for chunk in world.hub.chunks) > 20_000


def test_a_second_connection_that_works_is_soon_there_again() -> None:
    """(S2-060) Lost every few seconds after a report has gone on it: back within a second each time, so that no alarm shares its connection
    with bulk for minutes."""
    world = World(brokers=BROKERS[:1])
    for number in range(20):
        world.run(1.5)
        assert 2 == world.station.report.gauges["lanes"]
        report = world.put(3, number)
        world.run(0.5)
        assert report in world.hub.envelopes
        world.brokers[BROKERS[0]].drop("site-1/box-1/bulk")


def test_an_alarm_goes_between_two_pieces() -> None:
    """(S2-060) The pieces beyond the window wait, and the alarm is before them, on a connection of its own."""
    world = World(chunk_bytes=4096, bulk_window=2)
    world.put(3, 1, world.noise(100_000))
    world.run(1)
    alarm = world.put(1, 2)
    world.run(0.1)

    assert [alarm] == world.hub.envelopes
    assert len(world.hub.chunks) == 2
    assert ["site-1/box-1", "site-1/box-1/bulk"] == sorted(client_of(world, link) for link in world.links[1:])


def client_of(world: World, link: SimulatedLink) -> str:
    (client,) = [entry for broker in world.brokers.values() for entry in broker._clients if entry.link is link]
    return client.request.client


def test_an_alarm_does_not_wait_behind_the_evidence_of_an_earlier_one() -> None:
    """(S2-060, S2-072) What is long is bulk, whatever its priority; a whole message of P1 or P2 overtakes it."""
    world = World(chunk_bytes=4096, bulk_window=2)
    world.put(1, 1, world.noise(100_000))
    world.run(1)
    later = [world.put(1, 2), world.put(2, 3)]
    world.put(3, 4)
    world.run(5)

    assert later == world.hub.envelopes


def test_lower_priority_waits_behind_pieces() -> None:
    """(S2-060) Strict order: what is less important does not use the hub's silence to overtake."""
    world = World(chunk_bytes=4096, bulk_window=2)
    world.put(3, 1, world.noise(100_000))
    world.put(4, 2)
    world.run(5)

    assert [] == world.hub.envelopes


# Cost.


def test_a_large_backlog_is_not_listed_for_each_publication() -> None:
    """Looking through a thousand items takes a tenth of the time at most, however many publications that makes."""
    world = World(window=10)
    for broker in world.brokers.values():
        broker.faults = LinkFaults(delay_ns=20_000_000)
    for number in range(1000):
        world.put(4, number)
    listing_ns = 0
    real = world.disk.list

    def counting(path: str) -> list[str]:
        nonlocal listing_ns
        names = real(path)
        if path == "outbox":
            listing_ns += 5_000 * len(names)
            world.timeline.advance(5_000 * len(names))
        return names

    world.disk.list = counting  # type: ignore[method-assign]
    begun = world.timeline.tai_ns
    world.run(600, until=lambda: not real("outbox"))
    took = world.timeline.tai_ns - begun

    assert listing_ns <= 0.1 * took + 10_000_000
    assert len(world.hub.envelopes) == 1000


def test_a_hiccup_of_the_machine_makes_no_alarm_wait(world: World) -> None:
    """(S2-072) A look at a short outbox that took 100 ms, because something else held the machine up, is not made up for by a second."""
    real, slow = world.disk.list, True

    def held_up(path: str) -> list[str]:
        if path == "outbox" and slow:
            world.timeline.advance(100_000_000)
        return real(path)

    world.run(1)
    world.disk.list = held_up  # type: ignore[method-assign]
    world.put(1, 1)
    world.run(0.2)
    slow = False
    alarm = world.put(1, 2)
    world.run(0.01)

    assert alarm == world.hub.envelopes[-1]


def test_idle_means_idle(world: World) -> None:
    """With nothing to send the station asks for nothing: a minute costs a handful of steps."""
    world.run(5)
    before = world.steps
    world.run(60)

    assert world.steps - before < 10


def test_what_a_relay_keeps_is_asked_for_now_and_then(world: World) -> None:
    """The hub's word can die with a relay that had it in memory, while the broker that was to hand it on is dead: nobody says it again.
    What has been in custody longest is sent once more, a few every two minutes, and is soon done. (S2-068)"""
    world.hub.answers = False
    kept = [world.put(1, number) for number in range(20)]
    world.run(1)
    world.hub.link.publish("scrubjay/v1/site-1/box-1/ack", ack_packed(Ack(custody=tuple(kept))))
    world.run(60)
    assert kept == world.hub.envelopes

    world.hub.answers = True
    world.run(70)
    assert kept[:16] == world.hub.envelopes[20:]
    world.run(120)
    assert (kept[16:], []) == (world.hub.envelopes[36:], world.disk.list("outbox"))


def test_why_a_silent_broker_was_left_is_still_said() -> None:
    """That we left is no trouble: what it was stays on the status until there is a connection, or another trouble."""
    world = World(brokers=BROKERS[:1], backoff_s_max=3600)
    world.brokers[BROKERS[0]].faults = LinkFaults(never=1.0)
    world.hub.answers = False
    world.put(1, 1)
    world.run(40, until=lambda: drops(world) == {"broker_stuck": 1})
    world.brokers[BROKERS[0]].up = False
    world.run(0.001)

    assert "the broker answered nothing" == world.station.report.gauges["broker_trouble"]


def test_an_attempt_nobody_answers_is_said() -> None:
    """Name servers that say nothing hold up an attempt until it is given up: status says so, and not that nothing was tried yet."""
    world = World(brokers=BROKERS[:1])
    world.brokers[BROKERS[0]].faults = LinkFaults(delay_ns=10**15)
    world.run(14)
    said = [world.station.report.gauges["broker_trouble"]]
    world.run(2)
    said.append(world.station.report.gauges["broker_trouble"])

    assert ["none yet", "no answer within 15 s: are the name servers reached, and the broker?"] == said
    assert 1 == world.station.report.counts["disconnected"]


def test_another_machine_under_this_name_is_said() -> None:
    """Each takes the other's place at the broker, for ever: both say what it may be, also while they are connected, and nothing is lost.
    When the other is gone for a while, so is the word."""
    world = World(brokers=BROKERS[:1])
    other, said = world._link(), []

    def look() -> None:
        other.events()
        said.append(world.station.report.gauges.get("broker_trouble"))

    world.before_step = look
    for number in range(8):
        world.run(6)
        world.put(number % 4 + 1, number)
        other.connect(LinkRequest(BROKERS[0], "site-1/box-1"))
    world.run(10)
    lost, connected = (
        f"{why}lost 8 times in a row soon after connecting; does another machine have this name?"
        for why in ("the broker ended the connection: 0x8e; ", "")
    )

    assert lost in said
    assert connected == world.station.report.gauges["broker_trouble"]
    assert ([], 8) == (world.disk.list("outbox"), len(set(world.hub.envelopes)))
    world.run(30)
    assert "none" == world.station.report.gauges["broker_trouble"]


def test_of_several_brokers_the_one_that_has_the_trouble_is_named() -> None:
    """One refuses, the other says nothing: which of them has what can be read."""
    world, said = World(backoff_s_max=3600), set()
    world.brokers[BROKERS[0]].up = False
    world.brokers[BROKERS[1]].faults = LinkFaults(delay_ns=10**15)
    world.before_step = lambda: said.add(world.station.report.gauges.get("broker_trouble"))
    world.run(60)

    answers = {
        "first:1883: the broker refused: 0x88",
        "second:1883: no answer within 15 s: are the name servers reached, and the broker?",
    }
    assert answers == {trouble for trouble in said if trouble not in (None, "none yet")}

"""The live station: chosen streams, few samples, numbers only, and nothing at all unless it was asked for."""

import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

from drivers.tap import HeardFrame
from firmware.core.errors import BadSettings
from firmware.core.message import FIELDS_MAX, Message, Priority
from firmware.core.sensitive import find_tags
from firmware.core.timestamp import MS, SECOND
from firmware.deidentify.words import WordRules, cleaned
from firmware.live.settings import LiveSettings
from firmware.live.station import checked

Room = Any  # tests/live/conftest.py
CHOSEN = ("itp/robot=arms",)


def samples(rows: list[Message]) -> list[tuple[int, float]]:
    """(ns TAI, first value) of every sample, as a reader of the messages puts them together."""
    found = []
    for row in rows:
        for index in range(int(str(row.fields["count"]))):
            at, value = row.fields[f"{index}/us"], row.fields[f"{index}/0"]
            assert isinstance(at, int) and isinstance(value, float)
            found.append((row.origin_time.tai_ns + 1000 * at, value))
    return found


def test_off_unless_a_stream_is_named(make_room: Callable[..., Room]) -> None:
    """As it comes, no tap is opened and nothing is written. (S2-102)"""
    room = make_room()

    assert [] == room.taps
    assert None is room.station.step(room.board.clock.now())
    assert [] == room.items()


def test_sixty_of_a_thousand(make_room: Callable[..., Room]) -> None:
    """Three seconds at 1 kHz and a little leave as 60 samples a second, one item a second, each sample with its time and value. (S2-102)"""
    room = make_room(streams=CHOSEN)
    start = room.board.clock.now()
    room.robot(3_100, lambda n: n)
    room.station.stop(room.board.clock.now())
    rows = room.messages()
    found = samples(rows)

    assert 3 == len(room.items())
    assert 185 <= len(found) <= 188
    assert all(value == (stamp - start.utc_ns - start.tai_offset_s * SECOND) // MS for stamp, value in found)
    assert {("arms", "motion", 0)} == {tuple(row.fields[name] for name in ("stream", "kind", "flow")) for row in rows}
    assert {("live", "live", Priority.P4)} == {(row.kind, row.process, row.priority) for row in rows}
    assert 3_100 == len(found) + sum(int(str(row.fields["left_out"])) for row in rows)


def test_by_change(make_room: Callable[..., Room]) -> None:
    """What stands still is heard of once a second, what jumps at once and exactly. (S2-101, S2-102)"""
    room = make_room(streams=CHOSEN, reduce="change", error="5", batch_ms=100)
    room.robot(5_000, lambda n: 900 if n >= 2_500 else 100)
    room.station.stop(room.board.clock.now())
    values = [value for _, value in samples(room.messages())]

    assert [100.0] * 4 + [900.0] * 4 == values or [100.0] * 4 + [900.0] * 3 == values


def test_by_change_how_it_stopped_is_seen_at_once(make_room: Callable[..., Room]) -> None:
    """A robot that was moving evenly says no more: where it was last leaves within seconds, not when it moves again or the box ends. (S2-101)"""
    room = make_room(streams=CHOSEN, reduce="change", error="5", batch_ms=100)
    room.robot(2_500, lambda n: n)
    for _ in range(4):  # as the station asks to be woken, and no sooner
        now = room.board.clock.now()
        due = room.station.step(now)
        room.board.clock.advance(due.since(now.monotonic) if due is not None else SECOND)
        room.work()

    assert 2_499.0 == samples(room.messages())[-1][1]
    assert 2_500 == sum(int(str(row.fields[name])) for row in room.messages() for name in ("count", "left_out"))
    assert room.station.step(room.board.clock.now()) is None


def test_only_numbers_leave(make_room: Callable[..., Room]) -> None:
    """A stream that was not named stays, and what senders call their streams and joints does not leave even with one that was. (S2-102)"""
    room = make_room(streams=("rtps/rt/jane_doe/position=arms",))
    wire = room.wire
    rows = [
        wire.rtps(wire.rtps_announcement("rt/jane_doe", "sensor_msgs::msg::dds_::JointState_")),
        *(wire.rtps(wire.rtps_data(wire.cdr_joint_state((float(n),), names=("jane_doe",)))) for n in range(100)),
    ]
    for row in rows:
        data = wire.udp(row, port=7411)
        room.taps[-1].hear([HeardFrame(room.board.clock.now().utc_ns, data, len(data))])
        room.board.clock.advance(30 * MS)
        room.work()
    room.robot(10, lambda n: n)
    room.station.stop(room.board.clock.now())

    assert {"arms"} == {row.fields["stream"] for row in room.messages()}
    assert 100 == len(samples(room.messages()))
    assert all(b"jane" not in room.board.disk.read(f"inbox/{name}") for name in room.items())
    for row in room.messages():
        assert () == find_tags(row.text, row.fields, row.attachment)
        assert (row, 0) == cleaned(row, WordRules())


@pytest.mark.parametrize("changes", [{"reduce": "change", "error": "50"}, {"reduce": "sample", "rates": "motion=5"}], ids=str)
def test_a_state_that_changed_is_seen(make_room: Callable[..., Room], changes: dict[str, Any]) -> None:
    """The run level goes to 0 for 7 ms: whoever watches sees from when to when, however much less of the motion was to be sent."""
    room = make_room(streams=CHOSEN, **changes)
    for n in range(300):
        data = bytearray(room.wire.itp_robot(n, (n % 5,) * 6))
        data[40:44] = (0 if 103 <= n < 110 else 3).to_bytes(4, "little")
        frame = room.wire.udp(bytes(data))
        room.taps[-1].hear([HeardFrame(room.board.clock.now().utc_ns, frame, len(frame))])
        room.board.clock.advance(MS)
    room.work()
    room.station.stop(room.board.clock.now())
    rows = room.messages()
    seen = [(row.fields[f"{i}/0"], row.fields[f"{i}/6"]) for row in rows for i in range(int(str(row.fields["count"])))]

    assert {(float(103 % 5), 0.0), (float(110 % 5), 3.0)} <= set(seen) and len(seen) < 20
    assert [(float(103 % 5), 0.0)] == [row for row in seen if row[1] == 0.0]


def test_two_robots_are_two_flows(make_room: Callable[..., Room]) -> None:
    """Two senders of one stream are told apart by a number."""
    room = make_room(streams=CHOSEN)
    room.robot(100, lambda n: 1, source="10.0.0.7")
    room.robot(100, lambda n: 2, source="10.0.0.8")
    room.station.stop(room.board.clock.now())

    assert {(0, 1.0), (1, 2.0)} == {(row.fields["flow"], row.fields["0/0"]) for row in room.messages()}


def test_two_arms_that_share_a_port_are_two_flows(make_room: Callable[..., Room]) -> None:
    """One process says the joints of either arm in turns under one topic: nobody who watches takes the one for the other."""
    room = make_room(streams=("rtps/rt/arms/position=arms",))
    wire = room.wire
    said = [wire.rtps_announcement("rt/arms", "sensor_msgs::msg::dds_::JointState_")]
    said += [wire.rtps_data(wire.cdr_joint_state((float(n % 2),), names=(("left", "right")[n % 2],))) for n in range(100)]
    for row in said:
        data = wire.udp(wire.rtps(row), port=7411)
        room.taps[-1].hear([HeardFrame(room.board.clock.now().utc_ns, data, len(data))])
        room.board.clock.advance(20 * MS)
        room.work()
    room.station.stop(room.board.clock.now())
    values = {(row.fields["flow"], value) for row in room.messages() for _, value in samples([row])}

    assert {(0, 0.0), (1, 1.0)} == values


def test_the_setting_s_own_example_is_heard(make_room: Callable[..., Room]) -> None:
    """Whoever copies the entry from the setting's sentence sees the joints of ROS 2's usual topic."""
    (streams,) = [row for row in fields(LiveSettings) if row.name == "streams"]
    (example,) = re.findall(r'"(.+=.+)"', streams.metadata["meaning"])
    room = make_room(streams=(example,))
    wire = room.wire
    announced = wire.rtps_announcement("rt/joint_states", "sensor_msgs::msg::dds_::JointState_")
    for row in (announced, wire.rtps_data(wire.cdr_joint_state((0.5,), names=("a",)))):
        data = wire.udp(wire.rtps(row), port=7411)
        room.taps[-1].hear([HeardFrame(room.board.clock.now().utc_ns, data, len(data))])
    room.work()
    room.station.stop(room.board.clock.now())

    assert [("arms", 0.5)] == [(row.fields["stream"], row.fields["0/0"]) for row in room.messages()]


def test_a_sender_that_connects_anew_again_and_again_is_heard(make_room: Callable[..., Room]) -> None:
    """Each time from another port, as TCP does, a hundred times in a shift: the stream never ends, and counts its senders from 0."""
    room = make_room(streams=CHOSEN)
    for number in range(100):
        room.robot(20, lambda n: 1, source=f"10.0.1.{number}")
        room.board.clock.advance(300 * SECOND)
        room.work()
    room.station.stop(room.board.clock.now())

    assert 100 == sum(row.fields["count"] > 0 for row in room.messages())
    assert set(range(64)) == {row.fields["flow"] for row in room.messages()}
    assert "too_many_flows" not in room.station.report.drops


def test_a_stranger_with_many_addresses_ends_nobody(make_room: Callable[..., Room]) -> None:
    """Who sends from a thousand addresses at once takes no place from who is heard."""
    room = make_room(streams=CHOSEN)
    room.robot(100, lambda n: 1)
    for number in range(200):
        room.robot(1, lambda n: 7, source=f"10.0.{1 + number // 200}.{number}")
        room.robot(1, lambda n: 1)

    assert 137 == room.station.report.drops["too_many_flows"]
    room.board.clock.advance(2 * SECOND)
    room.robot(100, lambda n: 5)
    room.station.stop(room.board.clock.now())
    assert (0, 5.0) in {(row.fields["flow"], row.fields["0/0"]) for row in room.messages()}


def test_a_message_never_has_too_many_fields(make_room: Callable[..., Room]) -> None:
    """A second of everything there is becomes as many messages as it needs."""
    room = make_room(streams=CHOSEN, rates="itp/robot=1000")
    room.robot(1_500, lambda n: n)
    room.station.stop(room.board.clock.now())

    assert 1_500 == len(samples(room.messages()))
    assert all(len(row.fields) <= FIELDS_MAX for row in room.messages())


def test_a_full_batch_drops_and_counts(make_room: Callable[..., Room]) -> None:
    """More numbers than were allowed are dropped, and the message says so."""
    room = make_room(streams=CHOSEN, rates="itp/robot=1000", values_max=1_000, batch_ms=60_000)
    room.robot(500, lambda n: n)
    room.station.stop(room.board.clock.now())

    sent = len(samples(room.messages()))
    assert 1_000 // 8 == sent
    assert 500 - sent == room.station.report.drops["batch_full"]


def test_a_full_disk_costs_what_was_heard_meanwhile(make_room: Callable[..., Room]) -> None:
    """Live data is for now: what cannot be written is counted and gone, and the next batch comes."""
    room = make_room(streams=CHOSEN)
    room.board.disk.fill(leave_bytes=0)
    room.robot(1_500, lambda n: n)
    room.board.disk.fill(leave_bytes=1 << 20)
    room.robot(1_500, lambda n: n)

    assert room.station.report.drops["disk_full"] > 0
    assert len(samples(room.messages())) > 50


def test_a_lost_interface_is_opened_again(make_room: Callable[..., Room]) -> None:
    """The interface goes and comes back: a second later it listens again."""
    room = make_room(streams=CHOSEN)
    room.taps[-1].break_off()
    room.work()
    assert "closed" == room.station.report.gauges["tap"]
    room.board.clock.advance(SECOND)
    room.work()

    assert 2 == len(room.taps)
    assert "open" == room.station.report.gauges["tap"]


@pytest.mark.parametrize(
    "changes",
    [
        {"streams": ("itp/robot",)}, {"streams": ("itp=arms",)}, {"streams": ("dicom/x=arms",)}, {"streams": ("itp/robot=Jane Doe",)},
        {"streams": ("rtps/rt/a/position=arms", "rtps/rt/a/velocity=arms")}, {"streams": ("itp/robot=arms", "itp/robot=forces")},
        {"rates": "moton=60"}, {"rates": "motion=0"}, {"reduce": "change", "error": "a lot"},
    ],
)  # fmt: skip
def test_settings_that_cannot_be_read(changes: dict[str, Any]) -> None:
    """A choice that is not understood is an error before anything starts."""
    with pytest.raises(BadSettings):
        checked(LiveSettings(**changes))

"""Intake: datagrams become messages in the inbox, alarms first, whatever else is on the wire."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2
import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet import fragment as cut
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, fragment6
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether

from drivers.clock import ClockState, Monotonic
from firmware.core.arrivals import bounds_from
from firmware.core.entrance import COPIES_NS
from firmware.core.errors import BadSettings
from firmware.core.message import Priority, Severity
from firmware.core.timestamp import MS
from firmware.intake.publisher import datagram
from simulator.capture_file import frames
from simulator.disk import Failing

DATA = Path(__file__).parents[2].parent / "shared" / "data"
Room = Any  # conftest's; a fixture's class cannot be imported here


def test_an_alarm_is_written_at_once(room: Room) -> None:
    """Priority 1 is in the inbox after the step in which it was heard. (S2-020, S2-029, S2-042)"""
    room.say(b"joint 2 stopped")

    assert room.step() is None
    (message,) = room.messages()
    assert ("joint 2 stopped", Priority.P1, Severity.ERROR, "10.0.0.5") == (
        message.text,
        message.priority,
        message.severity,
        message.device,
    )
    assert ("arrival", room.board.clock.now().timestamp.tai_ns) == (message.origin_time.source, message.origin_time.tai_ns)
    assert ("ptp", 50_000) == (message.received_time.source, message.received_time.uncertainty_ns)


def test_lower_priorities_wait_for_company(room: Room) -> None:
    """Priority 3 waits 250 ms and is then one item; the station says when it wants to be called. (S2-048)"""
    room.say(b"one", b"two", port=47003)
    wish = room.step()
    room.say(b"three", port=47003)
    room.step(100)

    assert (250, []) == (wish, room.items())
    room.step(150)
    assert [["one", "two", "three"]] == [[message.text for message in item] for item in room.items()]


def test_alarms_do_not_wait_for_the_others(room: Room) -> None:
    """One priority an item; the alarm's is written first."""
    room.say(*(b"%d" % n for n in range(20)), port=47004)
    room.say(b"alarm")
    room.step()

    assert [["alarm"]] == [[message.text for message in item] for item in room.items()]


def test_a_full_batch_is_written_at_once(make_room: Callable[..., Room]) -> None:
    """Reaching `batch_count` ends the waiting."""
    room = make_room(batch_count=3)
    room.say(b"a", b"b", b"c", b"d", port=47004)
    room.step()

    assert [3] == [len(item) for item in room.items()]


def test_the_publisher_is_understood(room: Room) -> None:
    """What the library we give to robot vendors sends arrives as it was said. (S2-021, S2-023, S2-031)"""
    now = room.board.clock.now()
    room.say(
        datagram(
            "limit near",
            process="arm/3",
            sequence=4,
            severity="warning",
            event="wear",
            time_utc_ns=now.utc_ns - 5,
            fields={"t": 41.5},
        ),
        port=47002,
    )
    room.step(50)
    room.step(50)
    (message,) = room.messages()

    assert ("arm/3", 4, Severity.WARNING, "wear", {"t": 41.5}) == (
        message.process,
        message.sequence,
        message.severity,
        message.event,
        message.fields,
    )
    assert ("device", 1_000_000_000, now.timestamp.tai_ns - 5) == (
        message.origin_time.source, message.origin_time.uncertainty_ns, message.origin_time.tai_ns,
    )  # fmt: skip


def test_names_come_from_addresses_not_from_claims(make_room: Callable[..., Room]) -> None:
    """The device is who sent it; what it calls itself, and the box's own kinds, are kept as claims. (S2-033)"""
    room = make_room(devices=("10.0.0.5=robot-1",))
    room.say(datagram("x", process="bad name", kind="command-result"), cbor2.dumps({"device": "robot-9", "text": "y"}))
    room.step()
    first, second = room.messages()

    assert ("robot-1", "unknown", "published") == (first.device, first.process, first.kind)
    assert {"claimed_process": "bad name", "claimed_kind": "command-result"} == first.fields
    assert ("robot-1", {"claimed_device": "robot-9"}) == (second.device, second.fields)


@pytest.mark.parametrize("time_ns", [5, 0, 1 << 61])
def test_absurd_times_are_kept_and_not_believed(room: Room, time_ns: int) -> None:
    """Before 2000 or more than a day ahead: arrival counts, the claim is kept, and counted. (S2-014)"""
    room.say(cbor2.dumps({"time_utc_ns": time_ns, "text": "x"}))
    room.step()
    (message,) = room.messages()

    assert "arrival" == message.origin_time.source
    assert message.fields["claimed_time_ns"] == time_ns + 37_000_000_000
    assert 1 == room.station.report.counts["absurd_time"]


def test_sensitive_parts_are_tagged_at_the_entrance(room: Room) -> None:
    """Fields by name, texts by marker; everything is kept. (S2-080, S2-081, S2-082)"""
    room.say(datagram("for #phi Jane Doe #end", fields={"patientName": "Jane Doe", "t": 1}))
    room.step()
    (message,) = room.messages()

    assert [("text", 4, 22), ("fields/patientName", 0, 0)] == [(tag.path, tag.start, tag.end) for tag in message.tags]
    assert "for #phi Jane Doe #end" == message.text


@pytest.mark.parametrize(
    ("expected", "line"),
    [
        (["Jane Doe"], "<11>Patient: Jane Doe, bed 4"),
        (["4711"], "<11>Nov 26 12:00:00 robot-1 MRN[17]: 4711"),
        (["4711"], "<11>Nov 26 12:00:00 Patient ID: 4711"),
        (["Jane Doe"], "<11>1 - robot-1 patient - - - Jane Doe"),
        (["4711"], "<11>Nov 26 12:00:00 robot-1 arm: mrn=4711, stopped"),
        ([], "<11>Nov 26 12:00:00 robot-1 arm: stopped"),
    ],
)
def test_what_syslog_takes_for_the_name_of_a_program_may_name_what_follows(room: Room, expected: list[str], line: str) -> None:
    """`Patient: Jane Doe` has a tag and a text to whoever parts it by RFC 3164; that somebody is named does not change. (S2-081)"""
    room.say(line.encode())
    room.step()
    (message,) = room.messages()

    assert expected == [(message.text or "")[tag.start : tag.end] for tag in message.tags]


def test_copies_are_dropped_and_counted(room: Room) -> None:
    """The same message by two ways, or twice by a mirror port, is one. Two equal words at different times are two."""
    room.say(datagram("x", sequence=1, time_utc_ns=room.board.clock.now().utc_ns))
    room.say(datagram("x", sequence=1, time_utc_ns=room.board.clock.now().utc_ns))
    room.say(datagram("y", sequence=2))
    room.say(b"z")
    room.step()
    room.board.clock.advance(5_000)
    room.say(datagram("y", sequence=2))
    room.say(b"z")
    room.step()

    assert ["x", "y", "z", "z"] == [message.text for message in room.messages()]
    assert {"duplicate": 2} == {key: count for key, count in room.station.report.drops.items() if count}


def test_a_process_that_counts_from_the_beginning_is_heard_again(room: Room) -> None:
    """Started again, it says the same under the same numbers: no copies, for those come within seconds. What has a time is one for ever."""
    now = room.board.clock.now().utc_ns
    for _ in range(3):
        for sequence in range(2):
            room.say(datagram("torque limit", sequence=sequence), datagram("torque limit", sequence=sequence))
            room.say(datagram("timed", sequence=sequence, time_utc_ns=now))
        room.step()
        room.step(after_ms=COPIES_NS // MS + 1)

    assert {"torque limit": 6, "timed": 2} == Counter(message.text for message in room.messages())


def test_other_traffic_is_not_touched(room: Room, make_frame: Callable[..., bytes]) -> None:
    """Frames to other ports, TCP and ARP do not get past the kernel's filter. (S2-029)"""
    room.hear(make_frame(b"x", port=47005), make_frame(b"x", port=104))
    room.step()

    assert [] == room.items()
    assert "frames" not in room.station.report.counts


@pytest.mark.parametrize("tags", [[], [Dot1Q(vlan=5)], [Dot1AD(vlan=6), Dot1Q(vlan=7)]])
def test_tagged_frames_and_both_versions_of_ip(room: Room, tags: list[Any]) -> None:
    """Bare, in one VLAN tag and in two; IPv4 and IPv6. (S2-034)"""
    for network in (IP(src="10.0.0.5"), IPv6(src="fd00::5")):
        packet = Ether()
        for tag in tags:
            packet = packet / tag
        room.hear(bytes(packet / network / UDP(dport=47001) / b"stop"))
    room.step()

    assert ["10.0.0.5", "fd00::5"] == [message.device for message in room.messages()]


@pytest.mark.parametrize("tags", [[], [Dot1Q(vlan=5)]])
def test_messages_behind_headers_of_ipv6(room: Room, tags: list[Any]) -> None:
    """Options for each hop or for the receiver, and a route, stand between the address and the port: heard all the same. (S2-034)"""
    for number, header in enumerate((IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt(), IPv6ExtHdrRouting())):
        packet = Ether()
        for tag in tags:
            packet = packet / tag
        room.hear(bytes(packet / IPv6(src="fd00::5") / header / UDP(dport=47001) / (b"stop %d" % number)))
        room.hear(bytes(packet / IPv6(src="fd00::5") / header / UDP(dport=47005) / b"no message"))
    room.step()

    assert ["stop 0", "stop 1", "stop 2"] == [message.text for message in room.messages()]


def test_fragmented_messages_are_put_together(room: Room) -> None:
    """A message of 8 kB over a link of 1,500 bytes, IPv4 and IPv6."""
    body = datagram("x" * 8_000, sequence=1)
    fourth = cut(IP(src="10.0.0.5", id=7) / UDP(sport=1, dport=47001) / body, fragsize=1_480)
    sixth = fragment6(IPv6(src="fd00::5") / IPv6ExtHdrFragment(id=8) / UDP(sport=1, dport=47001) / body, 1_500)
    room.hear(*(bytes(Ether() / part) for part in (*fourth, *sixth)))
    room.step()

    assert [("10.0.0.5", 8_000), ("fd00::5", 8_000)] == [(message.device, len(message.text)) for message in room.messages()]


@pytest.mark.parametrize("header", [IPv6ExtHdrDestOpt(), IPv6ExtHdrRouting(), IPv6ExtHdrDestOpt() / IPv6ExtHdrRouting()])
def test_fragments_of_a_message_behind_headers_of_its_own(room: Room, header: Any) -> None:
    """What stands for the receiver before UDP is cut into fragments with it, and only the first one has it (RFC 8200 §4.5). (S2-034)"""
    body = datagram("x" * 8_000, sequence=1)
    parts = fragment6(IPv6(src="fd00::5") / IPv6ExtHdrFragment(id=9) / header / UDP(sport=1, dport=47001) / body, 1_500)
    other = fragment6(IPv6(src="fd00::5") / IPv6ExtHdrFragment(id=10) / header / UDP(sport=1, dport=47005) / body, 1_500)
    room.hear(*(bytes(Ether() / part) for part in (*reversed(parts), *other)))
    room.step()

    assert [("fd00::5", 8_000)] == [(message.device, len(message.text)) for message in room.messages()]


def test_bytes_without_sense_are_kept(room: Room) -> None:
    """What is neither text nor any form is an attachment, and counted."""
    room.say(b"\xff\xfe\xfd")
    room.step()
    (message,) = room.messages()

    assert ("application/octet-stream", b"\xff\xfe\xfd") == message.attachment
    assert 1 == room.station.report.counts["undecodable"]


def test_a_datagram_altered_on_its_way_is_kept_and_not_read(room: Room) -> None:
    """One wrong bit, and a marker marks nothing: the bytes are kept, and since nobody can say what they are, they stay. (S2-085)"""
    whole = bytes(Ether() / IP(src="10.0.0.5") / UDP(sport=1, dport=47001) / b"stopped for #phi Jane Doe")
    altered = whole.replace(b"#phi", b"#phj")
    first, last = cut(IP(src="10.0.0.5", id=7) / UDP(sport=1, dport=47001) / (b"stopped for #phi Jane Doe" * 80), fragsize=1_480)
    room.hear(whole, altered, bytes(Ether() / first), bytes(Ether() / last).replace(b"#phi", b"#phj"))
    room.step()
    good, bad, pieces = room.messages()

    assert "stopped for #phi Jane Doe" == good.text
    assert [(None, {}, 25), (None, {}, 2000)] == [(row.text, row.fields, len(row.attachment[1])) for row in (bad, pieces)]
    assert (2, 2) == (room.station.report.counts["bad_checksum"], room.station.report.counts["undecodable"])


def test_a_full_disk_drops_the_newest_of_the_least_urgent(make_room: Callable[..., Room]) -> None:
    """Listening goes on; when there is room again, what was kept is written, alarms first."""
    room = make_room(backlog_count=10, batch_count=2)
    room.board.disk.fill(leave_bytes=0)
    room.say(*(b"debug %d" % n for n in range(10)), port=47004)
    room.say(*(b"alarm %d" % n for n in range(4)))
    room.step()

    assert 4 == room.station.report.drops["disk_full"]
    room.board.disk.fill(leave_bytes=1 << 20)
    for _ in range(3):
        room.step(1_000)
    texts = [message.text for message in room.messages()]
    assert [f"alarm {n}" for n in range(4)] == texts[:4]
    assert [f"debug {n}" for n in range(6)] == texts[4:]


def test_a_sick_disk_is_named(room: Room) -> None:
    """Read-only is not full; the loop goes on either way."""
    room.board.disk.failing = Failing.READ_ONLY
    room.say(*(b"%d" % n for n in range(30)))
    wish = room.step()

    assert 1_000 == wish
    assert {} == {key: count for key, count in room.station.report.drops.items() if count}
    room.board.disk.failing = Failing.NOT
    room.step(1_000)
    assert 30 == len(room.messages())


def test_an_interface_that_goes_is_opened_again(room: Room) -> None:
    """Once a second, and said."""
    room.taps[-1].break_off()
    wish = room.step()

    assert (1_000, 1, "closed") == (wish, room.station.report.drops["tap_failed"], room.station.report.gauges["tap"])
    room.step(1_000)
    room.say(b"back")
    room.step()
    assert ["back"] == [message.text for message in room.messages()]


def test_what_the_ring_lost_is_told(room: Room) -> None:
    """Frames the kernel had no room for are intake's loss, by the driver's cause."""
    room.say(*(b"x" * 9_000 for _ in range(4_000)), port=47004)
    while room.step() is not None:
        room.board.clock.advance(1_000_000_000)

    assert room.station.report.drops["ring_full"] > 0


def test_stopping_writes_what_waits(room: Room) -> None:
    """Going down on purpose loses nothing that was heard."""
    room.say(b"debug", port=47004)
    room.station.stop(room.board.clock.now())

    assert ["debug"] == [message.text for message in room.messages()]


def test_names_do_not_repeat_in_the_next_life(room: Room) -> None:
    """A process that ends and comes back while the clock stands still overwrites nothing."""
    for life in range(3):
        room.say(b"life %d" % life)
        room.step()
        room.station.start(room.board.clock.now())

    assert 3 == len(room.items())


@pytest.mark.parametrize(
    "change", [{"devices": ("10.0.0.5",)}, {"devices": ("10.0.0.5=robot 1",)}, {"event_priorities": ("x=5",)}]
)
def test_settings_that_cannot_be_read(make_room: Callable[..., Room], change: dict[str, Any]) -> None:
    """The entry is named, with an example."""
    with pytest.raises(BadSettings, match="expected entries such as"):
        make_room(**change)


@pytest.mark.parametrize(
    ("expected", "name"),
    [
        # As tshark counts them, but for 6 datagrams in an IPv6 tunnel and 6 in PPPoE, which are not looked into.
        (71, "services/syslog.pcap"),
        (4, "services/syslog_udp.pcap"),
        (1, "services/syslog-missing-pri.pcap"),
        (5, "lab/or_mix_lab.pcap"),
    ],
)
def test_real_syslog(room: Room, expected: int, name: str) -> None:
    """Recordings nobody here wrote, through filter, parser and decoder. (S2-033, S2-034)"""
    path = DATA / "pcap" / name
    if not path.exists():
        pytest.skip(f"no recording at {path}")
    for heard in frames(path):
        room.hear(bytes(heard.data), stamp_utc_ns=heard.stamp_ns, wire_bytes=heard.wire_bytes)
        room.step()
    room.step(1_000)
    room.step()
    messages = room.messages()

    assert expected == len(messages)
    assert all(message.text for message in messages)


def test_a_certified_clock_says_how_far_its_stamp_may_be_off(room: Room) -> None:
    """The stamp stays as the device said it; its uncertainty is the certificate's, aged; without one, or where the clock station
    says no more, it is the setting's. (S2-014)"""
    now = room.board.clock.now()
    said = b'{"version": 1, "text": "%s", "time_tai_ns": %d}'
    room.say(said % (b"before", now.timestamp.tai_ns - 5))
    room.step()
    row = ["10.0.0.5", "netsync", -21_800, -12_700, now.timestamp.tai_ns]
    room.board.disk.mkdir("state")
    state = {"grandmaster": "", "offsets": [row], "monotonic_ns": now.monotonic.ns}
    room.board.disk.write("state/clock", json.dumps(state).encode())
    room.step(2000)
    room.say(said % (b"after", now.timestamp.tai_ns - 5))
    room.say(said % (b"another", now.timestamp.tai_ns - 5), source="10.0.0.6")
    room.step(20_000)
    room.step(2000)
    room.say(said % (b"nobody measures", now.timestamp.tai_ns - 5))
    room.step()

    stamps = {message.text: message.origin_time for message in room.messages()}
    assert {now.timestamp.tai_ns - 5} == {stamp.tai_ns for stamp in stamps.values()}
    assert ("device", ClockState.LOCKED, 21_800 + 200_000) == (
        stamps["after"].source,
        stamps["after"].state,
        stamps["after"].uncertainty_ns,
    )
    assert {(ClockState.FREE, 1_000_000_000)} == {
        (stamps[name].state, stamps[name].uncertainty_ns) for name in ("before", "another", "nobody measures")
    }


def test_stamps_against_arrival_are_left_for_the_clock_station(room: Room) -> None:
    """Once a second at most, how far behind each sender's clock can be; what has no stamp of its own says nothing. (S2-014)"""
    now = room.board.clock.now()
    room.say(b'{"version": 1, "text": "x", "time_tai_ns": %d}' % (now.timestamp.tai_ns - 3_000_000))
    room.say(b"no stamp", source="10.0.0.6")
    room.step()
    room.step(1000)
    found = bounds_from(room.board.disk.read("state/arrivals"), now=room.board.clock.now(), not_before=Monotonic(0))

    assert [("10.0.0.5", -3_000_000, None)] == [(row.device, row.low_ns, row.high_ns) for row in found]

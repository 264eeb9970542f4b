"""Devices that connect: heard by the same rules, answered when what they said is durable, and never able to hold up the others."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware.core.errors import BadSettings
from firmware.core.framing import HL7_BYTES_MAX
from firmware.core.message import Priority, Severity
from firmware.core.upper_layer import STEP
from firmware.intake.callers import CALLERS_A_PEER, MESSAGES_A_STEP, UNANSWERED_MAX
from firmware.intake.settings import IntakeSettings
from firmware.intake.station import IntakeStation
from simulator.disk import Failing
from tests.core.test_upper_layer import associate, pdu

Room = Any  # conftest's; a fixture's class cannot be imported here

MONITOR, PUMP = "10.0.0.7", "10.0.0.8"
DOORS = {"syslog_udp_listen": 514, "syslog_tcp_listen": 601, "hl7_listen": 2575, "igtl_listen": 18944, "dicom_listen": 11112}


def alert(number: int, priority: str = "PH") -> bytes:
    return (
        b"\x0bMSH|^~\\&|MON|ICU|||20261122101500+0000||ORU^R40^ORU_R40|%d|P|2.6\r"
        b"OBX|1|CWE|196616^MDC_EVT_ALARM^MDC||196670^MDC_EVT_LO^MDC^^low|||%s||F\r\x1c\r"
    ) % (number, priority.encode())


@pytest.fixture
def open_room(make_room: Callable[..., Room]) -> Room:
    """Every door open."""
    room = make_room(**DOORS)
    room.step()
    return room


def test_no_door_is_open_unless_a_site_opens_it(room: Room) -> None:
    """Settings as they come listen nowhere."""
    room.step()

    assert {} == room.doors


def test_syslog_by_every_way_says_the_same(open_room: Room) -> None:
    """UDP, TCP by octets and by lines: one decoder, priority by severity. (S2-033)"""
    line = b"<11>1 - host arm - ID4 - joint 2 stopped"
    open_room.doors[514].datagram(MONITOR, line)
    for number, framed in enumerate((b"%d %s" % (len(line), line), line + b"\n")):
        open_room.doors[601].say(open_room.doors[601].call(f"10.0.1.{number}"), framed)
    open_room.step()

    assert [("joint 2 stopped", "arm", Priority.P1, Severity.ERROR)] * 3 == [
        (row.text, row.process, row.priority, row.severity) for row in open_room.messages()
    ]
    assert {MONITOR, "10.0.1.0", "10.0.1.1"} == {row.device for row in open_room.messages()}


def test_the_same_line_three_times_is_three_messages(open_room: Room) -> None:
    """A count and a time tell copies apart; a line with neither is said as often as it comes, also within one step, and in its order."""
    door = open_room.doors[601]
    door.say(door.call(MONITOR), b"<11>arm: link down\n<11>arm: link up\n" * 3)
    open_room.step()

    assert ["link down", "link up"] * 3 == [
        row.text for row in sorted(open_room.messages(), key=lambda row: row.origin_time.tai_ns)
    ]
    assert "duplicate" not in open_room.station.report.drops


def test_hl7_is_acknowledged_when_it_is_durable(open_room: Room) -> None:
    """AA follows the sync, not the reading: a disk that takes nothing gives no answer, and the sender keeps his message."""
    door = open_room.doors[2575]
    caller = door.call(MONITOR)
    open_room.board.disk.failing = Failing.READ_ONLY
    door.say(caller, alert(1))
    open_room.step()
    assert b"" == bytes(door.answers[caller])
    open_room.board.disk.failing = Failing.NOT
    open_room.step(1_000)

    assert 1 == bytes(door.answers[caller]).count(b"MSA|AA|1\r")
    assert [("alert", Priority.P1, "MDC_EVT_LO")] == [(row.kind, row.priority, row.event) for row in open_room.messages()]


def test_hl7_of_lower_priority_is_acknowledged_with_its_batch(open_room: Room) -> None:
    """Soon, and not before it is written: most senders say nothing more until then, and a second each would be a message a second."""
    door = open_room.doors[2575]
    caller = door.call(MONITOR)
    open_room.doors[514].datagram(PUMP, b"<15>arm: nobody waits for this one")
    open_room.step(500)
    door.say(caller, alert(1, "PN"))
    assert 50 == open_room.step()
    assert (b"", []) == (bytes(door.answers[caller]), open_room.messages())
    open_room.step(50)

    assert b"MSA|AA|1\r" in door.answers[caller]
    assert 2 == len(open_room.messages())


def test_the_same_message_again_is_acknowledged_again(open_room: Room) -> None:
    """Its first answer was lost: stored once, answered twice; also while the first still waits."""
    door = open_room.doors[2575]
    caller = door.call(MONITOR)
    for _ in range(2):
        door.say(caller, alert(1))
        open_room.step()
    for _ in range(2):
        door.say(caller, alert(2, "PN"))
    open_room.step()
    open_room.step(1_000)

    assert ["1", "2"] == [row.fields["hl7/control_id"] for row in open_room.messages()]
    assert (2, 2) == tuple(door.answers[caller].count(b"MSA|AA|%d\r" % number) for number in (1, 2))


@pytest.mark.parametrize("remembered", [0, 2])
def test_the_same_message_again_is_answered_though_forgotten(make_room: Callable[..., Room], remembered: int) -> None:
    """More wait than are remembered, or none is to be: whoever sends again while his first copy waits is answered for both."""
    room = make_room(**DOORS, duplicate_count=remembered)
    room.step()
    door = room.doors[2575]
    first, second = door.call(MONITOR), door.call(MONITOR)
    door.say(first, alert(1, "PN"))
    for number in (2, 3, 4):
        door.say(first, alert(number, "PN"))
    room.step()
    door.say(second, alert(1, "PN"))
    room.step(1_000)
    room.step(1_000)

    assert (1, 1) == (door.answers[first].count(b"MSA|AA|1\r"), door.answers[second].count(b"MSA|AA|1\r"))


def test_who_wants_no_answer_is_heard(open_room: Room) -> None:
    """Nothing is said to him, and everything of his is kept."""
    door = open_room.doors[2575]
    caller = door.call(MONITOR)
    for number in range(3):
        door.say(caller, alert(number).replace(b"|P|2.6\r", b"|P|2.6|||NE|NE\r"))
    open_room.step()

    assert (3, b"") == (len(open_room.messages()), bytes(door.answers[caller]))


def test_bad_hl7_is_answered_so(open_room: Room) -> None:
    """AE where it can be told which message is no good, AR where not; neither is stored, and the connection goes on."""
    door = open_room.doors[2575]
    caller = door.call(MONITOR)
    for block in (b"\x0bMSH|^~\\&|MON|ICU|||20261122||ORU^R40|7|P|2.6\r\x1c\r", b"\x0bnonsense\x1c\r", alert(8)):
        door.say(caller, block)
    open_room.step()
    answers = bytes(door.answers[caller])

    assert (True, True, True) == tuple(answer in answers for answer in (b"MSA|AE|7|", b"MSA|AR|", b"MSA|AA|8\r"))
    assert (1, 2) == (len(open_room.messages()), open_room.station.report.drops["bad_hl7"])


def test_what_cannot_be_kept_is_refused(make_room: Callable[..., Room]) -> None:
    """A full disk and no room in memory: AR, send it again; and nothing answered with AA is missing in the end."""
    room = make_room(**DOORS, backlog_count=4)
    room.step()
    room.board.disk.fill(leave_bytes=0)
    door = room.doors[2575]
    caller = door.call(MONITOR)
    for number in range(10):
        door.say(caller, alert(number))
    room.step()
    assert (6, 0) == (door.answers[caller].count(b"MSA|AR|"), door.answers[caller].count(b"MSA|AA|"))
    door.say(caller, alert(9))
    room.step()
    room.board.disk.fill(leave_bytes=1 << 20)
    for _ in range(3):
        room.step(1_000)

    acknowledged = {str(number) for number in range(10) if b"MSA|AA|%d\r" % number in door.answers[caller]}
    assert {"0", "1", "2", "3", "9"} == acknowledged == {row.fields["hl7/control_id"] for row in room.messages()}


def test_who_does_not_wait_for_his_answers_gets_all_of_them(open_room: Room) -> None:
    """While the disk takes nothing, more than one caller may wait for is refused, not passed over in silence: he knows what to send again."""
    door = open_room.doors[2575]
    caller = door.call(MONITOR)
    open_room.board.disk.failing = Failing.READ_ONLY
    door.say(caller, b"".join(alert(number, "PN") for number in range(UNANSWERED_MAX + 10)))
    for _ in range(UNANSWERED_MAX // MESSAGES_A_STEP + 1):
        open_room.step()
    assert (0, 10) == tuple(door.answers[caller].count(code) for code in (b"MSA|AA|", b"MSA|AR|"))
    open_room.board.disk.failing = Failing.NOT
    for _ in range(4):
        open_room.step(1_000)

    assert (UNANSWERED_MAX, 10) == tuple(door.answers[caller].count(code) for code in (b"MSA|AA|", b"MSA|AR|"))
    assert UNANSWERED_MAX == len(open_room.messages())


def test_a_crowded_box_lets_callers_wait(make_room: Callable[..., Room]) -> None:
    """TCP holds the sender back; what he sends is read when the disk takes messages again, and lost nowhere."""
    room = make_room(**DOORS, backlog_count=20)
    room.step()
    room.board.disk.failing = Failing.READ_ONLY
    caller = room.doors[601].call(PUMP)
    for number in range(50):
        room.doors[601].say(caller, b"<11>alarm %d\n" % number)
        room.step()
    assert room.station.report.gauges["backlog_messages"] <= 12
    room.board.disk.failing = Failing.NOT
    for _ in range(5):
        room.step(1_000)

    assert {f"alarm {number}" for number in range(50)} == {row.text for row in room.messages()}
    assert 0 == room.station.report.drops.get("disk_failed", 0)


def test_igtl_status(open_room: Room) -> None:
    """Panic mode is an alarm; a damaged one is counted and the next is read."""
    from tests.core.test_igtl import status  # as a device packs it

    door = open_room.doors[18944]
    caller = door.call(PUMP)
    door.say(caller, status(3)[:-2] + b"xx" + status(3) + status(1, kind=b"TRANSFORM"))
    open_room.step()

    assert [("igtl/panic", Priority.P1)] == [(row.event, row.priority) for row in open_room.messages()]
    assert (1, 1) == (open_room.station.report.drops["bad_igtl"], open_room.station.report.counts["igtl_other"])


def test_a_slow_caller_is_let_go(open_room: Room) -> None:
    """A message must be whole 10 s after its first byte, however busily he drips; silence between messages is nobody's fault."""
    door = open_room.doors[2575]
    slow, silent = door.call(PUMP), door.call(MONITOR)
    door.say(silent, alert(1))
    for byte in alert(2)[:30]:
        door.say(slow, bytes([byte]))
        open_room.step(500)

    assert (False, True) == (door.is_connected(slow), door.is_connected(silent))
    assert 1 == open_room.station.report.drops["caller_slow"]


def test_the_station_wakes_for_a_slow_caller(open_room: Room) -> None:
    """Nothing more comes; his time is up all the same."""
    door = open_room.doors[2575]
    slow = door.call(PUMP)
    door.say(slow, b"\x0bMSH")
    waits = open_room.step()
    while door.is_connected(slow):
        assert waits is not None and 0 < waits <= 10_000
        waits = open_room.step(waits)


def test_a_message_that_is_too_long(open_room: Room) -> None:
    """A document in an observation: refused by name, so that its sender goes on, and the alarm behind it is heard."""
    door = open_room.doors[2575]
    caller = door.call(MONITOR)
    for at in range(0, 2 * HL7_BYTES_MAX, 1 << 16):
        door.say(caller, alert(7)[:-2] * (at == 0) + bytes(1 << 16).replace(b"\0", b"x"))
    door.say(caller, b"\x1c\r" + alert(8))
    open_room.step()
    answers = bytes(door.answers[caller])

    assert b"MSA|AE|7|expected MLLP blocks of at most 1048576 bytes\r" in answers and b"MSA|AA|8\r" in answers
    assert (["8"], 1) == (
        [row.fields["hl7/control_id"] for row in open_room.messages()],
        open_room.station.report.drops["bad_hl7"],
    )


def test_an_endless_message(open_room: Room) -> None:
    """Ends its connection in the time any message may take; the memory is given back before."""
    door = open_room.doors[2575]
    caller = door.call(PUMP)
    for _ in range(12):
        assert door.say(caller, b"\x0b" + b"x" * (HL7_BYTES_MAX + 2))
        open_room.step(1_000)

        if not door.is_connected(caller):
            break
    assert (False, 1) == (door.is_connected(caller), open_room.station.report.drops["caller_slow"])


def test_one_peer_does_not_take_every_place(open_room: Room) -> None:
    """Eight connections each; the rest of the places is for others."""
    door = open_room.doors[601]
    callers = [door.call(PUMP) for _ in range(20)]
    open_room.step()

    assert CALLERS_A_PEER == sum(door.is_connected(caller) for caller in callers)
    assert door.is_connected(door.call(MONITOR))


def test_one_peer_does_not_lock_itself_out(open_room: Room) -> None:
    """A device that connects anew whenever it wakes, and forgets its former connections, is heard for ever: the one of its own that has been
    silent longest makes room, and no other device's."""
    door = open_room.doors[601]
    other = door.call(MONITOR)
    first, *callers = (door.call(PUMP) for _ in range(CALLERS_A_PEER))
    open_room.step()
    open_room.step(61_000)
    for caller in callers:
        door.say(caller, b"<15>here\n")
    open_room.step()
    latest = door.call(PUMP)
    open_room.step()
    assert (False, True, True) == (door.is_connected(first), door.is_connected(latest), door.is_connected(other))
    drops = open_room.station.report.drops
    assert (1, 0) == (drops.get("caller_idle", 0), drops.get("caller_refused", 0))

    door.say(latest, b"<15>here, too\n")
    open_room.step(1_000)
    assert "here, too" in {row.text for row in open_room.messages()}


def test_when_all_places_are_taken_the_most_silent_makes_room(make_room: Callable[..., Room]) -> None:
    """Connections somebody forgot to close do not lock the others out for ever."""
    room = make_room(**DOORS, callers_max=3)
    room.step()
    door = room.doors[601]
    first, second, third = (door.call(f"10.0.1.{number}") for number in range(3))
    room.step()
    for _ in range(61):
        for caller in (second, third):
            door.say(caller, b"<15>here\n")
        room.step(1_000)
    assert door.call(MONITOR) is None
    room.step()

    assert (False, True, True) == tuple(door.is_connected(caller) for caller in (first, second, third))
    assert door.call(MONITOR) is not None


def test_a_step_is_bounded_and_fair(open_room: Room) -> None:
    """Who sends ten thousand lines at once is read a part a step; an alarm on the mirror port is in the inbox after the first."""
    door = open_room.doors[601]
    door.say(door.call(PUMP), b"".join(b"<15>line %d\n" % number for number in range(3_000)))
    open_room.say(b"alarm")

    assert 0 == open_room.step()
    assert "alarm" in {row.text for row in open_room.messages()}
    assert MESSAGES_A_STEP >= open_room.station.report.counts["messages"] - 1
    for _ in range(10):
        open_room.step(1_000)
    assert 3_001 == len(open_room.messages())


def test_who_leaves_before_his_answer(open_room: Room) -> None:
    """What he said is kept; he will send it again."""
    door = open_room.doors[2575]
    caller = door.call(MONITOR)
    door.say(caller, alert(1, "PN"))
    open_room.step()
    door.hang_up(caller)
    open_room.step(1_000)

    assert ["1"] == [row.fields["hl7/control_id"] for row in open_room.messages()]


@pytest.mark.parametrize(
    ("port", "said", "texts", "cut_off"),
    [
        (601, b"<11>one\n<8>stop", ["one", "stop"], 0), (601, b"<8>stop", ["stop"], 0), (601, b"<11>one\n", ["one"], 0), (601, b"9 <8>stop", [], 1),
        (601, b"12", [], 1), (601, b"<11>one\n12", ["one", "12"], 0), (2575, alert(1)[:-1], [], 1), (18944, bytes(20), [], 1), (11112, bytes(5), [], 1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("together", [True, False])
def test_what_the_end_of_a_connection_ends(
    open_room: Room, port: int, said: bytes, texts: list[str], cut_off: int, together: bool
) -> None:
    """A line without its end is whole when its sender has closed, seen with it or later; what is cut off within a count or a frame is
    counted, and not taken for what was meant."""
    door = open_room.doors[port]
    caller = door.call(MONITOR)
    door.say(caller, said)
    if not together:
        open_room.step()
    door.hang_up(caller)
    open_room.step()
    open_room.step(1_000)

    assert (texts, cut_off) == ([row.text for row in open_room.messages()], open_room.station.report.drops.get("cut_off", 0))


def test_a_port_that_is_taken_is_tried_again(make_room: Callable[..., Room]) -> None:
    """Each second, and said; the mirror port is heard meanwhile."""
    room = make_room()
    room.station = IntakeStation(room.board, IntakeSettings(syslog_tcp_listen=601))
    honest, room.board.open_listener = room.board.open_listener, refuse
    room.station.start(room.board.clock.now())
    room.say(b"alarm")
    room.step()
    assert ("alarm", 1) == (room.messages()[0].text, room.station.report.drops["listen_failed"])
    room.board.open_listener = honest
    room.step(1_000)

    assert 601 in room.doors


def refuse(request: object) -> Any:
    from drivers.errors import ListenFailed

    raise ListenFailed("expected a port")


@pytest.mark.parametrize(
    "change",
    [
        {"syslog_tls_listen": 6514},
        {"hl7_tls_listen": 2576},
        {"dicom_tls_listen": 2762},
        {"hl7_utc_offset": "8"},
        {"hl7_listen": 601, "syslog_tcp_listen": 601},
    ],
)
def test_settings_that_cannot_be(make_room: Callable[..., Room], change: dict[str, Any]) -> None:
    """TLS without a certificate, an offset nobody can read, one port twice: said before anything starts."""
    with pytest.raises(BadSettings, match="expected"):
        make_room(**change)


SAYINGS = st.lists(
    st.tuples(
        st.sampled_from([601, 2575, 18944, 11112]), st.integers(0, 3),
        st.binary(max_size=40) | st.sampled_from([alert(1), alert(2)[:40], b"12 <13>x", b"<13>y\n", b"\x0b", b"\x1c\r", bytes(58), associate(STEP), pdu(5, bytes(4))]) | st.none(),
    ), max_size=25,
)  # fmt: skip


@given(SAYINGS)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_at_any_door(make_room: Callable[..., Room], sayings: list[tuple[int, int, bytes | None]]) -> None:
    """Whatever is said, in whatever pieces, by whoever leaves in the middle: the alarm on the mirror port is heard."""
    room = make_room(**DOORS)
    room.step()
    callers: dict[tuple[int, int], int] = {}
    for port, who, data in sayings:
        door = room.doors[port]
        if (port, who) not in callers or not door.is_connected(callers[port, who]):
            callers[port, who] = door.call(f"10.0.1.{who}") or 0
        if data is None:
            door.hang_up(callers[port, who])
        else:
            door.say(callers[port, who], data)
        room.step(10)
    room.say(b"alarm")
    room.step(1_000)

    assert "alarm" in {row.text for row in room.messages()}

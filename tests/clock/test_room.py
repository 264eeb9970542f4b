"""The room's clocks, measured: what is certified contains the truth; what is claimed is called a claim; and who is up to something."""

from functools import partial
from random import Random

import pytest

from firmware.core.certificate import Method, corrected
from firmware.core.message import Priority
from firmware.core.ptp import ClockQuality, Flags, MessageType, PortIdentity, PtpMessage, packed, unpacked
from firmware.core.ptp_datasets import PortState
from firmware.core.timestamp import SECOND, ClockState, Timestamp
from simulator.ptp.box_end import udp_frame
from simulator.ptp.grandmaster import Claim
from simulator.ptp.hostile import delay_requests, malformed

A, B, C, D = "10.77.0.21", "10.77.0.22", "10.77.0.23", "10.77.0.24"
YEAR_S = 31_556_952


def judged(hall, seconds: float) -> tuple[int, int, int]:
    """(certificates looked at, those that do not contain the truth at their moment, the widest, ns)."""
    looked = wrong = widest = 0

    def look() -> None:
        nonlocal looked, wrong, widest
        now = hall.clock.now()
        for row in hall.station._room.devices.strongest(now, claim_ns=0):
            if row.method.is_measured:
                looked += 1
                widest = max(widest, row.high_ns - row.low_ns)
                row = row.at(now.timestamp.tai_ns)
                wrong += not row.low_ns <= hall.error_ns(row.device) <= row.high_ns

    hall.run(seconds, each=look)
    return looked, wrong, widest


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tai", [False, True])
def test_what_is_certified_contains_the_truth(make_hall, seed: int, tai: bool) -> None:
    """Followers, a free runner of 15 ppm, one of 90 ppm, whatever the queues do: the truth is inside, always. (S2-010, S2-012)"""
    hall = make_hall(seed=seed, tai=tai)
    hall.add(A, offset_ns=5_000_000, drift_ppm=40)
    hall.add(B, "free", offset_ns=300_000, drift_ppm=15)
    hall.add(C, "free", offset_ns=-300_000, drift_ppm=-90)
    hall.run(12)
    looked, wrong, widest = judged(hall, 20)

    assert looked > 300 and wrong == 0
    # A probe is as wide as its two ways: 10 µs of cable each and up to 40 µs of queue. More was gained than the drift cost.
    assert widest < 140_000
    assert {A, B, C} == {row.device for row in hall.account().devices if row.method is Method.MONITORED}


def test_a_liar_is_measured(make_hall) -> None:
    """One that reports 40 ns and is 9 ms off is certified to be 9 ms off, and that is said with a priority. (S2-012)"""
    hall = make_hall()
    hall.add(A, "lying", offset_ns=-9_000_000)
    hall.run(20)
    row = hall.account().of(A)

    assert row.low_ns <= -9_000_000 <= row.high_ns
    assert [(Priority.P2, A)] == [(m.priority, m.fields["device"]) for m in hall.said() if m.event == "device_off"]


def test_what_cannot_be_measured_is_a_claim(make_hall) -> None:
    """A device without NetSync Monitor: its own word, and called that; probes become rare. (S2-012)"""
    hall = make_hall()
    hall.add(A, "unmonitored", offset_ns=2_000_000)
    hall.run(60)
    row = hall.account().of(A)

    assert Method.REPORTED is row.method
    assert row.words().startswith("self-reported ±")
    assert hall.station.report.counts["probes_unanswered"] < 10
    assert PortState.SLAVE is hall.station._room.devices.known(A).port_state


def test_presence_is_all_that_is_known(make_hall) -> None:
    """A device that is heard and answers nothing is \"unknown\", not \"fine\"."""
    hall = make_hall()
    hall.later(5 * SECOND, lambda: hall.box.hear_frame(udp_frame(next(delay_requests(1)), source=A, destination="224.0.1.129")))
    hall.run(10)

    assert [(A, Method.PRESENT, "unknown")] == [(row.device, row.method, row.words()) for row in hall.account().devices]


def test_ptp_over_ethernet_is_present_and_not_asked(make_hall) -> None:
    """A device heard over L2 is known by its MAC, and no question goes to an address that is none; IPv6 is an address like others."""
    hall = make_hall()
    hall.run(1)
    request = next(delay_requests(1))
    hall.box.hear_frame(bytes.fromhex("011b19000000") + bytes.fromhex("02534a000021") + b"\x88\xf7" + request)
    before = hall.station.report.counts.get("questions", 0)
    hall.run(10)

    assert [("02:53:4a:00:00:21", Method.PRESENT)] == [(row.device, row.method) for row in hall.account().devices]
    assert before == hall.station.report.counts.get("questions", 0)
    hall.station._room.devices.heard("fe80::1:2:3:4", hall.clock.now().monotonic)
    hall.run(2)
    assert before < hall.station.report.counts.get("questions", 0)


def test_a_jump_is_said_once(make_hall) -> None:
    """7 ms forward: a P2 message with at least nearly that, and the interval begins anew and holds. (S2-014)"""
    hall = make_hall()
    device = hall.add(A, "free", offset_ns=100_000)
    hall.run(20)
    device.clock.step(hall.true_ns, 7_000_000)
    hall.run(5)
    row = hall.account().of(A)

    jumps = [m for m in hall.said() if m.event == "device_jumped"]
    assert [Priority.P2] == [m.priority for m in jumps]
    assert 6_500_000 < jumps[0].fields["jumped_ns"] <= 7_000_000
    assert row.low_ns <= 7_100_000 <= row.high_ns and row.high_ns - row.low_ns < 250_000


def test_silence_and_return(make_hall) -> None:
    """A device whose cable is pulled is reported silent once, its certificate expires, and its return is reported."""
    hall = make_hall()
    hall.add(A)
    hall.run(20)
    hall.net.place(A).is_cut = True
    hall.run(100)
    assert ["device_silent"] == [event for event in hall.events() if event]
    assert Method.PRESENT is hall.account().of(A).method
    hall.net.place(A).is_cut = False
    hall.run(60)

    assert ["device_silent", "device_back"] == [event for event in hall.events() if event]
    assert Method.MONITORED is hall.account().of(A).method


def test_a_configured_device_never_heard(make_hall) -> None:
    """What should be there and is not is said, too."""
    hall = make_hall(devices=(B,))
    hall.run(40)

    assert [B] == [m.fields["device"] for m in hall.said() if m.event == "device_silent"]


def test_a_board_whose_battery_is_empty(make_hall) -> None:
    """A device in 1970 is measured like any other: 56 years behind, certified, its stamps are placed where they belong. (S2-014)"""
    hall = make_hall()
    hall.add(A, "1970")
    hall.run(20)
    row, wrong = hall.account().of(A), hall.error_ns(A)

    assert row.low_ns <= wrong <= row.high_ns and row.high_ns - row.low_ns < 250_000
    assert 56 * YEAR_S * SECOND < -wrong < 57 * YEAR_S * SECOND
    assert ["device_off"] == [event for event in hall.events() if event]
    now_ns = hall.clock.now().timestamp.tai_ns
    first, last = corrected(Timestamp(now_ns + wrong, SECOND, "device", ClockState.FREE), row, near_tai_ns=now_ns)
    assert first <= now_ns <= last and last - first < 400_000


@pytest.mark.parametrize("somebody", ["10.77.0.255", "255.255.255.255", "192.0.2.1"])
def test_an_address_nobody_can_be_asked_at_costs_the_others_nothing(make_hall, somebody: str) -> None:
    """One frame from the room's broadcast address, or from another network, and everybody else is measured on. (S2-010)"""
    hall = make_hall()
    hall.add(A)
    hall.box.unreachable.add(somebody)
    hall.run(10)
    request = PtpMessage(MessageType.DELAY_REQ, PortIdentity(b"\x02\x53\0\xff\xfe\0\0\x01", 1), 1)
    hall.box.hear_frame(udp_frame(packed(request), source=somebody, destination="10.77.0.1"))
    hall.run(70)

    assert Method.MONITORED is hall.account().of(A).method
    assert hall.state()["devices"][A]["measured_s"] < 1
    assert Method.PRESENT is hall.account().of(somebody).method
    assert hall.station.report.drops["room_unreachable"] > 3 and "room_not_sent" not in hall.station.report.drops


def test_the_boxs_own_step_accuses_nobody(make_hall) -> None:
    """Set an hour back while measuring: one message about the box, none about a device, and certificates of the new clock. (S2-015)"""
    hall = make_hall()
    for address in (A, B):
        hall.add(address)
    hall.run(20)
    hall.clock.step(-3600 * SECOND)
    looked, wrong, _ = judged(hall, 20)
    hall.run(20)

    assert wrong == 0 and looked > 50
    assert 1 == hall.events().count("clock_stepped")
    assert 0 == hall.events().count("device_jumped")
    assert hall.account().of(A).low_ns > 3599 * SECOND  # it follows its master, not the box


@pytest.mark.parametrize("tai", [False, True])
def test_a_leap_second_certifies_nobody_a_second_wrong(make_hall, tai: bool) -> None:
    """UTC says a second twice: who is led by it is a second off until it was set, who keeps TAI never; the truth stays inside,
    in what is published for others, too. (S2-010, S2-014)"""
    hall = make_hall(tai=tai)
    hall.add(A)
    hall.add(B, "free", offset_ns=300_000, drift_ppm=15)
    hall.run(20)
    hall.clock.leap()
    hall.run(0)
    at_once = [row for row in hall.account().devices if row.method.is_measured]
    looked = wrong = 0

    def look() -> None:
        # A is set a second back when it hears of it, between two probes: it is judged at the moment it was measured.
        nonlocal looked, wrong
        for row in hall.account().devices:
            if row.method.is_measured:
                looked += 1
                wrong += (
                    not row.low_ns <= hall.error_ns(row.device, age_ns=hall.clock.timeline.tai_ns - row.at_tai_ns) <= row.high_ns
                )

    hall.run(20, each=look)

    assert wrong == 0 and looked > 50
    assert [] == at_once
    assert (1 * SECOND if not tai else 0) == pytest.approx(hall.error_ns(B), abs=2_000_000)
    assert ["tai_offset"] == [event for event in hall.events() if event not in ("device_off", "device_right", "device_jumped")]


def test_a_row_holds_for_the_moment_of_its_measurement(make_hall) -> None:
    """A device that answers no more keeps its last certificate as it was measured, with that moment: who reads it knows its age."""
    hall = make_hall()
    hall.add(A, "free", offset_ns=300_000)
    hall.run(20)
    hall.net.place(A).is_cut = True
    rows = [hall.account().of(A)]
    cut_tai_ns = hall.clock.now().timestamp.tai_ns
    for _ in range(2):
        hall.run(20)
        rows.append(hall.account().of(A))

    assert 1 == len({(row.low_ns, row.high_ns, row.at_tai_ns // 1_000) for row in rows[1:]})
    assert cut_tai_ns - SECOND < rows[-1].at_tai_ns <= cut_tai_ns
    assert rows[-1].low_ns <= 300_000 <= rows[-1].high_ns


def test_many_poor_clocks_hide_no_better_one(make_hall) -> None:
    """Twenty names that announce clocks nobody would choose, again and again: the one that would be chosen is known and said. (S2-010)"""
    hall = make_hall(yields=False)
    poor = Claim(priority1=250, interval_log=0)
    for number in range(100, 120):
        hall.add_master(f"10.77.0.{number}", poor)
    hall.run(5)
    hall.add_master("10.77.0.66", Claim(priority1=1, quality=ClockQuality(6, 0x20, 0x4E5D), interval_log=-1))
    hall.run(5)

    assert "10.77.0.66" == hall.state()["masters"][0]["address"] and 16 == len(hall.state()["masters"])
    assert ["rogue_master"] == [event for event in hall.events() if event != "second_master"]
    assert hall.station._room.masters.overflow > 4


def test_many_names_keep_no_device_out(make_hall) -> None:
    """Three hundred names that say one word each: who comes after them is measured within two minutes, and that some had no place is counted."""
    hall = make_hall()
    hall.add(A)
    hall.run(10)
    for number in range(300):
        said = PtpMessage(MessageType.DELAY_REQ, PortIdentity(number.to_bytes(8, "big"), 1), 1)
        hall.box.hear_frame(udp_frame(packed(said), source=f"10.78.{number // 250}.{number % 250 + 1}", destination="10.77.0.1"))
    hall.run(1)
    hall.add(B)
    hall.run(120)

    assert {Method.MONITORED} == {hall.account().of(name).method for name in (A, B)}
    assert hall.station.report.drops["devices_full"] >= 45


def test_cheap_news_hides_no_forger(make_hall) -> None:
    """A box that is set every second uses up the allowance of that news; who forges its name or leads in its place is said. (S2-010)"""
    hall = make_hall(yields=False)
    for number in range(60):
        hall.later(number * SECOND, lambda: hall.clock.step(SECOND))
    hall.run(60)
    assert hall.station.report.drops["notice_withheld"] > 30
    ours = PortIdentity(bytes.fromhex("020000fffe00000a"), 1)
    hall.box.hear_frame(udp_frame(packed(PtpMessage(MessageType.SYNC, ours, 1)), source=B, destination="224.0.1.129"))
    hall.add_master("10.77.0.66", Claim(priority1=1, quality=ClockQuality(6, 0x20, 0x4E5D), interval_log=-2))
    hall.run(5)

    assert {"impersonated", "rogue_master"} <= set(hall.events())


def test_uneven_ways_cost_width_not_truth(make_hall) -> None:
    """4 ms more one way than back: a slave is 2 ms wrong and says it is right; the interval is wide and contains the truth. (S2-012)"""
    hall = make_hall()
    hall.add(A, offset_ns=100_000)
    hall.net.place(A).to_ns = 4_000_000
    hall.run(60)
    row = hall.account().of(A)

    assert 1_500_000 < abs(hall.error_ns(A)) < 2_500_000
    assert abs(hall.devices[A].offset_ns) < 200_000
    assert row.low_ns <= hall.error_ns(A) <= row.high_ns
    assert 3_900_000 < row.high_ns - row.low_ns < 4_300_000


def test_a_rogue_grandmaster(make_hall, gps: Claim) -> None:
    """A better priority and an hour ahead: it is said at once, devices that follow it are said to be off, the box's clock is its own. (S2-012)"""
    hall = make_hall(yields=False)
    hall.add(A)
    hall.run(20)
    hall.add_master("10.77.0.66", gps, ahead_ns=3600 * SECOND)
    hall.run(30)
    now = hall.clock.now()

    assert {"second_master", "device_jumped", "device_off"} <= set(hall.events()) | {"second_master"}
    assert "rogue_master" in hall.events()
    row = hall.account().of(A)
    assert row.low_ns <= hall.error_ns(A) <= row.high_ns and row.low_ns > 3599 * SECOND
    assert (ClockState.LOCKED, "ptp") == (ClockState(hall.state()["state"]), hall.state()["source"])
    assert now.timestamp.tai_ns == hall.clock.timeline.tai_ns


def test_forged_answers(make_hall) -> None:
    """Answers nobody asked for, from another address or with another number, and a FOLLOW_UP said twice: no certificate moves."""
    hall = make_hall()
    device = hall.add(A)
    hall.run(20)
    random = Random(7)
    port = PortIdentity(device.port.clockIdentity, 1)

    def forge() -> None:
        for kind in (MessageType.FOLLOW_UP, MessageType.DELAY_RESP):
            for source in (A, B):
                wrong = PtpMessage(
                    kind, port, random.getrandbits(16), timestamp=hall.true_ns + 10**9, requestingPortIdentity=port
                )
                hall.box.hear_frame(udp_frame(packed(wrong), source=source, destination="10.77.0.9"))
        hall.later(10_000_000, forge)

    forge()
    looked, wrong, widest = judged(hall, 20)

    assert wrong == 0 and looked > 50 and widest < 200_000
    assert 0 == hall.events().count("device_jumped")


def test_a_master_that_only_answers_is_not_certified(make_hall) -> None:
    """One on TAI answers the DELAY_REQ that a probe is, without a word about itself, and its Sync has the probe's number: present. (S2-012)"""
    hall = make_hall(devices=(D,))
    master = PortIdentity(bytes.fromhex("025300fffe000024"), 1)

    def answers(sender: str, to: str | None, data: bytes, event: bool) -> None:
        if to != D or data[0] & 15 != MessageType.DELAY_REQ:
            return
        asked = unpacked(data)
        for kind, asker in (
            (MessageType.DELAY_RESP, asked.sourcePortIdentity), (MessageType.SYNC, None), (MessageType.FOLLOW_UP, None),
        ):  # fmt: skip
            flags = Flags.TWO_STEP if kind is MessageType.SYNC else Flags(0)
            said = PtpMessage(
                kind, master, asked.sequenceId, flags=flags, timestamp=hall.true_ns + 37 * SECOND, requestingPortIdentity=asker
            )
            frame = udp_frame(packed(said), source=D, destination="10.77.0.9")
            hall.later(10_000, partial(hall.box.hear_frame, frame))

    hall.net.tapped = answers
    hall.run(20)

    assert Method.PRESENT is hall.account().of(D).method
    assert not {"device_off", "device_jumped"} & set(hall.events())


def test_a_replayed_follow_up_is_counted(make_hall, gps: Claim) -> None:
    """A master's words played again are counted, and change nothing."""
    hall = make_hall()
    hall.add_master("10.77.0.66", gps)
    heard: list[bytes] = []
    hall.net.tapped = lambda sender, to, data, event: heard.append(data) if sender == "10.77.0.66" and data[0] & 15 == 8 else None
    hall.run(10)
    for data in heard[:10]:
        hall.box.hear_frame(udp_frame(data, source="10.77.0.66", destination="224.0.1.129"))
    hall.run(1)

    assert 10 == hall.station.report.drops["follow_up_replayed"]


def test_our_name_in_somebody_elses_mouth(make_hall) -> None:
    """PTP with the box's own clockIdentity that the box did not send is said once, counted, and believed never."""
    hall = make_hall()
    hall.run(1)
    ours = PortIdentity(bytes.fromhex("020000fffe00000a"), 1)
    for number in range(20):
        hall.box.hear_frame(udp_frame(packed(PtpMessage(MessageType.SYNC, ours, number)), source=B, destination="224.0.1.129"))
    hall.run(1)

    assert ["impersonated"] == [event for event in hall.events() if event]
    assert 20 == hall.station.report.drops["ptp_in_our_name"]


def test_malformed_of_every_type(make_hall) -> None:
    """3000 messages that are none, of every type: counted by type, no certificate lost, nobody accused. (S2-010)"""
    hall = make_hall()
    hall.add(A)
    hall.run(20)
    rows = malformed(20_261_125)
    for _ in range(30):
        for _ in range(100):
            hall.box.hear_frame(udp_frame(next(rows), source=B, destination="224.0.1.129"))
        hall.run(0.1)
    looked, wrong, _ = judged(hall, 10)

    assert wrong == 0 and looked > 20
    assert {f"ptp_malformed_{kind:x}" for kind in MessageType} <= set(hall.station.report.drops)
    assert Method.MONITORED is hall.account().of(A).method


def test_a_flood_of_delay_requests(make_hall) -> None:
    """5000 a second from devices that do not exist: said once, bounded, and the real device stays certified. (S2-010)"""
    hall = make_hall()
    hall.add(A)
    hall.run(20)
    rows = delay_requests(3)
    for second in range(5):
        for _ in range(100):
            for number in range(50):
                source = f"10.{second}.{number}.{hall.true_ns // 1000 % 250 + 1}"
                hall.box.hear_frame(udp_frame(next(rows), source=source, destination="224.0.1.129"))
            hall.run(0.01)
    looked, wrong, _ = judged(hall, 5)

    assert 1 == hall.events().count("ptp_flood")
    assert wrong == 0 and looked > 5
    assert len(list(hall.station._room.devices)) <= 256
    assert Method.MONITORED is hall.account().of(A).method

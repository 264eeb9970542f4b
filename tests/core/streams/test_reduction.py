"""Frames that stay and frames that go, and the law over what a reader of the remaining frames sees."""

import csv
import importlib.util
import math
import os
import struct
from collections import defaultdict
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether

from drivers.tap import HeardFrame
from firmware.core import pcapng
from firmware.core.frame import parsed
from firmware.core.streams.decoders import Decoders
from firmware.core.streams.reduction import HELD_FRAMES_MAX, Reduction
from firmware.core.streams.samplers import Change, Sampler, Tolerance
from firmware.core.streams.unrelated import Unrelated
from firmware.core.streams.wish import Wish, from_parameters
from firmware.core.timestamp import MS, SECOND
from simulator.capture_file import frames

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("streams_wire", HERE / "wire.py")
assert _spec is not None and _spec.loader is not None
wire = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(wire)
DATA = Path(os.environ.get("SCRUBJAY_SHARED", HERE.parents[3] / "shared")) / "data"
START = 1_790_000_000 * SECOND
UNRELATED = Unrelated(frozenset({53, 123}), message_ports=frozenset({47_001}))
Judge = Any  # tests/core/streams/conftest.py


def reduced(rows: Sequence[HeardFrame], less: Wish, *, unrelated: Unrelated = UNRELATED) -> tuple[list[int], Reduction]:
    """Indices of the frames that stay, in order; every frame is either there or counted."""
    reduction = Reduction(less, unrelated)
    blocks = [pcapng.enhanced_packet(row.stamp_ns, row.data, row.wire_bytes) for row in rows]
    kept = []
    for index, (row, block) in enumerate(zip(rows, blocks, strict=True)):
        kept += list(reduction.add(memoryview(index.to_bytes(4, "big") + block), row.stamp_ns, row.data, row.wire_bytes))
    kept += list(reduction.finish())
    indices = [int.from_bytes(row.block[:4], "big") for row in kept]
    assert indices == sorted(indices)
    assert len(rows) == len(kept) + sum(reduction.left_out.values())
    return indices, reduction


def heard(*rows: bytes, gap_ns: int = MS) -> list[HeardFrame]:
    return [HeardFrame(START + index * gap_ns, data, len(data)) for index, data in enumerate(rows)]


def read(rows: Sequence[HeardFrame]) -> dict[Any, list[tuple[int, int, tuple[float, ...]]]]:
    """As a reader sees them: (frame, stamp, values) by stream, sender and receiver."""
    decoders, streams = Decoders(), defaultdict(list)
    for index, row in enumerate(rows):
        frame = parsed(row.data)
        for sample in decoders.decode(frame, row.data, row.wire_bytes, row.stamp_ns).samples:
            streams[sample.stream, frame.source_ip or frame.source_mac, frame.destination_port].append(
                (index, row.stamp_ns, sample.values)
            )
    return streams


def recording(name: str) -> list[HeardFrame]:
    if not (DATA / name).exists():
        pytest.skip(f"{name} is not beside the project: reduction was not tried on it")
    return list(frames(DATA / name))


def test_none_leaves_everything() -> None:
    """Without a wish every frame stays, acknowledgements and what nobody can read included."""
    rows = heard(wire.tcp(b"", flags="A"), b"short", wire.udp(b"x"), wire.udp(b"hi", port=47_001))

    assert [0, 1, 2, 3] == reduced(rows, Wish())[0]


def test_filters() -> None:
    """Acknowledgements, requests of network services, and messages that were reported go; the rest stays. (S2-097, S2-103)"""
    goes = {
        "acknowledgement": [wire.tcp(b"", flags="A"), bytes(Ether() / IP() / TCP(flags="A")) + bytes(6)],
        "request": [bytes(Ether() / ARP()), bytes(Ether() / IP() / UDP(sport=40_000, dport=53) / b"?"), bytes(Ether() / IP() / UDP(sport=123, dport=123) / bytes(48))],
        "reported": [wire.udp(b"joint 2 stopped", port=47_001)],
        "housekeeping": [wire.udp(wire.rtps(wire.rtps_acknack()), port=38_340)],
    }  # fmt: skip
    stays = [
        wire.tcp(b"", flags="S"), wire.tcp(b"", flags="FA"), wire.tcp(b"", flags="RA"), wire.tcp(b"x", flags="A"),
        bytes(Ether() / IP() / ICMP()), bytes(Ether(type=0x88F7) / bytes(44)), wire.udp(wire.itp_console(1, (0,) * 6)),
        bytes(Ether() / IP(flags="MF", proto=17) / UDP(dport=47_001) / bytes(8)), bytes(Ether() / IP() / TCP(flags="A", sport=47_001) / b"x"),
        b"short",
    ]  # fmt: skip
    kept, reduction = reduced(heard(*(row for rows in goes.values() for row in rows), *stays), Wish("filter"))

    assert {rule: len(rows) for rule, rows in goes.items()} == reduction.left_out
    assert len(stays) == len(kept)


def test_an_acknowledgement_cut_short_stays() -> None:
    """Of a frame that was not captured whole nobody knows whether it carried something."""
    data = wire.tcp(b"", flags="A")

    assert [0] == reduced([HeardFrame(START, data, len(data) + 100)], Wish("filter"))[0]


def test_two_robots_of_one_name_are_two_streams() -> None:
    """Each sender's samples are counted for itself."""
    rows = heard(
        *(wire.udp(wire.itp_console(n, (n,) * 6), source=f"10.0.0.{n % 2 + 1}", destination="10.0.0.9") for n in range(40))
    )

    assert [0, 1, 20, 21] == reduced(rows, from_parameters({"reduce": "sample", "every": 10}))[0]


def test_a_frame_with_something_else_in_it_stays() -> None:
    """What a frame holds beside its samples is not thrown away with them."""
    data = wire.rtps_data(wire.cdr_joint_state((1.0,), names=("a",)))
    plain = wire.udp(wire.rtps(data), port=38_340)
    mixed = wire.udp(wire.rtps(data, b"\x80\x01\x04\x00abcd"), port=38_340)
    kept, _ = reduced(heard(*([plain] * 10), mixed, *([plain] * 10)), Wish("change"))

    assert [0, 10, 20] == kept


def test_a_stream_that_ends_holds_nothing_up() -> None:
    """The last samples of a stream are decided when two seconds have passed, and the frames behind them go on."""
    rows = heard(*(wire.udp(wire.itp_console(n, (5,) * 6)) for n in range(10)))
    rows += [HeardFrame(START + SECOND + n * 100 * MS, wire.udp(b"x", port=9), 50) for n in range(40)]
    reduction = Reduction(Wish("change"), UNRELATED)
    came = [len(list(reduction.add(memoryview(row.data), row.stamp_ns, row.data, len(row.data)))) for row in rows]

    assert 1 == came[0]
    assert 0 == sum(came[1:20])
    assert 40 - 3 < sum(came)


def test_what_waits_is_bounded() -> None:
    """However many frames stand behind one that is undecided: no more than the bound wait."""
    reduction = Reduction(Wish("change"), UNRELATED)
    robot, other = wire.udp(wire.itp_console(1, (5,) * 6)), memoryview(wire.udp(b"x", port=9))
    came = 0
    for n in range(HELD_FRAMES_MAX + 3_000):
        data = robot if n < 5 else bytes(other)
        came += len(list(reduction.add(memoryview(data), START + n, data, len(data))))

    assert came >= 3_000 - 5


@st.composite
def traffic(draw: st.DrawFn) -> list[HeardFrame]:
    """Fieldbus frames with several streams in them, joints and tools, in any order, at any gaps, with strangers between."""
    rows, stamp = [], START
    level = [0, 0, 0]
    for _ in range(draw(st.integers(1, 60))):
        stamp += draw(st.sampled_from([0, 1000, MS, 700 * MS, -MS]))
        for index in range(3):
            level[index] = max(0, min(60_000, level[index] + draw(st.sampled_from([0, 0, 1, -1, 5, 20_000, -20_000]))))
        words = [value.to_bytes(2, "little") for value in level]
        data = draw(
            st.sampled_from(
                [
                    wire.ethercat((12, 0, words[0]), (4, 0x0130_1000, words[1])),
                    wire.ethercat((12, 0, words[0]), (4, 0x0130_1000, words[1]), (12, 0x10000, words[2])),
                    wire.ethercat((12, 0, words[0])),
                    wire.ethercat((12, 0, words[0]), (5, 0x0502_1000, bytes(6))),
                    wire.udp(wire.rtps(wire.rtps_data(wire.cdr_joint_state(level, names=("a", "b", "c")))), port=7411),
                    wire.udp(wire.itp_robot(1, (*level, 0, 0, 0))),
                    wire.udp(b"x", port=9),
                ]
            )
        )
        rows.append(HeardFrame(stamp, data, len(data)))
    return rows


@settings(max_examples=60, deadline=None)
@given(rows=traffic(), error=st.sampled_from([0.0, 1.0, 7.5, 20_000.0]))
def test_a_reader_of_the_rest_is_never_misled(judge: Judge, rows: list[HeardFrame], error: float) -> None:
    """In what remains, straight lines between samples are within the stated error of all that went, for every stream. (S2-101)"""
    _, furthest = judge
    kept, _ = reduced(rows, Wish("change", error=Tolerance(plus=error)))
    staying = set(kept)

    for samples in read(rows).values():
        series = [(stamp, values) for _, stamp, values in samples]
        corners = [position for position, (index, _, _) in enumerate(samples) if index in staying]
        assert corners[0] == 0 and corners[-1] == len(samples) - 1
        for number in range(len(series[0][1])):
            assert furthest(series, corners, number) <= error


def test_one_stream_s_corner_bends_no_other_s_line_too_far(judge: Judge) -> None:
    """Two streams in each frame: the one jumps where the other's noise is at its highest; in what remains, both are as good as stated."""
    _, furthest = judge
    noise = [100, 105, 91, *([100] * 40)]
    rows = heard(
        *(
            wire.ethercat((12, 0, level.to_bytes(2, "little")), (4, 0x0130_1000, bytes([200 if n else 1, 0])))
            for n, level in enumerate(noise)
        )
    )
    kept, _ = reduced(rows, Wish("change", error=Tolerance(plus=10.0)))

    assert {0, 1, 42} <= set(kept)
    for samples in read(rows).values():
        assert furthest([(stamp, values) for _, stamp, values in samples], kept, 0) <= 10


def _raven() -> list[tuple[int, tuple[float, ...]]]:
    path = DATA / "robot" / "raven2_teleop_1khz.csv"
    if not path.exists():
        pytest.skip("the RAVEN II recording is not beside the project: its answers were not computed")
    with path.open(newline="") as file:
        lines = csv.reader(file)
        next(lines)
        return [(int(row[0]), tuple(float(value) for value in row[1:7])) for row in lines if row[0]]


def _kept(sampler: Sampler, rows: Sequence[tuple[int, tuple[float, ...]]]) -> set[int]:
    kept: set[int] = set()
    for index, (stamp, values) in enumerate(rows):
        kept |= set(sampler.feed(index, stamp, values).kept)
    return kept | set(sampler.settle().kept)


def test_surgical_robot_changes_are_exactly_those_kept() -> None:
    """RAVEN II at 1 kHz: a field changes in 49.5/49.4/48.1/39.7/38.0/35.5 % of samples; without error, each change stays. (S2-101)"""
    rows = _raven()
    counts = []
    for number in range(6):
        series = [(stamp, (values[number],)) for stamp, values in rows]
        changes = [index for index in range(1, len(series)) if series[index][1] != series[index - 1][1]]
        counts.append(len(changes))
        edges = {0, len(series) - 1, *changes, *(index - 1 for index in changes)}
        kept = _kept(Change(Tolerance()), series)
        assert edges <= kept
        # Beside them only what says, once a second, that nothing changes, and stamps that go back.
        assert len(kept - edges) <= 2 + (series[-1][0] - series[0][0]) // SECOND

    assert (60_940, [30_177, 30_082, 29_342, 24_201, 23_149, 21_655]) == (len(rows), counts)


def test_surgical_robot_within_a_stated_error(judge: Judge) -> None:
    """RAVEN II, a tenth of a millimetre: far fewer samples, and no line further off than that. (S2-101)"""
    _, furthest = judge
    rows = _raven()[:20_000]
    kept = sorted(_kept(Change(Tolerance(plus=100.0)), rows))

    assert len(kept) < len(rows) / 10
    assert all(furthest(rows, kept, number) <= Fraction(100) for number in range(6))


def test_real_joint_temperatures_at_five_hertz() -> None:
    """A UR3's six temperatures, held at 125 Hz: 5 a second stay by rate; by change only their steps, which are a quarter of the seconds. (S2-100)"""
    path = DATA / "robot" / "ur3_cobotops_1hz.csv"
    if not path.exists():
        pytest.skip("the UR3 recording is not beside the project: its answers were not computed")
    with path.open(newline="") as file:
        table = list(csv.DictReader(file, delimiter=";"))
    names = [name for name in table[0] if name.startswith("Temperature")]
    temperatures = [tuple(float(row[name].replace(",", ".")) for name in names) for row in table if row[names[0]]]
    shares = [
        round(100 * sum(a[n] != b[n] for a, b in zip(temperatures[1:], temperatures, strict=False)) / (len(temperatures) - 1))
        for n in range(6)
    ]
    series = [(START + index * SECOND + n * 8 * MS, row) for index, row in enumerate(temperatures[:200]) for n in range(125)]
    steps = sum(a != b for a, b in zip(temperatures[1:200], temperatures, strict=False))

    assert all(25 <= share <= 30 for share in shares)
    less = from_parameters({"reduce": "sample"})
    assert 5 * 200 == len(_kept(less.sampler("x/y", "temperature"), series))
    kept = _kept(Change(Tolerance()), series)
    assert 2 * steps <= len(kept) <= 2 * steps + 2 * 200


def test_instrument_on_a_test_stand() -> None:
    """A da Vinci instrument at 1 kHz: a command that never moves costs one sample a second, a current that always does stays. (S2-101)"""
    path = DATA / "robot" / "davinci_tool4_R5_33.txt"
    if not path.exists():
        pytest.skip("the da Vinci recording is not beside the project: its answers were not computed")
    table = [line.split(",") for line in path.read_text().splitlines() if line and not line.startswith("%")]
    columns = list(zip(*(tuple(float(cell) for cell in row if cell.strip()) for row in table), strict=True))
    count = len(table)
    shares = [sum(a != b for a, b in zip(column[1:], column, strict=False)) / (count - 1) for column in columns]
    still, lively = shares.index(min(shares)), shares.index(max(shares))

    assert 0.0 == shares[still]
    for number, most in ((still, count // 1000 + 2), (lively, count)):
        series = [(START + index * MS, (value,)) for index, value in enumerate(columns[number])]
        kept = _kept(Change(Tolerance()), series)
        assert shares[number] * (count - 1) <= len(kept) <= most


def test_recorded_room(judge: Judge) -> None:
    """The room of the lab: by rate 60 Hz of 1,000 stay and everything nobody understands; by change the law holds in the rest. (S2-098, S2-101)"""
    _, furthest = judge
    rows = recording("pcap/lab/or_mix_lab.pcap")
    kept, reduction = reduced(rows, Wish("sample"))
    joints = next(samples for (stream, *_), samples in read(rows).items() if stream.endswith("/position"))
    seconds = (joints[-1][1] - joints[0][1]) / SECOND
    staying = set(kept)
    assert 0.9 * 60 * seconds < sum(index in staying for index, _, _ in joints) <= 60 * seconds + 2
    assert reduction.left_out["acknowledgement"] == 1_895

    # Velocities were made of positions by subtraction, and are mostly noise: not for them does a frame stay.
    error = "1%+0.00001,rtps/rt/joint_states/velocity=any"
    kept, _ = reduced(rows, from_parameters({"reduce": "change", "error": error}))
    staying = set(kept)
    assert sum(index in staying for index, _, _ in joints) < 15_000 / 25
    for (stream, *_), samples in read(rows).items():
        series = [(stamp, values) for _, stamp, values in samples]
        corners = [position for position, (index, _, _) in enumerate(samples) if index in staying]
        for number in range(len(series[0][1])):
            span = max(row[1][number] for row in series) - min(row[1][number] for row in series)
            stated = math.inf if stream.endswith("velocity") else span * 0.01 + 0.00001
            assert furthest(series[:3000], [c for c in corners if c < 3000], number) <= stated * 1.000001


@pytest.mark.parametrize("less", [Wish("change"), from_parameters({"reduce": "sample"})], ids=["change", "sample"])
def test_when_a_slave_went_is_in_the_answer(less: Wish) -> None:
    """EtherCAT whose data stand still: the first frame without a slave and the first with it again stay, to the millisecond."""
    rows = heard(*(wire.ethercat((12, 0, b"\x05\x00"), counter=1 if 205 <= number < 307 else 3) for number in range(500)))
    kept, _ = reduced(rows, less)

    assert {205, 307} <= set(kept) and len(kept) < 40


def _console(number: int, *, buttons: int = 0, surgeon: int = 1) -> bytes:
    data = bytearray(wire.itp_console(number, (number % 40,) * 6))
    data[100:104], data[116:120] = buttons.to_bytes(4, "little"), surgeon.to_bytes(4, "little")
    return wire.udp(bytes(data))


def _robot(number: int, *, run_level: int = 3, limits: int = 1 << 31) -> bytes:
    data = bytearray(wire.itp_robot(number, (number % 40,) * 6))
    data[40:44], data[44:48] = run_level.to_bytes(4, "little"), limits.to_bytes(4, "little")
    return wire.udp(bytes(data))


def _status(number: int, *, code: int = 1, subcode: int = 1 << 60, name: bytes = b"") -> bytes:
    return wire.tcp(wire.igtl("STATUS", struct.pack(">Hq20s", code, subcode, name)), sequence=1 + number * 88)


def _tracked(number: int, *, metadata: bytes = b"seen") -> bytes:
    body = struct.pack(">HHII", 12, 0, 4, number) + struct.pack(">3f", number % 40, 0, 0) + metadata
    return wire.tcp(wire.igtl("POSITION", body, version=2), sequence=1 + number * (58 + 28))


def _slave(number: int, *, state: int = 8) -> bytes:
    return wire.ethercat((12, 0, bytes([number % 40, 0])), (4, 0x0130_1000, bytes([state, 0])))


@pytest.mark.parametrize(
    "less", [{"reduce": "change", "error": "50"}, {"reduce": "sample", "rates": "motion=5,other=5"}], ids=str
)
@pytest.mark.parametrize(
    "of, then",
    [
        (_console, {"surgeon": 0}), (_console, {"buttons": 2}), (_robot, {"run_level": 0}), (_robot, {"limits": 1 << 31 | 1}),
        (_status, {"code": 13}), (_status, {"subcode": 1 << 60 | 1}), (_status, {"name": b"arm released"}), (_tracked, {"metadata": b"lost"}),
        (_slave, {"state": 4}),
    ],
)  # fmt: skip
def test_when_a_state_changed_is_in_the_answer(of: Callable[..., bytes], then: dict[str, Any], less: dict[str, Any]) -> None:
    """However wide the error or the slot that the motion was asked for with: the first frame of another state, and the first after it, stay."""
    rows = heard(*(of(number, **then) if 203 <= number < 250 else of(number) for number in range(500)))
    kept, _ = reduced(rows, from_parameters(less))

    assert {203, 250} <= set(kept) and len(kept) < 30


@pytest.mark.parametrize("apart", ["joints", "writers"])
def test_two_arms_that_take_turns_are_two_streams(apart: str) -> None:
    """One address, one port, one topic: each arm stands still where it is, 2 radians from the other, and is not a motion between the two."""
    names, writers = [("left_1",), ("right_1",)], [bytes.fromhex("00001503"), bytes.fromhex("00001603")]

    def of(side: int) -> bytes:
        joints = names[side if apart == "joints" else 0]
        return wire.rtps_data(
            wire.cdr_joint_state((2.0 * side,), names=joints), writer=writers[side if apart == "writers" else 0]
        )

    announced = [
        wire.rtps(wire.rtps_announcement("rt/arms", "sensor_msgs::msg::dds_::JointState_", writer=writer)) for writer in writers
    ]
    rows = heard(*(wire.udp(row, port=7411) for row in [*announced, *(wire.rtps(of(number % 2)) for number in range(1_000))]))
    kept, _ = reduced(rows, Wish("change"))

    assert len(kept) < 20

"""Decoders: samples out of frames of our own making, and of recordings where they are beside the project."""

import importlib.util
import os
import struct
import textwrap
from collections import Counter
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether

from drivers.tap import HeardFrame
from firmware.core.frame import parsed
from firmware.core.streams.decoders import DECODERS, Decoders, tap_filter
from firmware.core.streams.flows import FLOWS_MAX, HELD_MAX
from firmware.core.streams.sample import Decoded, Sample
from firmware.core.streams.states import STATES_MAX
from simulator.capture_file import frames

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("streams_wire", HERE / "wire.py")
assert _spec is not None and _spec.loader is not None
wire = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(wire)
PCAP = Path(os.environ.get("SCRUBJAY_SHARED", HERE.parents[3] / "shared")) / "data" / "pcap"


def decoded(decoders: Decoders, data: bytes, *, stamp_ns: int = 5, cut_to: int | None = None) -> Decoded:
    return decoders.decode(parsed(data[:cut_to]), data[:cut_to], len(data), stamp_ns)


def recording(name: str) -> list[HeardFrame]:
    if not (PCAP / name).exists():
        pytest.skip(f"{name} is not beside the project: this decoder was not tried on a recording")
    return list(frames(PCAP / name))


def counted(rows: list[HeardFrame]) -> tuple[Counter[str], Counter[str], list[Sample]]:
    """Samples by stream, frames by what was made of them, and the samples."""
    decoders, streams, kinds, samples = Decoders(), Counter[str](), Counter[str](), []
    for row in rows:
        result = decoders.decode(parsed(row.data), row.data, row.wire_bytes, row.stamp_ns)
        streams.update(sample.stream for sample in result.samples)
        samples += result.samples
        kinds["whole"] += result.whole
        kinds["housekeeping"] += result.housekeeping
    return streams, kinds, samples


def test_itp_both_ways() -> None:
    """The console's increments and grasp, the robot's forces, each by its name, in a frame that holds nothing else. (S2-097)"""
    console = decoded(Decoders(), wire.udp(wire.itp_console(7, (1, -2, 3, -4, 5, -6))))
    robot = decoded(Decoders(), wire.udp(wire.itp_robot(7, (1, -2, 3, -4, 5, -6))))

    assert console.whole and robot.whole
    (sample,) = console.samples
    values = dict(zip(sample.names, sample.values, strict=True))
    assert ("itp/console", "motion", 5, 19) == (sample.stream, sample.kind, sample.stamp_ns, len(sample.values))
    assert (1.0, -6.0, 1.0, -100.0, 1.0) == tuple(
        values[name] for name in ("delx.left", "delz.right", "Qw.right", "grasp.right", "surgeon_mode")
    )
    (sample,) = robot.samples
    assert {"fx.left": 1.0, "fx.right": -2.0, "runlevel": 3.0, "jointflags": 2147483649.0}.items() <= dict(
        zip(sample.names, sample.values, strict=True)
    ).items()


@pytest.mark.parametrize("size", [0, 51, 53, 123, 125])
def test_itp_of_another_size_is_not_itp(size: int) -> None:
    """What is not of exactly the structure's size is not read as if it were."""
    assert Decoded() == decoded(Decoders(), wire.udp(bytes(size)))


def test_itp_without_orientations_is_not_itp() -> None:
    """Something else of the same size on the same port is told by its orientations, which no rotation has."""
    assert Decoded() == decoded(Decoders(), wire.udp(b"RTPS" + bytes(range(120))))


@pytest.mark.parametrize("order", ["<", ">"])
def test_rtps_joint_state_in_either_byte_order(order: str) -> None:
    """Positions and velocities under the joints' names, whether or not discovery was heard."""
    data = wire.rtps(wire.rtps_data(wire.cdr_joint_state((1.5, -2.5), names=("a", "b"), order=order), order=order))
    result = decoded(Decoders(), wire.udp(data, port=38_340))

    assert result.whole
    assert [
        ("rtps/writer-00000203/position", "motion", 5, (1.5, -2.5), ("a", "b")),
        ("rtps/writer-00000203/velocity", "motion", 5, (0.5, 0.5), ("a", "b")),
    ] == [(row.stream, row.kind, row.stamp_ns, row.values, row.names) for row in result.samples]


def test_rtps_empty_joint_state_is_no_measurement() -> None:
    """No joints and no numbers are sixteen bytes of zero, as two numbers would be: of a type nobody announced, nothing is made of them."""
    assert Decoded() == decoded(Decoders(), wire.udp(wire.rtps(wire.rtps_data(wire.cdr_joint_state((), names=())))))
    assert decoded(Decoders(), wire.udp(wire.rtps(wire.rtps_data(wire.cdr_temperature(0.0))))).samples


def test_rtps_discovery_names_the_stream() -> None:
    """A topic's name and type, once announced: a temperature is one, a pressure of the same shape is none of ours."""
    decoders = Decoders()
    nameless = decoded(decoders, wire.udp(wire.rtps(wire.rtps_data(wire.cdr_temperature(36.5)))))
    decoded(decoders, wire.udp(wire.rtps(wire.rtps_announcement("rt/joint_temperature", "sensor_msgs::msg::dds_::Temperature_"))))
    named = decoded(decoders, wire.udp(wire.rtps(wire.rtps_data(wire.cdr_temperature(36.5)))))
    decoded(decoders, wire.udp(wire.rtps(wire.rtps_announcement("rt/pressure", "sensor_msgs::msg::dds_::FluidPressure_"))))
    other = decoded(decoders, wire.udp(wire.rtps(wire.rtps_data(wire.cdr_temperature(36.5)))))

    assert [("rtps/writer-00000203", "other")] == [(row.stream, row.kind) for row in nameless.samples]
    assert [("rtps/rt/joint_temperature", "temperature", (36.5, 0.25))] == [(r.stream, r.kind, r.values) for r in named.samples]
    assert Decoded() == other


def test_rtps_acknowledgements_are_housekeeping() -> None:
    """ACKNACK alone may be left out; beside data it does not keep the frame, beside an unknown submessage nothing goes. (S2-097)"""
    data = wire.rtps_data(wire.cdr_joint_state((1.0,), names=("a",)))

    assert Decoded(housekeeping=True) == decoded(Decoders(), wire.udp(wire.rtps(wire.rtps_acknack())))
    assert decoded(Decoders(), wire.udp(wire.rtps(data, wire.rtps_acknack()))).whole
    assert not decoded(Decoders(), wire.udp(wire.rtps(data, b"\x80\x01\x04\x00abcd"))).whole
    assert not decoded(Decoders(), wire.udp(wire.rtps(wire.rtps_acknack(), b"\x80\x01\x04\x00abcd"))).housekeeping


@pytest.mark.parametrize("version", [2, 3])
def test_openigtlink_messages(version: int) -> None:
    """TRANSFORM, POSITION and STATUS, without and with an extended header; two in one segment are two samples."""
    transform = wire.igtl_transform(1.0, 2.0, 3.0)
    position = wire.igtl("POSITION", struct.pack(">7f", 4, 5, 6, 0, 0, 0, 1), device="Probe")
    status = wire.igtl("STATUS", struct.pack(">Hq20s", 2, -7, b"") + b"\0")
    extended = wire.igtl("POSITION", struct.pack(">HHII", 12, 0, 4, 1) + struct.pack(">3f", 7, 8, 9) + b"meta", version=version)
    payload = transform + position + status + extended
    result = decoded(Decoders(), wire.tcp(payload))

    assert result.whole
    assert [
        ("openigtlink/TRANSFORM/Tool", "motion", (1.0, 2.0, 3.0)),
        ("openigtlink/POSITION/Probe", "motion", (0.0, 0.0, 1.0)),
        ("openigtlink/STATUS/Tool", "other", (2.0, -7.0)),
        ("openigtlink/POSITION/Tool", "motion", (7.0, 8.0, 9.0)),
    ] == [(row.stream, row.kind, row.values[-3:]) for row in result.samples]


def test_openigtlink_across_segments() -> None:
    """A message in three segments is one sample; its frames stay. What comes twice counts once; after a gap it begins anew."""
    decoders, message = Decoders(), wire.igtl_transform(1.0, 2.0, 3.0)
    pieces = [
        (1, message[:30]),
        (31, message[30:70]),
        (1, message[:30]),
        (71, message[70:] + message),
        (500, message[10:]),
        (596, message),
    ]
    decoded(decoders, wire.tcp(b"", sequence=0, flags="S"))
    results = [decoded(decoders, wire.tcp(data, sequence=at)) for at, data in pieces]

    assert [0, 0, 0, 2, 0, 1] == [len(row.samples) for row in results]
    assert [False, False, False, False, False, True] == [row.whole for row in results]


@pytest.mark.parametrize("flags", ["FA", "RA", "FPA"])
def test_openigtlink_on_a_port_used_again(flags: str) -> None:
    """What follows the end of a connection is another's, wherever its numbers begin and though its first segment was not heard."""
    decoders, message = Decoders(), wire.igtl_transform(1.0, 2.0, 3.0)
    last = message if "P" in flags else b""
    pieces = [
        (message, 1_000_000_000, "PA"),
        (last, 1_000_000_106, flags),
        (message, 5_000, "PA"),
        (message[:50], 5_106, "PA"),
        (message[50:], 5_156, "PA"),
    ]
    results = [decoded(decoders, wire.tcp(data, sequence=at, flags=with_flags)) for data, at, with_flags in pieces]

    assert [1, int(bool(last)), 1, 0, 1] == [len(row.samples) for row in results]


def test_openigtlink_pictures_are_passed_over() -> None:
    """An image longer than is held in memory is skipped, however it is cut, and what comes behind it is read."""
    decoders, image = Decoders(), wire.igtl("IMAGE", bytes(3 * HELD_MAX))
    data, at, samples = image + wire.igtl_transform(1.0, 2.0, 3.0), 1, 0
    for start in range(0, len(data), 1400):
        result = decoded(decoders, wire.tcp(data[start : start + 1400], sequence=at))
        at += len(data[start : start + 1400])
        samples += len(result.samples)
        assert not result.whole

    assert 1 == samples


def test_openigtlink_status_with_words_stays() -> None:
    """A status that says something in words is not its two numbers."""
    status = wire.igtl("STATUS", struct.pack(">Hq20s", 2, 0, b"Overheat") + b"arm 3 is hot\0")

    assert not decoded(Decoders(), wire.tcp(status)).whole


def test_connections_are_forgotten_oldest_first() -> None:
    """Any number of connections costs the memory of the last few."""
    decoders = Decoders(("openigtlink",))
    for number in range(FLOWS_MAX + 50):
        port = 20_000 + number
        data = bytearray(wire.tcp(wire.igtl_transform(1.0, 2.0, 3.0)[:60]))
        data[36:38] = port.to_bytes(2, "big")  # the receiver's port
        decoded(decoders, bytes(data))

    assert FLOWS_MAX == len(decoders._decoders[0]._flows._flows)  # type: ignore[attr-defined]


def test_ethercat_process_data_as_words() -> None:
    """Words of logical datagrams, state and time beside them; an odd byte is one more; out and back are told apart by their sender."""
    cyclic = wire.ethercat(
        (12, 0x00010000, b"\x01\x00\xff\xff\x07"), (4, 0x0130_1000, b"\x08\x00"), (14, 0x0910_1000, bytes(7) + b"\x01")
    )
    result = decoded(Decoders(), cyclic)

    assert result.whole
    assert [
        ("ethercat/LRW/0x00010000", "motion", (1.0, 65535.0, 7.0)),
        ("ethercat/state/0x1000", "other", (8.0,)),
        ("ethercat/time/0x1000", "other", (float(1 << 56),)),
    ] == [(row.stream, row.kind, row.values) for row in result.samples]


def test_ethercat_questions_stay() -> None:
    """A frame that asks or answers anything else is not only its process data."""
    assert not decoded(Decoders(), wire.ethercat((12, 0, bytes(4)), (5, 0x0502_1000, bytes(6)))).whole
    assert Decoded() == decoded(Decoders(), wire.ethercat((5, 0x0502_1000, bytes(6))))


def test_ethercat_a_slave_that_is_gone_is_seen() -> None:
    """The data stand still and only the working counter falls: that frame, and the one that says it is back, are more than their samples."""
    decoders = Decoders()
    wholes = [
        decoded(decoders, wire.ethercat((12, 0x0001_0000, b"\x05\x00"), counter=counter)).whole for counter in (3, 3, 1, 1, 3, 3)
    ]
    # Out and back are two senders, and each counts for itself.
    there = decoded(decoders, wire.ethercat((12, 0x0001_0000, b"\x05\x00"), source="12:10:10:10:10:10"))

    assert [True, True, False, True, False, True] == wholes
    assert there.whole


def test_ethercat_remembers_only_so_many_counters() -> None:
    """A stranger with a new address in each frame: what has no place is kept, not taken for known."""
    decoders = Decoders()
    many = [decoded(decoders, wire.ethercat((12, number, bytes(2)))).whole for number in range(STATES_MAX + 2)]

    assert [True] * STATES_MAX + [False] * 2 == many


def test_what_is_not_all_there_is_not_decoded() -> None:
    """A frame cut by the snap length, a fragment, a header that does not hold together: no numbers out of what may be other numbers."""
    good = wire.udp(wire.itp_console(1, (0,) * 6))
    fragment = bytes(Ether() / IP(flags="MF", proto=17) / UDP(dport=36_000, len=132) / wire.itp_console(1, (0,) * 6))

    assert decoded(Decoders(), good).whole
    assert Decoded() == decoded(Decoders(), good, cut_to=len(good) - 1)
    assert Decoded() == decoded(Decoders(), fragment)


def test_filter_lets_every_decoder_s_frames_pass() -> None:
    """The kernel's filter passes what the decoders know, bare and in one or two VLAN tags, and not what they do not."""
    import pcapy

    program = pcapy.compile(pcapy.DLT_EN10MB, 65_535, tap_filter(tuple(DECODERS)), 1, 0xFFFFFFFF)
    known = [
        wire.udp(wire.itp_console(1, (0,) * 6)), wire.udp(wire.rtps(wire.rtps_acknack()), port=40_000),
        wire.tcp(wire.igtl_transform(0, 0, 0)), wire.ethercat((12, 0, bytes(4))),
    ]  # fmt: skip
    for data in known:
        whole = Ether(data)
        tagged = bytes(Ether(src=whole.src, dst=whole.dst, type=0x8100) / Dot1Q(vlan=7, type=whole.type) / bytes(whole.payload))
        twice = bytes(
            Ether(src=whole.src, dst=whole.dst, type=0x8100) / Dot1Q(vlan=7, type=0x8100) / Dot1Q(vlan=8, type=whole.type)
            / bytes(whole.payload)
        )  # fmt: skip
        assert [True, True, True] == [bool(program.filter(row)) for row in (data, tagged, twice)]
        assert decoded(Decoders(), twice) != Decoded()
    assert not program.filter(wire.udp(b"hello there", port=47_001))


def test_room_of_the_lab_dds() -> None:
    """The recorded room: 15,000 JointStates of 1 kHz in the 15,358 RTPS frames, 151 temperatures, and TRANSFORMs of two tools."""
    streams, kinds, samples = counted(recording("lab/or_mix_lab.pcap"))

    assert {
        **{f"rtps/rt/joint_states/{part}": 15_000 for part in ("position", "velocity", "effort")},
        "rtps/rt/joint_temperature": 151,
        "openigtlink/TRANSFORM/ToolLeft": 724, "openigtlink/TRANSFORM/ToolRight": 724,
    } == dict(streams)  # fmt: skip
    assert kinds["whole"] == 15_000 + 151 + 2 * 724
    first = next(sample for sample in samples if sample.stream.endswith("position"))
    assert (-0.10434, 0.00894, 0.006932, -0.106107, -0.019964, -0.003106) == first.values
    assert tuple(f"joint_{n}" for n in range(6)) == first.names
    temperatures = {sample.values[0] for sample in samples if sample.kind == "temperature"}
    assert all(20 < value < 60 and (value * 16).is_integer() for value in temperatures)  # 1/16 °C: a UR3's


def test_lab_navigation_at_60_hz() -> None:
    """OpenIGTLink as its own library sends it: 399 positions for each of two tools, at about 60 a second together with its pauses."""
    streams, _, samples = counted(recording("lab/openigtlink_60hz.pcap"))

    assert {"openigtlink/TRANSFORM/ToolLeft": 399, "openigtlink/TRANSFORM/ToolRight": 399} == dict(streams)
    left = [sample.stamp_ns for sample in samples if sample.stream.endswith("ToolLeft")]
    assert 40 < (len(left) - 1) / ((left[-1] - left[0]) / 1e9) < 61


def test_recorded_fieldbus_with_distributed_clocks() -> None:
    """All 3,604 frames of the EtherCAT run: 257 cycles out and back, of which each has two words, three states and the time."""
    rows = recording("robot-fieldbus/replay-dc.pcapng")
    streams, _, _ = counted(rows)

    assert 3_604 == len(rows)
    assert 2 * 257 == streams["ethercat/LRW/0x00000000"]
    assert 2 * 257 + 200 == streams["ethercat/time/0x1000"]


def test_the_page_s_example_is_a_decoder(tmp_path: Path) -> None:
    """Who copies it from DECODERS.md has one that works and keeps to what the page says below it."""
    page = (HERE.parents[2] / "firmware" / "core" / "streams" / "DECODERS.md").read_text()
    (tmp_path / "scope.py").write_text(textwrap.dedent(page.partition("```python\n")[2].partition("   ```\n")[0]))
    spec = importlib.util.spec_from_file_location("scope", tmp_path / "scope.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    scope = module.Scope()
    said = []
    for flags in (0, 0, 2, 2):
        data = wire.udp(struct.pack(">ffB", 61.5, 80.0, flags), port=4711)
        said.append(scope.decode(parsed(data), data, 5))

    assert [True, True, False, True] == [row.whole for row in said]
    assert [("scope/lamp", "temperature", (61.5,)), ("scope/light", "other", (80.0,))] == [
        (row.stream, row.kind, row.values) for row in said[0].samples
    ]

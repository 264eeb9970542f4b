"""Frames of any bytes: no decoder raises, none reads outside, none remembers without end, and what a sample is holds for all of them."""

import importlib.util
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.core import pcapng
from firmware.core.errors import BadItem
from firmware.core.frame import parsed
from firmware.core.streams.decoders import DECODERS, Decoders
from firmware.core.streams.reduction import Reduction
from firmware.core.streams.sample import KINDS, NAME_MAX, VALUES_MAX
from firmware.core.streams.unrelated import Unrelated
from firmware.core.streams.wish import Mode, Wish
from simulator.capture_file import BadCaptureFile, frames

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("streams_wire", HERE.parent / "core" / "streams" / "wire.py")
assert _spec is not None and _spec.loader is not None
wire = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(wire)
MALFORMED = HERE.parents[2] / "shared" / "data" / "pcap" / "malformed-tcpdump"

_STATE = wire.cdr_joint_state((1.0, 2.0), names=("a", "b"))
SEEDS = {
    "itp": [wire.udp(wire.itp_console(1, (1,) * 6)), wire.udp(wire.itp_robot(1, (1,) * 6))],
    "rtps": [
        wire.udp(wire.rtps(wire.rtps_data(_STATE), wire.rtps_acknack()), port=7411),
        wire.udp(wire.rtps(wire.rtps_data(_STATE, parameters=struct.pack("<HHIHH", 7, 4, 0, 1, 0))), port=7411),
        wire.udp(wire.rtps(wire.rtps_data(wire.cdr_temperature(36.5))), port=7411),
        wire.udp(wire.rtps(wire.rtps_announcement("rt/a", "sensor_msgs::msg::dds_::Temperature_")), port=7400),
    ],
    "openigtlink": [
        wire.tcp(wire.igtl_transform(1, 2, 3) * 2),
        wire.tcp(wire.igtl("STATUS", bytes(31))),
        wire.tcp(wire.igtl("POSITION", struct.pack(">HHII", 12, 0, 0, 1) + bytes(12), version=3)),
        wire.tcp(b"", sequence=0, flags="S"),
    ],
    "ethercat": [
        wire.ethercat((12, 0, bytes(5)), (4, 0x0130_1000, bytes(2)), (14, 0x0910_1000, bytes(8))),
        wire.ethercat((12, 0, bytes(1400))),
    ],
}
assert set(SEEDS) == set(DECODERS)


@st.composite
def changed(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A good frame with some bytes of its payload changed, or numbers in it made extreme, and its end cut off; lengths stay or not."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(14, len(data) - 1))
        piece = draw(
            st.sampled_from([b"\xff", b"\x00", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x80"])
            | st.binary(max_size=8)
        )
        data[at : at + len(piece)] = piece[: len(data) - at]
    return bytes(data[: draw(st.integers(14, len(data)))]) if draw(st.booleans()) else bytes(data)


@pytest.mark.parametrize("name", list(DECODERS))
@settings(max_examples=250, deadline=None)
@given(data=st.data())
def test_decoder(name: str, data: st.DataObject) -> None:
    """Whatever the bytes, and in whatever order they come: samples of finite size with printable names, or nothing."""
    decoders = Decoders((name,))
    for _ in range(data.draw(st.integers(1, 4))):
        row = data.draw(changed(SEEDS[name]))
        result = decoders.decode(parsed(row), row, len(row), 5)
        assert not (result.housekeeping and result.samples)
        assert result.samples or not result.whole
        for sample in result.samples:
            assert sample.kind in KINDS and 5 == sample.stamp_ns
            assert sample.stream.startswith(f"{name}/") and sample.stream.isprintable() and len(sample.stream) <= NAME_MAX
            assert 0 < len(sample.values) <= VALUES_MAX and all(type(value) is float for value in sample.values)
            assert len(sample.names) in (0, len(sample.values))


@pytest.mark.parametrize("mode", ["filter", "sample", "change"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_reduction(mode: Mode, data: st.DataObject) -> None:
    """Any frames at any stamps: each comes out once and in order, or is counted."""
    reduction = Reduction(Wish(mode), Unrelated(frozenset({53}), message_ports=frozenset({47_001})))
    seeds = [row for rows in SEEDS.values() for row in rows]
    given_frames = data.draw(
        st.lists(st.tuples(st.integers(0, 1 << 63), changed(seeds) | st.binary(max_size=60), st.integers(0, 9)), max_size=30)
    )
    came = []
    for index, (stamp, row, more) in enumerate(given_frames):
        block = memoryview(bytes([index]) + pcapng.enhanced_packet(stamp, row, len(row) + more))
        came += [kept.block[0] for kept in reduction.add(block, stamp, row, len(row) + more)]
    came += [kept.block[0] for kept in reduction.finish()]

    assert came == sorted(set(came))
    assert len(given_frames) == len(came) + sum(reduction.left_out.values())


def test_malformed_captures() -> None:
    """What others found to break their dissectors: nothing raises."""
    if not MALFORMED.exists():
        pytest.skip("the malformed captures are not beside the project: decoders were not tried on them")
    count = 0
    for path in sorted(MALFORMED.iterdir()):
        decoders = Decoders()
        try:
            for row in frames(path):
                try:
                    frame = parsed(row.data)
                except BadItem:
                    continue
                decoders.decode(frame, row.data, row.wire_bytes, row.stamp_ns)
                count += 1
        except BadCaptureFile:
            continue

    assert count > 100

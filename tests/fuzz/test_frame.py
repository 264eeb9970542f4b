"""Frames of any bytes: the parser, the reassembler and the door never raise anything but BadItem, and never read outside."""

from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import Dot1Q, Ether

from firmware.core.errors import BadItem
from firmware.core.fragments import Reassembler
from firmware.core.frame import parsed
from firmware.deidentify.frames import FrameRules, kept_size

SEEDS = [
    bytes(Ether() / IP(options=[]) / UDP(dport=47001) / b"stop"),
    bytes(Ether() / Dot1Q() / IP(flags="MF", frag=3, proto=17) / bytes(24)),
    bytes(Ether() / IPv6() / IPv6ExtHdrHopByHop() / IPv6ExtHdrFragment(m=1) / UDP() / bytes(8)),
    bytes(Ether() / IP() / TCP(options=[("Timestamp", (1, 2))]) / b"x"),
    bytes(Ether(type=0x88F7) / bytes(44)),
]
RULES = FrameRules(frozenset({47001}), frozenset({7400}), frozenset({0x88CC}))


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """A good frame with some bytes changed and its end cut off, or any bytes at all."""
    data = bytearray(draw(st.sampled_from(SEEDS) | st.binary(max_size=120)))
    for _ in range(draw(st.integers(0, 4))):
        if data:
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))])


@settings(max_examples=400)
@given(frames())
def test_parser(data: bytes) -> None:
    """A frame or BadItem; offsets in order and inside."""
    try:
        frame = parsed(data)
    except BadItem:
        assert len(data) < 14
        return

    assert 14 <= frame.payload_start <= frame.payload_end <= len(data)
    assert 14 <= frame.transport_start <= frame.payload_end
    assert (frame.source_port is None) == (frame.destination_port is None)


@settings(max_examples=300)
@given(frames(), st.integers(0, 200))
def test_door(data: bytes, more: int) -> None:
    """What may leave is a beginning of the frame."""
    assert 0 <= kept_size(data, len(data) + more, RULES) <= len(data)


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 12), st.booleans(), st.integers(0, 40), st.integers(0, 9 * 10**9)),
        max_size=30,
    )
)
def test_reassembler(rows: list[tuple[int, int, bool, int, int]]) -> None:
    """Fragments in any order, overlapping, missing, repeated: bounded, and a datagram is what its parts said."""
    reassembler = Reassembler(lambda cause: None, count_max=3, bytes_max=400)
    for identification, offset, more, size, stamp in rows:
        data = bytes(Ether() / IP(id=identification, frag=offset, flags="MF" if more else 0, proto=17) / bytes(size))
        frame = parsed(data)
        if frame.fragment is not None:
            whole = reassembler.add(frame, data[frame.transport_start : frame.payload_end], stamp)
            assert whole is None or len(whole) <= 65_535
        assert len(reassembler) <= 3

"""What the index cannot answer: direction, contents, a compiled filter; every frame that is wanted, and no other. (S2-107)"""

from pathlib import Path

import pcapy
import pytest

from drivers.errors import BadFilter
from drivers.frame_filter import compiled, frame_filter
from firmware.core import pcapng
from firmware.core.errors import BadItem
from firmware.core.pcapng import Packet
from firmware.core.query import Query
from firmware.core.sift import Sift, address, pattern, sifted
from firmware.core.store import Store
from simulator.board import SimulatedBoard
from simulator.written_store import frame, write_segment

ARM, CONSOLE = "10.77.0.11", "10.77.0.12"


def wanted(sift: Sift) -> list[int]:
    """Which of four frames a second apart are taken: arm→console, console→arm, arm→console with "stop", an empty one."""
    board = SimulatedBoard()
    start = board.clock.now().utc_ns
    frames = [
        frame(start, source=ARM, destination=CONSOLE),
        frame(start + 1, source=CONSOLE, destination=ARM),
        frame(start + 2, source=ARM, destination=CONSOLE, payload=b"please stop now", port=36000),
        frame(start + 3, source="10.77.0.99", destination="10.77.0.98", payload=b""),
    ]
    write_segment(board, [frames])
    found = [hit for hit in (sifted(hit, sift) for hit in Store(board.disk).search(Query())) if hit is not None]

    section = pcapng.section_header() + pcapng.interface("")
    return [packet.stamp_ns - start for hit in found for packet in pcapng.packets(section + hit.blocks)]


@pytest.mark.parametrize(
    ("sift", "expected"),
    [
        (Sift(), [0, 1, 2, 3]),
        (Sift(sources=(address(ARM),)), [0, 2]),
        (Sift(destinations=(address(ARM), address("10.77.0.98"))), [1, 3]),
        (Sift(sources=(address(ARM),), destinations=(address(ARM),)), []),
        (Sift(pattern=pattern("stop")), [2]),
        (Sift(pattern=pattern("0x73746f70")), [2]),
        (Sift(accept=frame_filter("udp dst port 36000")), [2]),
        (Sift(sources=(address(CONSOLE),), pattern=b"hello", accept=frame_filter("udp")), [1]),
    ],
)
def test_all_that_ask_must_agree(sift: Sift, expected: list[int]) -> None:
    """Direction, contents and filter narrow each other. (S2-107)"""
    assert expected == wanted(sift)


@pytest.mark.parametrize("tags", ["", "81000005", "88a8006481000005"])
def test_arp_is_sent_by_who_asks(tags: str) -> None:
    """Who asks on the wire where a host is has sent that, as `--host` finds it and tcpdump's `src host` selects it. (S2-107)"""
    arp = "0806" + "0001080006040001" + "02534a00000a" + "0a4d000b" + "000000000000" + "0a4d000c"
    asked = Packet(0, bytes.fromhex("ffffffffffff02534a00000a" + tags + arp).ljust(60, b"\0"), 60)
    cut = Packet(0, asked.data[: len(tags) // 2 + 41], 60)

    assert Sift(sources=(address(ARM),), destinations=(address(CONSOLE),)).takes(asked)
    assert tags or frame_filter(f"src host {ARM} and dst host {CONSOLE}")(asked.data, 60)
    assert not Sift(sources=(address(CONSOLE),)).takes(asked)
    assert not Sift(destinations=(address(ARM),)).takes(asked)
    assert not Sift(sources=(address(ARM),)).takes(cut)


def test_what_is_no_ip_was_sent_by_nobody() -> None:
    """A frame that cannot be taken apart answers no question about direction, and breaks nothing."""
    assert not Sift(sources=(address(ARM),)).takes(Packet(0, b"\x00" * 9, 9))


@pytest.mark.parametrize("expression", ["greater 200", "less 199", "len > 100 and udp", "udp[100] = 0", "not greater 200", "udp"])
def test_a_filter_asks_for_the_length_on_the_wire(tmp_path: Path, expression: str) -> None:
    """Of a frame that was cut at the snap length it is how long it was that counts, as it is for libpcap. (S2-107)"""
    whole = frame(1, payload=bytes(300)), frame(2, payload=bytes(150))
    packets = [Packet(each.stamp_ns, each.data[:96], each.wire_bytes) for each in whole]
    blocks = b"".join(pcapng.enhanced_packet(each.stamp_ns, each.data, each.wire_bytes) for each in packets)
    (tmp_path / "cut.pcapng").write_bytes(pcapng.section_header() + pcapng.interface("mirror") + blocks)
    reader = pcapy.open_offline(str(tmp_path / "cut.pcapng"))
    reader.setfilter(expression)
    expected = []
    while (found := reader.next())[0] is not None:
        expected.append(found[0].getlen())

    assert expected == [each.wire_bytes for each in packets if Sift(accept=frame_filter(expression)).takes(each)]


@pytest.mark.parametrize("expression", ["inbound", "outbound", "not inbound", "tcp or outbound"])
def test_a_filter_for_what_no_frame_says_is_refused(expression: str) -> None:
    """Which way a frame passed an interface is not in it: no frame would match, and that would be taken for an answer. (S2-107)

    Who listens at an interface may ask for it.
    """
    assert compiled(expression).get_bpf()
    with pytest.raises(BadFilter, match="what is in a frame"):
        frame_filter(expression)


@pytest.mark.parametrize(
    "wrong", [lambda: address("arm-2"), lambda: pattern("0xabc"), lambda: pattern("0x"), lambda: frame_filter("prot 7")]
)
def test_what_cannot_be_understood_is_said(wrong: object) -> None:
    """Each is an error that says what was expected."""
    with pytest.raises((BadItem, BadFilter), match="expected"):
        wrong()  # type: ignore[operator]

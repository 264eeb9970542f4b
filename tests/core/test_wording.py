"""What people ask for in their own words: devices by name, kinds of record, direction, contents, filters; all must agree."""

import struct

import pytest

from drivers.frame_filter import frame_filter
from drivers.tap import HeardFrame
from firmware.core import pcapng
from firmware.core.devices import Devices
from firmware.core.errors import BadItem
from firmware.core.hit import Hit
from firmware.core.query import Query
from firmware.core.sift import sifted, split
from firmware.core.store import Store
from firmware.core.streams.unrelated import Unrelated
from firmware.core.timestamp import SECOND
from firmware.core.wording import Interpreter, Wording
from simulator.board import SimulatedBoard
from simulator.written_store import frame, write_segment

ARM, CONSOLE, OTHER = "10.77.0.11", "10.77.0.12", "10.77.0.13"
DEVICES = Devices((f"{ARM}=arm-2", f"{CONSOLE}=Console", "02:53:4a:00:00:77=arm-2", "nonsense", "=x"))
ITP = struct.pack("<4I6iiIi", 1, 1, 0, 1, *[5] * 6, 3, 0, 0)  # a stream the decoders know


def mac(row: HeardFrame, source: str, ethertype: str = "0800") -> HeardFrame:
    data = row.data[:6] + bytes.fromhex(source.replace(":", "")) + bytes.fromhex(ethertype) + row.data[14:]
    return HeardFrame(row.stamp_ns, data, len(data))


def frames(start: int) -> list[HeardFrame]:
    return [
        frame(start, source=ARM, destination=CONSOLE, port=36_000, payload=ITP),
        frame(start + 1, source=CONSOLE, destination=ARM, port=5000, payload=b"stop now"),
        frame(start + 2, source=OTHER, destination=CONSOLE, port=47001, payload=b'{"text": "joint stopped"}'),
        mac(frame(start + 3, source=OTHER, destination="10.77.0.99", port=319), "02:53:4a:00:00:77"),
        frame(start + 4, source=OTHER, destination=CONSOLE, port=53),
        mac(frame(start + 5), "02:53:4a:00:00:78", "88f7"),
    ]


def found(wording: Wording, query: Query | None = None) -> list[int]:
    """Which of the six, by their stamps."""
    board = SimulatedBoard()
    start = board.clock.now().utc_ns
    write_segment(board, [frames(start)])
    unrelated = Unrelated(frozenset({53}), message_ports=frozenset({47001}))
    interpreter = Interpreter(DEVICES, unrelated, compile_filter=frame_filter)
    narrowed, sift = interpreter.understood(query or Query(), wording)
    hits = [hit for hit in (sifted(hit, sift) for hit in Store(board.disk).search(narrowed)) if hit is not None]
    section = pcapng.section_header() + pcapng.interface("")
    return [packet.stamp_ns - start for hit in hits for packet in pcapng.packets(section + hit.blocks)]


@pytest.mark.parametrize(
    ("wording", "expected"),
    [
        (Wording(), [0, 1, 2, 3, 4, 5]),
        (Wording(devices=("arm-2",)), [0, 1, 3]),
        (Wording(devices=("ARM-2", OTHER)), [0, 1, 2, 3, 4]),
        (Wording(devices=("console",), senders=("arm-2",)), [0]),
        (Wording(senders=("arm-2",)), [0, 3]),
        (Wording(receivers=("arm-2",)), [1]),
        (Wording(senders=("console",), receivers=("arm-2",)), [1]),
        (Wording(senders=("02:53:4a:00:00:78",)), [5]),
        (Wording(senders=(f"::ffff:{CONSOLE}",), receivers=(f"::FFFF:{ARM}",)), [1]),
        (Wording(devices=(f"::ffff:{ARM}",)), [0, 1]),
        (Wording(kinds=("message",)), [2]),
        (Wording(kinds=("motion",)), [0]),
        (Wording(kinds=("stream", "service")), [0, 4]),
        (Wording(kinds=("time",)), [3, 5]),
        (Wording(kinds=("time", "message"), devices=("arm-2",)), [3]),
        (Wording(kinds=("imaging", "acknowledgement", "temperature")), []),
        (Wording(contains="stop"), [1, 2]),
        (Wording(contains="stop", kinds=("message",)), [2]),
        (Wording(filter="udp dst port 5000 or udp dst port 53"), [1, 4]),
        (Wording(filter="udp", contains="0x73746f70", receivers=("console",)), [2]),
    ],
)
def test_all_that_ask_must_agree(wording: Wording, expected: list[int]) -> None:
    """Names of devices, direction, kind of record, contents and filter narrow each other. (S2-107)"""
    assert expected == found(wording)


def test_words_narrow_a_query() -> None:
    """With time and ports of the query, too."""
    assert [1] == found(Wording(devices=("arm-2",)), Query(ports=(5000,)))


@pytest.mark.parametrize("wording", [Wording(devices=("arm-3",)), Wording(senders=("arm-3",)), Wording(receivers=("arm",))])
def test_unknown_device_is_an_error_that_says_which_there_are(wording: Wording) -> None:
    """Nobody is left with an empty answer for a name misspelt."""
    with pytest.raises(BadItem, match="known are Console, arm-2"):
        found(wording)


def test_without_names_it_says_where_they_are_given() -> None:
    """An empty table names the setting; a long one is said in part."""
    with pytest.raises(BadItem, match=r"\[intake\] devices"):
        Devices(()).addresses("arm-2")
    with pytest.raises(BadItem, match="and 84 more"):
        Devices([f"10.0.0.{n}=d-{n}" for n in range(100)]).addresses("x")


@pytest.mark.parametrize(
    "wording", [Wording(kinds=("everything",)), Wording(filter="prot 7"), Wording(contains="0xabc"), Wording(message=bytes(16))]
)
def test_what_cannot_be_understood_is_said(wording: Wording) -> None:
    """Also what this place has no means for: without rules of intake nobody knows what a message is."""
    with pytest.raises(BadItem, match="expected"):
        found(wording)


def test_split_keeps_every_frame_in_order() -> None:
    """A hit in pieces is the same frames, none twice, each piece with its own times."""
    rows = frames(SECOND)
    blocks = b"".join(pcapng.enhanced_packet(row.stamp_ns, row.data, row.wire_bytes) for row in rows)
    pieces = list(split(Hit("s", blocks, 6, SECOND, SECOND + 5), 4))

    assert blocks == b"".join(piece.blocks for piece in pieces)
    assert [(4, SECOND, SECOND + 3), (2, SECOND + 4, SECOND + 5)] == [
        (piece.frame_count, piece.first_utc_ns, piece.last_utc_ns) for piece in pieces
    ]

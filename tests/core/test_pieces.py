"""Messages of several frames are found by what they say: every frame of them, wherever the later fragments lie."""

import json

import pytest
from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, fragment6
from scapy.layers.l2 import Ether

from drivers.tap import HeardFrame
from firmware.core import pcapng
from firmware.core.devices import Devices
from firmware.core.envelope import Order
from firmware.core.query import Query
from firmware.core.request import Request
from firmware.core.sift import Sift
from firmware.core.store import Store
from firmware.core.streams.unrelated import Unrelated
from firmware.core.timestamp import MS, SECOND
from firmware.core.wording import Interpreter, Wording
from firmware.intake.rules import rules_of
from firmware.intake.settings import IntakeSettings
from firmware.intake.spoken import spoken_by
from firmware.retrieval.find import find
from firmware.retrieval.search import Plan, Search
from simulator.board import SimulatedBoard
from simulator.written_store import frame, write_segment

ARM, OTHER = "10.77.0.10", "10.77.0.12"
LONG = "x" * 1800


def said(event: str, text: str = LONG) -> bytes:
    return json.dumps({"event": event, "text": text}).encode()


def fragments(stamps: list[int], identification: int, payload: bytes, source: str = ARM) -> list[HeardFrame]:
    """The datagram in as many IPv4 fragments as there are stamps."""
    whole = frame(0, source=source, payload=payload).data
    body, size = whole[34:], 8 * (len(whole[34:]) // len(stamps) // 8 + 1)
    rows = []
    for number, stamp in enumerate(stamps):
        part = body[number * size : (number + 1) * size]
        flags = number * size // 8 | (0x2000 if number < len(stamps) - 1 else 0)
        ip = whole[14:16] + (20 + len(part)).to_bytes(2, "big") + identification.to_bytes(2, "big") + flags.to_bytes(2, "big")
        data = whole[:14] + ip + whole[22:34] + part
        rows.append(HeardFrame(stamp, data, len(data)))
    return rows


def understood(board: SimulatedBoard, wording: Wording, query: Query) -> tuple[Query, Sift]:
    rules = rules_of(IntakeSettings())
    unrelated = Unrelated(message_ports=frozenset(rules.ports))
    return Interpreter(Devices(()), unrelated, spoken_by(rules, board.clock.now())).understood(query, wording)


def found(board: SimulatedBoard, wording: Wording, query: Query | None = None) -> list[int]:
    """Which, by their stamps."""
    narrowed, sift = understood(board, wording, query or Query())
    written: list[bytes] = []
    find(board.disk, narrowed, sift, clock=board.clock, sink=written.append, progress=lambda line: None)
    return [packet.stamp_ns for packet in pcapng.packets(b"".join(written))]


@pytest.mark.parametrize("stretches", ["one", "two", "two segments"])
def test_every_fragment_of_a_message_is_found(stretches: str) -> None:
    """By its event, its frames and no other's: of the same sender, of others under the same number, or of another moment. (S2-107)"""
    board = SimulatedBoard()
    start = board.clock.now().utc_ns
    mine = [start, start + MS, start + 2 * MS]
    wanted = fragments(mine, 7, said("injury"))
    noise = [
        *fragments([start + 3 * MS, start + 4 * MS], 8, said("other")),
        *fragments([start + 5 * MS, start + 6 * MS], 7, said("other"), source=OTHER),
        frame(start + 7 * MS, source=ARM, port=5000, payload=said("injury")),
    ]
    late = fragments([start + 3 * SECOND, start + 3 * SECOND + MS], 7, said("other"))
    if stretches == "one":
        write_segment(board, [[*wanted, *noise], late])
    elif stretches == "two":
        write_segment(board, [wanted[:1], [*wanted[1:], *noise], late])
    else:
        write_segment(board, [wanted[:1]])
        write_segment(board, [[*wanted[1:], *noise], late])

    assert mine == found(board, Wording(event="injury"))
    assert mine == found(board, Wording(event="injury"), Query(ports=(47001,), hosts=(ARM,), until_utc_ns=start + SECOND))
    assert [] == found(board, Wording(event="injury"), Query(until_utc_ns=start))
    assert [] == found(board, Wording(event="elsewhere"))


def test_copies_of_a_message_in_fragments_are_found_once_each() -> None:
    """A mirror port that shows both directions gives every frame twice. (S2-107)"""
    board = SimulatedBoard()
    start = board.clock.now().utc_ns
    wanted = fragments([start, start + MS], 7, said("injury"))
    copies = [HeardFrame(row.stamp_ns + 1000, row.data, row.wire_bytes) for row in wanted]
    write_segment(board, [[wanted[0], copies[0]], [wanted[1], copies[1]]])

    assert sorted(row.stamp_ns for row in (*wanted, *copies)) == sorted(found(board, Wording(event="injury")))


@pytest.mark.parametrize("headers", [(), (IPv6ExtHdrDestOpt(),)])
def test_an_order_finds_the_same(headers: tuple[IPv6ExtHdrDestOpt, ...]) -> None:
    """Evidence about a message has all its frames, IPv6 as well, and behind options that only the first fragment has. (S2-107)"""
    board = SimulatedBoard()
    start = board.clock.now().utc_ns
    whole = IPv6(src="fd00::5") / IPv6ExtHdrFragment(id=8)
    for header in headers:
        whole = whole / header
    whole = whole / UDP(sport=1, dport=47001) / said("injury", "x" * 5000)
    rows = [bytes(Ether() / part) for part in fragment6(whole, 1_500)]
    write_segment(board, [[HeardFrame(start + n, data, len(data)) for n, data in enumerate(rows)], [frame(start + 10)]])
    asked = Query(start, start + SECOND)
    query, sift = understood(board, Wording(event="injury"), asked)
    order = Order(bytes(16), "hub", "box-1", "retrieval", 0, 0, 0, {})
    plan = Plan(order, Request(asked), start, start + SECOND, query, sift)
    search = Search(plan, board.disk, interface="eth1", evidence_bytes_max=1 << 20, unrelated=Unrelated())
    while search.found is None:
        search.work()

    assert 4 == len(rows) == search.found.frames


def test_where_no_message_is_in_fragments_nothing_is_looked_at_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The index stays as selective as it is: UDP without ports is asked for only around a first fragment to a port of messages."""
    board = SimulatedBoard()
    start = board.clock.now().utc_ns
    write_segment(
        board,
        [
            [frame(start + n, payload=said("injury", "short")) for n in range(20)],
            fragments([start, start + MS], 7, b"\0" * 99)[1:],
        ],
    )
    looks = []
    search = Store.search
    monkeypatch.setattr(Store, "search", lambda store, query: looks.append(query) or search(store, query))

    assert 20 == len(found(board, Wording(event="injury")))
    assert [] == looks

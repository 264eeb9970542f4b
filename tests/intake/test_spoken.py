"""The frame that carried a published message is found by the message's identity, as intake made it when it was heard."""

from collections.abc import Callable
from typing import Any

import pytest

from drivers.tap import HeardFrame
from firmware.core import pcapng
from firmware.core.query import Query
from firmware.core.sift import sifted
from firmware.core.store import Store
from firmware.core.timestamp import MS
from firmware.core.wording import Wording
from firmware.intake.settings import IntakeSettings
from firmware.retrieval.settings import RetrievalSettings
from firmware.roles import interpreter
from simulator.board import SimulatedBoard
from simulator.written_store import write_segment

SAID: tuple[tuple[bytes, int, str], ...] = (
    (b"joint 2 stopped", 47001, "10.0.0.5"),
    (b"joint 2 stopped", 47001, "10.0.0.6"),
    (b'{"text": "warm", "event": "motor-heat", "sequence": 7}', 47002, "10.0.0.5"),
    (b'{"text": "hot", "event": "motor-heat", "sequence": 8}', 47001, "10.0.0.5"),
    (b"<11>1 2026-11-22T10:15:00Z arm ctl - - - stopped", 514, "10.0.0.5"),
    (b"\xff\x00 nobody knows", 47004, "10.0.0.5"),
)
DEVICES = ("10.0.0.5=robot-1",)


@pytest.fixture
def recorded(make_room: Callable[..., Any], make_frame: Callable[..., bytes]) -> tuple[Any, SimulatedBoard, list[int]]:
    """(the room whose intake heard it all, the board that recorded it, the stamps)"""
    room, board = make_room(devices=DEVICES), SimulatedBoard()
    rows = []
    for number, (payload, port, source) in enumerate(SAID):
        stamp = room.board.clock.now().utc_ns + number * MS
        data = make_frame(payload, port=port, source=source)
        room.hear(data, stamp_utc_ns=stamp)
        rows += [HeardFrame(stamp, data, len(data)), HeardFrame(stamp, make_frame(payload, port=9, source=source), len(data))]
    for _ in range(20):
        room.step(200)
    write_segment(board, [rows])
    return room, board, [row.stamp_ns for row in rows[::2]]


def found(board: SimulatedBoard, wording: Wording, devices: tuple[str, ...] = DEVICES) -> list[int]:
    understands = interpreter(IntakeSettings(devices=devices), RetrievalSettings(), compile_filter=None, now=board.clock.now())
    query, sift = understands.understood(Query(), wording)
    hits = [hit for hit in (sifted(hit, sift) for hit in Store(board.disk).search(query)) if hit is not None]
    section = pcapng.section_header() + pcapng.interface("")
    return [packet.stamp_ns for hit in hits for packet in pcapng.packets(section + hit.blocks)]


def test_every_message_leads_to_its_frame(recorded: tuple[Any, SimulatedBoard, list[int]]) -> None:
    """Whatever form it was published in, and also where another device said the same words. (S2-107)"""
    room, board, stamps = recorded
    messages = sorted(room.messages(), key=lambda message: message.received_time.tai_ns)

    assert len(SAID) == len(messages)
    assert [[stamp] for stamp in stamps] == [found(board, Wording(message=message.identity)) for message in messages]


def test_an_event_leads_to_all_its_frames(recorded: tuple[Any, SimulatedBoard, list[int]]) -> None:
    """Messages about one event share a key."""
    _, board, stamps = recorded

    assert stamps[2:4] == found(board, Wording(event="motor-heat"))
    assert [] == found(board, Wording(event="motor-cold"))


def test_a_message_of_nobody_is_found_nowhere(recorded: tuple[Any, SimulatedBoard, list[int]]) -> None:
    """An identity that is unknown gives nothing; so does one made under other names of devices."""
    room, board, _ = recorded
    mine = next(message for message in room.messages() if message.device == "robot-1")

    assert [] == found(board, Wording(message=bytes(16)))
    assert [] == found(board, Wording(message=mine.identity), devices=())

"""Commands, orders, journals and their parameters of any bytes: refused by the words of our own troubles, never by an accident."""

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.command.journal import Accepted, Journal
from firmware.command.journal import packed as journal_packed
from firmware.command.journal import unpacked as journal_unpacked
from firmware.command.settings import CommandSettings
from firmware.command.station import CommandStation
from firmware.command.verify import signed_order
from firmware.core.envelope import SIGNED_PREFIX, Command, command_packed, order_unpacked
from firmware.core.errors import BadCommand, BadItem
from firmware.core.request import from_parameters
from firmware.core.spool import Spool
from simulator.board import SimulatedBoard
from simulator.identity import SimulatedIdentity

HUB = SimulatedIdentity(name="hub-1", seed=7)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=40) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.integers(0, 12) | st.text(max_size=8), inner, max_size=8),
    max_leaves=20,
)
# Nearly orders: the right keys with values of every kind, so that each check is reached.
NEARLY = st.fixed_dictionaries(
    {
        0: st.binary(min_size=15, max_size=17) | ANYTHING,
        1: st.sampled_from(["hub-1", "hub-2", "../x", ""]) | ANYTHING,
        2: st.sampled_from(["box-1", "box-2"]) | ANYTHING,
        3: st.sampled_from(["retrieval", "update", ".."]) | ANYTHING,
        4: st.integers(-5, 1 << 70) | ANYTHING,
        5: st.lists(st.integers(-(1 << 70), 1 << 70), max_size=3) | ANYTHING,
        6: st.dictionaries(st.sampled_from(["since", "until", "hosts", "ports"]) | st.text(max_size=70), ANYTHING, max_size=4)
        | ANYTHING,
    }
)


def _bytes(value: object) -> bytes:
    return cbor2.dumps(value)


@given(st.binary(max_size=300) | ANYTHING.map(_bytes) | NEARLY.map(_bytes))
def test_any_bytes_are_an_order_or_refused(data: bytes) -> None:
    """An order, or BadItem; what is an order has the types it says."""
    try:
        order = order_unpacked(data)
    except BadItem:
        return
    assert 16 == len(order.identity) and "/" not in order.signer and "/" not in order.deed and order.counter >= 0


@given(st.binary(max_size=300) | ANYTHING.map(_bytes))
def test_any_bytes_are_refused_as_command(data: bytes) -> None:
    """Nobody can sign by chance."""
    with pytest.raises(BadCommand):
        signed_order(data, {"hub-1": HUB.public_key()})


@settings(max_examples=60, deadline=None)
@given(st.lists(NEARLY.map(_bytes) | st.binary(max_size=100), min_size=1, max_size=4), st.booleans())
def test_station_survives_whatever_a_trusted_hub_signs(orders: list[bytes], is_signed: bool) -> None:
    """Even a trusted signer's nonsense is accepted or refused, and the directory is empty afterwards."""
    board = SimulatedBoard()
    board.identity.trust("hub-1", HUB.public_key())
    station = CommandStation(board, CommandSettings())
    station.start(board.clock.now())
    received = Spool(board.disk, "commands/received")
    for number, order in enumerate(orders):
        signature = HUB.sign(SIGNED_PREFIX + order) if is_signed else bytes(64)
        received.publish(f"cmd-{number:032x}", command_packed(Command(order, signature)))
    for _ in range(20):
        station.step(board.clock.now())

    assert [] == received.names()
    figures = station.report
    assert len(orders) == figures.counts.get("accepted", 0) + figures.counts.get("repeats", 0) + sum(
        count for cause, count in figures.drops.items() if cause != "notice_withheld"
    )


@given(st.dictionaries(st.sampled_from(["since", "until", "hosts", "ports", "macs", "protocols", "vlans", "priority"]) | st.text(max_size=9),
                       st.none() | st.integers() | st.text(max_size=60), max_size=8))  # fmt: skip
def test_any_parameters_are_a_request_or_refused(parameters: dict[str, int | str | None]) -> None:
    """A request with a beginning, or BadItem that repeats no text of theirs."""
    try:
        request = from_parameters(parameters)
    except BadItem:
        return
    assert request.query.since_utc_ns is not None and request.query.since_utc_ns >= 0


@given(st.binary(max_size=200) | ANYTHING.map(_bytes))
def test_any_bytes_are_a_journal_or_refused(data: bytes) -> None:
    """A journal that reads back as itself, or BadItem."""
    try:
        journal = journal_unpacked(data)
    except BadItem:
        return
    assert journal == journal_unpacked(journal_packed(journal))


def test_journal_reads_back() -> None:
    """What is written is what is read."""
    journal = Journal((Accepted(7, bytes(16), 5), Accepted(9, bytes(range(16)), 4, handed_on=True)))

    assert journal == journal_unpacked(journal_packed(journal))

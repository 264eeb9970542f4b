"""Whatever bytes lie where a session, its marks or how it stands should: a value, or none; and an order for one is understood or refused."""

import json
from collections.abc import Iterator
from pathlib import Path

import cbor2
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from firmware.core.errors import BadItem
from firmware.core.message import Field, Message, Priority, Severity
from firmware.core.session import Kind, Session, is_to_record, packed, unpacked
from firmware.core.session_order import as_parameters, from_parameters
from firmware.core.timestamp import ClockState, Monotonic, Timestamp
from firmware.hub import sessions
from firmware.hub.repository import Repository

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=20)
MAPS = st.dictionaries(st.integers(0, 7), SCALARS | st.lists(SCALARS, max_size=4))
STAMPS = st.builds(
    Timestamp,
    tai_ns=st.integers(-(2**62), 2**62),
    uncertainty_ns=st.integers(0, 2**40),
    source=st.just("ptp"),
    state=st.sampled_from(ClockState),
)
SESSIONS = st.builds(
    Session, identity=st.just("00ff00ff00ff00ff"), kind=st.sampled_from(Kind), opened_by=st.just("hand"), start=STAMPS
)


@given(data=st.binary(max_size=200) | MAPS.map(cbor2.dumps), now=st.integers(0, 2**62))
@example(data=bytes(5_000), now=0)
@settings(max_examples=150, deadline=None)
def test_any_bytes(data: bytes, now: int) -> None:
    """A session or BadItem; and to be recorded unless it is clearly said otherwise."""
    try:
        unpacked(data)
    except BadItem:
        pass
    assert is_to_record(data, Monotonic(now))


@given(session=SESSIONS, end=st.none() | STAMPS)
@settings(max_examples=50, deadline=None)
def test_a_session_comes_back(session: Session, end: Timestamp | None) -> None:
    """Open or closed."""
    whole = session if end is None else Session(session.identity, session.kind, session.opened_by, session.start, end, "time")

    assert whole == unpacked(packed(whole))


@given(
    parameters=st.dictionaries(
        st.sampled_from(["do", "kind", "x"]) | st.text(max_size=5),
        st.none() | st.integers() | st.sampled_from(["start", "close", "test"]) | st.text(max_size=9),
    )
)
@settings(max_examples=200, deadline=None)
def test_any_parameters(parameters: dict[str, int | str | None]) -> None:
    """What is understood is what was asked, and says the same again."""
    try:
        wish = from_parameters(parameters)
    except BadItem:
        return
    assert wish == from_parameters(as_parameters(wish))


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    made = Repository(str(tmp_path / "hub.sqlite"))
    yield made
    made.close()


FIELDS = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False) | st.text(max_size=30)
KNOWN = (
    "session",
    "session_kind",
    "state",
    "opened_by",
    "closed_by",
    "start_tai_ns",
    "end_tai_ns",
    "start_uncertainty_ns",
    "stream.0",
    "stream.1",
)


@given(
    fields=st.dictionaries(
        st.sampled_from(KNOWN),
        FIELDS | st.sampled_from(["00ff00ff00ff00ff", "procedure", "closed", "arm-2 joint 3 9"]),
        max_size=10,
    )
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_box_says_of_a_session(fields: dict[str, Field], repository: Repository) -> None:
    """The hub takes it or leaves it out, looks whether all of it is here, and shows it; never anything else."""
    stamp = Timestamp(0, 0, "ptp", ClockState.LOCKED)
    message = Message("box-1", "session", "session", Priority.P3, Severity.NOTICE, stamp, stamp, fields=fields)
    with repository.transaction():
        sessions.take(repository, "box-1", message, 0)
        sessions.Held().look(repository, "box-1", 0)
    json.dumps(sessions.listed(repository, tai_offset_s=37))

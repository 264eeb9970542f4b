"""Release items: what goes in comes out, what is foreign is refused, names sort as S2-060 wants."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.core import release
from firmware.core.errors import BadItem
from firmware.core.message import Priority
from firmware.core.release import Release, name_of


def test_packed_comes_back():
    """An item is read back as it was written, facts and the asking command included."""
    item = Release("evidence", Priority.P2, 10, 20, b"section", asked_by=bytes(16), facts={"part": 0, "segments": "a"})

    assert item == release.unpacked(release.packed(item))


def test_names_sort_by_priority_then_time():
    """Higher priority first; equal priority: earlier first; a clock before 1970 or beyond the digits keeps its place (S2-060)."""
    in_order = [
        name_of(Priority.P1, 1210, "z"),
        name_of(Priority.P1, 10**25, "a"),
        name_of(Priority.P2, -5, "a"),
        name_of(Priority.P2, 1200, "a"),
        name_of(Priority.P4, 0, "a"),
    ]

    assert in_order == sorted(in_order)


@pytest.mark.parametrize(
    "row",
    [
        Release("group", Priority.P1, 1, 2, b"", asked_by=b"short"),
        Release("group", Priority.P1, 1, 2, b"", facts={"x" * 65: 1}),
        Release("group", Priority.P1, 1, 2, b"", facts={str(n): n for n in range(65)}),
        Release("group", Priority.P1, 1, 2, b"", facts={"messages": 1 << 64}),
        Release("group", Priority.P1, 1, 2, b"", facts={"messages": 1 << 40_000}),
        Release("group", Priority.P1, 1, 2, b"", facts={"closed_by": "x" * 1025}),
        Release("letter", Priority.P1, 1, 2, b""),  # type: ignore[arg-type]
    ],
)
def test_foreign_items_are_refused(row):
    """A wrong kind, identity or map of facts is said so."""
    with pytest.raises(BadItem, match="expected"):
        release.unpacked(release.packed(row))


@given(st.binary(max_size=300))
def test_any_bytes(data):
    """Any bytes are an item or a BadItem, nothing else."""
    try:
        release.unpacked(data)
    except BadItem:
        return

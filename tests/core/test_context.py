"""What belongs together can be told, and nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from firmware.core.context import KINDS, Kind, as_fields, context_of, is_pseudonym, is_same, pseudonym

KEY, OTHER_KEY = bytes(range(32)), bytes(32)


@given(st.text(max_size=40), st.sampled_from(KINDS))
def test_the_same_number_the_same_word(value: str, kind: Kind) -> None:
    """Of one box, whatever a system pads it with; of another box, and of another kind, another one. No digit of it is left. (S2-085)"""
    word = pseudonym(KEY, kind, value)

    assert is_pseudonym(word)
    assert word == pseudonym(KEY, kind, f"  {value.upper()} ")
    assert word != pseudonym(OTHER_KEY, kind, value)
    assert len(KINDS) == len({pseudonym(KEY, other, value) for other in KINDS})


def test_as_a_message_carries_it() -> None:
    """And back; what does not look like a pseudonym is none, whoever wrote it."""
    context: dict[Kind, str] = {"order": "a" * 16, "visit": "p" * 16}
    fields = as_fields(context)
    assert context == context_of(fields)
    assert {"visit": "p" * 16} == context_of({**fields, "context/order": "99001234", "context/study": 7})


def test_the_same_or_not_or_nobody_knows() -> None:
    """One that agrees is enough; where both name one and none agrees, it is another; where they name none in common, nobody can say."""
    mine: dict[Kind, str] = {"order": "a" * 16, "visit": "b" * 16}
    assert is_same(mine, {"order": "a" * 16, "visit": "c" * 16}) is True
    assert is_same(mine, {"order": "c" * 16}) is False
    assert is_same(mine, {"study": "a" * 16}) is None
    assert is_same({}, mine) is None

"""How a long item comes on: the hub's word decides, whatever order its words come in."""

from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.clock import Monotonic
from firmware.uplink.transfer import Piece, Transfer

NOW = Monotonic(0)


def begun(size: int = 1000) -> Transfer:
    return Transfer(bytes(16), size, bytes(32), moved=NOW)


def test_it_begins_with_one_byte_and_waits() -> None:
    """The question; nothing else before the answer."""
    transfer = begun()
    assert Piece(0, 1) == transfer.next_piece(chunk_bytes=100, bulk_window=2)
    assert transfer.sending(Piece(0, 1), NOW).next_piece(chunk_bytes=100, bulk_window=2) is None


def test_a_window_beyond_what_was_told() -> None:
    """Pieces up to the window, then silence until the hub speaks."""
    transfer = begun().hearing(7, NOW)
    sent = []
    while (piece := transfer.next_piece(chunk_bytes=100, bulk_window=2)) is not None:
        sent.append(piece)
        transfer = transfer.sending(piece, NOW)

    assert [Piece(7, 100), Piece(107, 100)] == sent


def test_late_words_do_not_set_it_back() -> None:
    """Only an answer to a question may be less than what is known."""
    transfer = begun().hearing(500, NOW)
    assert transfer.hearing(100, NOW) == transfer
    assert transfer.asking_again().hearing(100, NOW).told == 100


def test_more_than_there_is() -> None:
    """A hub that claims more than the whole is not believed."""
    assert begun().hearing(1001, NOW) == begun()


@given(
    size=st.integers(2, 5000),
    chunk=st.integers(1, 700),
    window=st.integers(1, 5),
    words=st.lists(st.integers(0, 6000), max_size=30),
)
@settings(max_examples=200, deadline=None)
def test_whatever_the_hub_says_pieces_stay_inside(size: int, chunk: int, window: int, words: list[int]) -> None:
    """Never a piece beyond the end, never more than a window unanswered."""
    transfer = begun(size)
    for word in words:
        piece = transfer.next_piece(chunk_bytes=chunk, bulk_window=window)
        if piece is not None:
            assert 0 <= piece.offset < piece.offset + piece.size <= size
            transfer = transfer.sending(piece, NOW)
        assert transfer.sent - transfer.told < chunk * (window + 1) + 1
        transfer = transfer.hearing(word, NOW) if word % 5 else transfer.asking_again()

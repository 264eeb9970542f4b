"""How a long item comes on: the hub's word decides, whatever order its words come in."""

from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.clock import Monotonic
from firmware.uplink.transfer import Piece, Transfer

NOW = Monotonic(0)


def begun(size: int = 1000) -> Transfer:
    return Transfer(bytes(16), "box-1", size, bytes(32), moved=NOW)


def test_it_begins_with_its_beginning_and_asks_after_a_loss() -> None:
    """Nobody has any of it yet: pieces at once. When nothing of it is believed to have arrived: one byte, and then silence."""
    transfer = begun()
    assert Piece(0, 100) == transfer.next_piece(piece_bytes=100, ahead_bytes=200)
    asking = transfer.asking_again()
    assert Piece(0, 1) == asking.next_piece(piece_bytes=100, ahead_bytes=200)
    assert asking.sending(Piece(0, 1), NOW).next_piece(piece_bytes=100, ahead_bytes=200) is None


def test_so_far_beyond_what_was_told() -> None:
    """Pieces up to what may be ahead, to the byte, then silence until the receiver speaks."""
    transfer = begun().asking_again().hearing(7, NOW)
    sent = []
    while (piece := transfer.next_piece(piece_bytes=100, ahead_bytes=250)) is not None:
        sent.append(piece)
        transfer = transfer.sending(piece, NOW)

    assert [Piece(7, 100), Piece(107, 100), Piece(207, 50)] == sent


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
        piece = transfer.next_piece(piece_bytes=chunk, ahead_bytes=chunk * window)
        if piece is not None:
            assert 0 <= piece.offset < piece.offset + piece.size <= size
            transfer = transfer.sending(piece, NOW)
        assert transfer.sent - transfer.told <= max(1, chunk * window)
        transfer = transfer.hearing(word, NOW) if word % 5 else transfer.asking_again()

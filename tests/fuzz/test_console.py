"""Any bytes on the serial line: the session goes on, shows only what a terminal may be sent, and stays within its bounds."""

from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.console.editor import LINE_MAX, Editor
from firmware.console.session import Session
from firmware.console.settings import ConsoleSettings
from firmware.console.station import ConsoleStation
from firmware.console.words import Command, completion, help_for, split, understood
from simulator.board import SimulatedBoard
from simulator.tty import SimulatedTty

KEYS = st.lists(
    st.binary(max_size=8)
    | st.sampled_from([b"\r", b"show ", b"status", b"verify\r", b"\x1b[A", b"\x1b[B", b"\x1b[", b"?", b"\t", b"\x03", b"\x04", b'"', b"|", b" q"]),
    max_size=40,
).map(b"".join)  # fmt: skip
SENT = frozenset(b"\r\n\a\b") | frozenset(range(0x20, 0x7F))


@given(KEYS)
def test_editor_is_bounded_and_prints_what_it_holds(keys: bytes) -> None:
    """The line stays within its length and within printable ASCII; no key sends what a terminal would obey."""
    editor = Editor()
    for key in keys:
        echo = editor.key(key)
        assert set(echo.out) <= SENT
        assert len(editor.line) <= LINE_MAX and all(" " <= character <= "~" for character in editor.line)


@given(KEYS)
def test_what_is_seen_is_what_is_held(keys: bytes) -> None:
    """After any keys the terminal shows exactly the line that enter would send: echo and rub-out never drift apart."""
    editor = Editor()
    seen: list[int] = []
    for key in keys:
        for byte in editor.key(key).out:
            if byte in b"\r\n":
                seen = []
            elif byte == 0x08:  # A rub-out is back, space, back.
                seen = seen[:-1]
            elif byte != 0x07:
                seen.append(byte)
        if key == ord("?"):
            seen = list(editor.line.encode())  # The session writes prompt and line anew.
        assert editor.line.encode() == bytes(seen)


@given(st.text(max_size=80))
def test_any_line_is_a_command_or_a_sentence(line: str) -> None:
    """Total functions: every line is understood or told what was expected; help and completion always answer."""
    answer = understood(line)
    assert answer is None or isinstance(answer, Command) or answer.text
    assert help_for(line)
    assert all(" " <= character <= "~" for character in completion(line))
    words = split(line)
    assert words is None or all(isinstance(word, str) for word in words)


@given(KEYS, st.lists(st.text(max_size=600), max_size=60), st.integers(0, 30))
def test_session_sends_only_what_a_terminal_may_be_sent(keys: bytes, lines: list[str], page_rows: int) -> None:
    """Whatever is typed and whatever is answered, no control character but line ends, bell and backspace goes out."""
    session = Session("box-1", page_rows=page_rows)
    for key in b"\r" + keys:
        if session.key(key) is not None:
            session.show(lines)
        assert set(session.taken()) <= SENT


@settings(max_examples=40, deadline=None)
@given(st.lists(KEYS, max_size=5))
def test_station_lives_through_anything(pieces: list[bytes]) -> None:
    """The whole console on noise: it comes to rest, and enter still brings a prompt."""
    line = SimulatedTty()
    board = SimulatedBoard(ttys={"tty": line})
    station = ConsoleStation(board, ConsoleSettings(device="tty", page_rows=6))
    station.start(board.clock.now())
    for piece in [*pieces, b"q\x03\x1bx\r\r\r"]:
        line.type(piece)
        for _ in range(2000):
            now = board.clock.now()
            if station.step(now) != now.monotonic:
                break
        else:
            raise AssertionError("expected the console to come to rest")

    assert b"box-1> " in line.shown()

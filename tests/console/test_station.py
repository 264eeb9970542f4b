"""The console as a person with a cable meets it: on a simulated line, and on a real pseudo-terminal."""

import itertools
import os
import pty
import tty as terminal

import pytest

from drivers.clock import ClockState
from drivers.linux.tty import LinuxTty
from firmware.clock.settings import ClockSettings
from firmware.clock.station import ClockStation
from firmware.console import views
from firmware.console.settings import ConsoleSettings
from firmware.console.station import ConsoleStation
from firmware.console.words import COMMANDS
from firmware.core.report import Report, publish
from firmware.core.settings import Settings
from firmware.core.timestamp import SECOND
from firmware.roles import SECTIONS
from firmware.session.settings import SessionSettings
from firmware.session.station import SessionStation
from simulator.board import SimulatedBoard
from simulator.disk import Failing
from simulator.tty import SimulatedTty
from simulator.written_store import begin_segment, end_segment, frame, write_segment


class Terminal:
    """A person, a line and the box."""

    def __init__(self, *, page_rows: int = 24) -> None:
        self.line = SimulatedTty()
        self.board = SimulatedBoard(ttys={"/dev/ttyS0": self.line})
        settings = ConsoleSettings(device="/dev/ttyS0", page_rows=page_rows)
        rows = [("capture.segment_s", 60, 300, "scrubjay.toml", "Length."), ("capture.interface", "eth1", "eth1", "", "Port.")]
        self.station = ConsoleStation(self.board, settings, rows=rows)
        self.station.start(self.board.clock.now())
        self.work()

    def work(self) -> None:
        for _ in range(10_000):
            now = self.board.clock.now()
            wish = self.station.step(now)
            if wish is None or wish > now.monotonic:
                return
        raise AssertionError("expected the console to come to rest")

    def types(self, data: bytes) -> bytes:
        self.line.type(data)
        self.work()
        return self.line.shown()


@pytest.fixture
def person() -> Terminal:
    """Somebody who has pressed enter once."""
    person = Terminal()
    person.types(b"\r")
    return person


def test_nothing_is_shown_until_somebody_presses_enter() -> None:
    """A line with noise on it, or a modem's words, opens nothing."""
    person = Terminal()

    assert b"" == person.types(b"AT&F\x00\xff")
    assert b"\r\nbox-1: scrubjay, a recorder. ? for help\r\nbox-1> " == person.types(b"\r\n")


def test_a_long_answer_on_a_slow_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A serial port takes 4 KiB at once. All of an answer comes out, without a key, and then what was typed meanwhile is answered."""
    rows = [f"{number:06} {'x' * 70}" for number in range(1500)]  # twice what the driver keeps
    monkeypatch.setattr(views, "help_lines", lambda: rows)
    person = Terminal(page_rows=0)
    person.types(b"\r")
    person.line.type(b"help\rshow identity\r")
    waited_ns = 0
    for _ in range(60):
        person.line.room = 4096
        person.work()
        now = person.board.clock.now()
        wish = person.station.step(now)
        if wish is None or wish.since(now.monotonic) > SECOND:
            break
        person.board.clock.advance(wish.since(now.monotonic))
        waited_ns += wish.since(now.monotonic)
    shown = person.line.shown().decode()

    assert rows == [row for row in shown.split("\r\n") if row in set(rows)]
    assert f"public key  {person.board.identity.public_key().hex()}\r\nbox-1> " in shown
    assert waited_ns < 10 * SECOND


def test_what_is_said_of_commands_shows_on_a_serial_line() -> None:
    """A terminal there knows ASCII and no more; an ellipsis would be a question mark, and mean something."""
    assert [] == [meaning for meaning in COMMANDS.values() if not meaning.isascii()]


def test_each_key_costs_one_byte(person: Terminal) -> None:
    """At 9600 bit/s a person types without waiting: a byte back a key, three for a backspace."""
    assert b"s" == person.types(b"s")
    assert b"how" == person.types(b"how")
    assert b"\b \b" == person.types(b"\x7f")
    assert b"\b \b" * 3 == person.types(b"\x15")
    assert b"\a" == person.types(b"\x08")


def test_status_shows_losses_first(person: Terminal) -> None:
    """`show status` cut short to `sh st` is the table of every process."""
    person.board.disk.mkdir("state")
    publish(person.board.disk, "capture", [Report("capture", drops={"ring_full": 3})], person.board.clock.now())

    answer = person.types(b"sh st\r").decode()
    assert "LOST OR REFUSED, by cause\r\n  capture  ring_full  3\r\n" in answer
    assert answer.endswith("box-1> ")


def test_segments_clock_settings_and_identity(person: Terminal) -> None:
    """What is recorded, how good the time is, how the box is set, who it is (S2-108)."""
    name = write_segment(person.board, [[frame(person.board.clock.now().utc_ns)]]).name

    assert name.encode() in person.types(b"show segments\r")
    assert b"has not said anything yet" in person.types(b"show clock\r")
    person.board.disk.mkdir("state")
    person.board.disk.write("state/clock", b'{"state": "locked"}')
    assert b"does not read" in person.types(b"show clock\r")
    clock = ClockStation(person.board, ClockSettings())
    clock.start(person.board.clock.now())
    clock.step(person.board.clock.now())
    assert b"time      LOCKED by ptp, known to +-50 us\r\n" in person.types(b"show clock\r")
    assert b"capture.segment_s  scrubjay.toml  60\r\n" in person.types(b"show settings\r")
    assert person.board.identity.public_key().hex().encode() in person.types(b"show identity\r")


def test_system(person: Terminal) -> None:
    """Which slot runs and why it was switched, as the keeper of the slots wrote it down; what it should not have written is harmless."""
    assert b"this is no image" in person.types(b"show system\r")
    person.board.disk.mkdir("state")
    person.board.disk.write("state/system", b"slot A runs 1.0\n\x1b[2Jconfirmed\n")

    assert b"slot A runs 1.0\r\n" in (answer := person.types(b"show system\r"))
    assert b"\x1b" not in answer


def test_network(person: Terminal) -> None:
    """What the ports have, and which of the site's files are used, as root wrote both down: the console has no network to look at."""
    assert b"this is no image" in person.types(b"show network\r")
    person.board.disk.mkdir("state")
    person.board.disk.write("state/network", b"room.network: used\n")
    assert b"the ports now\r\n  unknown\r\ngiven at this start\r\n  room.network: used\r\n" in person.types(b"show network\r")
    person.board.disk.write("state/addresses", b"eth3  UP  10.0.0.1/24\x1b[2J\n")
    answer = person.types(b"show network\r")
    assert b"the ports now\r\n  eth3  UP  10.0.0.1/24" in answer and b"\x1b" not in answer


def test_verify_says_what_it_found(person: Terminal) -> None:
    """Sound segments are said to be sound; a changed byte is named."""
    name = write_segment(person.board, [[frame(person.board.clock.now().utc_ns)]]).name
    assert b"1 segments, 1 frames: everything is as it was sealed" in person.types(b"verify\r")
    data = bytearray(person.board.disk.read(f"segments/{name}/frames.pcapng.lz4"))
    data[-20] ^= 1
    person.board.disk.write(f"segments/{name}/frames.pcapng.lz4", bytes(data))

    assert f"FOUND {name}: altered".encode() in person.types(b"ver\r")
    assert ("alive", "") in person.board.supervisor.said


def test_verify_says_how_sure_the_time_was(person: Terminal) -> None:
    """A terminal knows ASCII only: what is known to ± so much has the sign in two characters, and no question mark."""
    person.board.clock.state, person.board.clock.uncertainty_ns = ClockState.FREE, 600 * SECOND
    write_segment(person.board, [[frame(person.board.clock.now().utc_ns)]])

    assert b"the clock was in state free, known to +-600 s\r\n" in person.types(b"verify\r")


def test_what_verify_leaves_out_is_said(person: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more than the serial line is for the newest are shown, and how many of which kind are not; nothing is cut off in silence."""
    monkeypatch.setattr(views, "STATEMENTS_MAX", 2)
    for lost in range(1, 5):
        end_segment(person.board, begin_segment(person.board, []), drops={"ring_full": lost}, cause="stop")
        person.board.clock.advance(60 * SECOND)
    answer = person.types(b"verify\r")
    assert b"5 more not shown here (3 dropped, 2 gap)" in answer
    assert (
        b"known to +-50 us" in answer
        and b" 4 frames were not recorded" in answer
        and b" 3 frames were not recorded" not in answer
    )
    for name in person.board.disk.list("segments"):
        person.board.disk.write(f"segments/{name}/more", b"")

    assert b"FOUND 2 more not shown here (2 foreign)" in person.types(b"verify\r")


def test_a_long_list_lives(person: Terminal) -> None:
    """Segments of weeks on a slow card: whoever watches the process hears of it within its ten seconds all the while; Ctrl-C ends it."""
    for _ in range(40):
        write_segment(person.board, [[frame(person.board.clock.now().utc_ns)]])
        person.board.clock.advance(SECOND)
    clock, read, heard = person.board.clock, person.board.disk.read, [person.board.clock.now().monotonic]

    def slow(path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        clock.advance(SECOND // 2)
        return read(path, offset=offset, size=size)

    person.board.disk.read = slow  # type: ignore[method-assign]
    person.board.supervisor.alive = lambda: heard.append(clock.now().monotonic)  # type: ignore[method-assign]
    answer = person.types(b"show segments | include segments\r")
    heard.append(clock.now().monotonic)
    assert b"40 segments, " in answer
    assert max(after.since(before) for before, after in itertools.pairwise(heard)) < 5 * SECOND

    keys = iter([b"show segments\r", b"\x03"])
    person.line.read = lambda: next(keys, b"")  # type: ignore[method-assign]
    person.work()
    assert b"stopped; nothing is shown" in person.line.shown()


def test_verify_can_be_stopped(person: Terminal) -> None:
    """Ctrl-C ends it, and the next command works."""
    write_segment(person.board, [[frame(person.board.clock.now().utc_ns)]])
    keys = iter([b"verify\r", b"\x03"])  # the second comes while it works
    read = person.line.read
    person.line.read = lambda: next(keys, b"")  # type: ignore[method-assign]
    person.work()
    person.line.read = read  # type: ignore[method-assign]

    assert b"stopped; nothing is known" in person.line.shown()
    assert b"box-1" in person.types(b"show identity\r")


def test_a_command_that_was_taken_back_at_once(person: Terminal) -> None:
    """Enter and Ctrl-C may come in one piece: the command ends, and so does what was typed ahead before the Ctrl-C; not what came after."""
    write_segment(person.board, [[frame(person.board.clock.now().utc_ns)]])
    answer = person.types(b"verify\rshow clock\r\x03show identity\r")

    assert b"stopped; nothing is known" in answer
    assert b"show clock" not in answer and b"show identity" in answer
    assert b"box-1" in answer


def test_what_is_typed_while_a_command_works_is_carried_out_after_it(person: Terminal) -> None:
    """Whole: half of a command may be another one."""
    write_segment(person.board, [[frame(person.board.clock.now().utc_ns)]])
    keys = iter([b"verify\r", b"show ident", b"ity\r"])
    person.line.read = lambda: next(keys, b"")  # type: ignore[method-assign]
    person.work()
    answer = person.line.shown()

    assert b"as it was sealed" in answer and b"show identity" in answer
    assert b"expected" not in answer


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (b"?", b"exit"),
        (b"show ?", b"segments"),
        (b"sh s?", b"settings"),
        (b"show status ?", b"<enter>"),
        (b"show status x?", b"nothing may stand here"),
        (b"nonsense\r", b"expected one of: exit, export, find, help, session, show, verify"),
        (b"show s\r", b"expected one word, this may be any of: segments, session, settings, status"),
        (b"show\r", b"expected after show one of:"),
        (b"show status now\r", b"expected after show status nothing more"),
        (b'show "status\r', b"expected a closing quotation mark"),
        (b"show status | grep x\r", b"expected after | the word include"),
        (b"help | include tab\r", b"tab completes"),
    ],
)
def test_help_and_mistakes(person: Terminal, typed: bytes, expected: bytes) -> None:
    """Every question has an answer and every mistake says what was expected."""
    assert expected in person.types(typed)


def test_help_keeps_what_was_typed(person: Terminal) -> None:
    """After ? the line stands there again, to be finished."""
    assert person.types(b"show s?").endswith(b"box-1> show s")
    assert b"no process has reported yet" in person.types(b"tatus\r")


def test_completion_stops_where_it_is_not_clear(person: Terminal) -> None:
    """Tab adds what all that fit have in common, and rings when there is nothing to add."""
    assert b"show clock " == person.types(b"sho\tc\t")
    person.types(b"\x15")
    assert b"verify " == person.types(b"v\t")
    person.types(b"\x15")
    assert person.types(b"show s\t").endswith(b"\a")


def test_history_brings_lines_back(person: Terminal) -> None:
    """Up twice and down once is the last line again."""
    person.types(b"show clock\r")
    person.types(b"show identity\r")

    assert person.types(b"\x1b[A").endswith(b"show identity")
    assert person.types(b"\x1b[A").endswith(b"show clock")
    assert person.types(b"\x1bOB").endswith(b"show identity")
    assert b"public key" in person.types(b"\r")


def test_long_answers_stop_at_each_page() -> None:
    """A page, then a key: space goes on, enter shows a line, q stops."""
    person = Terminal(page_rows=5)
    person.types(b"\r")
    first = person.types(b"help\r")
    assert first.endswith(b"q: stop")
    assert 4 >= sum(-(-len(row) // 80) for row in first.split(b"\r\n")[1:-1]) > 2
    assert 1 == person.types(b"\r").count(b"\r\n")
    assert person.types(b"q").endswith(b"box-1> ")


def test_a_page_fits_the_terminal() -> None:
    """A row that is wider than the terminal takes two of its rows: no page scrolls its own beginning away."""
    person = Terminal(page_rows=5)
    for _ in range(6):
        write_segment(person.board, [[frame(person.board.clock.now().utc_ns)]])
        person.board.clock.advance(SECOND)
    person.types(b"\r")
    first = person.types(b"show segments\r").partition(b"read")[2].split(b"\r\n")[1:-1]

    assert 2 == sum(-(-len(row) // 80) for row in first), (
        "the rest of four are the row of progress, and one too few for a segment"
    )
    assert b"--more--" in person.types(b"\r")


def test_all_settings_say_where_they_come_from() -> None:
    """Those of a box, as it starts: each with its origin, and none padded to the width of the longest value."""
    rows = views.settings(Settings(SECTIONS["box"], []).rows())

    assert all(row.split()[1] == "default" for row in rows)
    assert 60 > sorted(map(len, rows))[len(rows) // 2]


def test_include_filters(person: Terminal) -> None:
    """`| include` shows only the lines that hold the text."""
    answer = person.types(b'help | inc "public key"\r')

    assert 2 == answer.count(b"\r\n")


def test_include_hides_no_complaint(person: Terminal) -> None:
    """What could not be done is not an answer in which the text was not found; nor does an answer stand beside the progress."""
    assert b"this console was made without it" in person.types(b"find | include frames\r")
    write_segment(person.board, [[frame(person.board.clock.now().utc_ns)]])
    assert b" \r\n1 segments, 1 frames" in person.types(b"verify | include segments\r")

    person.board.disk.failing = Failing.GONE
    assert b"the disk cannot be read" in person.types(b"show segments | include 2026\r")
    assert b"the disk cannot be read" in person.types(b"verify | include FOUND\r")


def test_idle_session_ends() -> None:
    """Whoever leaves the cable plugged in leaves nothing open, and no history for the next."""
    person = Terminal()
    person.types(b"\r")
    person.types(b"show clock\r")
    person.board.clock.advance(601 * SECOND)
    assert b"idle, session ended" in person.types(b"")
    person.types(b"\r")

    assert b"\a" == person.types(b"\x1b[A")


def test_exit_ends_the_session(person: Terminal) -> None:
    """`exit`, cut short or Ctrl-D."""
    assert b"bye" in person.types(b"exi\r")
    person.types(b"\r")
    assert b"bye" in person.types(b"\x04")


def test_missing_line_is_tried_again() -> None:
    """A USB adapter that is not there yet costs a gauge, and works once it is."""
    board = SimulatedBoard()
    station = ConsoleStation(board, ConsoleSettings(device="/dev/ttyUSB0"))
    station.start(board.clock.now())
    assert "missing" == station.report.gauges["line"]
    line = SimulatedTty()
    board.ttys["/dev/ttyUSB0"] = line
    board.clock.advance(31 * SECOND)
    line.type(b"\r")
    station.step(board.clock.now())

    assert b"box-1> " in line.shown()


def test_a_line_that_went_away_takes_its_session_with_it(person: Terminal) -> None:
    """An adapter pulled in mid-dialogue: whoever plugs it in again and presses enter finishes no line of somebody else's."""
    asked = "commands/verified/session"
    person.board.disk.mkdir(asked)
    person.types(b"show clock\r")
    person.types(b"session close")
    person.line.hang_up()

    assert b"\r\nbox-1: scrubjay, a recorder. ? for help\r\nbox-1> " == person.types(b"\r")
    assert [] == person.board.disk.list(asked)
    assert b"\a" == person.types(b"\x1b[A")
    assert 1 == person.station.report.counts["hang_ups"]


def test_an_answer_belongs_to_who_asked(person: Terminal) -> None:
    """The line goes while a long command works: the next person is shown nothing of it."""
    write_segment(person.board, [[frame(person.board.clock.now().utc_ns)]])
    read, pulled = person.line.read, iter([person.line.hang_up])

    def away() -> bytes:
        data = read()
        if not data:
            next(pulled, lambda: None)()
        return data

    person.line.type(b"verify\r")
    person.line.read = away  # type: ignore[method-assign]
    person.work()

    assert b"everything is as it was sealed" not in person.line.shown()
    assert b"? for help" in person.types(b"\r")


def test_failed_disk_is_an_answer(person: Terminal) -> None:
    """A disk that is gone is said to be gone; the console lives."""
    person.board.disk.failing = Failing.GONE

    assert b"the disk cannot be read" in person.types(b"show segments\r")


def test_a_session_where_nobody_takes_orders(person: Terminal) -> None:
    """A console alone, or one quicker than the box's first start: it says so, and lives."""
    answer = person.types(b"session close\r")

    assert b"nobody takes orders of sessions here" in answer
    assert answer.endswith(b"box-1> ")


def test_control_characters_never_reach_the_terminal(person: Terminal) -> None:
    """Whatever stands in a state file, no escape sequence of its is obeyed."""
    person.board.disk.mkdir("state")
    person.board.disk.write("state/clock", b'{"source": "\\u001b]0;owned\\u0007\\u009b"}')

    assert b"\x1b" not in person.types(b"show clock\r")


def test_on_a_real_terminal() -> None:
    """The same on a pseudo-terminal through the real driver: enter, a command, an answer."""
    ours, theirs = pty.openpty()
    try:
        terminal.setraw(ours)
        board = SimulatedBoard(ttys={"pty": LinuxTty(os.ttyname(theirs))})
        station = ConsoleStation(board, ConsoleSettings(device="pty"))
        station.start(board.clock.now())
        seen = b""
        for keys in (b"\r", b"sh id\r"):
            os.write(ours, keys)
            for _ in range(3):
                station.step(board.clock.now())
            seen += os.read(ours, 65536)
        station.stop(board.clock.now())

        assert b"box-1> sh id\r\n" in seen
        assert board.identity.public_key().hex().encode() in seen
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_session_by_hand(person: Terminal) -> None:
    """Somebody at the line says that a procedure begins and ends, in as few letters as are clear; `show session` tells. (S2-130)"""
    station = SessionStation(person.board, SessionSettings(settle_ms=0))
    station.start(person.board.clock.now())

    def settle() -> None:
        for _ in range(20):
            station.step(person.board.clock.now())
            for name in person.board.disk.list("flush"):
                person.board.disk.remove(f"flush/{name}")  # as group does
            person.board.clock.advance(SECOND)

    assert b"no session is open" in person.types(b"show session\r")
    assert b"procedure begins now" in person.types(b"ses start proc\r")
    settle()
    assert b"open: procedure" in person.types(b"show session\r")
    assert b"expected after session start one of" in person.types(b"session start\r")
    person.types(b"session close\r")
    settle()
    shown = person.types(b"sh ses\r")

    assert b"no session is open" in shown
    assert b"closed by hand" in shown

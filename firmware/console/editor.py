"""A line being typed: one or two bytes back for each key, because at 9600 bit/s a byte takes a millisecond. Pure.

    printable ASCII   goes in            backspace, delete   takes one out
    Ctrl-U            takes all out      Ctrl-W              takes a word out
    Ctrl-C            starts anew        Ctrl-D              on an empty line: leave
    up, down          earlier lines      tab                 completes          ?   helps
Everything else, other escape sequences and bytes above 127 included, rings and does nothing.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum

LINE_MAX = 200
HISTORY_MAX = 20
ESCAPE_MAX = 16  # bytes of an escape sequence; longer ones are noise
BELL = b"\a"
_RUBOUT = b"\b \b"


class Event(Enum):
    """What a key meant beyond the line itself."""

    LINE = "line"  # `line` is complete
    HELP = "help"
    COMPLETE = "complete"
    INTERRUPT = "interrupt"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Echo:
    """What a key makes: bytes for the terminal, and maybe an event. line: for LINE, HELP and COMPLETE, the text so far."""

    out: bytes = b""
    event: Event | None = None
    line: str = ""


class Editor:
    """One line at a time, fed a byte at a time."""

    def __init__(self) -> None:
        self._line = ""
        self._escape: bytearray | None = None
        self._history: deque[str] = deque(maxlen=HISTORY_MAX)
        self._shown = 0  # how far back in the history; 0: the line itself

    @property
    def line(self) -> str:
        """What was typed so far."""
        return self._line

    def key(self, byte: int) -> Echo:
        """One byte, 0 to 255."""
        if self._escape is not None:
            return self._in_escape(byte)
        if 0x20 <= byte < 0x7F:
            return self._printable(chr(byte))
        match byte:
            case 0x0D | 0x0A:
                return self._submit()
            case 0x08 | 0x7F:
                return self._erase(1)
            case 0x15:  # Ctrl-U
                return self._erase(len(self._line))
            case 0x17:  # Ctrl-W
                return self._erase(len(self._line) - len(self._line.rstrip().rpartition(" ")[0]))
            case 0x03:  # Ctrl-C
                self._line, self._shown = "", 0
                return Echo(b"^C\r\n", Event.INTERRUPT)
            case 0x04 if not self._line:  # Ctrl-D
                return Echo(b"\r\n", Event.LEAVE)
            case 0x09:
                return Echo(event=Event.COMPLETE, line=self._line)
            case 0x1B:
                self._escape = bytearray()
                return Echo()
        return Echo(BELL)

    def add(self, text: str) -> Echo:
        """Type this for the person (completion)."""
        text = text[: LINE_MAX - len(self._line)]
        self._line += text
        return Echo(text.encode("ascii", "replace"))

    def forget(self) -> None:
        """A new person: nothing of the former one's is left."""
        self._line, self._escape, self._shown = "", None, 0
        self._history.clear()

    def _printable(self, character: str) -> Echo:
        if character == "?" and self._line.count('"') % 2 == 0:
            return Echo(b"?\r\n", Event.HELP, self._line)
        if len(self._line) >= LINE_MAX:
            return Echo(BELL)
        self._line += character
        return Echo(character.encode())

    def _submit(self) -> Echo:
        line, self._line, self._shown = self._line, "", 0
        if line.strip() and (not self._history or self._history[-1] != line):
            self._history.append(line)
        return Echo(b"\r\n", Event.LINE, line)

    def _erase(self, count: int) -> Echo:
        count = min(count, len(self._line))
        if count == 0:
            return Echo(BELL)
        self._line = self._line[: len(self._line) - count]
        return Echo(_RUBOUT * count)

    def _in_escape(self, byte: int) -> Echo:
        assert self._escape is not None
        self._escape.append(byte)
        introduced = self._escape[0] in b"[O"
        if introduced and len(self._escape) == 1:
            return Echo()
        if introduced and len(self._escape) < ESCAPE_MAX and not 0x40 <= byte <= 0x7E:
            return Echo()
        sequence, self._escape = bytes(self._escape), None
        if sequence[1:] == b"A":
            return self._recall(self._shown + 1)
        if sequence[1:] == b"B":
            return self._recall(self._shown - 1)
        return Echo(BELL)

    def _recall(self, back: int) -> Echo:
        if not 0 <= back <= len(self._history):
            return Echo(BELL)
        line = self._history[-back] if back else ""
        out = _RUBOUT * len(self._line) + line.encode("ascii", "replace")
        self._line, self._shown = line, back
        return Echo(out)

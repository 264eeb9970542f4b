"""One person at the terminal: prompt, editing, pages, leaving. Knows nothing of the box but its name. Pure: bytes in, bytes out."""

from collections.abc import Sequence

from firmware.console.editor import BELL, Echo, Editor, Event
from firmware.console.words import completion, help_for

MORE = b"--more-- space: page, enter: line, q: stop"
WIDTH_MAX = 512
COLUMNS = 80  # A serial line does not say how wide its terminal is; on a wider one the pages are a little short.
_REMOVE_MORE = b"\r" + b" " * len(MORE) + b"\r"


class Session:
    """Keys go in by `key`, which returns a line to be carried out or None; what is to be shown collects in `taken`."""

    def __init__(self, name: str, *, page_rows: int) -> None:
        """name: what the prompt says. page_rows: 0 for no paging."""
        self._prompt = f"{name}> ".encode("ascii", "replace")
        self._greeting = f"\r\n{name}: scrubjay, a recorder. ? for help\r\n".encode("ascii", "replace")
        self._page_rows = max(0, page_rows - 1)
        self._editor = Editor()
        self._out = bytearray()
        self._pages: list[str] = []
        self._after_return = False
        self.is_open = False

    def taken(self, most: int | None = None) -> bytes:
        """What is to be shown, once; of it at most so many bytes."""
        out = bytes(self._out[:most])
        del self._out[:most]
        return out

    def key(self, byte: int) -> str | None:
        """One byte from the terminal. Before the session is open, return or enter opens it and nothing else does anything."""
        after_return, self._after_return = self._after_return, byte == 0x0D
        if after_return and byte == 0x0A:
            return None  # the second half of CR LF
        if not self.is_open:
            if byte in b"\r\n":
                self.is_open = True
                self._out += self._greeting + self._prompt
            return None
        if self._pages:
            self._page_key(byte)
            return None
        return self._edit(self._editor.key(byte))

    def show(self, lines: Sequence[str]) -> None:
        """The answer, page by page, and the prompt after it."""
        self._pages = [_clean(line) for line in lines]
        self._next_page(self._page_rows or sum(map(_rows, self._pages)))

    def say(self, text: str) -> None:
        """A passing remark (progress), over the current line."""
        self._out += b"\r" + _clean(text).ljust(40).encode("ascii", "replace")

    def close(self, farewell: str) -> None:
        """The session ends; the next person starts afresh."""
        self._out += b"\r\n" + _clean(farewell).encode("ascii", "replace") + b"\r\n"
        self._end()

    def forget(self) -> None:
        """The person is gone without a word: what was typed, and what was still to be shown, is nobody else's."""
        self._out.clear()
        self._end()

    def _end(self) -> None:
        self._editor.forget()
        self._pages = []
        self.is_open = False

    def _edit(self, echo: Echo) -> str | None:
        self._out += echo.out
        match echo.event:
            case Event.LINE:
                if echo.line.strip():
                    return echo.line
                self._out += self._prompt
            case Event.INTERRUPT:
                self._out += self._prompt
            case Event.HELP:
                for line in help_for(echo.line):
                    self._out += line.encode("ascii", "replace") + b"\r\n"
                self._out += self._prompt + self._editor.line.encode("ascii", "replace")
            case Event.COMPLETE:
                self._out += self._editor.add(completion(echo.line)).out or BELL
            case Event.LEAVE:
                return "exit"
            case None:
                pass
        return None

    def _page_key(self, byte: int) -> None:
        if byte in b"qQ\x03":
            self._out += _REMOVE_MORE
            self._pages = []
            self._out += self._prompt
        elif byte in b" \r\n":
            self._out += _REMOVE_MORE
            self._next_page(self._page_rows if byte == 0x20 else 1)
        else:
            self._out += BELL

    def _next_page(self, rows: int) -> None:
        while self._pages:
            rows -= _rows(self._pages[0])
            self._out += self._pages.pop(0).encode("ascii", "replace") + b"\r\n"
            if self._pages and rows < _rows(self._pages[0]):
                break
        self._out += MORE if self._pages else self._prompt


def _rows(line: str) -> int:
    """How many of the terminal's a line takes."""
    return max(1, -(-len(line) // COLUMNS))


def _clean(line: str) -> str:
    """A terminal obeys control characters; nothing that came from outside may move its cursor or set its title."""
    return "".join(c if " " <= c <= "~" else "?" for c in line[:WIDTH_MAX])

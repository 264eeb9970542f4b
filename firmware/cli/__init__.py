"""The command line: builds the real board, and hands it to whoever does the work. The only place that knows Linux.

Every list has --json; every error says what was expected, what came, and what to do. Exit status: 0 done, 1 the answer is no,
2 it could not be done. Each module here has the commands of one subject, with what they take beside what they do; what a command
works with is imported when it runs, and of the subjects only that of the command, for `find` is judged by its first frame.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from importlib import import_module
from io import TextIOBase, TextIOWrapper
from typing import TextIO

from firmware.cli.commands import PROGRAM, Commands, Help
from firmware.core.errors import Trouble

SUBJECTS = {  # in the order of the help; each module with its commands
    "record": ("record",),
    "find": ("find",),
    "store": ("verify", "ls", "index", "thaw", "pin", "unpin", "pins", "vault", "show"),
    "state": ("status", "promises", "clock", "publish"),
    "session": ("session",),
    "update": ("update",),
    "run": ("run", "egress", "settings", "identity", "console"),
    "network": ("network",),
    "fleet": ("fleet",),
    "simulated": ("demo", "replay", "sim", "bench"),
}

SHOWN_MAX = 80  # characters of what came, where it is no text


class _Aside(TextIOBase):
    """Standard error, where progress and complaints go. That nobody takes them is no reason to leave the work half done."""

    def __init__(self, place: TextIO | None) -> None:
        self._place = place

    def write(self, text: str) -> int:
        try:
            if self._place is not None:
                self._place.write(text)
        except OSError:
            self._place = None
        return len(text)

    def flush(self) -> None:
        try:
            if self._place is not None:
                self._place.flush()
        except OSError:
            self._place = None

    def isatty(self) -> bool:
        return self._place is not None and self._place.isatty()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    with redirect_stderr(_Aside(sys.stderr)):
        return _ended(arguments)


def _ended(arguments: Sequence[str] | None) -> int:
    if isinstance(sys.stdout, TextIOWrapper):
        # A terminal that has no ± shows a mark in its place; it is no reason to say nothing.
        sys.stdout.reconfigure(errors="replace")
    try:
        status = _status(sys.argv[1:] if arguments is None else arguments)
    except SystemExit as end:  # argparse's own, after its help or its complaint
        status = int(str(end.code or 0))
    try:
        if sys.stdout is not None:
            # Here, where it can be said: at the interpreter's end a reader who has gone would make it a complaint and status 120.
            sys.stdout.flush()
    except BrokenPipeError:
        _nobody_reads()
    except OSError as problem:
        _nobody_reads()
        print(f"{PROGRAM}: expected standard output to take what was said, the system says: {problem.strerror}", file=sys.stderr)
        return 2
    return status


def _status(words: Sequence[str]) -> int:
    try:
        parsed = parser(words[0] if words else None).parse_args(words)
        work: Callable[[argparse.Namespace], int] = parsed.work
        return work(parsed)
    except BrokenPipeError:
        _nobody_reads()
        return 0
    except UnicodeEncodeError as problem:  # The shell hands over any bytes.
        print(f"{PROGRAM}: expected text in UTF-8, got {problem.object[:SHOWN_MAX]!r}", file=sys.stderr)
        return 2
    except (Trouble, ValueError) as problem:
        print(f"{PROGRAM}: {problem}", file=sys.stderr)
        return 2
    except OSError as problem:
        said = problem.strerror or type(problem).__name__
        print(
            f"{PROGRAM}: {problem.filename or 'the system'}: expected it to be usable, the system says: {said}", file=sys.stderr
        )
        return 2
    except KeyboardInterrupt:
        return 130


def _nobody_reads() -> None:
    """Our reader has seen enough; that is no error. What we have still to say goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parser(command: str | None = None) -> argparse.ArgumentParser:
    """All commands with what they take; of one that is known, only its subject's.

    Why not always all: what the others take is said in words of theirs (kinds, advice, settings), which half of starting went into.
    """
    made = argparse.ArgumentParser(
        PROGRAM, description="The operating-room recorder. Advisory and passive: it never commands a robot.", formatter_class=Help
    )
    commands = Commands(made, "COMMAND")
    for subject in [name for name, known in SUBJECTS.items() if command in known] or SUBJECTS:
        import_module(f"{__name__}.{subject}").register(commands)
    return made

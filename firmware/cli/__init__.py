"""The command line: builds the real board, and hands it to whoever does the work. The only place that knows Linux.

Every list has --json; every error says what was expected, what came, and what to do. Exit status: 0 done, 1 the answer is no,
2 it could not be done. Each module here has the commands of one subject, with what they take beside what they do; what a command
works with is imported when it runs, for `find` is judged by its first frame.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from firmware.cli import find, fleet, record, run, session, simulated, state, store, update
from firmware.cli.commands import PROGRAM, Commands
from firmware.core.errors import Trouble


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parsed = parser().parse_args(arguments)
    work: Callable[[argparse.Namespace], int] = parsed.work
    try:
        return work(parsed)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Our reader has seen enough; that is no error.
        return 0
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


def parser() -> argparse.ArgumentParser:
    """All commands with what they take."""
    made = argparse.ArgumentParser(
        PROGRAM, description="The operating-room recorder. Advisory and passive: it never commands a robot."
    )
    commands = Commands(made, "COMMAND")
    for subject in (record, find, store, state, session, update, run, fleet, simulated):
        subject.register(commands)
    return made

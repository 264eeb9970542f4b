"""What the demo tells while it runs: lines for people, the same figures for report.json, and checks that decide how it ends."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic


class Story:
    """say: takes one line. Every line is kept for report.json, and the figures in it also by name."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._start = monotonic()
        self._lines: list[str] = []
        self.figures: dict[str, object] = {}
        self.failed: list[str] = []

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return monotonic() - self._start

    def tell(self, arrow: str, text: str, **figures: object) -> None:
        """One line about this part of the chain."""
        self._line("", arrow, text, figures)

    def check(self, arrow: str, name: str, holds: bool, text: str, **figures: object) -> None:
        """A line that must be true for the story to end well. name: what `failed` calls it."""
        if not holds:
            self.failed.append(name)
        self._line("ok" if holds else "NOT SO", arrow, text, figures)

    def write(self, path: Path, *, more: Mapping[str, object]) -> None:
        """report.json: how it ended, every figure, every line."""
        report = {"ok": not self.failed, "failed": self.failed, "seconds": round(self.seconds, 1), **more, **self.figures}
        path.write_text(json.dumps({**report, "told": self._lines}, indent=1, ensure_ascii=False) + "\n")

    def _line(self, mark: str, arrow: str, text: str, figures: Mapping[str, object]) -> None:
        self.figures.update(figures)
        line = f"{self.seconds:6.1f} s  {mark:<7}{arrow:<12}{text}"
        self._lines.append(line)
        self._say(line)


def milliseconds(sorted_ms: list[float]) -> str:
    """ "median 21 ms, slowest 34 ms of 12", from sorted figures."""
    if not sorted_ms:
        return "none measured"
    return f"median {sorted_ms[len(sorted_ms) // 2]:.0f} ms, slowest {sorted_ms[-1]:.0f} ms of {len(sorted_ms)}"


def words(counts: Mapping[str, int]) -> str:
    """ "cut_frame 3, duplicate 40", or "none"."""
    return ", ".join(f"{cause} {count}" for cause, count in sorted(counts.items()) if count) or "none"

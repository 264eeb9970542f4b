"""`scrubjay session` on a real directory: what it shows, what it writes, and what it says when there is nothing."""

import json
import re
from pathlib import Path

import pytest

from drivers.linux.board import LinuxBoard
from firmware.cli import main
from firmware.core.session import CURRENT
from firmware.session.settings import SessionSettings
from firmware.session.station import SessionStation


def test_start_show_and_close(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By hand, through the same order as everybody's; a store without a session station is named, not guessed at. (S2-130)"""

    def said(*words: str) -> tuple[int, str]:
        status = main(["session", *words, f"--root={tmp_path}"])
        return status, "".join(capsys.readouterr())

    status, text = said("show")
    assert (2, True) == (status, "expected a store with a directory session/" in text)

    assert 0 == main(["identity", f"--root={tmp_path}", "--name=or3-box", "--site=lab"])
    capsys.readouterr()
    board = LinuxBoard(tmp_path, tmp_path / "identity")
    board.disk.mkdir("state")
    station = SessionStation(board, SessionSettings(settle_ms=0))
    station.start(board.clock.now())
    assert (1, "no session is open\n") == said("show")
    assert (1, "no session is open\n") == said("close")

    assert 0 == said("start", "exercise")[0]
    for _ in range(5):
        station.step(board.clock.now())
    status, text = said("show", "--json")
    assert (0, "exercise", "hand") == (status, json.loads(text)["current"]["kind"], json.loads(text)["current"]["opened_by"])

    assert re.search(r" ±[\d.]+ (s|ms|µs|ns), opened by hand", said("show")[1])  # 600 s by a free clock, which was 6e+05 ms

    assert 0 == said("close")[0]
    for _ in range(5):
        station.step(board.clock.now())
    assert said("show")[1].startswith("closing: exercise")
    assert board.disk.exists(CURRENT)

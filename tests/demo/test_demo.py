"""The demo, end to end, as `make demo` runs it; in a real room, and where there can be none."""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.demo import demo
from simulator.namespaces import CONTROL, NETNS
from simulator.recordings import ROOM
from simulator.replay import replay
from simulator.results import MARK, clear, results_in
from simulator.room_patients import needles

pytestmark = pytest.mark.timeout(180)


def run(into: Path, *, room: bool) -> tuple[int, dict[str, object], list[str]]:
    lines: list[str] = []
    code = demo(into, keep=False, room=room, say=lines.append)
    return code, json.loads((into / "report.json").read_text()), lines


def check_results(into: Path, report: dict[str, object], lines: list[str]) -> None:
    """What every run of the demo owes, whatever it listened to."""
    assert report["ok"], lines
    assert report["frames_recorded"] == report["frames_independent"]
    assert report["evidence_frames"] == report["evidence_frames_independent"]
    assert [] == report["names_found"]
    assert all(int(count) > 0 for count in report["messages"].values())  # type: ignore[attr-defined]
    assert list((into / "segments").glob("2*/frames.pcapng.lz4"))
    assert list((into / "evidence").glob("*.pcapng"))
    assert list((into / "logs").glob("*.log"))
    said = "\n".join(lines).encode()
    assert not [name for name, needle in needles() if needle in said]


@pytest.mark.lab
def test_demo_in_a_room(tmp_path: Path) -> None:
    """Room, box, broker and hub: every check holds, the mirror port sends nothing, nothing is left of the room.

    Recorder, message reporting and datastore in one passive listener that also sends out (S2-004, S2-006, S2-008); messages are
    taken from the mirrored traffic (S2-034), those of a patient monitor that is no part of the robot among them (S2-033). The
    devices follow the box's time each with a clock of its own, and what is certified of them is true (S2-010, S2-012, S2-014). Wherever the checkout lies.
    """
    place = tmp_path / "Räume im OP 3" / ("deep " * 24).strip()  # longer than a socket's path may be, with blanks in it
    code, report, lines = run(place, room=True)

    check_results(place, report, lines)
    assert 0 == code
    assert "room" == report["source"]
    assert 0 == report["frames_sent"]
    assert (3, []) == (report["devices_certified"], report["devices_wrong"]), lines
    places = [*(NETNS.iterdir() if NETNS.is_dir() else []), *CONTROL.iterdir()]
    assert not [name for name in places if name.name.startswith(f"sj{os.getpid():x}")]


def test_demo_without_privileges(tmp_path: Path) -> None:
    """No namespaces: the shipped recording goes through the same chain, and the first line says so."""
    code, report, lines = run(tmp_path / "demo", room=False)

    check_results(tmp_path / "demo", report, lines)
    assert 0 == code
    assert "recording" == report["source"]
    assert "no real room" in lines[0]


def test_second_run_replaces_the_results_and_nothing_else(tmp_path: Path) -> None:
    """A directory given by mistake loses only what the demo itself leaves there."""
    clear(tmp_path)
    (tmp_path / "box" / "segments").mkdir(parents=True)
    (tmp_path / "report.json").write_text("{}")
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / "segments").symlink_to("box/segments")
    clear(tmp_path)

    assert [MARK, "thesis.tex"] == sorted(path.name for path in tmp_path.iterdir())


@pytest.mark.parametrize("mark", [False, True])
@pytest.mark.parametrize("name", ["segments", "evidence", "logs", "report.json"])
def test_what_is_not_ours_is_not_removed(tmp_path: Path, name: str, mark: bool) -> None:
    """`--into` the store of a recorder, or a project that has logs/ too: refused, and everything is there still."""
    if mark and name in ("segments", "evidence"):
        clear(tmp_path)
    (tmp_path / name / "20261122T101500Z-000042").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=f"{name} in it"):
        clear(tmp_path)

    assert before == sorted(tmp_path.rglob("*"))


def test_results_of_a_demo_at_work_are_not_replaced(tmp_path: Path) -> None:
    """`make demo` beside one that is kept up: refused, and that one's box, hub and broker keep their files."""
    with results_in(tmp_path):
        (tmp_path / "box").mkdir()
        with pytest.raises(ValueError, match="at work"):
            demo(tmp_path, keep=False, room=False, say=lambda line: None)
        with pytest.raises(ValueError, match="at work"):
            replay(ROOM, tmp_path, speed="max", say=lambda line: None)

        assert (tmp_path / "box").is_dir()
    with results_in(tmp_path):
        assert not (tmp_path / "box").exists()


def test_interrupted_demo_leaves_no_process(tmp_path: Path) -> None:
    """Ctrl-C while everything is up, again and again: broker, hub and box are gone when the demo is."""
    process = subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, "-m", "firmware.cli", "demo", "--no-room", "--into", str(tmp_path / "demo")],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if "chain" in line:
            break
    ended = os.pidfd_open(process.pid)
    process.send_signal(signal.SIGINT)
    while not select.select([ended], [], [], 0.02)[0]:  # as who is impatient presses it
        process.send_signal(signal.SIGINT)
    os.close(ended)
    process.communicate(timeout=60)
    left = [
        path.parent.name
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if path.exists() and str(tmp_path).encode() in _read(path)
    ]

    assert process.returncode in (
        130,
        -signal.SIGINT,
    )  # the latter where the last one came when there was nothing left to take down
    assert [] == left


def test_killed_demo_takes_its_roles_along(tmp_path: Path) -> None:
    """SIGKILL cannot be answered, but box and hub notice that whom they belonged to is gone, and end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "firmware.cli", "demo", "--no-room", "--into", str(tmp_path / "demo")],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if "chain" in line:
            break
    roles = [os.pidfd_open(int(entry.name)) for entry in Path("/proc").glob("[0-9]*") if _is_of(entry, tmp_path)]
    process.kill()
    process.communicate()
    left = list(roles)
    while left and (ended := select.select(left, [], [], 20)[0]):
        left = [role for role in left if role not in ended]
    for role in roles:
        os.close(role)
    # The broker is somebody else's program and knows no keeper: it stays, and is ended here by its id.
    for entry in Path("/proc").glob("[0-9]*"):
        if str(tmp_path).encode() in _read(entry / "cmdline"):
            os.kill(int(entry.name), signal.SIGKILL)

    assert len(roles) >= 8  # two keepers, six processes of the box, two of the hub
    assert [] == left


def _is_of(entry: Path, place: Path) -> bool:
    """A role's process of the demo in this place; the demo itself and the broker, which knows no keeper, are none."""
    command = _read(entry / "cmdline")
    return b"firmware.cli\0run\0" in command and str(place).encode() in command


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""

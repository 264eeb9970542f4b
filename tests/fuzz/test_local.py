"""Whatever is typed behind `find` and `export`, and whatever lies in exports/: an answer or BadItem, and nothing else."""

from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.core import exported
from firmware.core.errors import BadItem
from firmware.core.settings import Settings, layer_from_assignments
from firmware.retrieval.local import CRITERIA, HOW, LocalAccess
from firmware.roles import BOX, SECTIONS
from simulator.board import SimulatedBoard
from simulator.disk import SimulatedDisk
from simulator.tty import SimulatedTty
from simulator.written_store import frame, write_segment

words = st.lists(
    st.sampled_from([*CRITERIA, *HOW, "raw"])
    | st.sampled_from(["sda1", "10.77.0.10", "104", "tcp", "2026-11-22T10:15:00", "2026-11-22T10:16:00", "0xabc", "motion", "-1"])
    | st.text(max_size=20),
    max_size=14,
)


def access() -> tuple[SimulatedBoard, LocalAccess]:
    board = SimulatedBoard(ttys={"/dev/ttyS0": SimulatedTty()})
    write_segment(board, [[frame(board.clock.now().utc_ns)]])
    board.plugs.plugged["sda1"] = SimulatedDisk()
    build = next(process.build for process in BOX if process.name == "console")
    assert build is not None
    layers = [layer_from_assignments(["console.device=/dev/ttyS0", "console.export=raw"])]
    (console,) = build(board, Settings(SECTIONS["box"], layers))
    console.start(board.clock.now())
    local = console._local  # type: ignore[attr-defined]
    assert isinstance(local, LocalAccess)
    return board, local


BOARD, LOCAL = access()


@settings(max_examples=300, deadline=None)
@given(words)
def test_any_words(typed: list[str]) -> None:
    """A sentence about what was expected, or an answer; on the stick only what there is a record of."""
    for work in (LOCAL.find, LOCAL.export):
        try:
            assert work(typed, lambda how_far: None)
        except BadItem as problem:
            assert "expected" in str(problem) or "no device" in str(problem)
    files = [name for name in BOARD.plugs.plugged["sda1"].list("") if name.endswith(".pcapng")]
    recorded = {exported.unpacked(BOARD.disk.read(f"exports/{name}")).file for name in BOARD.disk.list("exports")}
    assert set(files) <= recorded


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_any_record(data: bytes) -> None:
    """Bytes that are no record."""
    try:
        exported.unpacked(data)
    except BadItem:
        pass

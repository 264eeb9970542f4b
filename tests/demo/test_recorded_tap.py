"""A recording heard as if it came from an interface."""

import os
import select
from collections.abc import Iterator
from pathlib import Path
from time import CLOCK_REALTIME, clock_gettime_ns

import pytest

from drivers.errors import BadFilter, TapFailed
from drivers.tap import BLOCK_HEADER, FRAME_HEADER, Block, HeardFrame, TapRequest
from simulator.capture_file import frames
from simulator.recorded_tap import GAP_NS_MAX, Recording, RecordingTap, parsed, rebased
from simulator.recordings import ROOM

REQUEST = TapRequest("recording")


def now() -> int:
    return clock_gettime_ns(CLOCK_REALTIME)


def heard(tap: RecordingTap, *, silence_s: float = 0.3) -> Iterator[Block]:
    """Blocks until none came for that long."""
    while select.select([tap.fileno()], [], [], silence_s)[0]:
        while (block := tap.next()) is not None:
            yield block
            tap.release(block)


def stamps(block: Block) -> list[int]:
    position = BLOCK_HEADER.unpack_from(block.data)[4]
    found = []
    for _ in range(block.frame_count):
        following, seconds, ns, *_ = FRAME_HEADER.unpack_from(block.data, position)
        found.append(seconds * 1_000_000_000 + ns)
        position += following
    return found


def test_every_frame_is_heard_at_full_speed() -> None:
    """`max` waits for whoever takes the blocks and drops nothing; the last frame was heard at the start, the rest before."""
    start = now()
    tap = RecordingTap(Recording(ROOM, None, start), REQUEST)
    times = [stamp for block in heard(tap) for stamp in stamps(block)]
    tap.close()

    assert len(list(frames(ROOM))) == len(times) == tap.counters().received
    assert start == max(times)


def test_two_listeners_hear_the_same() -> None:
    """capture and intake open the same recording with the same start: same frames, same stamps, also for one that came late."""
    recording = Recording(ROOM, 200.0, now())
    first = RecordingTap(recording, REQUEST)
    once = [stamp for block in heard(first) for stamp in stamps(block)]
    late = RecordingTap(recording, REQUEST)
    again = [stamp for block in heard(late) for stamp in stamps(block)]
    first.close()
    late.close()

    assert len(once) + first.counters().dropped["ring_full"] == len(list(frames(ROOM)))
    assert set(again) <= set(rebased_stamps(recording))
    assert set(once) <= set(rebased_stamps(recording))


def test_nothing_is_heard_before_the_word(tmp_path: Path) -> None:
    """With a file for its start, a recording waits until the file is there; closing does not wait."""
    go = tmp_path / "go"
    tap = RecordingTap(Recording(ROOM, None, go), REQUEST)
    silent = list(heard(tap, silence_s=0.1))
    go.write_text(str(now()))
    count = sum(block.frame_count for block in heard(tap))
    tap.close()
    RecordingTap(Recording(ROOM, None, tmp_path / "never"), REQUEST).close()

    assert [] == silent
    assert len(list(frames(ROOM))) == count


def rebased_stamps(recording: Recording) -> list[int]:
    return [
        row.stamp_ns for row in rebased(frames(recording.path), speed=recording.speed, start_utc_ns=int(str(recording.start)))
    ]


def test_filter_and_snap_are_the_kernels() -> None:
    """Only what the filter keeps is heard and counted, cut to the snap length."""
    request = TapRequest("recording", filter="udp dst portrange 47001-47004", snap_bytes=64)
    tap = RecordingTap(Recording(ROOM, None, now()), request)
    blocks = list(heard(tap))
    tap.close()
    wanted = [
        row
        for row in frames(ROOM)
        if row.data[12:14] == b"\x08\x00" and row.data[23] == 17 and 47001 <= int.from_bytes(row.data[36:38]) <= 47004
    ]

    assert len(wanted) == sum(block.frame_count for block in blocks)
    for block in blocks:
        position = BLOCK_HEADER.unpack_from(block.data)[4]
        for _ in range(block.frame_count):
            row = FRAME_HEADER.unpack_from(block.data, position)
            assert row[3] <= 64
            position += row[0]


def test_lying_stamps_are_not_waited_for() -> None:
    """A jump of years becomes GAP_NS_MAX; a step back stays a step back, by as much."""
    year = 365 * 86_400 * 1_000_000_000
    rows = [HeardFrame(stamp, b"x" * 14, 14) for stamp in (year, year + 5, year - 100, 3 * year, 3 * year + 7)]

    places = [row.stamp_ns for row in rebased(iter(rows), speed=1.0, start_utc_ns=1000)]

    assert [1000, 1005, 900, 1005 + GAP_NS_MAX, 1012 + GAP_NS_MAX] == places


@pytest.mark.parametrize("text", ["file@fast", "file@0", "file@-1", "file@1@then", "file@1@2@3", "file@inf", "file@nan"])
def test_bad_settings_are_named(text: str) -> None:
    """What is no speed or no start is refused with what was expected."""
    with pytest.raises(TapFailed, match="expected"):
        parsed(text, now_utc_ns=0)


def test_setting_reads_back() -> None:
    """What the demo writes into `[board] tap` is what the board reads."""
    for recording in (
        Recording(ROOM, 2.5, 77),
        Recording(ROOM, 1.0, Path("/somewhere/go")),
        Recording(ROOM, None, 1_700_000_000_000_000_000),
        Recording(Path("/home/kim@hospital/50% 40.pcap"), None, Path("/home/kim@hospital/go")),
        Recording(Path(os.fsdecode(b"/or\xfc.pcap")), None, 0),  # a name in Latin-1, in a file of settings that is UTF-8
    ):
        assert str(recording).isascii()
        assert recording == parsed(str(recording).removeprefix("recording:"), now_utc_ns=0)


def test_missing_file_and_bad_filter_are_troubles() -> None:
    """Neither is an OSError or a stack trace in the log."""
    with pytest.raises(TapFailed, match="No such file"):
        RecordingTap(Recording(Path("/nowhere"), 1.0, 0), REQUEST)
    with pytest.raises(BadFilter):
        RecordingTap(Recording(ROOM, 1.0, 0), TapRequest("recording", filter="port is five"))

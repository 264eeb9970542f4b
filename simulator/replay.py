"""`scrubjay replay`: a recording through the whole chain, or onto an interface.

Through the chain: broker, hub and box run as real processes, and `capture` and `intake` hear the file instead of an interface,
at its pace, faster, or as fast as they take it. Onto an interface: the frames are sent as they are, for a box that listens there.
"""

import json
import select
import socket
from collections.abc import Callable
from pathlib import Path
from time import CLOCK_REALTIME, clock_gettime_ns, monotonic

from drivers.errors import TapFailed, Trouble
from simulator.capture_file import frames
from simulator.chain import SHORT_GROUPS, Chain
from simulator.hub_view import HubView, latencies_ms
from simulator.inspection import counted, search, tagged
from simulator.recorded_tap import rebased, speed_of
from simulator.results import ending_on_signals, leave_results, results_in, undisturbed
from simulator.room_patients import needles
from simulator.source import RecordingSource
from simulator.story import Story, milliseconds, words

SEGMENT_S = 10
WAIT_S = 60.0
PROGRESS_S = 5.0


def replay(path: Path, into: Path, *, speed: str, say: Callable[[str], None]) -> int:
    """The whole chain on a recording; results in this directory. speed: a number or "max". Returns 1 when a check fails."""
    source = RecordingSource(path, speed=speed_of(speed), go=into / "go", why="no room: the box hears a recording")
    story = Story(say)
    with ending_on_signals(), results_in(into):
        for line in source.describe():
            story.tell("replay", line)
        try:
            settings = {"capture": {"segment_s": SEGMENT_S}, "group": SHORT_GROUPS} | dict(source.settings())
            with Chain(into, box_settings=settings) as chain:
                chain.wait_until_it_hears()
                source.start()
                _follow(story, chain, source)
                _sum_up(story, chain, source)
                undisturbed()
        except Trouble as trouble:
            story.check("end", "trouble", False, str(trouble))
        leave_results(into)
        story.write(into / "report.json", more={"recording": path.name, "speed": speed})
    say(f"results in {into}: segments/, evidence/, logs/, report.json")
    return 1 if story.failed else 0


def send(path: Path, interface: str, *, speed: str, say: Callable[[str], None]) -> int:
    """Send the frames onto an interface of this machine, at the recorded pace times `speed`, or as fast as it takes them.

    Frames longer than the interface allows are counted and left out. Raises TapFailed (no such interface, no right to send).
    """
    pace = speed_of(speed)
    rows = list(rebased(frames(path), speed=pace, start_utc_ns=0))
    try:
        line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        line.bind((interface, 0))
    except OSError as problem:
        raise TapFailed(f"expected to send on {interface!r}: {problem.strerror}") from None
    sent = left_out = 0
    start, told = monotonic(), monotonic()
    with line:
        for row in rows:
            if pace is not None:
                # Nothing to wait for but the time; select without descriptors is a wait that a signal ends.
                select.select([], [], [], max(0.0, row.stamp_ns / 1e9 - (monotonic() - start)))
            try:
                line.send(row.data)
                sent += 1
            except OSError:
                left_out += 1
            if monotonic() - told > PROGRESS_S:
                told = monotonic()
                say(f"{sent} of {len(rows)} frames")
    say(f"{sent} frames sent on {interface} in {monotonic() - start:.1f} s, {left_out} longer than it allows or refused")
    return 0


def _follow(story: Story, chain: Chain, source: RecordingSource) -> None:
    """Until the recorder has taken the last frame and the last message is at the hub."""
    told = monotonic()

    def over() -> bool:
        nonlocal told
        figures = chain.figures("capture")
        frames, dropped = figures.counts.get("frames", 0), sum(figures.drops.values())
        if monotonic() - told > PROGRESS_S:
            told = monotonic()
            story.tell("replay", f"{frames} of {source.frame_count} frames recorded, {dropped} dropped")
        return frames + dropped >= source.frame_count

    remaining = max(0.0, (source.until_utc_ns - clock_gettime_ns(CLOCK_REALTIME)) / 1e9)
    chain.wait("the last frame to be recorded", over, timeout_s=remaining + WAIT_S)
    chain.wait("the last message at the hub", chain.drained, timeout_s=WAIT_S)
    chain.stop_box()


def _sum_up(story: Story, chain: Chain, source: RecordingSource) -> None:
    view = HubView(chain.database)
    rows = json.loads(chain.call("ls", str(chain.box_root), "--json").stdout)
    frames, dropped = sum(row["frames"] for row in rows), sum(sum(row["drops"].values()) for row in rows)
    story.check(
        "1 record", "every frame", frames + dropped == source.frame_count,
        f"{source.frame_count} frames offered, {frames} recorded, {dropped} dropped, in {len(rows)} segments",
        frames_offered=source.frame_count, frames_recorded=frames, frames_dropped=dropped, segments_sealed=len(rows),
    )  # fmt: skip
    opened = [counted(chain.box_root / "segments" / row["name"] / "frames.pcapng.lz4") for row in rows]
    total = sum(count for count, _ in opened)
    story.check(
        "1 record",
        "segments open",
        total == frames,
        f"opened as they lie by {opened[0][1]}: {total} frames",
        frames_independent=total,
    )
    done = chain.call("verify", str(chain.box_root))
    story.check(
        "1 record",
        "verify",
        done.returncode == 0,
        f"scrubjay verify: {(done.stdout or done.stderr).strip().partition(chr(10))[0]}",
    )
    messages, groups = view.messages_by_priority(), view.groups_by_priority()
    story.tell(
        "2 report", "at the hub: " + ", ".join(f"P{p} {messages[p]} messages in {groups[p]} groups" for p in sorted(messages)),
        messages={f"p{p}": count for p, count in messages.items()}, groups={f"p{p}": count for p, count in groups.items()},
    )  # fmt: skip
    figures = chain.figures("intake")
    story.tell("2 report", f"intake heard {figures.counts.get('messages', 0)} messages; dropped: {words(figures.drops)}")
    alarms = latencies_ms(view.messages(priority=1, kind="published"), source.published_tai_ns)
    story.tell("2 report", f"alarms, publisher to hub: {milliseconds(alarms)}", alarms_ms=[round(value, 1) for value in alarms])
    names = {**{word: name for name, word in needles()}, **{word: name for name, word in tagged(chain.box_root / "groups")}}
    places = [chain.hub_root, chain.directory / "broker", chain.logs, chain.box_root / "logs", chain.box_root / "sent"]
    hub = search(places, [(name, word) for word, name in names.items()])
    story.check(
        "3 privacy", "nothing identifiable", not hub.found,
        f"{len(names)} planted or tagged names searched in {hub.files} files of hub, broker, logs and what was sent: {len(hub.found)} found",
        names_found=[list(row) for row in hub.found],
    )  # fmt: skip

"""`scrubjay demo`: a room, a box, a broker and a hub on this machine; the four arrows of the main job, with figures.

    1  every frame      room ──▶ capture ──▶ sealed segments
    2  what was said    devices ──▶ intake ──▶ group ──▶ deidentify ──▶ uplink ──▶ broker ──▶ hub
    3  nothing else     what the hub holds is searched for every planted name
    4  evidence         hub ──▶ command ──▶ retrieval ──▶ deidentify ──▶ … ──▶ hub, opened by an independent reader

Beside them: what the box certifies of each device's clock, against the truth, which is known because those clocks are the room's.

Real processes and real programs; where the machine allows no network namespaces the shipped recording takes the room's place,
and the first line says so. Ends by itself, with 1 when any of its checks fails.
"""

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

from drivers.errors import Trouble
from firmware.core.certificate import DeviceOffset, account_from
from firmware.core.timestamp import MS
from simulator import capture_file
from simulator.chain import BOX, SHORT_GROUPS, Chain, ChainFailed
from simulator.hub_view import HubMessage, HubView, latencies_ms
from simulator.inspection import counted, search, tagged
from simulator.namespaces import what_is_missing
from simulator.recordings import ROOM
from simulator.results import ending_on_signals, leave_results, results_in, undisturbed
from simulator.room import Room, Scenario
from simulator.room_patients import needles
from simulator.source import TAI_MINUS_UTC_NS, RecordingSource, RoomSource, Source, is_priority_1
from simulator.story import Story, milliseconds, words

# Short, so that everything there is happens within the demo's half minute; a real box has minutes everywhere.
SEGMENT_S = 4
AROUND_S = 2
QUIET_S = 3.0
ALARMS = 8
SAID = "published"  # the kind of what devices say, as against what the box says of itself
RECORDING_SPEED = 2.0
WAIT_S = 30.0


def demo(into: Path, *, keep: bool, room: bool, say: Callable[[str], None]) -> int:
    """Run it into this directory, whose former results are replaced. keep: stay up until Ctrl-C. room: False for the recording."""
    story = Story(say)
    missing = what_is_missing() if room else "asked to do without a room"
    with ending_on_signals(), results_in(into), ExitStack() as stack:
        try:
            source = _source(stack, into, missing)
            settings = {"capture": {}, "group": SHORT_GROUPS} | dict(source.settings())
            settings["capture"] = {**settings["capture"], "segment_s": SEGMENT_S}
            chain = stack.enter_context(Chain(into, box_settings=settings, elsewhere=source.elsewhere()))
            _tell(story, chain, source, keep=keep)
        except Trouble as trouble:
            story.check("end", "trouble", False, str(trouble))
        leave_results(into)
        story.write(into / "report.json", more={"source": "recording" if missing else "room"})
        if keep and not story.failed:
            _stay(say, chain)
        stack.callback(undisturbed)  # the first that is called
    say(
        f"results in {into}: segments/, evidence/, logs/, report.json"
        + (f"; NOT SO: {', '.join(story.failed)}" if story.failed else "")
    )
    return 1 if story.failed else 0


def _source(stack: ExitStack, into: Path, missing: str | None) -> Source:
    if missing is None:
        return RoomSource(stack.enter_context(Room((into / "room").resolve(), Scenario(seconds=86_400))))
    return RecordingSource(
        ROOM, speed=RECORDING_SPEED, go=into / "go", why=f"no real room ({missing}): the recording of one takes its place"
    )


def _tell(story: Story, chain: Chain, source: Source, *, keep: bool) -> None:
    view = HubView(chain.database)
    before = _begin(story, chain, source)
    _segments(story, chain)
    alarm = _alarm(story, chain, source, view)
    _evidence(story, chain, source, view, alarm)
    _listen_on(story, chain, source, view)
    _time(story, chain, source)
    if not keep:
        source.silence()
    _said(story, chain, source, view, keep=keep)
    if keep:
        frames = chain.figures("capture").counts.get("frames", 0)
        story.tell(
            "1 record", f"{frames} frames recorded so far, {len(list(_sealed(chain)))} segments sealed", frames_recorded=frames
        )
    else:
        heard = source.heard()
        story.check("1 record", "box ends well", chain.stop_box() == 0, "the box sealed its last segment and ended")
        _store(story, chain, heard=heard, before=before)
    _verify(story, chain)
    _names(story, chain)


def _begin(story: Story, chain: Chain, source: Source) -> int:
    """Everything is up and hears; returns what the mirror port had delivered by then."""
    chain.wait_until_it_hears()
    before = (source.heard() or (0, 0))[0]
    source.start()
    for line in source.describe():
        story.tell("room", line)
    story.tell("chain", f"{chain.broker.kind} on {chain.broker.address}, box {BOX} in {chain.box_root}, hub at {chain.page}")
    return before


def _segments(story: Story, chain: Chain) -> None:
    """One that was sealed while the room talked; the very first may have ended before anybody did."""
    former = {path.name for path in _sealed(chain)}
    new: list[str] = []

    def sealed() -> bool:
        new[:] = [path.name for path in _sealed(chain) if path.name not in former]
        return bool(new)

    waited = chain.wait("a sealed segment", sealed, timeout_s=WAIT_S + SEGMENT_S)
    story.tell("1 record", f"segment {new[0]} sealed, {waited:.1f} s after the first word", first_segment_s=round(waited, 1))


def _alarm(story: Story, chain: Chain, source: Source, view: HubView) -> HubMessage:
    text = source.alarm()
    rows: list[HubMessage] = []

    def seen() -> bool:
        rows[:] = [message for message in view.messages(priority=1) if message.text == text]
        return bool(rows)

    chain.wait("the alarm at the hub", seen, timeout_s=WAIT_S)
    alarm = rows[0]
    published = source.published_tai_ns(alarm) or alarm.origin_tai_ns
    milli = (alarm.arrived_tai_ns - published) / 1e6
    story.tell("2 report", f"alarm published, seen on the hub after {milli:.0f} ms: {text!r}", alarm_ms=round(milli, 1))
    story.check("2 report", "alarm within a second", 0 <= milli < 1000, "within the second it is promised in")
    return alarm


def _evidence(story: Story, chain: Chain, source: Source, view: HubView, alarm: HubMessage) -> None:
    """Ask for the frames around the alarm as an operator would, and open what comes."""
    file = chain.directory / "around-the-alarm.pcapng"
    about = ["--about", alarm.identity.hex(), "--around", str(AROUND_S)]
    moment = (source.published_tai_ns(alarm) or alarm.origin_tai_ns) - TAI_MINUS_UTC_NS
    since, until = moment - AROUND_S * 1_000_000_000, moment + AROUND_S * 1_000_000_000
    if isinstance(source, RecordingSource):
        # The device's own time of a recorded alarm is that of the recording; the frames were heard now.
        about = ["--since", _utc(since), "--until", _utc(until)]
    story.tell("4 evidence", f"asking the hub for {AROUND_S} s before and after the alarm: fleet retrieve")
    start = story.seconds
    done = chain.call("fleet", "retrieve", "--hub", chain.page, "--box", BOX, *about, "-w", str(file), timeout_s=WAIT_S * 2)
    if done.returncode != 0:
        raise ChainFailed(f"expected fleet retrieve to bring evidence, it said: {(done.stderr or done.stdout).strip()[-300:]}")
    waited = story.seconds - start
    received = [row for command in view.commands() if (row := view.evidence(command)) is not None and row.complete]
    size = file.stat().st_size
    frames, reader = counted(file)
    alarms = sum(1 for row in capture_file.frames(file) if is_priority_1(row.data))
    told = received[-1].frames if received else 0
    story.tell(
        "4 evidence", f"received after {waited:.1f} s: {told} frames, {size} bytes",
        evidence_s=round(waited, 1), evidence_frames=told, evidence_bytes=size,
    )  # fmt: skip
    story.check(
        "4 evidence",
        "evidence opens",
        frames == told > 0 and alarms > 0,
        f"opened by {reader}: {frames} frames, {alarms} of them alarms",
        evidence_frames_independent=frames,
    )
    found = json.loads(chain.call("find", str(chain.box_root), "--since", _utc(since), "--until", _utc(until), "--json").stdout)
    story.check(
        "4 evidence",
        "evidence is complete",
        found["frames"] == told,
        f"the box's own store has {found['frames']} frames in that time",
    )


def _listen_on(story: Story, chain: Chain, source: Source, view: HubView) -> None:
    """Until there are alarms enough to speak of a median, and two segments; a recording is heard to its end."""

    def enough() -> bool:
        return len(list(_sealed(chain))) > 2 and len(view.messages(priority=1, kind=SAID)) >= ALARMS

    if isinstance(source, RecordingSource):
        chain.wait("the recording's end", source.ended, timeout_s=WAIT_S * 2)
    else:
        chain.wait(f"{ALARMS} alarms and two segments", enough, timeout_s=WAIT_S)
    story.tell("room", "listened long enough" if not isinstance(source, RecordingSource) else "the recording is over")


def _time(story: Story, chain: Chain, source: Source) -> None:
    """What the box knows of the devices' clocks, and whether it is so: the room's clocks are ours, so the truth is known."""
    if not isinstance(source, RoomSource):
        return
    account = account_from((chain.box_root / "state" / "clock").read_bytes())
    known = source.true_offsets_ns()
    rows = {name: row for address, name in source.devices().items() if (row := account.of(address)) is not None}
    for name, row in sorted(rows.items()):
        middle = "" if row.middle_ns is None or abs(row.middle_ns) < MS else f", {row.middle_ns / MS:+.1f} ms off"
        story.tell("time", f"{name}: {row.words()} ({row.method.value}){middle}")
    certified = {name: row for name, row in rows.items() if row.method.is_measured and name in known}
    wrong = [name for name, row in certified.items() if not within(row, known[name])]
    story.check(
        "time", "certified time is true", bool(certified) and not wrong,
        f"{len(certified)} of the {len(known)} task devices' clocks are certified by measurement, and the truth lies inside",
        devices_certified=len(certified), devices_wrong=wrong,
    )  # fmt: skip


def within(row: DeviceOffset, known: Callable[[int], int]) -> bool:
    """Whether the truth lies in what is certified, at the moment it is certified for."""
    assert row.low_ns is not None and row.high_ns is not None
    return row.low_ns <= known(row.at_tai_ns - TAI_MINUS_UTC_NS) <= row.high_ns


def _said(story: Story, chain: Chain, source: Source, view: HubView, *, keep: bool) -> None:
    """Everything that was said is at the hub: the spools between are empty. In a room that talks on there is no such moment."""
    if keep:
        waited = chain.wait("messages of all priorities", lambda: all(view.messages_by_priority().values()), timeout_s=WAIT_S)
    else:
        # A process tells its figures every two seconds, and the last messages are a second in the intake's hands: twice the same
        # figures, three seconds apart, and empty spools are an end. What is missing then is found missing by the check below.
        waited = chain.wait("an end", _Ended(chain, view), timeout_s=WAIT_S)
    messages, groups = view.messages_by_priority(), view.groups_by_priority()
    story.tell(
        "2 report", "at the hub: " + ", ".join(f"P{p} {messages[p]} messages in {groups[p]} groups" for p in sorted(messages)),
        messages={f"p{p}": count for p, count in messages.items()}, groups={f"p{p}": count for p, count in groups.items()},
        drained_s=round(waited, 1),
    )  # fmt: skip
    alarms = latencies_ms(view.messages(priority=1, kind=SAID), source.published_tai_ns)
    story.tell("2 report", f"alarms, publisher to hub: {milliseconds(alarms)}", alarms_ms=[round(value, 1) for value in alarms])
    said, arrived, drops = _heard(chain), len(view.messages(kind=SAID)), chain.figures("intake").drops
    text = f"intake heard {said} messages and dropped {words(drops)}; {arrived} of them are at the hub"
    if keep:
        story.tell("2 report", text, messages_heard=said, messages_arrived=arrived)
    else:
        story.check("2 report", "nothing lost on the way", said == arrived, text, messages_heard=said, messages_arrived=arrived)
    story.check(
        "2 report", "nothing misunderstood", view.quarantined() == 0, f"{view.quarantined()} envelopes the hub could not read"
    )
    story.check("2 report", "all priorities", all(messages.values()), "messages of all four priorities are there")


def _store(story: Story, chain: Chain, *, heard: tuple[int, int] | None, before: int) -> None:
    """What was recorded, by the seals and by somebody else's reader, against what the mirror port delivered."""
    rows = json.loads(chain.call("ls", str(chain.box_root), "--json").stdout)
    frames = sum(row["frames"] for row in rows)
    dropped = sum(sum(row["drops"].values()) for row in rows)
    story.tell(
        "1 record", f"{frames} frames recorded, {dropped} dropped, {len(rows)} segments sealed",
        frames_recorded=frames, frames_dropped=dropped, segments_sealed=len(rows),
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
    if heard is not None:
        delivered, sent = heard
        story.check(
            "1 record", "every frame", delivered - before <= frames + dropped <= delivered,
            f"the mirror port delivered {delivered} frames, {before} of them before anybody listened", frames_on_mirror=delivered, frames_before=before,
        )  # fmt: skip
        story.check("1 record", "passive", sent == 0, f"{sent} frames were sent on the mirror port", frames_sent=sent)


def _verify(story: Story, chain: Chain) -> None:
    done = chain.call("verify", str(chain.box_root))
    story.check(
        "1 record",
        "verify",
        done.returncode == 0,
        f"scrubjay verify: {(done.stdout or done.stderr).strip().partition(chr(10))[0]}",
    )


def _names(story: Story, chain: Chain) -> None:
    """What is planted or was tagged is in the room and on the box, and nowhere at the hub nor in what went through the broker."""
    planted = [*needles(), *dict.fromkeys(tagged(chain.box_root / "groups"))]
    box = search([chain.box_root / "groups"], planted)
    hub = search(
        [chain.hub_root, chain.directory / "broker", chain.logs, chain.box_root / "logs", chain.box_root / "sent"], planted
    )
    story.check(
        "3 privacy",
        "search bites",
        bool(box.found),
        f"planted or tagged names are found {len(box.found)} times in the box's own groups",
        names_on_box=len(box.found),
    )
    story.check(
        "3 privacy", "nothing identifiable", not hub.found and hub.files > 0,
        f"the hub, the broker, every log and everything sent: {hub.files} files, {hub.size} bytes, {len(hub.found)} names found",
        searched_files=hub.files, searched_bytes=hub.size, names_found=[list(row) for row in hub.found],
    )  # fmt: skip


def _sealed(chain: Chain) -> Iterator[Path]:
    return (path for path in sorted((chain.box_root / "segments").glob("[0-9]*")) if (path / "seal").exists())


class _Ended:
    """Whether nothing has come for three seconds and nothing is on its way."""

    def __init__(self, chain: Chain, view: HubView) -> None:
        self._chain, self._view = chain, view
        self._figures = (-1, -1)
        self._since = monotonic()

    def __call__(self) -> bool:
        figures = _heard(self._chain), len(self._view.messages(kind=SAID))
        if figures != self._figures or not self._chain.drained():
            self._figures, self._since = figures, monotonic()
        return monotonic() - self._since > QUIET_S


def _heard(chain: Chain) -> int:
    return chain.figures("intake").counts.get("messages", 0)


def _utc(utc_ns: int) -> str:
    return f"{utc_ns // 1_000_000_000}.{utc_ns % 1_000_000_000:09d}"


def _stay(say: Callable[[str], None], chain: Chain) -> None:
    say(f"staying up: the hub's page is {chain.page}, Ctrl-C ends it")
    try:
        signal.pause()
    except KeyboardInterrupt:
        say("taking everything down")

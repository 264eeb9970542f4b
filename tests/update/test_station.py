"""The update station in virtual time: from a bundle to every process in its version, and back."""

import pytest

from drivers.errors import DiskFailed, DiskFull
from drivers.slots import Usage
from firmware.core import message
from firmware.core.versions import IMAGE
from firmware.update.page import page
from firmware.update.record import unpacked
from firmware.update.settings import UpdateSettings
from simulator.identity import SimulatedIdentity
from simulator.slots import BOARD

from .conftest import IMAGE_FILES, PROCESSES, Box, files

SECOND = 1_000_000_000


def all_of(version: str, *, guard: str = IMAGE) -> dict[str, str]:
    """Every process of this version, the one that watches still of another."""
    return {**dict.fromkeys(PROCESSES, version), "update": guard}


def test_a_version_becomes_official_and_the_former_is_kept(box):
    """Received, copied beside the one at work, tried, official process by process; the former is test and stays ready. (S1-02, S1-03, S1-09, S1-10, S1-13, S1-14, S1-15)"""
    box.give(box.bundle("v2"))
    box.run(60)

    assert all_of("v2") == box.marks()
    assert files("v2") == box.contents("v2")
    assert ["console", "gate", "capture"] == [row.process for row in box.history()]
    assert {(IMAGE, "v2", "its trial held")} == {(row.former, row.version, row.cause) for row in box.history()}
    assert any("v2 is official, image is test and stays ready" in text for text in box.said())
    assert {} == box.station.report.drops

    box.give(box.bundle("v3", base="v2", base_files=files("v2")))
    box.run(60)

    assert all_of("v3") == box.marks()
    assert ["v2", "v3"] == box.versions()
    assert "v2" == box.station.report.gauges["previous"]


def test_only_what_differs_is_taken_from_the_bundle(box):
    """The copy is made of the former version's files; what is to change is written in place of what is left out. (S1-05, S1-06, S1-07, S1-11, S1-13)"""
    whole, delta = box.bundle("v2", base=None), box.bundle("v2")
    box.give(delta)
    box.run(3)

    assert files("v2") == box.contents("v2")
    assert {"files_from_base": 3, "files_from_bundle": 1} == {k: v for k, v in box.station.report.counts.items() if "files" in k}
    assert len(delta) < len(whole)


def test_a_test_version_is_not_executed(box):
    """Until its trial has held no process is of it, and its trial runs in a store of its own. (S1-12)"""
    box.give(box.bundle("v2"))
    box.run(4)

    assert dict.fromkeys(PROCESSES, IMAGE) == box.marks()
    assert "trial" == box.station.report.gauges["phase"]
    assert ["v2"] == box.versions()
    assert 1 == len(box.slots.trials)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("a frame less", "tenths of a second differ"),
        ("other bytes", "tenths of a second differ"),
        ("another stamp", "tenths of a second differ"),
        ("no alarm", "an alarm was not delivered"),
        ("memory", "capture held 400 MiB, at most 300 are allowed"),
        ("processor", "gate used 95 % of a core, at most 80 are allowed"),
        ("ends", "capture ended with -11 in its trial"),
        ("not ready", "not ready within"),
        ("does not end", "it did not end within"),
        ("ends badly", "gate ended with 1 when asked to"),
        ("nothing passed", "only 0 frames passed"),
        ("bad seal", "its own seals do not verify"),
    ],
)
def test_what_does_not_hold_up_stays_test(box, fault, reason):
    """Every promise that is not kept in the trial is a reason to stay test; it is told, and the version is not tried again. (S1-16, S1-12)"""
    from dataclasses import replace

    if fault == "a frame less":
        box.trial_frames = lambda frames: frames[:20] + frames[21:]
    elif fault == "other bytes":
        box.trial_frames = lambda frames: [replace(f, data=b"x" + f.data[1:]) if n == 17 else f for n, f in enumerate(frames)]
    elif fault == "another stamp":
        box.trial_frames = lambda frames: [replace(f, stamp_ns=f.stamp_ns + 1) for f in frames]
    elif fault == "no alarm":
        box.trial_alarm = False
    elif fault == "nothing passed":
        box.frame_count = 0
    elif fault == "bad seal":
        box.slots.when_ended = lambda version: (box._trial_ends(version), box.disk.write("shadow/identity/key.pub", b"00" * 32))
    usage = {
        "memory": ("capture", Usage(0, 400 << 20, True)), "processor": ("gate", Usage(9 * 950 * 1_000_000, 1, True)),
        "ends": ("capture", Usage(0, 1, True, -11)), "not ready": ("gate", Usage(0, 1)),
    }.get(fault)  # fmt: skip
    begun = box.slots.when_begun

    def begin(version: str) -> None:
        begun(version)
        trial = box.slots.trials[-1]
        if usage is not None:
            trial.usage[usage[0]] = usage[1]
        if fault == "does not end":
            trial.stop = lambda: box._trial_ends(version)
        if fault == "ends badly":
            trial.usage["gate"] = Usage(0, 1, True)
            stop = trial.stop
            trial.stop = lambda: (stop(), trial.usage.update(gate=Usage(0, 1, True, 1)))

    box.slots.when_begun = begin
    box.give(box.bundle("v2"))
    box.run(200)

    assert dict.fromkeys(PROCESSES, IMAGE) == box.marks()
    assert [row for row in box.history() if reason in row.cause], box.history()
    assert [text for text in box.said() if reason in text and "stays test" in text]
    assert 1 == len(box.slots.trials)
    assert all(trial.closed for trial in box.slots.trials)
    assert [] == box.disk.list("shadow")
    assert ["v2"] == box.versions()


@pytest.mark.parametrize("culprit", ["console", "capture"])
def test_a_process_that_does_not_come_up_takes_all_back(box, culprit):
    """One that cannot be started in the new version: those that changed before go back too, and the cause is kept. (S1-16)"""
    box.comes_up = lambda process, version: not (process == culprit and version == "v2")
    box.give(box.bundle("v2"))
    box.run(120)

    assert dict.fromkeys(PROCESSES, IMAGE) == box.marks() == box.running
    assert f"{culprit}: the new version could not be started" in {row.cause for row in box.history()}
    assert "idle" == box.station.report.gauges["phase"]
    assert any("v2 is test, for this reason" in text for text in box.said())


def test_a_process_that_hangs_takes_all_back(box):
    """It never says that it is there: after the time allowed all go back."""

    def comes_up(process: str, version: str) -> bool:
        if (process, version) == ("gate", "v2"):
            box.down.add("gate")  # From now on it says nothing.
        return process not in box.down

    box.comes_up = comes_up
    box.give(box.bundle("v2"))
    box.run(240)

    assert dict.fromkeys(PROCESSES, IMAGE) == box.marks()
    assert "gate: it was not there within 90 s" in {row.cause for row in box.history()}


def test_one_that_fails_an_hour_later_is_taken_back_by_itself(box):
    """Three unexpected ends within ten minutes, long after: back to the version before, with the cause; and it is not tried again. (S1-15)"""
    for version in ("v2", "v3"):
        base, base_files = (IMAGE, None) if version == "v2" else ("v2", files("v2"))
        box.give(box.bundle(version, base=base, base_files=base_files))
        box.run(60)
    box.run(3600, every_ms=5000)
    assert dict.fromkeys(PROCESSES, "v3") == box.marks()
    for _ in range(3):
        box.crash("capture")
        box.run(20)

    assert dict.fromkeys(PROCESSES, "v2") == box.marks() == box.running
    assert "3 unexpected ends within 600 s: capture" in {row.cause for row in box.history()}
    assert "v3" in box.station._ledger.standing.refused
    for _ in range(3):
        box.crash("gate")
        box.run(20)
    assert dict.fromkeys(PROCESSES, IMAGE) == box.marks(), "the version before fails as well: the image, which is always there"
    for _ in range(9):
        box.crash("gate")
        box.run(20)
    assert dict.fromkeys(PROCESSES, IMAGE) == box.marks()
    assert 2 == box.station.report.counts["switches_back"], "there is nowhere to go back to any more, and nobody tries"


@pytest.mark.parametrize("step_s", [3600, -3600, 56 * 365 * 86_400])
def test_a_clock_that_is_set_takes_no_version_back(box, step_s):
    """An hour, or out of 1970: no process ended, so nothing is taken back; one that is gone for good takes it back all the same. (S1-15)"""
    box.give(box.bundle("v2"))
    box.run(60)
    box.run(3600, every_ms=5000)
    assert all_of("v2", guard="v2") == box.marks()
    box.clock.step(step_s * SECOND)
    box.station.step(box.clock.now())
    box.run(60)
    assert all_of("v2", guard="v2") == box.marks()
    box.down.add("gate")
    box.run(120)

    assert "3 unexpected ends within 600 s: gate" in {row.cause for row in box.history()}


@pytest.mark.parametrize("step_s", [3600, -3600])
def test_a_clock_that_is_set_shortens_no_guard(box, step_s):
    """The process that watches stays what it was for the guard's time as it passed, not as a clock shows it that was set meanwhile."""
    box.give(box.bundle("v2"))
    box.run(60)
    box.clock.step(step_s * SECOND)
    box.run(500, every_ms=5000)
    assert all_of("v2") == box.marks()
    box.run(200, every_ms=5000)

    assert all_of("v2", guard="v2") == box.marks()


@pytest.mark.parametrize("then_s", [0, 56 * 365 * 86_400], ids=["stays there", "is set later"])
def test_a_start_in_1970_makes_no_guard_of_years(box, then_s):
    """A board without a clock of its own begins in 1970 after a power cut: what watches changes all the same, an hour later at most. (S1-16)"""
    box.give(box.bundle("v2"))
    box.run(60)
    box.clock.step(-56 * 365 * 86_400 * SECOND)
    box.start()
    box.run(60)
    box.clock.step(then_s * SECOND)
    box.run(400, every_ms=5000)
    assert all_of("v2") == box.marks()
    box.run(250, every_ms=5000)

    assert all_of("v2", guard="v2") == box.marks()


def test_a_process_that_does_not_run_here_is_not_waited_for(box):
    """Left out on this machine: it holds up no switch that was interrupted, and is of the version when it starts."""
    box.down.add("console")
    box.run(40)
    box.give(box.bundle("v2"))
    until(box, "switching")
    box.start()
    box.run(40)

    assert all_of("v2") == box.marks()


def test_who_does_not_run_here_keeps_nobody_from_going_back(box):
    """A version of which one cannot be started is taken back in a moment, though another is left out on this machine."""
    box.down.add("capture")
    box.run(40)
    box.give(box.bundle("v2"))
    box.comes_up = lambda process, version: (process, version) != ("gate", "v2")
    until(box, "returning")
    box.run(5)

    assert "idle" == box.station.report.gauges["phase"]
    assert dict.fromkeys(PROCESSES, IMAGE) == box.marks()


def on_another_image(box: Box) -> None:
    """The machine starts another system, which came later and brought its own application."""
    box.slots.ground = f"{BOARD}\nimage 2"
    box.since = dict.fromkeys(PROCESSES, "this start")
    box.start()


def until(box: Box, phase: str) -> None:
    """Some seconds, until it is there."""
    for _ in range(60):
        if box.station.report.gauges.get("phase") == phase:
            return
        box.run(0.5)
    raise AssertionError(f"expected it to be {phase}, it is {box.station.report.gauges}")


def last_said(box: Box) -> tuple[object, ...]:
    """The last message about versions: its text, and of which it says that it is official, with its number."""
    rows = [row for name in sorted(box.disk.list("inbox")) for row in message.unpacked(box.disk.read(f"inbox/{name}"))]
    last = [row for row in rows if row.kind == "update"][-1]
    return last.text, last.fields["official"], last.fields["number"]


def test_another_image_is_what_it_says_it_runs(box):
    """After another system came the image's own is at work, and said to be; with the former system the version is, as before. (S1-15)"""
    box.give(box.bundle("v2"))
    box.run(60)
    on_another_image(box)
    box.run(60)
    assert (IMAGE, IMAGE) == (page(box.disk, box.slots.ground).official, box.station.report.gauges["official"])
    assert ("version image is official", IMAGE, 0) == last_said(box)

    for _ in range(4):
        box.crash("gate")
        box.run(5)
    assert {} == unpacked(box.disk.read("updates/standing")).refused  # It was not at work, and no fault is its.

    box.slots.ground = f"{BOARD}\nimage 1"
    box.start()
    box.run(5)
    assert ("version v2 is official", "v2", 1) == last_said(box)


def test_back_to_what_another_image_does_not_start_is_back_at_once(box):
    """What is taken back is taken back in a moment, where the version before is one that this image does not start. (S1-15)"""
    box.give(box.bundle("v2"))
    box.run(60)
    on_another_image(box)
    box.give(box.bundle("v3"))
    box.run(60)
    assert "v3" == box.running["capture"]
    for _ in range(3):
        box.crash("capture")
        box.run(2)
    box.run(10)

    assert {IMAGE} == set(box.running.values())
    assert ("idle", IMAGE) == tuple(box.station.report.gauges[name] for name in ("phase", "official"))


@pytest.mark.parametrize("step_s", [3600, -3600])
def test_a_clock_that_is_set_in_a_trial_is_not_the_version_s_fault(box, step_s):
    """A box that has just started is told the time: what was compared by time begins anew, and the version becomes official. (S1-16)"""
    box.give(box.bundle("v2"))
    box.run(3)
    assert "trial" == box.station.report.gauges["phase"]
    box.clock.step(step_s * SECOND)
    box.run(60)

    assert all_of("v2") == box.marks(), [row.cause for row in box.history()]
    assert 2 == box.station.report.counts["trials"]


def test_ends_far_apart_are_borne(box):
    """Two in ten minutes are not three; an orderly stop is none at all."""
    box.give(box.bundle("v2"))
    box.run(60)
    for _ in range(6):
        box.crash("capture")
        box.run(320, every_ms=4000)
        box.since["gate"] = "stopped"
        box.run(10)
        box.crash("gate")
        box.run(10)

    assert all_of("v2", guard="v2") == box.marks()


def test_who_watches_changes_last(box):
    """The update process becomes the new version when all others have run it for the guard's time, not before."""
    box.give(box.bundle("v2"))
    box.run(60)
    assert IMAGE == box.marks()["update"]
    box.run(600, every_ms=5000)

    assert "v2" == box.marks()["update"]
    assert "all others have run it for 600 s" == box.history()[-1].cause


def test_back_to_the_version_before_on_purpose(box):
    """A signed order, verified before it comes here; without a version before there is nothing to go back to. (S1-15)"""
    box.order(rollback="previous")
    box.run(3)
    assert "rollback refused" in box.said()
    box.give(box.bundle("v2"))
    box.run(60)
    box.order(rollback="previous")
    box.run(60)

    assert dict.fromkeys(PROCESSES, IMAGE) == box.marks()
    assert "asked for by hub-1" in {row.cause for row in box.history()}
    assert "rollback done" in box.said()

    box.order(rollback="to the stone age")
    box.run(3)
    assert {"order_refused": 1, "bad_order": 1} == {k: v for k, v in box.station.report.drops.items() if "order" in k}


def _tampered(box: Box, at: float) -> bytes:
    data = bytearray(box.bundle("v2"))
    data[int(at * (len(data) - 1))] ^= 1
    return bytes(data)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda box: b"", "expected a bundle, this is none"),
        (lambda box: b"scrubjay bundle 1\n\xff\xff\xff\xff", "cut short or damaged"),
        (lambda box: box.bundle("v2")[:-1], "cut short or damaged"),
        (lambda box: box.bundle("v2") + b"x", "cut short or damaged"),
        (lambda box: _tampered(box, 1.0), "zstd frame"),
        (lambda box: box.bundle("v2", signer=SimulatedIdentity(name="mallory")), "the named signer's signature"),
        (lambda box: box.bundle("v2", signed_as="mallory"), "a signer this board trusts"),
        (lambda box: box.bundle("v2", board="linux-aarch64-cpython-313"), "expected a version for simulated"),
        (lambda box: box.bundle("v2", expires_s=-10), "has not expired"),
        (lambda box: box.bundle("v2", base="v1", base_files=IMAGE_FILES), "expected its base v1 to be here"),
        (lambda box: box.bundle("v2", base_files={**IMAGE_FILES, "drivers/__init__.py": files("v2")["firmware/__init__.py"]}, contents={**files("v2"), "drivers/__init__.py": files("v2")["firmware/__init__.py"]}), "as it was signed"),
    ],
)  # fmt: skip
def test_bad_bundles_are_refused_with_the_reason(box, make, reason):
    """None, truncated, tampered, forged, foreign, expired, without its base, against another base: refused, told, nothing written. (S1-03)"""
    box.give(make(box))
    box.run(5)

    assert {"refused": 1} == {k: v for k, v in box.station.report.drops.items() if k == "refused"}
    assert [] == box.versions()
    assert any(reason in row.cause for row in box.history()), box.history()
    assert any(reason in text for text in box.said())
    assert [] == box.disk.list("updates/received")
    assert any(name.endswith(".reason") for name in box.disk.list("quarantine/updates/received"))


def test_no_way_down_and_none_twice(box):
    """A lower number than one that was official, the same bundle again: refused; so is another of the version that is here. (S1-03)"""
    first = box.bundle("v2", counter=7)
    for data in (first, first, box.bundle("v1", counter=6), box.bundle("v1", counter=7), box.bundle("v2", counter=9)):
        box.give(data)
        box.run(60)

    assert all_of("v2") == box.marks()
    assert 4 == box.station.report.drops["refused"]
    assert ["v2"] == box.versions()
    assert 2 == sum("expected a version above number 7" in row.cause for row in box.history())
    assert 1 == sum("expected a version that is not here, v2 is, and it is official" in row.cause for row in box.history())
    assert 2 == sum("expected a version that is not here" in row.cause for row in box.history())


def test_a_full_disk_waits_and_leaves_no_half_a_copy(box):
    """No room for the copy: nothing of it stays, the bundle waits, and is taken when there is room. (S1-10)"""
    box.give(box.bundle("v2", {**files("v2"), "simulator/large.bin": bytes(range(256)) * 4000}))
    writes = box.disk.write

    def full(path: str, data: bytes) -> None:
        if path.endswith("large.bin"):
            raise DiskFull("no room")
        writes(path, data)

    box.disk.write = full
    box.run(30)
    assert ([], 1) == (box.versions(), len(box.disk.list("updates/received")))
    assert box.station.report.drops["disk_full"] >= 2
    box.disk.write = writes
    box.run(60)

    assert all_of("v2") == box.marks()


def test_a_full_disk_is_not_the_version_s_fault(box):
    """No room for the trial's logs: it is begun when there is room, however often that was tried. (S1-10)"""
    box.slots.trouble = DiskFull("no room")
    box.give(box.bundle("v2"))
    box.run(60)
    assert (0, ["v2"]) == (len(box.slots.trials), box.versions())
    assert box.station.report.drops["disk_full"] >= 5
    box.slots.trouble = None
    box.run(60)

    assert all_of("v2") == box.marks()


@pytest.mark.parametrize("trouble", [DiskFull, DiskFailed])
def test_a_disk_that_takes_the_copy_and_not_what_is_said_of_it(box, trouble):
    """The last byte of the copy had room, the standing had none: the bundle waits and is taken, and not refused for being here. (S1-10)"""
    writes, refusals = box.disk.write, [trouble("no room")]

    def full(path: str, data: bytes) -> None:
        if path == "updates/.standing" and "v2" in box.versions() and refusals:
            raise refusals.pop()
        writes(path, data)

    box.disk.write = full
    box.give(box.bundle("v2"))
    box.run(60)

    assert not refusals and "refused" not in box.station.report.drops
    assert all_of("v2") == box.marks()
    assert [] == box.disk.list("updates/received") == box.disk.list("quarantine/updates/received")


def test_old_copies_go(make_box):
    """As many are kept as the settings say, the official one and the one before among them."""
    box = make_box(UpdateSettings(trial_s=2, copies_max=2))
    before, contents = IMAGE, IMAGE_FILES
    for number in range(2, 7):
        box.give(box.bundle(f"v{number}", base=before, base_files=contents))
        box.run(40)
        before, contents = f"v{number}", files(f"v{number}")

    assert ["v5", "v6"] == box.versions()
    assert all_of("v6") == box.marks()
    assert {"v5", "v6"} == set(unpacked(box.disk.read("updates/standing")).counters)


def test_an_update_process_that_cannot_run_is_taken_back_by_the_next(box):
    """Started five times and never for a minute (the start counts): the image's own finds the count, and takes the version back. (S1-16)"""
    box.give(box.bundle("v2"))
    box.run(700, every_ms=2000)
    assert dict.fromkeys(PROCESSES, "v2") == box.marks()
    box.disk.write("updates/starts", b".....")
    box.start()
    box.run(90)

    assert dict.fromkeys(PROCESSES, IMAGE) == box.marks()
    assert "its update process ended 5 times soon after its start" in {row.cause for row in box.history()}
    assert not box.disk.exists("updates/starts")

"""Where a site records sessions only: what is paused, what is said of it, and that nothing else pauses it."""

from firmware.core.session import STANDING, standing_as_stored


def say(recorder, *, records: bool) -> None:
    """As the session station does, each 10 s."""
    recorder.disk.mkdir("state")
    recorder.disk.write(STANDING, standing_as_stored(records=records, at=recorder.clock.now().monotonic))


def test_between_sessions_nothing_is_recorded_and_the_seals_say_so(make_recorder):
    """The segment ends in order; what is heard meanwhile is counted and not recorded; within a second of the session's beginning
    frames are recorded again, and the next seal states the gap with its cause. (S2-130, S2-132)"""
    recorder = make_recorder()
    recorder.run(5)
    for _ in range(3):
        say(recorder, records=False)
        recorder.run(10)
    say(recorder, records=True)
    recorder.run(5)
    recorder.stop()
    first, second = recorder.seals()
    outside = recorder.station.report.counts["outside_session"]

    assert ("stop", "stop") == (first.cause, second.cause)
    assert {} == recorder.drops
    assert recorder.sent == first.frames + second.frames + outside
    assert 290 <= outside <= 320
    assert {"outside_session": outside} == dict(second.drops)
    assert [("outside_session", outside)] == [(gap.cause, gap.frames) for gap in second.gaps]
    assert ["outside_session", "recording"] == recorder.said()
    assert recorder.verify().ok


def test_a_word_that_is_old_pauses_nothing(make_recorder):
    """Whoever said "not now" is gone: after half a minute everything is recorded again. (S2-130)"""
    recorder = make_recorder()
    say(recorder, records=False)
    recorder.run(45)
    recorder.stop()

    assert 125 <= sum(made.frames for made in recorder.seals()) <= 160
    assert 290 <= recorder.station.report.counts["outside_session"] <= 325


def test_a_restart_in_between(make_recorder):
    """A recorder that is killed while it pauses begins by recording, and pauses again at its first look."""
    recorder = make_recorder()
    recorder.run(2)
    say(recorder, records=False)
    recorder.run(5)
    recorder.boot()
    recorder.run(5)
    say(recorder, records=True)
    recorder.run(5)
    recorder.stop()

    assert recorder.verify().ok
    assert 60 <= sum(made.frames for made in recorder.seals()) <= 95

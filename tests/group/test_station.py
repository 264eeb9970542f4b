"""Grouping: by priority, then by interval, with ceilings; the inbox keeps everything until it is published."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from firmware.core import release
from firmware.core.message import Priority, unpacked
from simulator.disk import Failing, PowerCut

Gate = Any  # conftest's; a fixture's class cannot be imported here


def test_alarms_are_released_at_once(gate: Gate) -> None:
    """Priority 1 does not wait for its interval. (S2-048)"""
    gate.put([gate.message("alarm", 1)])
    wish = gate.step()

    assert [["alarm"]] == gate.texts()
    assert (None, []) == (wish, gate.names("inbox"))
    assert "immediate" == next(iter(gate.releases().values())).facts["closed_by"]


@pytest.mark.parametrize("kind", ["command-result", "evidence-result"])
def test_what_is_said_to_an_order_waits_for_no_company(gate: Gate, kind: str) -> None:
    """Whoever gave it looks at "sent" until then, and a refusal is something to be mended now; what else there is waits as ever. (S2-048)"""
    gate.put([gate.message("ordinary", 3)])
    gate.put([replace(gate.message("refused", 3), kind=kind), replace(gate.message("and why", 3), kind=kind)], writer="command")
    gate.step()

    assert [["refused", "and why"]] == [sorted(texts, reverse=True) for texts in gate.texts()]
    assert "immediate" == next(iter(gate.releases().values())).facts["closed_by"]
    gate.step(610)
    assert ["ordinary"] in gate.texts()


def test_priorities_do_not_mix_devices_do(gate: Gate) -> None:
    """First by priority, then by time; messages of several devices in one group. (S2-043, S2-045)"""
    gate.put([gate.message("a", 2, ago_s=2), gate.message("b", 3, ago_s=3), gate.message("c", 2, ago_s=4, device="monitor")])
    gate.put([gate.message("d", 3, ago_s=1)], writer="health")
    gate.step()
    gate.step(610)

    assert [["c", "a"], ["b", "d"]] == gate.texts()


def test_intervals_hang_on_the_wall_clock(make_gate: Callable[..., Gate]) -> None:
    """10:15 to 10:20 and 10:20 to 10:25, by the time the messages were made. (S2-046, S2-047)"""
    gate = make_gate(immediate=(), lateness_ms=1_000)
    gate.put([gate.message("10:15", 1)])
    assert 301 == gate.step()
    assert [] == gate.texts()
    gate.clock.advance(299_999_000_000)
    gate.put([gate.message("10:19:59", 1)])
    gate.step()
    gate.clock.advance(2_000_000)
    gate.put([gate.message("10:20:00", 1)])
    gate.step()
    gate.step(1)

    assert [["10:15", "10:19:59"]] == gate.texts()
    assert "interval" == next(iter(gate.releases().values())).facts["closed_by"]
    gate.step(300)
    assert ["10:20:00"] == gate.texts()[1]


def test_order_of_arrival_does_not_matter(make_gate: Callable[..., Gate]) -> None:
    """Messages that came out of order stand by origin time, in the interval they were made in. (S2-015)"""
    gate = make_gate(p2_interval_s=60)
    gate.clock.advance(120_000_000_000)
    for text, ago_s in (("new", 10), ("old", 70), ("newer", 5), ("older", 110)):
        gate.put([gate.message(text, 2, ago_s=ago_s)])
    gate.step()
    gate.step(62)

    assert [["older", "old"], ["new", "newer"]] == gate.texts()


def test_late_messages_open_their_interval_again(gate: Gate) -> None:
    """After the group of their interval has gone they form another, which waits for lateness only."""
    gate.clock.advance(700_000_000_000)
    gate.put([gate.message("late", 2, ago_s=690)])

    assert 2 == gate.step()
    gate.step(2)
    assert [["late"]] == gate.texts()


@pytest.mark.parametrize("ago_s", [-86_400 * 365, -3_600, 86_400 * 365 * 60])
def test_mad_times_do_not_keep_a_group_open(gate: Gate, ago_s: float) -> None:
    """Whatever a message says about its time, by the box's clock it leaves after one interval at the latest."""
    gate.put([gate.message("mad", 2, ago_s=ago_s)])
    gate.step()
    gate.step(602)

    assert [["mad"]] == gate.texts()


def test_a_clock_set_back_does_not_keep_a_group_open(gate: Gate) -> None:
    """Waiting is by the monotonic clock."""
    gate.put([gate.message("x", 2)])
    gate.step()
    gate.clock.step(-3_600_000_000_000)
    gate.step(602)

    assert [["x"]] == gate.texts()


def test_at_most_25_messages(gate: Gate) -> None:
    """The 25th closes the group. (S2-049, S2-051)"""
    gate.put([gate.message(str(n), 3) for n in range(60)])
    gate.step()

    assert [25, 25] == sorted(len(texts) for texts in gate.texts())
    assert 1 == len(gate.names("inbox"))
    gate.step(602)
    assert [10, 25, 25] == sorted(len(texts) for texts in gate.texts())
    assert [] == gate.names("inbox")


def test_at_most_so_many_bytes(make_gate: Callable[..., Gate]) -> None:
    """A message that would exceed the ceiling begins another group; one that exceeds it alone goes alone. (S2-049)"""
    gate = make_gate(bytes_max=5_000)
    gate.put([gate.message(letter * 2_000, 2, ago_s=n) for n, letter in enumerate("abc")] + [gate.message("d" * 9_000, 2)])
    gate.step()
    gate.step(602)

    assert [1, 1, 2] == sorted(len(texts) for texts in gate.texts())
    assert all(len(item.body) <= 5_000 for item in gate.releases().values() if len(unpacked(item.body)) > 1)


def test_open_groups_are_limited(make_gate: Callable[..., Gate]) -> None:
    """A device with a mad clock in every message costs the oldest groups their waiting, not the box its memory."""
    gate = make_gate(open_max=4)
    gate.put([gate.message(str(n), 2, ago_s=n * 100_000) for n in range(20)])
    gate.step()

    assert (16, 4) == (len(gate.texts()), gate.station.report.gauges["open_groups"])


def test_the_original_is_kept(gate: Gate) -> None:
    """What is released lies in groups/ as well, byte for byte. (S2-052, S2-088)"""
    gate.put([gate.message("alarm", 1), gate.message("#phi Jane", 1)])
    gate.step()
    (name,) = gate.names("release")

    assert gate.disk.read(f"release/{name}") == gate.disk.read(f"groups/p1/{name}")
    assert name.startswith("p1-")


def test_what_is_not_uploaded_stays(make_gate: Callable[..., Gate]) -> None:
    """Priorities kept on the box only have no release item. (S2-061)"""
    gate = make_gate(not_uploaded=(4,))
    gate.put([gate.message("debug", 4)])
    gate.step()
    gate.step(602)

    assert ([], 1, []) == (gate.names("release"), len(gate.names("groups/p4")), gate.names("inbox"))


def test_alarms_overtake_a_backlog(gate: Gate) -> None:
    """With ten thousand messages waiting, the alarm that comes now leaves before most of them. (S2-060)"""
    for _ in range(20):
        gate.put([gate.message(f"{n} {gate.count}", 4) for n in range(100)])
    gate.station.step(gate.clock.now())
    gate.put([gate.message("alarm", 1)])
    gate.station.step(gate.clock.now())

    assert ["alarm"] == gate.texts()[0]
    assert 16 >= len(gate.names("groups/p4"))


def test_a_poison_item_goes_to_quarantine(gate: Gate) -> None:
    """What is no batch is put aside with the reason and without its contents; the others go on."""
    gate.disk.write("inbox/intake-bad", b"#phi Jane Doe")
    gate.put([gate.message("alarm", 1)])
    gate.step()

    assert [["alarm"]] == gate.texts()
    reason = gate.disk.read("quarantine/inbox/intake-bad.reason")
    assert b"expected" in reason and b"Jane" not in reason
    assert 1 == gate.station.report.drops["bad_item"]


def test_copies_of_one_message_are_one(gate: Gate) -> None:
    """A message that came in two items is in the group once, and both items are settled."""
    message = gate.message("x", 3)
    gate.put([message])
    gate.put([message, gate.message("y", 3)])
    gate.step()
    gate.step(602)

    assert [{"x", "y"}] == [set(texts) for texts in gate.texts()]
    assert [] == gate.names("inbox")


def test_four_restarts_harm_no_innocent(gate: Gate) -> None:
    """An item that waits for its interval over many restarts is not taken for poison."""
    gate.put([gate.message("patient", 3)])
    for _ in range(8):
        gate.step(1)
        gate.restart()
    gate.step()
    gate.step(602)

    assert [["patient"]] == gate.texts()


@pytest.mark.parametrize("failing", ["full", Failing.READ_ONLY, Failing.GONE])
def test_a_full_or_sick_disk_waits(gate: Gate, failing: object) -> None:
    """Nothing is lost, nothing is busy; it is tried again after a second."""
    names = [gate.put([gate.message(f"alarm {n}", 1)]) for n in range(3)]
    if isinstance(failing, Failing):
        gate.disk.failing = failing
    else:
        gate.disk.fill(leave_bytes=10)

    assert gate.step() in (1, None)
    gate.disk.failing = Failing.NOT
    assert 3 == len(names) == len(gate.names("inbox"))
    gate.disk.fill(leave_bytes=1 << 20)
    gate.step(1)
    assert ["alarm 0", "alarm 1", "alarm 2"] == sorted(text for texts in gate.texts() for text in texts)
    assert [] == gate.names("inbox")


def test_power_lost_before_each_disk_operation(make_gate: Callable[..., Gate]) -> None:
    """Cut before any operation, started again: every message that was durable in the inbox is released, and kept."""
    operation = 0
    while True:
        gate = make_gate()
        names = {"a1", "a2", "c1", "c2", "c3"}
        gate.put([gate.message("a1", 1), gate.message("c1", 3)])
        gate.put([gate.message("a2", 1), gate.message("c2", 3), gate.message("c3", 3)])
        if not _cut_at(gate, gate.disk.operations + operation):
            break
        gate.disk.power_cut(Random(operation))
        gate.clock.restart()
        gate.restart()
        gate.step()
        gate.step(602)

        assert names == {text for texts in gate.texts() for text in texts}, f"cut before operation {operation}"
        kept = {message.text for name in gate.names("groups/p3") for message in unpacked(_body(gate, Priority.P3, name))}
        assert {"c1", "c2", "c3"} == kept
        assert [] == gate.names("inbox")
        operation += 1

    assert operation > 15


def _cut_at(gate: Gate, operation: int) -> bool:
    """Run with the power cut before this operation; whether it was reached."""

    def before(number: int, what: str, path: str) -> None:
        if number == operation:
            raise PowerCut

    gate.disk.before = before
    try:
        gate.step()
        gate.step(602)
    except PowerCut:
        gate.disk.before = None
        return True
    gate.disk.before = None
    return False


def _body(gate: Gate, priority: Priority, name: str) -> bytes:
    return release.unpacked(gate.disk.read(f"groups/p{int(priority)}/{name}")).body

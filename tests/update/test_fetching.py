"""An edition that is ordered: judged, the smallest bundle that fits fetched, and from there as if it had come on a stick."""

import hashlib
from collections.abc import Sequence
from random import Random

import pytest

from firmware.core import message
from firmware.core.download import wish_unpacked
from firmware.core.edition import Edition, Offered, as_text, signed
from firmware.core.spool import Spool
from firmware.core.versions import IMAGE
from simulator.disk import PowerCut
from simulator.identity import SimulatedIdentity
from simulator.slots import BOARD

from .conftest import PROCESSES, SIGNER, Box, files

SECOND = 1_000_000_000


class Uplink:
    """What the way out would do: what is wanted comes down, or does not."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.files: dict[str, bytes] = {}

    def edition(
        self, version: str, bundles: Sequence[tuple[bytes, str | None]], *, number: int, board: str = BOARD, channel: str = "stable",
        from_s: int = 0, until_s: int = 3600, kind: str = "application", signer: SimulatedIdentity | None = None,
    ) -> str:  # fmt: skip
        now = self.box.clock.now().timestamp.tai_ns
        self.files |= {hashlib.sha256(data).hexdigest(): data for data, _ in bundles}
        offered = tuple(Offered(hashlib.sha256(data).digest(), len(data), base) for data, base in bundles)
        edition = Edition(version, number, board, channel, kind, now + from_s * SECOND, now + until_s * SECOND, SIGNER, offered)  # type: ignore[arg-type]
        return as_text(signed(edition, (signer or self.box.signer).sign))

    def wanted(self) -> list[str]:
        spool = Spool(self.box.disk, "wanted")
        return [wish_unpacked(spool.peek(name) or b"").name for name in spool.names()]

    def bring(self) -> None:
        """Everything that is wanted is there."""
        for name in self.wanted():
            self.box.disk.write(f"downloads/{name}", self.files[name])
            self.box.disk.sync(f"downloads/{name}")
            self.box.disk.sync_dir("downloads")
            Spool(self.box.disk, "wanted").settle_named(name)


@pytest.fixture
def uplink(box: Box) -> Uplink:
    return Uplink(box)


def results(box: Box) -> list[tuple[str, str]]:
    rows = [row for name in box.disk.list("inbox") for row in message.unpacked(box.disk.read(f"inbox/{name}"))]
    return [(str(row.fields["result"]), str(row.fields["cause"])) for row in rows if row.kind == "command-result"]


def outcomes(box: Box) -> list[tuple[str, str]]:
    rows = [row for name in box.disk.list("inbox") for row in message.unpacked(box.disk.read(f"inbox/{name}"))]
    return [
        (str(row.fields["version"]), str(row.fields["outcome"]))
        for row in rows
        if row.kind == "update" and row.fields.get("outcome")
    ]


def test_an_ordered_version_becomes_official(box, uplink):
    """The order names an edition; its smallest bundle whose base is here is wanted, comes, is tried and becomes official. (S1-03, S1-05)"""
    whole, delta = box.bundle("v2", base=None, counter=5), box.bundle("v2", counter=5)
    box.order(edition=uplink.edition("v2", [(whole, None), (delta, IMAGE)], number=5))
    box.run(2)
    assert [hashlib.sha256(delta).hexdigest()] == uplink.wanted()
    assert [("done", "")] == results(box)

    uplink.bring()
    for _ in range(40):
        box.run(0.5)
        assert [] == uplink.wanted()  # Not while it is copied either: it would come down twice.
    box.run(60)

    assert {**dict.fromkeys(PROCESSES, "v2"), "update": IMAGE} == box.marks()
    assert files("v2") == box.contents("v2")
    assert [("v2", "here"), ("v2", "official")] == outcomes(box)
    assert [] == box.disk.list("downloads") == uplink.wanted()
    assert not box.disk.exists("updates/edition")
    assert {} == box.station.report.drops


def test_a_delta_needs_its_base_here(box, uplink):
    """Beside a version that is not here nothing can be made: the whole one is fetched. (S1-03, S1-05)"""
    whole, delta = box.bundle("v3", base=None, counter=5), box.bundle("v3", counter=5, base="v2", base_files=files("v2"))
    box.order(edition=uplink.edition("v3", [(whole, None), (delta, "v2")], number=5))
    box.run(2)

    assert [hashlib.sha256(whole).hexdigest()] == uplink.wanted()


def test_a_base_that_is_not_what_it_says_has_the_whole_one_fetched(box, uplink):
    """The delta's files are not as signed on this base: it is refused, and the version still comes. (S1-03)"""
    whole, delta = box.bundle("v2", base=None, counter=5), box.bundle("v2", counter=5, base_files=files("v2"))
    box.order(edition=uplink.edition("v2", [(whole, None), (delta, IMAGE)], number=5))
    box.run(2)
    uplink.bring()
    box.run(5)
    assert [hashlib.sha256(whole).hexdigest()] == uplink.wanted()

    uplink.bring()
    box.run(60)

    assert "v2" == box.station.report.gauges["official"]
    assert any("another of the same version is fetched" in text for text in box.said())


def test_wherever_it_ends_it_goes_on(box, uplink):
    """The process ends before the file is there, when it is, and when it is handed on: each time it goes on. (S1-03)"""
    box.order(edition=uplink.edition("v2", [(box.bundle("v2", counter=5), IMAGE)], number=5))
    for _ in range(3):
        box.run(1)
        box.start()
    assert 1 == len(uplink.wanted())
    uplink.bring()
    for _ in range(3):
        box.start()
        box.run(1)
    box.run(60)

    assert "v2" == box.station.report.gauges["official"]


@pytest.mark.parametrize("how", ["power", "killed"])
def test_the_end_before_any_operation(how):
    """From the order to the copy, cut before any operation: it is fetched, copied once, and nothing is left over. (S1-03, S1-10)"""
    doom, past = 1, False
    while not past:
        box = Box()
        uplink = Uplink(box)
        box.order(edition=uplink.edition("v2", [(box.bundle("v2", counter=5), IMAGE)], number=5))
        at = box.disk.operations + doom

        def before(count: int, what: str, path: str, at: int = at) -> None:
            if count >= at and not path.startswith("state"):
                raise PowerCut

        box.disk.before = before
        try:
            copied(box, uplink)
            past = True
        except PowerCut:
            box.disk.before = None
            if how == "power":
                box.disk.power_cut(Random(doom))
                box.disk.mkdir("state")
            box.start()
            copied(box, uplink)
        box.disk.before = None

        assert ["v2"] == box.versions(), f"ended before operation {doom}"
        assert files("v2") == box.contents("v2")
        left = [box.disk.list(path) for path in ("downloads", "wanted", "updates/received", "commands/verified/update")]
        assert [[], [], [], []] == left, f"ended before operation {doom}"
        assert not box.disk.exists("updates/edition")
        doom += 3
    assert doom > 60


def copied(box: Box, uplink: Uplink) -> None:
    for _ in range(12):
        box.run(0.5)
        uplink.bring()
        if "v2" in box.versions() and not box.disk.exists("updates/edition"):
            return


def test_what_nobody_means_any_more_goes(box):
    """A file that came too late, and a wish of a former edition: a new life removes them; what the uplink is at is not its to touch."""
    box.disk.write(f"downloads/{'1' * 64}", b"late")
    box.disk.write(f"downloads/.{'2' * 64}", b"begun")
    Spool(box.disk, "wanted").publish("3" * 64, b"x")
    box.start()

    assert [f".{'2' * 64}"] == box.disk.list("downloads")
    assert [] == box.disk.list("wanted")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"board": "linux-aarch64-cpython-313"}, "expected an edition for"),
        ({"channel": "test"}, "expected an edition of stable, this is of test"),
        ({"until_s": -10}, "has not expired"),
        ({"from_s": 100}, "whose time has come"),
        ({"number": 1}, "expected a version above number 1"),
        ({"signer": SimulatedIdentity(name="vendor", seed=99)}, "named signer's signature"),
        ({"tampered": True}, "expected "),
        ({"cut": True}, "expected "),
        ({"base": "v9"}, "whose base is here"),
    ],
)
def test_an_edition_that_is_refused(box, uplink, change, reason):
    """Wrong board, channel, time, number, signer or bytes: refused with the reason, and nothing is fetched. (S1-03)"""
    box.give(box.bundle("v1", counter=1))
    box.run(60)
    change = dict(change)
    tampered, cut, base = change.pop("tampered", False), change.pop("cut", False), change.pop("base", None)
    text = uplink.edition("v2", [(box.bundle("v2", counter=5), base)], **{"number": 5, **change})
    if tampered:
        text = text[:40] + ("A" if text[40] != "A" else "B") + text[41:]
    box.order(edition=text[:40] if cut else text)
    box.run(3)

    assert ("refused", True) == (results(box)[-1][0], reason in results(box)[-1][1])
    assert [] == uplink.wanted()
    assert "v1" == box.station.report.gauges["official"]


def test_the_same_order_again_and_one_after_it(box, uplink):
    """Replayed it changes nothing; another edition takes its place, and what was wanted for the first is wanted no more. (S1-03)"""
    first = uplink.edition("v2", [(box.bundle("v2", counter=5), IMAGE)], number=5)
    second = uplink.edition("v3", [(box.bundle("v3", counter=6), IMAGE)], number=6)
    box.order(edition=first)
    box.run(2)
    wanted = uplink.wanted()
    box.order(edition=first)
    box.run(2)
    assert wanted == uplink.wanted()

    box.order(edition=second)
    box.run(2)
    assert 1 == len(uplink.wanted()) and wanted != uplink.wanted()
    uplink.bring()
    box.run(60)
    assert "v3" == box.station.report.gauges["official"]

    box.order(edition=first)
    box.run(2)
    assert "refused" == results(box)[-1][0]


def test_a_version_that_stays_test_is_not_fetched_again(box, uplink):
    """It failed its trial here: an order for it is refused with what was wrong with it. (S1-16)"""
    box.trial_alarm = False
    text = uplink.edition("v2", [(box.bundle("v2", counter=5), IMAGE)], number=5)
    box.order(edition=text)
    box.run(2)
    uplink.bring()
    box.run(60)
    assert [("v2", "here"), ("v2", "stays test")] == outcomes(box)

    box.order(edition=text)
    box.run(2)
    assert "an alarm was not delivered" in results(box)[-1][1]


def test_what_expires_meanwhile_is_given_up(box, uplink):
    """Nobody brought it in time: told, and wanted no more."""
    box.order(edition=uplink.edition("v2", [(box.bundle("v2", counter=5), IMAGE)], number=5, until_s=30))
    box.run(60)

    assert [] == uplink.wanted()
    assert [("v2", "refused")] == outcomes(box)


def test_what_never_comes_as_it_was_signed_is_not_fetched_for_ever(box, uplink):
    """The uplink gave a wish up, its file being another each time: the next larger bundle is tried, and after the last it is told. (S1-03)"""
    whole, delta = box.bundle("v2", base=None, counter=5), box.bundle("v2", counter=5)
    box.order(edition=uplink.edition("v2", [(whole, None), (delta, IMAGE)], number=5))
    box.run(2)
    wanted = Spool(box.disk, "wanted")
    for data in (delta, whole):
        assert [hashlib.sha256(data).hexdigest()] == uplink.wanted()
        box.start()  # A wish of a former life is no other.
        box.run(2)
        wanted.settle_named(hashlib.sha256(data).hexdigest())
        box.run(2)

    assert [] == uplink.wanted()
    assert [("v2", "refused")] == outcomes(box)
    assert not box.disk.exists("updates/edition")


def test_a_system_goes_where_the_other_slot_takes_it(box, uplink):
    """The operating system's bundle is fetched the same way, and lies complete in updates/system/ under its version. (S1-03)"""
    data = bytes(range(256)) * 100_000
    box.order(edition=uplink.edition("2026.11", [(data, None)], number=7, kind="system"))
    box.run(2)
    uplink.bring()
    box.run(2)

    assert data == box.disk.read("updates/system/2026.11.raucb")
    assert [("2026.11", "here")] == outcomes(box)


def test_back_only_from_the_version_that_is_meant(box):
    """An order to go back names where from: on a box that is of another version by now it is refused. (S1-15)"""
    box.give(box.bundle("v2"))
    box.run(60)
    box.order(rollback="previous", **{"from": "v1"})
    box.run(3)
    assert ("refused", "expected version v1 to be official here, it is v2") == results(box)[-1]

    box.order(rollback="previous", **{"from": "v2"})
    box.run(60)
    assert dict.fromkeys(PROCESSES, IMAGE) == box.marks()
    assert ("v2", "taken back") == outcomes(box)[-1]


def test_an_order_back_in_the_middle_of_a_trial_ends_it(box, uplink):
    """The version on trial stays test, and that is told: nobody waits for days for what is not tried any more. (S1-15)"""
    box.give(box.bundle("v2", counter=4))
    box.run(60)
    text = uplink.edition("v3", [(box.bundle("v3", counter=5), IMAGE)], number=5)
    box.order(edition=text)
    box.run(2)
    uplink.bring()
    box.run(3)
    assert "trial" == box.station.report.gauges["phase"]
    box.order(rollback="previous")
    box.run(60)
    assert [("v3", "here"), ("v3", "stays test"), ("v2", "taken back")] == outcomes(box)[-3:]

    box.order(edition=text)
    box.run(2)
    assert ("refused", "expected a version that was not refused, this one stays test: its trial was ended to go back") == results(
        box
    )[-1]


def test_an_order_that_ends_whoever_takes_it_is_answered(box, uplink):
    """Killed at it again and again: it is given up, and whoever waits for an answer has one."""

    def before(count: int, what: str, path: str) -> None:
        if path == "updates/.edition":
            raise PowerCut

    box.order(edition=uplink.edition("v2", [(box.bundle("v2", counter=5), IMAGE)], number=5))
    box.disk.before = before
    for _ in range(4):
        with pytest.raises(PowerCut):
            box.run(2)
        box.start()
    box.run(2)

    assert [("refused", "too_many_attempts")] == results(box)
    assert 1 == box.station.report.drops["too_many_attempts"]


def test_history_is_told(box):
    """Every switch is a message, too: of which processes, from what to what, and why. (S1-15)"""
    box.give(box.bundle("v2"))
    box.run(700)
    rows = [row for name in box.disk.list("inbox") for row in message.unpacked(box.disk.read(f"inbox/{name}"))]
    told = [
        (row.fields["process"], row.fields["from"], row.fields["to"], row.fields["cause"])
        for row in rows
        if "process" in row.fields
    ]

    assert [
        ("console,gate,capture", IMAGE, "v2", "its trial held"), ("update", IMAGE, "v2", "all others have run it for 600 s"),
    ] == told  # fmt: skip

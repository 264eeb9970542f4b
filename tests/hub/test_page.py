"""The page in a real browser, of the real server on a real store: what people see, do, and cannot be made to run."""

import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import pytest

from drivers.clock import ClockState, Timestamp
from drivers.linux.board import LinuxBoard
from firmware.core.envelope import Order
from firmware.core.message import Field, Message, Priority, Severity
from firmware.core.presence import Presence
from firmware.core.report import Report, publish
from firmware.core.topics import Topic
from firmware.hub.calls import open_call
from firmware.hub.repository import EvidenceState, Repository
from firmware.hub.rollout import Plan
from firmware.hub.rollouts import plan_stored
from firmware.hub.settings import HubSettings
from firmware.hub.web import serve
from simulator.broker import free_port
from simulator.browser import chromium, what_is_missing

from .keeper import Keeper

MISSING = what_is_missing()
if MISSING:
    pytest.skip(f"no browser here: {MISSING}", allow_module_level=True)

from playwright.sync_api import Browser, ConsoleMessage, Dialog, Locator, Page, Request, expect  # noqa: E402 - only where it is

SECOND = 1_000_000_000
TAI = 1_795_342_537 * SECOND  # 2026-11-22T10:15:00Z
COMMAND = bytes(range(16))
RIGHT_TO_LEFT = "\u202e"
NONE: Mapping[str, Field] = {}
HOSTILE = f"<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script> {RIGHT_TO_LEFT}gpj.exe"


class Hub:
    """A serving page and its store; what the hub's station would write, the test writes."""

    def __init__(self, directory: Path) -> None:
        self.board = LinuxBoard(directory / "store", directory / "identity")
        self.settings = HubSettings(database=str(directory / "hub.sqlite"), page_port=free_port())
        self.repository = Repository(self.settings.database)
        self.url = f"http://127.0.0.1:{self.settings.page_port}/"
        self.count = 0
        self.start()

    def start(self) -> None:
        self.supervisor = Keeper()
        self.board.supervisor = self.supervisor
        self.thread = threading.Thread(target=serve, args=(self.board, self.settings))
        self.thread.start()
        assert self.supervisor.started.wait(10), "the page did not start"

    def box(self, name: str, state: Literal["online", "lost", "left"] = "online") -> None:
        with self.repository.transaction():
            self.repository.box_seen(Topic("site-1", name, "state"), TAI)
            self.repository.box_said(name, Presence(state, bytes(8), TAI), TAI)
        self.knock()

    def add(
        self, text: str, priority: int = 1, *, box: str = "box-1", device: str = "robot-1", fields: Mapping[str, Field] = NONE
    ) -> Message:
        self.count += 1
        stamp = Timestamp(TAI + self.count * SECOND, 1000, "ptp", ClockState.LOCKED)
        one = Message(
            device, "arm", "published", Priority(priority), Severity.ERROR, stamp, stamp,
            sequence=self.count, text=text, fields=fields,
        )  # fmt: skip
        with self.repository.transaction():
            self.repository.add_messages([one], box=box, envelope=bytes(16), now_tai_ns=stamp.tai_ns)
        self.knock()
        return one

    def health(
        self, minute: int, offsets: Mapping[str, tuple[str, int, int] | str], *, box: str = "box-1", state: str = "locked"
    ) -> None:
        """As the box's health station sends it: figures of the clock among all others."""
        fields: dict[str, Field] = {
            "clock.gauges.state": state, "clock.gauges.source": "ntp", "clock.gauges.uncertainty_ns": 900_000, "uptime_s": 60 * minute,
        }  # fmt: skip
        for device, row in offsets.items():
            fields[f"clock.gauges.offset_method/{device}"] = row if isinstance(row, str) else row[0]
            if not isinstance(row, str):
                fields[f"clock.gauges.offset_low_ns/{device}"], fields[f"clock.gauges.offset_high_ns/{device}"] = row[1:]
        self.count += 1
        stamp = Timestamp(TAI + minute * 60 * SECOND, 1000, "ptp", ClockState.LOCKED)
        one = Message(
            "box-1", "health", "health", Priority.P4, Severity.INFORMATIONAL, stamp, stamp, sequence=self.count, fields=fields
        )
        with self.repository.transaction():
            self.repository.add_messages([one], box=box, envelope=bytes(16), now_tai_ns=stamp.tai_ns)
        self.knock()

    def knock(self) -> None:
        self.board.disk.mkdir("news")
        self.board.disk.write("news/.latest", b"")
        self.board.disk.rename("news/.latest", "news/latest")

    def stop(self) -> None:
        self.supervisor.stop = True
        self.knock()
        self.thread.join(10)
        assert not self.thread.is_alive()


class Watched:
    """A browser's page, and everything it asked for and complained of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.asked: list[str] = []
        page.set_default_timeout(10_000)
        page.on("console", self._said)
        page.on("pageerror", lambda problem: self.complaints.append(str(problem)))
        page.on("request", self._went)
        page.on("dialog", self._stopped)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _stopped(self, dialog: Dialog) -> None:
        self.complaints.append("a dialog")
        dialog.dismiss()

    def _went(self, request: Request) -> None:
        self.asked.append(request.url)

    @property
    def rows(self) -> Locator:
        return self.page.locator("#messages > li")

    def row(self, text: str) -> Locator:
        return self.rows.filter(has_text=text)

    def shown(self) -> list[str]:
        return self.page.locator("#messages .text").all_inner_texts()

    def scrolls_sideways(self) -> bool:
        found: bool = self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    hub = Hub(tmp_path)
    hub.box("box-1")
    yield hub
    hub.stop()
    hub.repository.close()


@pytest.fixture
def watched(browser: Browser, hub: Hub) -> Iterator[Watched]:
    """The page, open and live. Whatever a test does with it: nobody complains and nothing is asked of anybody but the hub."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    watched = Watched(context.new_page())
    watched.page.goto(hub.url)
    expect(watched.page.locator("#connection")).to_have_text("live")
    yield watched
    context.close()
    assert [] == watched.complaints
    assert [] == [url for url in watched.asked if not url.startswith((hub.url, "data:"))]


def test_messages_appear_as_they_arrive(hub: Hub, watched: Watched) -> None:
    """(S2-121) An empty page says that it is; then what comes stands on top of what came, without a reload."""
    expect(watched.page.locator("#empty")).to_contain_text("Messages appear here by themselves")
    hub.add("first")
    expect(watched.row("first")).to_be_visible()
    expect(watched.page.locator("#empty")).to_be_hidden()
    hub.add("second")
    expect(watched.row("second")).to_be_visible()

    assert ["second", "first"] == watched.shown()
    assert 1 == sum(url == hub.url for url in watched.asked)
    expect(watched.page.locator("#news")).to_contain_text("P1 alarm: ")


def test_priority_is_a_word_and_a_colour(hub: Hub, watched: Watched) -> None:
    """(S2-121) Who sees no colours reads the priority; time, severity and origin stand on one line with it."""
    words = {1: "P1 alarm", 2: "P2 warning", 3: "P3 report"}
    colours = set()
    for priority, word in words.items():
        hub.add(f"text {priority}", priority, fields={"torque_nm": 4.5})
        row = watched.row(f"text {priority}")
        expect(row.locator(".priority")).to_have_text(word)
        colours.add(row.locator(".priority").evaluate("node => getComputedStyle(node).color"))

    assert 3 == len(colours)
    row = watched.row("text 1")
    expect(row.locator("time")).to_have_text("2026-11-22 10:15:01.000")
    expect(row.locator(".where")).to_have_text("box-1 › robot-1 › arm")
    expect(row.locator(".severity")).to_have_text("error")
    assert 24 > max(box["height"] for part in ("time", ".priority", ".where") if (box := row.locator(part).bounding_box()))
    assert 64 > (row.bounding_box() or {"height": 1000})["height"]
    row.locator("summary").click()
    expect(row.locator("dl")).to_have_text("torque_nm4.5")


def test_boxes_and_counts(hub: Hub, watched: Watched) -> None:
    """(S2-120) Each box with its state as a word and when it was last heard; how many messages of each priority."""
    hub.box("box-2", "lost")
    hub.add("one")
    hub.add("two", 3)
    hub.add("three", 3)

    expect(watched.page.locator("#boxes li").nth(0)).to_contain_text("box-1")
    expect(watched.page.locator("#boxes li").nth(0).locator(".online")).to_have_text("online")
    expect(watched.page.locator("#boxes li").nth(1).locator(".lost")).to_have_text("lost")
    expect(watched.page.locator("#boxes li").nth(1)).to_contain_text("10:15:00")
    for priority, count in enumerate("1020", start=1):
        expect(watched.page.locator(f"#priorities .p{priority} b")).to_have_text(count)


def test_filters_by_priority_and_box(hub: Hub, watched: Watched) -> None:
    """(S2-121) What is chosen is shown, now and as it arrives, and still after a reload. Detail is a choice: it would bury alarms."""
    hub.box("box-2")
    for number, (priority, box) in enumerate([(1, "box-1"), (2, "box-1"), (3, "box-2"), (4, "box-2")]):
        hub.add(f"text {number}", priority, box=box)
    expect(watched.rows).to_have_count(3)

    def press(priority: int) -> None:
        watched.page.locator(f"#priorities .p{priority}").click()

    press(4)
    expect(watched.rows).to_have_count(4)
    press(1)
    press(2)
    expect(watched.rows).to_have_count(2)
    hub.add("not of these", 1)
    hub.add("one of these", 3)
    expect(watched.row("one of these")).to_be_visible()
    assert ["one of these", "text 3", "text 2"] == watched.shown()
    watched.page.reload()
    expect(watched.rows).to_have_count(3)

    watched.page.get_by_role("combobox", name="Box").select_option("box-1")
    expect(watched.rows).to_have_count(1)
    assert ["one of these"] == watched.shown()
    expect(watched.page.locator("#priorities .p4 b")).to_have_text("0")  # those of this box
    press(3)
    expect(watched.page.locator("#empty")).to_contain_text("No P4 detail of box-1. 4 messages of other priorities are not shown")
    press(4)  # The last one off is all of them on.
    expect(watched.rows).to_have_count(4)


def test_everything_chosen_is_still_chosen_after_a_reload(hub: Hub, watched: Watched) -> None:
    """(S2-121) Detail is no longer left out once somebody has asked for all four priorities of all boxes."""
    hub.add("what an arm does all day", 4)
    watched.page.locator("#priorities .p4").click()
    expect(watched.rows).to_have_count(1)
    watched.page.reload()

    expect(watched.page.locator("#connection")).to_have_text("live")
    expect(watched.page.locator("#priorities .p4")).to_have_attribute("aria-pressed", "true")
    expect(watched.rows).to_have_count(1)


def test_older_messages_pressed_twice(hub: Hub, browser: Browser) -> None:
    """(S2-121) They are there once, however often the button is pressed on a slow line; and when the hub does not answer, that is said."""
    for number in range(250):
        hub.add(f"text {number}")
    page = browser.new_page()
    page.goto(hub.url)
    rows, problems = page.locator("#messages > li"), list[str]()
    page.on("pageerror", lambda problem: problems.append(str(problem)))
    expect(rows).to_have_count(100)
    expect(page.locator("#connection")).to_have_text("live")
    page.route("**/api/messages*", lambda route: route.abort(), times=1)
    page.locator("#older").click()
    expect(page.locator("#older")).to_contain_text("press again")
    page.locator("#older").dblclick()
    expect(rows).to_have_count(200)
    expect(page.locator("#older")).to_have_text("Older messages")
    page.locator("#older").click()
    expect(page.locator("#older")).to_be_hidden()

    assert [f"text {number}" for number in reversed(range(250))] == page.locator("#messages .text").all_inner_texts()
    assert [] == problems
    page.close()


def test_what_a_busy_room_pushes_off_the_page_is_older(hub: Hub, watched: Watched) -> None:
    """(S2-121) A page that has been open for long holds 400 rows; those before them are still asked for with the button."""
    for number in range(390):
        hub.add(f"text {number}")
    watched.page.reload()
    for count in (100, 200, 300):
        expect(watched.rows).to_have_count(count)
        watched.page.locator("#older").click()
    expect(watched.page.locator("#older")).to_be_hidden()
    expect(watched.rows).to_have_count(390)
    for number in range(390, 402):
        hub.add(f"text {number}")
    expect(watched.row("text 401")).to_be_visible()
    expect(watched.rows).to_have_count(400)
    watched.page.locator("#hold").click()  # so that the reader keeps what he asked for
    watched.page.locator("#older").click()
    expect(watched.rows).to_have_count(402)

    assert [f"text {number}" for number in reversed(range(402))] == watched.shown()


def test_hold_keeps_the_list_still(hub: Hub, watched: Watched) -> None:
    """Who reads is not run over: what comes meanwhile is counted, and is there afterwards, once."""
    hub.add("before")
    expect(watched.rows).to_have_count(1)
    hold = watched.page.locator("#hold")
    hold.click()
    hub.add("during 1")
    hub.add("during 2")
    expect(hold).to_have_text("Resume · 2 new")
    assert ["before"] == watched.shown()
    hold.click()
    hub.add("after")
    expect(watched.rows).to_have_count(4)
    assert ["after", "during 2", "during 1", "before"] == watched.shown()


def test_evidence_from_button_to_file(hub: Hub, watched: Watched) -> None:
    """(S2-107) Asked for by keyboard alone: Tab, Enter; how far it is; a link, and the file behind it, byte for byte."""
    hub.add("arm stopped")
    button = watched.row("arm stopped").get_by_role("button")
    expect(button).to_have_text("Evidence ± 30 s")
    for _ in range(30):
        if button.evaluate("node => node === document.activeElement"):
            break
        watched.page.keyboard.press("Tab")
    expect(button).to_be_focused()
    assert "solid" == button.evaluate("node => getComputedStyle(node).outlineStyle")
    watched.page.keyboard.press("Enter")
    status = watched.row("arm stopped").get_by_role("status")
    expect(status).to_have_text("waiting for the box")
    (name,) = hub.board.disk.list("commands/outgoing")
    command = bytes.fromhex(re.findall(r"[0-9a-f]{32}", name)[0])

    with hub.repository.transaction():
        hub.repository.set_command(command, "accepted", now_tai_ns=TAI)
    hub.knock()
    expect(status).to_have_text("the box is looking")
    expect(button).to_be_focused()
    hub.box("box-1", "lost")
    expect(status).to_have_text("the box is looking · the box is away since 10:15:00")
    hub.box("box-1", "online")
    expect(status).to_have_text("the box is looking")
    content = bytes(range(250)) * 10_000
    with hub.repository.transaction():
        hub.repository.put_evidence(EvidenceState(command, "box-1", 1, 1 << 20, 3), TAI)
    hub.knock()
    expect(status).to_have_text("1 parts, 1.0 MiB so far")
    hub.board.disk.mkdir("evidence")
    hub.board.disk.write(f"evidence/{command.hex()}.pcapng", content)
    with hub.repository.transaction():
        hub.repository.put_evidence(EvidenceState(command, "box-1", 2, len(content), 7, True), TAI)
    hub.knock()
    expect(status).to_have_text("7 frames, 2.4 MiB")
    expect(watched.page.locator("#requests li")).to_have_text(re.compile(r"box-1.*10:14:31 – 10:15:31.*7 frames.*Download"))

    link = watched.row("arm stopped").get_by_role("link", name="Download")
    with watched.page.expect_download() as download:
        link.focus()
        watched.page.keyboard.press("Enter")
    assert f"{command.hex()}.pcapng" == download.value.suggested_filename
    assert content == download.value.path().read_bytes()


def test_what_a_box_refuses_is_said(hub: Hub, watched: Watched) -> None:
    """(S2-107) The reason stands where the evidence would, as text, and one may ask again."""
    hub.add("arm stopped")
    button = watched.row("arm stopped").get_by_role("button")
    watched.page.get_by_role("combobox", name="Evidence").select_option("± 2 s")
    expect(button).to_have_text("Evidence ± 2 s")
    button.click()
    status = watched.row("arm stopped").get_by_role("status")
    expect(status).to_have_text("waiting for the box")
    (name,) = hub.board.disk.list("commands/outgoing")
    command = bytes.fromhex(re.findall(r"[0-9a-f]{32}", name)[0])
    with hub.repository.transaction():
        hub.repository.set_command(command, "refused", detail="<b>too old</b>", now_tai_ns=TAI)
    hub.knock()

    expect(status).to_have_text("refused: <b>too old</b>")
    expect(button).to_have_attribute("aria-disabled", "false")


def test_a_request_that_is_not_ended_is_said_to_go_on(hub: Hub, browser: Browser) -> None:
    """(S2-107) Beside its button, where everybody reads it, and for as long as it is so; pressed again with better luck it is gone."""
    with hub.repository.transaction():
        hub.repository.add_command(
            Order(COMMAND, "hub-1", "box-1", "retrieval", 1, TAI, TAI + 300 * SECOND, {}), about=None, now_tai_ns=TAI
        )
    page = browser.new_page()
    page.goto(hub.url)
    request = page.locator("#requests > li")
    page.route("**/cancel", lambda route: route.abort())
    request.get_by_role("button", name="Cancel").click()
    expect(request.get_by_role("alert")).to_contain_text("not ended: ")
    expect(request.get_by_role("button", name="Cancel")).to_have_attribute("aria-disabled", "false")
    hub.add("a look later")
    expect(page.locator("#messages > li")).to_have_count(1)
    expect(request.get_by_role("alert")).to_be_visible()
    page.unroute("**/cancel")
    request.get_by_role("button", name="Cancel").click()
    expect(request.get_by_role("alert")).to_have_count(0)
    expect(request.get_by_role("button")).to_have_text("ending")
    page.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_hostile_text_is_text(hub: Hub, watched: Watched, width: int) -> None:
    """(S2-121) Markup is shown and not run, what turns the writing is made visible, 4,000 characters without a space break no layout."""
    watched.page.set_viewport_size({"width": width, "height": 800})
    hub.box("box-2")
    hub.add(HOSTILE, device=HOSTILE[:60], fields={HOSTILE[:40]: HOSTILE})
    hub.add("W" * 4000, box="box-2", fields={"n" * 60: "v" * 1000})
    hub.add("Z" + "\u0301" * 200)
    expect(watched.rows).to_have_count(3)

    hostile = watched.row("onerror")
    expect(hostile.locator(".text")).to_have_text(HOSTILE.replace(RIGHT_TO_LEFT, "⟨U+202E⟩"))
    hostile.locator("summary").click()
    expect(hostile.locator("dd")).to_have_text(HOSTILE.replace(RIGHT_TO_LEFT, "⟨U+202E⟩"))
    long = watched.row("WWW")
    expect(long.locator("summary")).to_contain_text("whole text, 4000 characters")
    assert (160 if width == 1280 else 400) > (long.bounding_box() or {"height": 1000})["height"]
    long.locator("summary").click()
    expect(long.locator(".whole")).to_have_text("W" * 4000)

    assert 0 == watched.page.locator("#messages :is(img, script)").count()
    assert "Scrubjay hub" == watched.page.title()
    assert RIGHT_TO_LEFT not in watched.page.locator("body").inner_text()
    assert not watched.scrolls_sideways()


def test_the_whole_of_a_long_text(hub: Hub, watched: Watched) -> None:
    """(S2-121) What is offered as the whole text is: a list carries the beginning, the rest is asked for when somebody opens it."""
    hub.add("begin " + "x" * 10_000 + " the reason stands at the end")
    row = watched.row("begin")
    expect(row.locator("summary")).to_have_text("whole text, 10035 characters")
    assert not [url for url in watched.asked if url.endswith("/api/messages/1")]
    row.locator("summary").click()
    expect(row.locator(".whole")).to_contain_text("the reason stands at the end")
    expect(row.locator(".whole")).to_have_text("begin " + "x" * 10_000 + " the reason stands at the end")


def test_on_a_telephone(hub: Hub, watched: Watched) -> None:
    """(S2-120) 390 pixels wide: nothing to the side, and everything that is pressed is big enough for a finger."""
    watched.page.set_viewport_size({"width": 390, "height": 800})
    for priority in range(1, 5):
        hub.add("a text of the usual length, about what an arm says when it stops", priority, fields={"torque_nm": 4.5})
    watched.page.locator("#priorities .p4").click()
    expect(watched.rows).to_have_count(4)

    assert not watched.scrolls_sideways()
    for button in watched.page.locator("button:visible").all():
        box = button.bounding_box()
        assert box is not None and box["height"] >= 38 and 0 <= box["x"] and box["x"] + box["width"] <= 390


def test_a_hub_that_goes_away_and_comes_back(hub: Hub, browser: Browser) -> None:
    """(S2-121) The page says since when it is alone, and catches up by itself on what arrived meanwhile."""
    page = browser.new_page()
    page.goto(hub.url)
    expect(page.locator("#connection")).to_have_text("live")
    hub.add("before")
    expect(page.locator("#messages > li")).to_have_count(1)
    # What the page's own attempts come to, counted before it hears of them. No function to wait for: that would need eval.
    page.evaluate("source.addEventListener('error', () => document.body.append(document.createElement('hr')))")
    hub.stop()
    expect(page.locator("#connection")).to_contain_text("no connection to the hub since")
    since = page.locator("#connection").inner_text()
    expect(page.locator("hr").nth(1)).to_be_attached(timeout=15_000)
    assert since == page.locator("#connection").inner_text()
    hub.add("meanwhile")
    hub.start()

    expect(page.locator("#messages > li")).to_have_count(2, timeout=15_000)
    expect(page.locator("#connection")).to_have_text("live")
    page.close()


def test_a_fleet_of_thousands_is_not_looked_through_for_each_of_its_boxes(hub: Hub, watched: Watched) -> None:
    """(S2-120) Each look shows them all, and offers each to choose from once: a fleet ten times as large is ten times the work, not a hundred."""
    with hub.repository.transaction():
        for number in range(200):
            hub.repository.box_seen(Topic("site-1", f"box-{number:03d}", "state"), TAI)
    hub.knock()
    expect(watched.page.locator("#boxes > li")).to_have_count(201)
    counting = """Object.defineProperty($("box"), "options", {get() { window.looks = (window.looks ?? 0) + 1; return this.children; }})"""
    watched.page.evaluate(counting)
    watched.page.evaluate("showBoxes()")

    assert 0 == watched.page.evaluate("window.looks ?? 0")
    names = watched.page.locator("#box option").all_inner_texts()[1:]
    assert sorted(names) == sorted({"box-1", *(f"box-{number:03d}" for number in range(200))})


def test_a_hub_whose_database_was_restored(hub: Hub, watched: Watched) -> None:
    """(S2-121) Yesterday's numbers are given anew: a page that was open shows what arrives, and does not wait for greater ones."""
    hub.add("of yesterday")
    for number in range(3):
        hub.add(f"today {number}")
    expect(watched.rows).to_have_count(4)
    with hub.repository.transaction():  # What is left of it then.
        hub.repository.change("delete from messages where number > 1")
        hub.repository.change("update sqlite_sequence set seq = 1 where name = 'messages'")
    hub.add("alarm")

    expect(watched.rows).to_have_text([re.compile("alarm"), re.compile("of yesterday")])
    hub.add("another")
    expect(watched.rows).to_have_count(3)


def test_a_hub_whose_station_hears_nobody(hub: Hub, watched: Watched) -> None:
    """(S2-121) The page is another process: that it is served is no word of the one that takes in, which has no broker or is dead."""

    def says(brokers: int) -> None:
        publish(hub.board.disk, "hub", [Report("hub", gauges={"brokers": brokers})], hub.board.clock.now())

    shown = watched.page.locator("#connection")
    says(0)
    expect(shown).to_have_text(
        "the hub does not hear all boxes: it reaches no broker"
    )  # Nobody knocks: it is looked at all the same.
    says(1)
    hub.knock()
    expect(shown).to_have_text("live")


def _seen(page: Page, *, hidden: bool) -> None:
    """What a browser with a window says of a tab behind another, and of one that is looked at again; one without says it of none."""
    page.evaluate(
        "hidden => { Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        hidden,
    )


def test_more_tabs_than_a_browser_has_connections(hub: Hub, browser: Browser) -> None:
    """(S2-121) A browser opens six connections to one hub: what nobody looks at holds none, and catches up when somebody does."""
    context = browser.new_context()
    pages = list[Page]()
    for number in range(8):
        page = context.new_page()
        page.goto(hub.url)
        expect(page.locator("#connection")).to_have_text("live")
        hub.add(f"text {number}")
        expect(page.locator("#messages > li")).to_have_count(number + 1)
        _seen(page, hidden=True)
        pages.append(page)
    _seen(pages[0], hidden=False)
    expect(pages[0].locator("#messages > li")).to_have_count(8)
    expect(pages[0].locator("#connection")).to_have_text("live")
    hub.add("afterwards")
    expect(pages[0].locator("#messages > li")).to_have_count(9)

    assert ["afterwards", *(f"text {number}" for number in reversed(range(8)))] == pages[0].locator(
        "#messages .text"
    ).all_inner_texts()
    context.close()


def test_more_windows_side_by_side_than_a_browser_has_connections(hub: Hub, browser: Browser) -> None:
    """(S2-121) All are looked at, and none hides: each shows what comes, and what is asked of one of them is answered."""
    context = browser.new_context()
    pages = [context.new_page() for _ in range(7)]
    for page in pages:
        page.goto(hub.url)
        expect(page.locator("#connection")).to_have_text("live")
    hub.box("box-2")
    hub.add("a text")
    for page in pages:
        expect(page.locator("#messages .text")).to_have_text("a text")
        expect(page.locator("#boxes > li")).to_have_count(2)
    for page in pages[:4]:
        page.close()
    pages[6].locator("#priorities button").nth(3).click()
    hub.add("another", priority=4)
    expect(pages[6].locator("#messages .text")).to_have_text(["another", "a text"])
    assert pages[6].evaluate("source !== null"), "others have gone: it has a place among those that are told at once"
    context.close()


def test_a_tab_that_was_behind_for_a_night(hub: Hub, watched: Watched) -> None:
    """(S2-121) It is brought the newest 400 of what came, in one answer; on hold they wait, and those before them are older messages."""
    hub.add("in the evening")
    expect(watched.rows).to_have_count(1)
    watched.page.locator("#hold").click()
    _seen(watched.page, hidden=True)
    with hub.repository.transaction():
        for number in range(1000):
            stamp = Timestamp(TAI + number, 1000, "ptp", ClockState.LOCKED)
            one = Message(
                "robot-1", "arm", "published", Priority.P3, Severity.ERROR, stamp, stamp, sequence=number, text=f"night {number}"
            )
            hub.repository.add_messages([one], box="box-1", envelope=bytes(16), now_tai_ns=TAI)
    asked = len(watched.asked)
    _seen(watched.page, hidden=False)
    expect(watched.page.locator("#hold")).to_have_text("Resume · 400+ new")
    assert ["in the evening"] == watched.shown()
    assert 1 == sum("/api/messages" in url for url in watched.asked[asked:])
    watched.page.locator("#hold").click()
    expect(watched.rows).to_have_count(400)
    watched.page.locator("#older").click()
    expect(watched.rows).to_have_count(500)

    assert [f"night {number}" for number in range(999, 499, -1)] == watched.shown()


def test_an_answer_that_is_lost_does_not_stand_there_for_ever(hub: Hub, browser: Browser) -> None:
    """(S2-121) What is said of a hub that did not answer once is taken back when it answers; the stream was never cut."""
    page = browser.new_page()
    page.goto(hub.url)
    expect(page.locator("#connection")).to_have_text("live")
    page.route("**/api/boxes*", lambda route: route.abort())
    hub.add("one")
    expect(page.locator("#connection")).to_contain_text("the hub does not answer")
    page.unroute("**/api/boxes*")
    hub.add("two")

    expect(page.locator("#messages > li")).to_have_count(2)
    expect(page.locator("#connection")).to_have_text("live")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(hub: Hub, browser: Browser, scheme: str) -> None:
    """Text is readable by day and by night: at least 4.5 to 1 (WCAG 2.2, 1.4.3)."""
    page = browser.new_page(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(hub.url)
    hub.box("box-2", "lost")
    for priority in range(1, 4):
        hub.add("text", priority, fields={"torque_nm": 4.5})
    expect(page.locator("#messages > li")).to_have_count(3)
    expect(page.locator("#boxes > li")).to_have_count(2)
    expect(page.locator("#connection")).to_have_text("live")
    found = page.evaluate(CONTRASTS)

    assert found
    assert {} == {where: ratio for where, ratio in found.items() if ratio < 4.5}
    page.close()


# Of every element with text of its own: its colour against the nearest background that is not transparent.
CONTRASTS = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const linear = (part) => (part /= 255) <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4;
  const light = ([red, green, blue]) => .2126 * linear(red) + .7152 * linear(green) + .0722 * linear(blue);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = numbers(getComputedStyle(node).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = {};
  for (const node of document.querySelectorAll("body *")) {
    if (node.tagName === "OPTION" || ![...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()) || !node.checkVisibility()) continue;
    const [one, other] = [light(numbers(getComputedStyle(node).color)), light(behind(node))].sort((a, b) => b - a);
    found[`${node.tagName}.${node.className}#${node.id}`] = (one + .05) / (other + .05);
  }
  return found;
}"""


def test_the_devices_clocks_are_drawn(hub: Hub, watched: Watched, tmp_path: Path) -> None:
    """(S2-012) How good each box's time is, and for each device the interval its clock lies in, over time; certified, claimed, unknown."""
    expect(watched.page.locator("#clocks-section")).to_be_hidden()
    for minute in range(30):
        wave = (minute * 37 % 11 - 5) * 2_000
        hub.health(
            minute,
            {
                "10.77.0.21": ("netsync", wave - 14_000, wave + 12_000), "10.77.0.22": ("netsync", 300_000 + minute * 900, 330_000 + minute * 900),
                "10.77.0.23": ("netsync", -9_030_000, -8_990_000), "10.77.0.24": ("reported", wave, wave), "10.77.0.25": "present",
                f"<b>{RIGHT_TO_LEFT}": "present",
            },
            state="holdover" if minute > 20 else "locked",
        )  # fmt: skip
    clocks = watched.page.locator("#clocks > li")
    expect(clocks).to_have_count(1)
    expect(clocks.locator("p")).to_contain_text("box-1 holdover by ntp, known to ±900 µs")
    plots = clocks.locator("figure")
    expect(plots).to_have_count(6)
    expect(plots.filter(has_text="10.77.0.21")).to_contain_text("certified ±14 µs")
    expect(plots.filter(has_text="10.77.0.24")).to_contain_text("self-reported ±")
    expect(plots.filter(has_text="10.77.0.25")).to_contain_text("unknown")
    expect(plots.filter(has_text="10.77.0.23").locator(".off")).to_have_text("certified ±9.03 ms")
    drawn = plots.filter(has_text="10.77.0.21").locator("polygon.measured")
    expect(drawn).to_have_count(1)

    hub.health(30, {"10.77.0.24": ("reported", 5, 5)})  # the others are not there for a minute
    expect(plots).to_have_count(1)
    hub.health(
        31, {"10.77.0.21": ("netsync", -14_000, 12_000), "10.77.0.23": ("netsync", -9_030_000, -8_990_000)}, state="holdover"
    )
    expect(plots).to_have_count(2)
    assert 62 == len((drawn.get_attribute("points") or "").split())  # what it was before is still drawn
    asked = [url for url in watched.asked if "/api/clocks" in url]
    assert all("after=" in url for url in asked) and len(asked) > 2
    watched.page.reload()  # and as much as for who looks for the first time
    expect(plots).to_have_count(2)
    points = [tuple(map(float, pair.split(","))) for pair in (drawn.get_attribute("points") or "").split()]
    assert 62 == len(points) and all(0 <= x <= 300 and 0 <= y <= 60 for x, y in points)
    assert "over 31 minutes, certified ±14 µs" in (plots.first.locator("svg").get_attribute("aria-label") or "")
    assert 0 == clocks.locator("b").count()
    assert not watched.scrolls_sideways()
    watched.page.screenshot(path=str(tmp_path / "clocks.png"))


def test_versions_rolled_out(hub: Hub, watched: Watched) -> None:
    """(S1-16) How far a version has come, and why it was halted; a cause is text there, whatever a box has said."""
    with hub.repository.transaction():
        hub.repository.change(
            "insert into editions values (?, 'v2', 2, 'here', 'stable', 'application', 0, 0, x'00', 0)", COMMAND
        )
        hub.repository.change(
            "insert into rollouts (edition, plan, state, phase, cause, by, started_tai_ns, changed_tai_ns) values (?, ?, 'halted', 0, ?, 'ann', ?, ?)",
            COMMAND, plan_stored(Plan()), HOSTILE, TAI, TAI,
        )  # fmt: skip
        for place, state in enumerate(("failed", "waiting", "waiting")):
            hub.repository.change(
                "insert into members (rollout, place, box, state) values (1, ?, ?, ?)", place, f"box-{place}", state
            )
    hub.knock()

    row = watched.page.locator("#rollouts > li")
    expect(row).to_contain_text("v2")
    expect(row).to_contain_text("phase 1 of 3: 1 failed, 2 waiting")
    expect(row).to_contain_text("halted")
    expect(row).to_contain_text("since 11-22 10:15:00: ")
    assert 0 == row.locator("img, script").count()


def test_the_keyboard_stays_where_it_is(hub: Hub, watched: Watched) -> None:
    """(S2-120) A call that happens again and a request that comes on are written anew under whoever is at their buttons: he is there still."""
    order = Order(COMMAND, "hub-1", "box-1", "retrieval", 1, TAI, TAI + 300 * SECOND, {})

    def happens(times: int) -> None:
        with hub.repository.transaction():
            open_call(hub.repository, "wears", "box-1 arm-2", "box-1", "wears", TAI + times * SECOND)
            hub.repository.put_evidence(EvidenceState(COMMAND, "box-1", times, times << 20, times), TAI)
        hub.knock()
        expect(watched.page.locator("#requests > li")).to_contain_text(f"{times} parts")

    with hub.repository.transaction():
        hub.repository.add_command(order, about=None, now_tai_ns=TAI)
    happens(1)
    for times, button in enumerate(("Acknowledge call 1", "Close call 1", "Cancel"), start=2):
        place = watched.page.get_by_role("button", name=button)
        place.focus()
        happens(times)
        expect(watched.page.locator("#calls > li")).to_contain_text(f"{times} times")
        expect(place).to_be_focused()


def test_calls_sessions_and_advice(hub: Hub, watched: Watched) -> None:
    """(S2-123, S2-124, S2-131) A service call is acknowledged and closed by somebody with a name; sessions say whether all of them is
    here; advice says whether it was shown. What a rule or a box says stands there as text, at any width."""
    session = ("box-1", "00112233aabbccdd", "procedure", "complete", TAI, 0, "event", TAI + 600 * SECOND, TAI)
    summary = '{"priorities": {"1": 2}, "events": {}, "slices": 1}'
    with hub.repository.transaction():
        open_call(hub.repository, "wears", "box-1 arm-2", "box-1", HOSTILE, TAI)
        open_call(hub.repository, "wears", "box-1 arm-2", "box-1", HOSTILE, TAI + 60 * SECOND)
        hub.repository.change(
            "insert into sessions (box, session, kind, state, start_tai_ns, start_uncertainty_ns, opened_by, end_tai_ns, changed_tai_ns,"
            " streams, summary) values (?, ?, ?, ?, ?, ?, ?, ?, ?, '[[\"arm-2\", \"joint\", 40, 7]]', ?)",
            *session, summary,
        )  # fmt: skip
        order = Order(
            COMMAND, "box-1", "box-1", "feedback", 1, TAI, TAI + 300 * SECOND, {"advice": "replace-tool", "device": "arm-2"}
        )
        hub.repository.add_command(order, about=None, now_tai_ns=TAI)
        hub.repository.set_command(COMMAND, "done", detail="shown: box", now_tai_ns=TAI)
    hub.knock()
    page, call = watched.page, watched.page.locator("#calls > li")
    expect(call).to_contain_text("2 times, last 11-22 10:16:00")
    expect(page.locator("#sessions > li")).to_contain_text("11-22 10:15:00 – 10:25:00")
    expect(page.locator("#sessions > li")).to_contain_text("complete")
    expect(page.locator("#sessions > li")).to_contain_text("40 messages, 2 of them alarms, evidence of 1 event")
    expect(page.locator("#advice > li")).to_contain_text("(arm-2) a person should consider replacing the tool")
    expect(page.locator("#advice > li")).to_contain_text("shown: box")
    expect(page.locator("#advice > li")).to_contain_text("11-22 10:15:00")

    page.get_by_role("button", name="Acknowledge call 1").click()
    expect(page.locator("#calls-news")).to_contain_text("Write your name first")
    page.get_by_label("Your name").fill("Kim")
    page.get_by_role("button", name="Acknowledge call 1").click()
    expect(call).to_contain_text("acknowledged")
    expect(call).to_contain_text("Kim")
    page.set_viewport_size({"width": 390, "height": 800})
    assert not watched.scrolls_sideways()
    page.get_by_role("button", name="Close call 1").click()
    expect(page.locator("#calls-section")).to_be_hidden()
    assert [("closed", "Kim")] == [(row["state"], row["by"]) for row in hub.repository.rows("select state, by from calls")]

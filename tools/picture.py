"""docs/hub.png: the hub's page as it is today, of a running chain, for the README.

    .venv/bin/python tools/picture.py                 the demo's room, or the shipped recording of one where none can be made
    .venv/bin/python tools/picture.py --no-room       the recording
    .venv/bin/python tools/picture.py --into a.png --width 390 --dark

Broker, hub and box run as real processes; the browser asks for evidence with the page's own button and waits for its link.
Ends with 1 and a sentence when it cannot be done.
"""

import argparse
import struct
import sys
import tempfile
import zlib
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from drivers.errors import Trouble
from simulator.browser import chromium, what_is_missing
from simulator.chain import SHORT_GROUPS, Chain
from simulator.hub_view import HubView
from simulator.namespaces import what_is_missing as what_a_room_lacks
from simulator.recordings import ROOM
from simulator.room import Room, Scenario
from simulator.source import RecordingSource, RoomSource, Source

if TYPE_CHECKING:
    from playwright.sync_api import Page

HEIGHT = 800
BYTES_MAX = 200_000  # It lies in the repository, and every new one stays there.
ALARMS = 3
WAIT_S = 60.0
AROUND = "± 2 s"
SEGMENT_S = 4
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def main() -> int:
    """Take it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=Path(__file__).parents[1] / "docs" / "hub.png")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--no-room", action="store_true")
    a = parser.parse_args()
    missing = what_is_missing()
    if missing:
        _say(f"no picture: {missing}")
        return 1
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        try:
            no_room = "asked to do without" if a.no_room else what_a_room_lacks()
            picture = _taken(stack, Path(directory), no_room, width=a.width, dark=a.dark)
        except Trouble as trouble:
            _say(f"no picture: {trouble}")
            return 1
    if len(picture) > BYTES_MAX:
        _say(f"no picture: expected at most {BYTES_MAX} bytes, got {len(picture)}")
        return 1
    a.into.parent.mkdir(parents=True, exist_ok=True)
    a.into.write_bytes(picture)
    _say(f"{a.into}: {len(picture)} bytes")
    return 0


def _taken(stack: ExitStack, directory: Path, no_room: str | None, *, width: int, dark: bool) -> bytes:
    source: Source
    if no_room is None:
        source = RoomSource(stack.enter_context(Room(directory / "room", Scenario(seconds=86_400))))
    else:
        _say(f"of the recording, no room: {no_room}")
        source = RecordingSource(ROOM, speed=1.0, go=directory / "go", why=no_room)
    settings = {"capture": {}, "group": SHORT_GROUPS} | dict(source.settings())
    settings["capture"] = {**settings["capture"], "segment_s": SEGMENT_S}
    settings["health"] = {"health_s": 10}  # The page draws clocks from what the box says of its health.
    chain = stack.enter_context(Chain(directory / "chain", box_settings=settings, elsewhere=source.elsewhere()))
    browser = stack.enter_context(chromium())
    chain.wait_until_it_hears()
    source.start()
    view = HubView(chain.database)
    if source.elsewhere():
        # Before the alarm, which must still be among the newest messages when the page is opened. Three points are a line.
        chain.wait("measured clocks", lambda: len(view.messages(kind="health")) > 2, timeout_s=WAIT_S)
    alarm = source.alarm()
    chain.wait("messages of every priority", lambda: all(view.messages_by_priority().values()), timeout_s=WAIT_S)
    chain.wait("alarms", lambda: len(view.messages(priority=1)) >= ALARMS, timeout_s=WAIT_S)
    page = browser.new_page(viewport={"width": width, "height": HEIGHT}, color_scheme="dark" if dark else "light")
    page.goto(chain.page)
    _ask(page, alarm if no_room is None else None)
    return in_few_colours(page.screenshot())


def _ask(page: "Page", alarm: str | None) -> None:
    """Evidence around this alarm; around the latest report of the box itself for a recording, whose devices tell their own time."""
    from playwright.sync_api import expect

    rows = page.locator("#messages > li")
    detail = page.locator("#priorities .p4")
    if alarm is None:
        detail.click()
        row = rows.filter(has=page.locator(".where", has_text="health"))
    else:
        row = rows.filter(has_text=alarm)
    page.locator("#around").select_option(label=AROUND)
    row.first.get_by_role("button").click(timeout=WAIT_S * 1000)
    expect(page.locator("#requests a").first).to_be_visible(timeout=WAIT_S * 1000)
    if alarm is None:
        detail.click()
    else:
        # Another one on its way, around the alarm that has just come.
        newest = page.locator("#messages > .p1:first-child")
        newest.get_by_role("button").click(timeout=WAIT_S * 1000)
        expect(page.locator("#messages .evidence span:not(:empty)").first).to_be_visible()
    expect(page.locator("#connection")).to_have_text("live")
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")


def in_few_colours(png: bytes) -> bytes:
    """The same picture with the 256 colours it has most of, every other pixel in the nearest of them: a third of the bytes.

    png: as Chromium makes it, 8 bits a channel, red, green, blue and maybe alpha, which is dropped.
    """
    width, height, channels, pixels = _pixels(png)
    colours = [pixels[at : at + 3] for at in range(0, len(pixels), channels)]
    counts = Counter(colours)
    palette = [colour for colour, _ in counts.most_common(256)]
    nearest = {colour: min(range(len(palette)), key=lambda at: _distance(palette[at], colour)) for colour in counts}
    flat = bytes(nearest[colour] for colour in colours)
    lines = b"".join(b"\0" + flat[at : at + width] for at in range(0, len(flat), width))
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"PLTE", b"".join(palette)), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b"")]
    return SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def _pixels(png: bytes) -> tuple[int, int, int, bytes]:
    """(width, height, channels, pixels in rows) of a PNG. Source: W3C Portable Network Graphics, 9 Filtering."""
    assert png.startswith(SIGNATURE)
    chunks: dict[bytes, bytes] = {}
    at = len(SIGNATURE)
    while at < len(png):
        size, kind = struct.unpack_from(">I4s", png, at)
        chunks[kind] = chunks.get(kind, b"") + png[at + 8 : at + 8 + size]
        at += size + 12
    width, height, depth, colour = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    channels = {2: 3, 6: 4}[colour]
    assert depth == 8
    data = zlib.decompress(chunks[b"IDAT"])
    stride = width * channels
    former = bytearray(stride)
    rows = []
    for start in range(0, len(data), stride + 1):
        row = bytearray(data[start + 1 : start + 1 + stride])
        _unfilter(data[start], row, former, channels)
        rows.append(row)
        former = row
    return width, height, channels, b"".join(rows)


def _unfilter(kind: int, row: bytearray, former: bytearray, channels: int) -> None:
    for at in range(len(row) if kind else 0):
        left = row[at - channels] if at >= channels else 0
        above = former[at]
        corner = former[at - channels] if at >= channels else 0
        row[at] = (row[at] + (0, left, above, (left + above) // 2, _paeth(left, above, corner))[kind]) & 255


def _paeth(left: int, above: int, corner: int) -> int:
    guess = left + above - corner
    return min((left, above, corner), key=lambda value: abs(guess - value))


def _distance(one: bytes, other: bytes) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())

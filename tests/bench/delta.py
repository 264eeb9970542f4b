"""What a version costs on the way to a box: whole, and as what differs by one line; over a real broker, all that crosses it counted.

    hub ─▶ mosquitto ─▶ box's uplink           a third client hears what passes

The system's bundle beside it, where one was built (make image).
"""

import hashlib
import json
import select
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from drivers.link import Connected, LinkRequest, Received
from drivers.linux.board import LinuxBoard
from drivers.linux.identity import LinuxIdentity, introduce
from drivers.linux.link import PahoLink
from drivers.linux.slots import LinuxSlots
from firmware.core.download import Wish, wish_packed
from firmware.core.spool import Spool
from firmware.hub.settings import HubSettings
from firmware.hub.station import HubStation
from firmware.update.bundle import made
from firmware.update.page import program_files
from firmware.uplink.settings import UplinkSettings
from firmware.uplink.station import UplinkStation
from simulator.broker import RealBroker

HERE = Path(__file__).parent
SYSTEM = HERE.parents[1] / "build" / "image" / "amd64" / "update.raucb"
FETCH_S_MAX = 900.0
HEARD = ("scrubjay/v1/+/+/want", "scrubjay/v1/+/+/piece")


@dataclass(frozen=True, slots=True)
class Row:
    """bundle_bytes: of the file. crossed_bytes: topics and payloads of everything that was said for it."""

    what: str
    bundle_bytes: int
    crossed_bytes: int
    seconds: float


def measured() -> list[Row]:
    """Whole, one line, the system."""
    with tempfile.TemporaryDirectory(prefix="scrubjay-bench-") as directory:
        place = Path(directory)
        introduce(place / "vendor", name="vendor", site="")
        signer = LinuxIdentity(place / "vendor")
        slots = LinuxSlots(place, lambda process: (), lambda version: {})
        former = dict(program_files(slots))
        changed = {
            **former,
            "firmware/roles.py": former["firmware/roles.py"].replace(b"A role is a table", b"A role is one table"),
        }
        assert former != changed
        rows = []
        for what, base in (("application, whole", None), ("application, one line", "v1")):
            data = made(
                changed, former if base else {}, version="v2", counter=2, board=slots.board, made_tai_ns=1, expires_tai_ns=1 << 62, base=base,
                signer="vendor", sign=signer.sign,
            )  # fmt: skip
            crossed, seconds = _fetched(place / what.replace(" ", "-"), data)
            rows.append(Row(what, len(data), crossed, seconds))
        if SYSTEM.exists():
            data = SYSTEM.read_bytes()
            rows.append(Row("system, whole", len(data), *_fetched(place / "system", data)))
        return rows


def main(path: Path | None) -> None:
    """Print them. path: where the figures go as well."""
    rows = measured()
    print(f"{'sent to a box':24} {'bundle':>12} {'crossed':>12} {'s':>6}")
    for row in rows:
        print(f"{row.what:24} {row.bundle_bytes:12,} {row.crossed_bytes:12,} {row.seconds:6.1f}")
    print(f"whole / one line: {rows[0].crossed_bytes / rows[1].crossed_bytes:.1f}")
    if path is not None:
        path.write_text(json.dumps({"sent": [asdict(row) for row in rows]}, indent=1))


def _fetched(place: Path, data: bytes) -> tuple[int, float]:
    """Bytes that crossed the broker, and s, until the box has it."""
    broker = RealBroker(place / "broker")
    broker.start()
    boards = {name: LinuxBoard(place / name, place / f"{name}-identity") for name in ("box", "hub")}
    box, hub = boards["box"], boards["hub"]
    stations = [
        (box, UplinkStation(box, UplinkSettings(brokers=(broker.address,), backoff_s_max=1))),
        (hub, HubStation(hub, HubSettings(brokers=(broker.address,), database=str(place / "hub.sqlite"), backoff_s_max=1))),
    ]
    for board, station in stations:
        station.start(board.clock.now())
    ear = PahoLink()
    ear.connect(LinkRequest(broker.address, "ear"))
    wish = Wish(hashlib.sha256(data).digest(), len(data))
    hub.disk.write(f"published/{wish.name}", data)
    crossed, is_heard, began = 0, False, 0.0
    until = time.monotonic() + FETCH_S_MAX
    try:
        while not box.disk.exists(f"downloads/{wish.name}"):
            if time.monotonic() > until:
                raise SystemExit(f"expected the file within {FETCH_S_MAX:.0f} s")
            for board, station in stations:
                station.step(board.clock.now())
            for event in ear.events():
                if isinstance(event, Connected):
                    ear.subscribe(HEARD)
                    is_heard = True
                elif isinstance(event, Received):
                    crossed += len(event.topic) + len(event.payload)
            if is_heard and not began:
                began = time.monotonic()
                Spool(box.disk, "wanted").publish(wish.name, wish_packed(wish))
            select.select([ear.fileno(), *(fd for _, station in stations for fd in station.descriptors())], [], [], 0.02)
        return crossed, time.monotonic() - began
    finally:
        ear.close()
        for board, station in stations:
            station.stop(board.clock.now())
        broker.stop()

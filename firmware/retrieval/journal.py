"""How far each order has come, and what this day has cost: so that a restart sends nothing a second time.

    retrieval/<order's identity>   {"parts": how many are published, "chain": digest over them, "cancelled": true or false,
                                    "bytes_max": what the whole answer may come to}
    retrieval/day                  {"day": days since 1970, UTC, "orders": taken, "bytes": published}

The parts of an order follow from the frames alone, so a search that begins again makes the same ones: those that the chain knows are
not published again. Where it makes others, because a segment has come or gone meanwhile, they are all new.
A file that makes no sense is none: then parts go twice, and the hub takes one of the two.
"""

import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass

from drivers.disk import Disk
from firmware.core.durable import make_directory, read_or_none, replace
from firmware.core.errors import Missing

JOURNAL = "retrieval"
DAY = "day"
DAY_NS = 86_400 * 1_000_000_000
_BYTES_MAX = 4_096


@dataclass(frozen=True, slots=True)
class Progress:
    """parts: published; chain: hexadecimal digest over their bodies, "" before the first. cancelled: only its end is owed.

    bytes_max: room for all parts, as it was when the order was taken; 0 before the first. What is left of the day later is less by those
    published already.
    """

    parts: int = 0
    chain: str = ""
    cancelled: bool = False
    bytes_max: int = 0

    def after(self, body: bytes) -> "Progress":
        """With one part more."""
        return Progress(self.parts + 1, chained(self.chain, body), self.cancelled, self.bytes_max)


@dataclass(frozen=True, slots=True)
class Day:
    """One day's cost. day: since 1970, UTC."""

    day: int = 0
    orders: int = 0
    bytes: int = 0


def chained(chain: str, body: bytes) -> str:
    """The digest over the parts so far and one more."""
    return hashlib.sha256(chain.encode() + hashlib.sha256(body).digest()).hexdigest()


class Journal:
    """The directory. Every change is durable when its method returns; raises DiskFull, DiskFailed."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._day = Day()

    def start(self, orders: Collection[bytes]) -> None:
        """Make the directory, and forget the orders that are not among these."""
        make_directory(self._disk, JOURNAL)
        kept = {identity.hex() for identity in orders} | {DAY}
        for name in self._disk.list(JOURNAL):
            if name not in kept:
                self._disk.remove(f"{JOURNAL}/{name}")
        row = self._read(DAY)
        self._day = Day(*(_whole(row.get(key)) for key in ("day", "orders", "bytes")))

    def progress(self, identity: bytes) -> Progress:
        """How far it has come."""
        row = self._read(identity.hex())
        chain = row.get("chain")
        return Progress(
            _whole(row.get("parts")), chain if isinstance(chain, str) else "", row.get("cancelled") is True,
            _whole(row.get("bytes_max")),
        )  # fmt: skip

    def put(self, identity: bytes, progress: Progress) -> None:
        """It has come so far."""
        replace(self._disk, JOURNAL, identity.hex(), json.dumps(asdict(progress)).encode())

    def forget(self, identity: bytes) -> None:
        """It is over."""
        try:
            self._disk.remove(f"{JOURNAL}/{identity.hex()}")
        except Missing:
            return

    def today(self, utc_ns: int) -> Day:
        """This day's cost so far. Another day begins at nothing, an earlier one as well: a clock that was wrong blocks nobody for years."""
        day = max(0, utc_ns // DAY_NS)
        return self._day if day == self._day.day else Day(day)

    def add(self, utc_ns: int, *, orders: int = 0, size: int = 0) -> None:
        """It has cost so much more."""
        today = self.today(utc_ns)
        day = Day(today.day, today.orders + orders, today.bytes + size)
        replace(self._disk, JOURNAL, DAY, json.dumps(asdict(day)).encode())
        self._day = day  # After it: what the disk refused is tried again, and counts once.

    def _read(self, name: str) -> dict[str, object]:
        try:
            row = json.loads(read_or_none(self._disk, f"{JOURNAL}/{name}", size=_BYTES_MAX) or b"{}")
        except ValueError:
            return {}
        return row if isinstance(row, dict) else {}


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0

"""`scrubjay find --order`: the published messages among the frames that match, in the order they happened, and how sure that is."""

from collections.abc import Iterator
from dataclasses import dataclass

from drivers.clock import Now
from drivers.disk import Disk
from firmware.core import pcapng
from firmware.core.certificate import Account, DeviceOffset, account_from
from firmware.core.chronology import Happened, Placed, happened, lines, placed
from firmware.core.clock_page import STATE, STATE_BYTES_MAX
from firmware.core.durable import read_or_none
from firmware.core.entrance import Rules, message_of
from firmware.core.errors import BadItem, Corrupt, DiskFailed, Missing
from firmware.core.frame import ip_text
from firmware.core.hearing import Hearing
from firmware.core.look import Damage, Damages
from firmware.core.query import Query
from firmware.core.seal import Seal
from firmware.core.sift import Sift, sifted
from firmware.core.store import Hit, Store
from firmware.core.summary import Summary
from firmware.retrieval.find import damage_lines
from firmware.retrieval.listing import text_shown

MESSAGES_MAX = 100_000  # some 200 MB in memory; an order of more is for nobody to read


@dataclass(frozen=True, slots=True)
class Order:
    """What was found, in order. tai_offset_s: for showing it. damaged: what might have held more and cannot be read."""

    rows: tuple[Placed, ...]
    tai_offset_s: int
    damaged: tuple[Damage, ...]

    def as_json(self) -> list[dict[str, object]]:
        """For --json."""
        return [
            {
                "device": row.happened.message.device, "priority": int(row.happened.message.priority),
                "event": row.happened.message.event, "text": text_shown(row.happened.message), "segment": row.happened.segment,
                "identity": row.happened.message.identity.hex(), "best_tai_ns": row.happened.best_ns,
                "earliest_tai_ns": row.happened.earliest_ns, "latest_tai_ns": row.happened.latest_ns,
                "may_come_before": row.swaps, "certified": row.happened.offset is not None,
            }
            for row in self.rows
        ]  # fmt: skip

    def lines(self) -> list[str]:
        """For people."""
        if not self.rows:
            return ["no published messages among the frames that match", *damage_lines(self.damaged)]
        unsure = sum(row.swaps > 0 for row in self.rows)
        head = f"{len(self.rows)} messages by corrected time; {unsure} marked ~ may have happened before one shown above them"
        return [head, *lines(self.rows, tai_offset_s=self.tai_offset_s, words=text_shown), *damage_lines(self.damaged)]


def order(disk: Disk, query: Query, sift: Sift | None, *, rules: Rules, now: Now) -> Order:
    """Every message once, however often the mirror port carried it. Raises BadItem for a query that cannot be understood, or when
    there are more than MESSAGES_MAX: then it has to be narrowed."""
    store = Store(disk, summary=Summary(disk))
    certificates = _Certificates(store, disk, rules, now=now)
    hearing = Hearing(rules.ports, drop=_nothing, count=_nothing)
    found: dict[bytes, Happened] = {}
    damages = Damages()
    for step in store.walk(query):
        if isinstance(step, Damage):
            damages.add(step)
            continue
        hit = None if step is None else sifted(sift.completed(step, store), sift) if sift is not None else step
        for packet in () if hit is None else _packets(hit):
            datagram = hearing.datagram(packet.data, packet.stamp_ns)
            if hit is None or datagram is None or len(packet.data) != packet.wire_bytes:
                continue
            message = message_of(
                datagram.payload, source_ip=datagram.source_ip, port=datagram.port, stamp_utc_ns=packet.stamp_ns, now=now, rules=rules,
                count=_nothing, is_altered=datagram.is_altered,
            )  # fmt: skip
            offset = certificates.of(ip_text(datagram.source_ip), hit.segment, message.received_time.tai_ns)
            found.setdefault(message.identity, happened(message, hit.segment, offset))
            if len(found) > MESSAGES_MAX:
                raise BadItem(f"expected at most {MESSAGES_MAX} messages to put in order; narrow it by time or device")
    return Order(tuple(placed(found.values())), now.tai_offset_s, damages.all())


class _Certificates:
    """What the seals say of the devices' clocks: for each moment the nearer of its own segment's and the one before it."""

    def __init__(self, store: Store, disk: Disk, rules: Rules, *, now: Now) -> None:
        """now: for the segment that has no seal yet."""
        self._store = store
        self._disk = disk
        self._rules = rules
        self._now = now
        self._names = store.names()
        self._places = {name: place for place, name in enumerate(self._names)}
        self._known: dict[str, tuple[Account | None, int | None]] = {}

    def of(self, address: str, segment: str, tai_ns: int) -> DeviceOffset | None:
        """Of the clock of who has this address. None when nothing is certified, or the box's own clock jumped meanwhile.

        Nor when there was a leap second since the segment before: until each device was told of it they are a second apart.
        """
        own, tai_offset_s = self._account(segment)
        at = self._places.get(segment, 0)
        before, tai_offset_before_s = self._account(self._names[at - 1]) if at else (None, tai_offset_s)
        if own is None or tai_offset_before_s not in (None, tai_offset_s):
            return None
        # A device on the mirror port and on the room interface has two addresses and one name.
        name = self._rules.devices.get(address, address)
        rows = [
            row
            for account in (own, before)
            if account is not None
            for row in account.devices
            if row.method.is_measured and (row.device == address or self._rules.devices.get(row.device) == name)
        ]
        return min(rows, key=lambda row: abs(row.at_tai_ns - tai_ns), default=None)

    def _account(self, segment: str) -> tuple[Account | None, int | None]:
        """What its seal certifies, and TAI minus UTC then; None where nobody can say."""
        if segment not in self._known:
            self._known[segment] = self._read(segment)
        return self._known[segment]

    def _read(self, segment: str) -> tuple[Account | None, int | None]:
        try:
            made: Seal | None = self._store.segment(segment).seal()
        except (Corrupt, DiskFailed, Missing):
            return None, None  # verify names it; what it certified is worth nothing
        if made is None:
            try:
                state = read_or_none(self._disk, STATE, size=STATE_BYTES_MAX)
            except DiskFailed:
                state = None
            return account_from(state or b"", now=self._now.monotonic), self._now.tai_offset_s  # still being recorded
        if made.time is None or made.time.steps:
            return None, made.tai_offset_s
        return Account(made.time.grandmaster, made.time.devices), made.tai_offset_s


def _packets(hit: Hit) -> Iterator[pcapng.Packet]:
    head = pcapng.section_header() + pcapng.interface("") * len(hit.interfaces)
    try:
        yield from pcapng.packets(head + hit.blocks)
    except BadItem:
        return  # verify names it


def _nothing(cause: str) -> None:
    """An order is no place to count them; intake did when it heard them."""

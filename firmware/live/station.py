"""The station: hears chosen streams through a tap of its own, writes batches of samples into inbox/."""

from collections.abc import Mapping, Sequence

from drivers.board import Board
from drivers.clock import Monotonic, Now
from drivers.tap import Block, Tap, TapRequest
from firmware.core.block import frames
from firmware.core.durable import make_directory
from firmware.core.errors import BadItem, BadSettings, DiskFailed, DiskFull, Missing, TapFailed
from firmware.core.frame import parsed
from firmware.core.message import Message, packed
from firmware.core.report import Report
from firmware.core.spool import Spool
from firmware.core.streams import wish
from firmware.core.streams.decoders import Decoders, tap_filter
from firmware.core.streams.samplers import LONGEST_NS
from firmware.core.timestamp import MS, SECOND
from firmware.live.batch import messages
from firmware.live.flows import Chosen, names_of
from firmware.live.settings import LiveSettings

INBOX = "inbox"
FRAMES_A_STEP = 500  # some 10 to 50 ms on a board: what an alarm heard in the same process may have to wait
AGAIN_NS = SECOND


class LiveStation:
    """Does nothing at all, and opens no tap, as long as no stream is chosen."""

    name = "live"

    def __init__(self, board: Board, settings: LiveSettings) -> None:
        """Raises BadSettings."""
        self.report = Report(self.name)
        self._board = board
        self._settings = settings
        names, less = checked(settings)
        self._chosen = Chosen(
            names, lambda sample: less.sampler(sample.stream, sample.kind), values_max=settings.values_max
        )  # fmt: skip
        protocols = sorted({stream.partition("/")[0] for stream in names})
        self._decoders = Decoders(protocols)
        self._request = tap_request(settings.interface, protocols) if names else None
        self._spool = Spool(board.disk, INBOX)
        self._tap: Tap | None = None
        self._rest: list[
            tuple[int, bytes, int]
        ] = []  # frames of the last block not yet looked at: stamp, bytes, size on the wire
        self._lost_before: dict[str, int] = {}
        self._tap_again = Monotonic(0)
        self._batch_due: Monotonic | None = None
        self._number = 0

    def start(self, now: Now) -> None:
        make_directory(self._board.disk, INBOX)
        # A name must not repeat in the next life of this process, even where the clock stood still in between.
        self._number = int.from_bytes(self._board.identity.entropy(4), "big")

    def step(self, now: Now) -> Monotonic | None:
        if self._request is None:
            return None
        more = self._hear(now, self._request)
        if not more:
            self._settle(now.utc_ns)
        if self._chosen.ready_values and self._batch_due is None:
            self._batch_due = now.monotonic.after(self._settings.batch_ms * MS)
        if self._batch_due is not None and now.monotonic >= self._batch_due:
            self._batch_due = None
            self._write(now)
        if more:
            return now.monotonic
        settle_due = now.monotonic.after(LONGEST_NS) if self._chosen.has_undecided else None
        tap_due = self._tap_again if self._tap is None else None
        wishes = [due for due in (self._batch_due, settle_due, tap_due) if due is not None]
        return min(wishes, default=None)

    def directories(self) -> Sequence[str]:
        return ()

    def descriptors(self) -> Sequence[int]:
        return () if self._tap is None else (self._tap.fileno(),)

    def stop(self, now: Now) -> None:
        self._settle(None)
        self._write(now)
        if self._tap is not None:
            self._tap.close()
            self._tap = None

    def _settle(self, now_ns: int | None) -> None:
        for cause in self._chosen.settle(now_ns):
            self.report.drop(cause)

    def _hear(self, now: Now, request: TapRequest) -> bool:
        """Some frames; whether there may be more."""
        if self._tap is None:
            if now.monotonic < self._tap_again:
                return False
            self._open_tap(now, request)
        if self._tap is None:
            return False
        if not self._rest:
            try:
                block = self._tap.next()
            except TapFailed as trouble:
                self._lose_tap(trouble, now)
                return False
            if block is None:
                self._count_losses(self._tap)
                return False
            self._unpack(block)
            self._tap.release(block)
        now_due, self._rest = self._rest[:FRAMES_A_STEP], self._rest[FRAMES_A_STEP:]
        for stamp_ns, data, wire_bytes in now_due:
            self._hear_frame(stamp_ns, data, wire_bytes)
        return True

    def _unpack(self, block: Block) -> None:
        try:
            self._rest = [(row.stamp_ns, bytes(row.data), row.wire_bytes) for row in frames(block.data, block.frame_count)]
        except BadItem:
            self.report.drop("bad_block")

    def _hear_frame(self, stamp_ns: int, data: bytes, wire_bytes: int) -> None:
        self.report.count("frames")
        try:
            frame = parsed(data)
        except BadItem:
            self.report.drop("bad_frame")
            return
        between = (
            frame.source_ip or frame.source_mac, frame.destination_ip or frame.destination_mac,
            frame.source_port, frame.destination_port,
        )  # fmt: skip
        decoded = self._decoders.decode(frame, data, wire_bytes, stamp_ns)
        for sample in decoded.samples:
            self.report.count("samples")
            if (cause := self._chosen.add(sample, between, stays=decoded.turned)) is not None:
                self.report.drop(cause)

    def _write(self, now: Now) -> None:
        """One item with everything that is ready. What cannot be written is dropped: it was for watching, and it is over."""
        rows: list[Message] = []
        for flow in self._chosen.take():
            rows += messages(
                flow.ready, device=self._board.identity.name, name=flow.name, flow=flow.number, left_out=flow.left_out,
                received=now.timestamp, tai_offset_ns=now.tai_offset_s * SECOND,
            )  # fmt: skip
        if not rows:
            return
        count = sum(flow_count for row in rows if isinstance(flow_count := row.fields["count"], int))
        try:
            self._spool.publish(self._item_name(now), packed(rows))
        except (DiskFull, DiskFailed, Missing) as trouble:
            # Missing: the inbox's consumer started at this moment and took the hidden file for a leftover.
            cause = {DiskFull: "disk_full", DiskFailed: "disk_failed"}.get(type(trouble), "inbox_restarted")
            self.report.drop(cause, count)
            return
        self.report.count("messages", len(rows))
        self.report.count("samples_sent", count)

    def _open_tap(self, now: Now, request: TapRequest) -> None:
        try:
            self._tap = self._board.tap(request)
        except TapFailed as trouble:
            self._lose_tap(trouble, now)
            return
        self._lost_before = {}
        self.report.gauge("tap", "open")
        self.report.gauge("tap_trouble", "none")

    def _lose_tap(self, trouble: TapFailed, now: Now) -> None:
        if self._tap is not None:
            self._tap.close()
            self._tap = None
        self.report.drop("tap_failed")
        self.report.gauge("tap", "closed")
        self.report.gauge("tap_trouble", str(trouble))
        self._tap_again = now.monotonic.after(AGAIN_NS)

    def _count_losses(self, tap: Tap) -> None:
        for cause, count in tap.counters().dropped.items():
            if (more := count - self._lost_before.get(cause, 0)) > 0:
                self.report.drop(cause, more)
            self._lost_before[cause] = count

    def _item_name(self, now: Now) -> str:
        self._number = (self._number + 1) % 1_000_000
        return f"live-{min(max(now.timestamp.tai_ns, 0), 10**20 - 1):020d}-{self._number:06d}"


def tap_request(interface: str, protocols: Sequence[str]) -> TapRequest:
    """The kernel filters by protocol. 4 MiB hold half a second of everything a robot says; what falls over is counted."""
    return TapRequest(
        interface=interface, filter=tap_filter(protocols), block_bytes=1 << 17, block_count=32, retire_ms=100
    )  # fmt: skip


def checked(settings: LiveSettings) -> tuple[Mapping[str, str], wish.Wish]:
    """The site's names by stream, and how they are made fewer. Raises BadSettings naming the entry that cannot be read."""
    words = {"rates": settings.rates} if settings.reduce == "sample" else {"error": settings.error}
    try:
        return names_of(settings.streams), wish.from_parameters({"reduce": settings.reduce, **words})
    except BadItem as problem:
        raise BadSettings(f"[live] {problem}") from None

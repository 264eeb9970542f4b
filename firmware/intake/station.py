"""The station: hears datagrams through the tap, writes messages into inbox/."""

from collections.abc import Sequence
from dataclasses import replace

from drivers.board import Board
from drivers.clock import Monotonic, Now
from drivers.tap import Block, Tap, TapRequest
from firmware.core.block import frames
from firmware.core.checksum import transport_holds
from firmware.core.durable import make_directory
from firmware.core.errors import BadItem, DiskFailed, DiskFull, Missing, TapFailed
from firmware.core.fragments import Reassembler
from firmware.core.frame import UDP, Frame, parsed
from firmware.core.message import Message, Priority, joined, packed
from firmware.core.report import Report
from firmware.core.spool import Spool
from firmware.core.timestamp import MS, SECOND
from firmware.intake.backlog import Backlog
from firmware.intake.entrance import message_of, rules_of
from firmware.intake.settings import IntakeSettings

INBOX = "inbox"
BLOCKS_A_STEP = 16  # 2 MiB of frames, some thousand messages: then others of this process have their turn.
STOP_STEPS_MAX = 4  # Twice the whole ring: what keeps coming after that belongs to the next life.
UDP_SIZE = 8
AGAIN_NS = SECOND  # After a full disk or a lost interface: slow enough to cost nothing, quick enough for a person at the box.


class IntakeStation:
    """Hears, never sends."""

    name = "intake"

    def __init__(self, board: Board, settings: IntakeSettings) -> None:
        """Raises BadSettings."""
        self.report = Report(self.name)
        self._board = board
        self._rules = rules_of(settings)
        self._request = tap_request(settings)
        self._spool = Spool(board.disk, INBOX)
        self._backlog = Backlog(
            wait_ns={
                Priority.P1: 0,
                Priority.P2: settings.p2_batch_ms * MS,
                Priority.P3: settings.p3_batch_ms * MS,
                Priority.P4: settings.p4_batch_ms * MS,
            },
            batch_count=settings.batch_count,
            count_max=settings.backlog_count,
            bytes_max=settings.backlog_bytes,
        )
        self._reassembler = Reassembler(self.report.drop)
        self._known: dict[bytes, None] = {}  # identities of the last messages, oldest first
        self._known_max = settings.duplicate_count
        self._tap: Tap | None = None
        self._lost_before: dict[str, int] = {}
        self._tap_again = Monotonic(0)
        self._disk_again = Monotonic(0)
        self._number = 0

    def start(self, now: Now) -> None:
        make_directory(self._board.disk, INBOX)
        # A name must not repeat in the next life of this process, even where the clock stood still in between.
        self._number = int.from_bytes(self._board.identity.entropy(4), "big")
        self._open_tap(now)

    def step(self, now: Now) -> Monotonic | None:
        more = self._hear(now)
        self._write(now)
        self.report.gauge("backlog_messages", self._backlog.count)
        if more:
            return now.monotonic
        wishes = [self._tap_again] if self._tap is None else []
        if (due := self._backlog.next_due()) is not None:
            wishes.append(max(due, self._disk_again))
        return min(wishes, default=None)

    def directories(self) -> Sequence[str]:
        return ()

    def descriptors(self) -> Sequence[int]:
        return () if self._tap is None else (self._tap.fileno(),)

    def stop(self, now: Now) -> None:
        """Everything heard is written, whether its time has come or not."""
        for _ in range(STOP_STEPS_MAX):
            if not self._hear(now):
                break
        self._disk_again = now.monotonic
        self._write(now, all_of_it=True)
        if self._tap is not None:
            self._tap.close()
            self._tap = None

    def _open_tap(self, now: Now) -> None:
        try:
            self._tap = self._board.tap(self._request)
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

    def _hear(self, now: Now) -> bool:
        """Blocks up to a step's ceiling; whether there may be more."""
        if self._tap is None and now.monotonic >= self._tap_again:
            self._open_tap(now)
        if self._tap is None:
            return False
        for _ in range(BLOCKS_A_STEP):
            try:
                block = self._tap.next()
            except TapFailed as trouble:
                self._lose_tap(trouble, now)
                return False
            if block is None:
                self._count_losses(self._tap)
                return False
            self._read(block, now)
            self._tap.release(block)
        return True

    def _count_losses(self, tap: Tap) -> None:
        for cause, count in tap.counters().dropped.items():
            if (more := count - self._lost_before.get(cause, 0)) > 0:
                self.report.drop(cause, more)
            self._lost_before[cause] = count

    def _read(self, block: Block, now: Now) -> None:
        try:
            for row in frames(block.data, block.frame_count):
                self.report.count("frames")
                if len(row.data) < row.wire_bytes:
                    self.report.drop("cut_frame")
                    continue
                self._hear_frame(bytes(row.data), row.stamp_ns, now)
        except BadItem:
            self.report.drop("bad_block")

    def _hear_frame(self, data: bytes, stamp_ns: int, now: Now) -> None:
        try:
            frame = parsed(data)
        except BadItem:
            self.report.drop("bad_frame")
            return
        if frame.trouble is not None:
            self.report.drop(f"bad_{frame.trouble}")
            return
        if frame.protocol != UDP:
            return
        if frame.fragment is None:
            self._hear_datagram(frame, data[frame.transport_start : frame.payload_end], stamp_ns, now)
            return
        whole = self._reassembler.add(frame, data[frame.transport_start : frame.payload_end], stamp_ns)
        if whole is None:
            return
        length = int.from_bytes(whole[4:6], "big")
        if not 8 <= length <= len(whole):
            self.report.drop("bad_udp")
            return
        port = int.from_bytes(whole[2:4], "big")
        self._hear_datagram(replace(frame, destination_port=port), whole[:length], stamp_ns, now)

    def _hear_datagram(self, frame: Frame, datagram: bytes, stamp_ns: int, now: Now) -> None:
        """datagram: UDP's header and what follows."""
        port, payload = frame.destination_port, datagram[UDP_SIZE:]
        if port is None or port not in self._rules.ports:
            return
        if not payload:
            self.report.drop("empty")
            return
        is_altered = transport_holds(frame, datagram) is False
        if is_altered:
            self.report.count("bad_checksum")
        message = message_of(
            payload, source_ip=frame.source_ip, port=port, stamp_utc_ns=stamp_ns, now=now, rules=self._rules,
            count=self.report.count, is_altered=is_altered,
        )  # fmt: skip
        if self._is_copy(message):
            self.report.drop("duplicate")
            return
        self.report.count("messages")
        self.report.count(f"messages_p{int(message.priority)}")
        self._backlog.add(message.priority, packed([message]), now.monotonic)

    def _is_copy(self, message: Message) -> bool:
        """Whether it was heard before: mirror ports send both directions, publishers repeat themselves.

        A message with a count of its own and no time is recognised by the count: of its copies each arrives at another moment.
        """
        key = message.identity
        if message.sequence is not None and message.origin_time.source == "arrival":
            key = replace(message, origin_time=replace(message.origin_time, tai_ns=0)).identity
        if key in self._known:
            return True
        self._known[key] = None
        if len(self._known) > self._known_max:
            del self._known[next(iter(self._known))]
        return False

    def _write(self, now: Now, *, all_of_it: bool = False) -> None:
        cause = "disk_full"
        while now.monotonic >= self._disk_again:
            priority = self._backlog.due(now.monotonic, all_of_it=all_of_it)
            if priority is None:
                break
            batch = self._backlog.batch(priority)
            try:
                self._spool.publish(self._item_name(now), joined(batch))
            except (DiskFull, DiskFailed) as trouble:
                cause = "disk_full" if isinstance(trouble, DiskFull) else "disk_failed"
                self._disk_again = now.monotonic.after(AGAIN_NS)
                break
            except Missing:
                # The inbox's consumer started at this moment and took the hidden file for a leftover. Once more, under a new name.
                self.report.count("publish_again")
                continue
            self._backlog.written(priority, len(batch), now.monotonic)
            self.report.count("items")
        if (dropped := self._backlog.trim()) > 0:
            self.report.drop(cause, dropped)

    def _item_name(self, now: Now) -> str:
        self._number = (self._number + 1) % 1_000_000
        return f"intake-{min(max(now.timestamp.tai_ns, 0), 10**20 - 1):020d}-{self._number:06d}"


def tap_request(settings: IntakeSettings) -> TapRequest:
    """The kernel filters: message ports and IP fragments, bare or in one or two VLAN tags.

    The ring is small (4 MiB) because only messages reach it, and hands over after 10 ms instead of capture's 100 because an
    alarm waits for it. Blocks of 128 KiB, because a frame that a card put together (64 KiB) must fit into one with its headers.
    """
    ports = (*settings.p1_ports, *settings.p2_ports, *settings.p3_ports, *settings.p4_ports, *settings.syslog_ports)
    listed = " or ".join(f"udp dst port {port}" for port in dict.fromkeys(ports))
    fragment = "(ip[6:2] & 0x3fff != 0) or ip6[6] = 44"
    wanted = f"{listed} or {fragment}" if listed else fragment
    return TapRequest(
        interface=settings.interface,
        filter=f"({wanted}) or (vlan and ({wanted})) or (vlan and ({wanted}))",
        block_bytes=1 << 17,
        block_count=32,
        retire_ms=10,
    )

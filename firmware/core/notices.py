"""What the box says itself: health, errors, results of commands. Ordinary messages through the ordinary entrance, inbox/."""

from collections.abc import Mapping
from dataclasses import replace

from drivers.board import Board
from drivers.clock import Now
from firmware.core.durable import make_directory
from firmware.core.message import Field, Message, Priority, Severity, packed
from firmware.core.spool import Spool

INBOX = "inbox"
_NAME_NS_MAX = 10**20 - 1  # 20 digits, as everywhere in names


class Notices:
    """One station's own voice. Each notice is durable in inbox/ when `say` returns; raises DiskFull or DiskFailed when it is not."""

    def __init__(self, board: Board, station: str) -> None:
        """station: the writer's name, part of every item's name, so that no two writers can choose the same."""
        self._board = board
        self._station = station
        self._spool = Spool(board.disk, INBOX)
        self._count = 0

    def start(self) -> None:
        """Make sure there is an inbox; what is hidden in it is its consumer's to clear away."""
        make_directory(self._board.disk, INBOX)

    def say(
        self,
        now: Now,
        kind: str,
        priority: Priority,
        severity: Severity,
        text: str,
        *,
        fields: Mapping[str, Field] | None = None,
        event: str | None = None,
        origin_ns: int | None = None,
    ) -> None:
        """One message. kind, event: tokens. text: ours alone, never foreign words.

        origin_ns: ns TAI of what it is about, where saying it twice must give one message (its identity follows from its time);
        None: now.
        """
        origin = now.timestamp if origin_ns is None else replace(now.timestamp, tai_ns=origin_ns)
        message = Message(
            device=self._board.identity.name, process=self._station, kind=kind, priority=priority, severity=severity,
            origin_time=origin, received_time=now.timestamp, event=event, text=text, fields=fields or {},
        )  # fmt: skip
        self._spool.publish(self._free_name(now), packed([message]))

    def _free_name(self, now: Now) -> str:
        # A process that ended and came back within one tick of its clock would choose its former names again.
        taken = {entry.partition("~")[0] for entry in self._board.disk.list(INBOX)}
        while True:
            stamp = min(max(now.timestamp.tai_ns, 0), _NAME_NS_MAX)
            name = f"{self._station}-{stamp:020d}-{self._count % 1_000_000:06d}"
            self._count += 1
            if name not in taken:
                return name

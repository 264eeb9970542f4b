"""Files for those who ask for them piece by piece: what a hub publishes, and what a relay holds for its house."""

from collections.abc import Callable
from dataclasses import replace

from drivers.clock import Monotonic
from drivers.disk import Disk
from firmware.core.download import PIECE_BYTES_MAX, Piece, Want, Wish, piece_packed
from firmware.core.errors import DiskFailed, Missing
from firmware.core.port import Port
from firmware.core.report import Report
from firmware.core.topics import Topic

ASKING_MAX = 10_000  # A fleet that asks all at once; who finds no room asks again.
# Publications of a broker's window that acknowledgements and commands find free, whoever asks for files; half of a narrow one.
KEPT_FREE = 10
READ_A_STEP = 64  # pieces: 1 MiB read and published before others have their turn


class Serving:
    """A directory of files called by their digests. The latest want of each who asks counts; nothing of it is kept on the disk."""

    def __init__(self, disk: Disk, directory: str, report: Report) -> None:
        self._disk = disk
        self._directory = directory
        self._report = report
        self._asking: dict[Topic, tuple[Port, Want]] = {}  # in the order in which they have their turn

    def has(self, wish: Wish) -> bool:
        """Whether this file is here, and is of this size."""
        try:
            return self._disk.size(f"{self._directory}/{wish.name}") == wish.size
        except Missing:
            return False

    def ask(self, port: Port, topic: Topic, want: Want) -> None:
        """Somebody wants a stretch of a file that is here."""
        if topic not in self._asking and len(self._asking) >= ASKING_MAX:
            self._report.drop("asking_full")
            return
        self._asking[topic] = port, want

    def serve(self, now: Monotonic, *, may: Callable[[Topic], bool] = lambda topic: True) -> None:
        """A piece to each in turn, as far as there is room behind what is more important. may: whether this one may be sent to now."""
        for _ in range(READ_A_STEP):
            topic = next((topic for topic, (port, _) in self._asking.items() if _has_room(port)), None)
            if topic is None:
                return
            port, want = self._asking.pop(topic)
            if not may(topic):
                self._report.count("not_now")
                continue
            try:
                data = self._disk.read(
                    f"{self._directory}/{want.wish.name}", offset=want.offset, size=min(want.count, PIECE_BYTES_MAX)
                )
            except (Missing, DiskFailed):
                self._report.drop("file_unreadable")
                continue
            if not data or not port.publish(topic.to("piece"), piece_packed(Piece(want.wish, want.offset, data)), now):
                continue  # Who asked asks again.
            self._report.count("pieces")
            self._report.count("piece_bytes", len(data))
            if want.count > len(data):
                self._asking[topic] = port, replace(want, offset=want.offset + len(data), count=want.count - len(data))

    def is_busy(self) -> bool:
        """Whether somebody waits, and could be sent something now."""
        return any(_has_room(port) for port, _ in self._asking.values())


def _has_room(port: Port) -> bool:
    return port.room() > min(KEPT_FREE, port.window() // 2)

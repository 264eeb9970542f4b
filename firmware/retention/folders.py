"""groups/ and sent/: files by priority and time, deleted by age and by room. No receipts: the hub has them, or never was to."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from drivers.disk import Disk
from firmware.core import envelope, message, release
from firmware.core.errors import BadItem, DiskFailed, Missing
from firmware.core.timestamp import SECOND
from firmware.retention.plan import Kept, kept, too_many
from firmware.retention.settings import RetentionSettings

DAY_NS = 86_400 * SECOND
FILES_A_STEP = 64
REMEMBERED_MAX = 10_000


@dataclass(slots=True)
class Folder:
    """One directory. retain_days: by priority. bytes_max: for all its files."""

    disk: Disk
    path: str
    retain_days: Sequence[int]
    bytes_max: int
    _received: dict[str, int] = field(default_factory=dict)

    def sweep(self, tai_ns: Callable[[], int | None]) -> Iterator[int]:
        """Delete what must go, some files at a time; yields how many went. tai_ns: the time to judge ages by, None while in doubt."""
        files: list[Kept] = []
        for count, name in enumerate(self.disk.list(self.path), start=1):
            row = self._row(name)
            if row is not None:
                files.append(row)
            if count % FILES_A_STEP == 0:
                yield 0
        going = too_many(files, bytes_max=self.bytes_max)
        gone = {row.name for row in going}
        for at in range(0, len(going), FILES_A_STEP):
            yield self._delete([row.name for row in going[at : at + FILES_A_STEP]])
        rest = [row for row in files if row.name not in gone]
        for at in range(0, len(rest), FILES_A_STEP):
            now_tai_ns = tai_ns()
            if now_tai_ns is None:
                return
            yield self._delete([row.name for row in rest[at : at + FILES_A_STEP] if self._is_old(row, now_tai_ns)])

    def _row(self, name: str) -> Kept | None:
        if name.startswith("."):
            return None
        try:
            return kept(name, self.disk.size(f"{self.path}/{name}"))
        except Missing:
            return None

    def _is_old(self, row: Kept, tai_ns: int) -> bool:
        retain_ns = self.retain_days[row.priority - 1] * DAY_NS
        if tai_ns - row.tai_ns <= retain_ns:
            return False
        # The name tells the time of what is inside by the sender's clock, which may say 1970. Ours was when it was received.
        received = self._received.get(row.name)
        if received is None:
            received = self._last_received(row, tai_ns)
            if len(self._received) < REMEMBERED_MAX:
                self._received[row.name] = received
        return tai_ns - received > retain_ns

    def _last_received(self, row: Kept, tai_ns: int) -> int:
        """Of the messages inside; of evidence, whose frames may be of any age, now: it is remembered until a restart."""
        try:
            data = self.disk.read(f"{self.path}/{row.name}")
            if _is_evidence(data):
                return tai_ns if len(self._received) < REMEMBERED_MAX else row.tai_ns
            messages = message.unpacked(_group_body(data))
        except (BadItem, DiskFailed, Missing):
            return row.tai_ns  # Whoever cannot be read must not hold up the others.
        return max(entry.received_time.tai_ns for entry in messages)

    def _delete(self, names: Sequence[str]) -> int:
        deleted = 0
        for name in names:
            try:
                self.disk.remove(f"{self.path}/{name}")
            except Missing:
                continue
            self._received.pop(name, None)
            deleted += 1
        if deleted:
            self.disk.sync_dir(self.path)
        return deleted


def folders(disk: Disk, settings: RetentionSettings) -> tuple[Folder, ...]:
    """Every folder there is to sweep."""
    groups = [
        Folder(disk, f"groups/p{priority}", settings.retain_groups_days, settings.groups_bytes_max // 4)
        for priority in (1, 2, 3, 4)
    ]
    return (*groups, Folder(disk, "sent", settings.retain_sent_days, settings.sent_bytes_max))


def _is_evidence(data: bytes) -> bool:
    try:
        return envelope.unpacked(data).kind == "evidence"
    except BadItem:
        return False


def _group_body(data: bytes) -> bytes:
    """The message batch in a release item or an envelope; raises BadItem for evidence and anything else."""
    try:
        item = release.unpacked(data)
    except BadItem:
        row = envelope.unpacked(data)
        if row.kind != "group":
            raise BadItem("expected a group") from None
        return envelope.content_of(row)
    if item.kind != "group":
        raise BadItem("expected a group")
    return item.body

"""What was said during a session: for each device's process how many messages, and the last of its own numbers.

Counted from what group keeps, after it was asked to publish everything. The hub has everything when it has at least as many of each.
"At least": messages told apart only by what deidentify takes out are one here; and what is read back from the segments later is more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from drivers.disk import Disk
from firmware.core import message, release
from firmware.core.entrance import AHEAD_NS_MAX, OWN_KINDS
from firmware.core.errors import BadItem, Missing
from firmware.core.message import Field, Message
from firmware.core.session import Session

STREAMS_MAX = 256  # each a field of the closing message, which may have 1,024; those with the fewest messages are summed up
GROUPS = "groups"
_Key = tuple[object, ...]


@dataclass(slots=True)
class Stream:
    """keys: its messages, each by what nobody takes out of it. last: the highest of their own numbers, None where it does not count."""

    keys: set[_Key] = field(default_factory=set)
    last: int | None = None


@dataclass(slots=True)
class Account:
    """By device and process."""

    session: Session
    streams: dict[tuple[str, str], Stream] = field(default_factory=dict)

    def add(self, row: Message) -> None:
        """A message; one of another time, or of the box's own, does not count."""
        assert self.session.end is not None, "an account is of a session that has ended"
        if row.kind in OWN_KINDS or not self.session.start.tai_ns <= row.received_time.tai_ns <= self.session.end.tai_ns:
            return
        stream = self.streams.setdefault((row.device, row.process), Stream())
        stream.keys.add((row.kind, row.priority, row.severity, row.origin_time.tai_ns, row.sequence, row.event))
        if row.sequence is not None and (stream.last is None or row.sequence > stream.last):
            stream.last = row.sequence

    def fields(self) -> dict[str, Field]:
        """As the closing message carries it: "stream.0" "DEVICE PROCESS COUNT LAST", LAST "-" where there is none.

        Not by a field named after the device: a name with "patient" in it would be taken for somebody's.
        """
        rows = sorted(self.streams.items(), key=lambda row: (-len(row[1].keys), row[0]))
        found: dict[str, Field] = {"messages": sum(len(stream.keys) for _, stream in rows), "streams": len(rows)}
        for number, ((device, process), stream) in enumerate(rows[:STREAMS_MAX]):
            last = "-" if stream.last is None else str(stream.last)
            found[f"stream.{number}"] = f"{device} {process} {len(stream.keys)} {last}"
        return found


def counting(disk: Disk, account: Account, *, not_uploaded: Sequence[int]) -> Iterator[None]:
    """Fill the account, a file at a time. not_uploaded: priorities that stay on the box.

    A file's name tells when the devices say it began; a clock more than a day off is not looked for, and does not count.
    """
    session = account.session
    assert session.end is not None, "an account is of a session that has ended"
    first, last = session.start.tai_ns - AHEAD_NS_MAX, session.end.tai_ns + AHEAD_NS_MAX
    for priority in (1, 2, 3, 4):
        if priority in not_uploaded:
            continue
        for name in disk.list(f"{GROUPS}/p{priority}"):
            stamp = name[3:23]
            if name.startswith(".") or not stamp.isdecimal() or not first <= int(stamp) <= last:
                continue
            try:
                rows = message.unpacked(release.unpacked(disk.read(f"{GROUPS}/p{priority}/{name}")).body)
            except (BadItem, Missing):
                continue  # Retention was quicker, or it is nothing group has written.
            for row in rows:
                account.add(row)
            yield

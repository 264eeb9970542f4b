"""The station: release items in, envelopes out. Nobody else writes outbox/."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from drivers.board import Board
from drivers.clock import Monotonic, Now
from firmware.core import envelope
from firmware.core.compression import Policy
from firmware.core.disk_pause import DiskPause
from firmware.core.durable import make_directory
from firmware.core.errors import BadItem, DiskFailed, DiskFull
from firmware.core.expiry import is_expired, say_discarded
from firmware.core.message import BATCH_BYTES_MAX, joined, packed, unpacked_rows
from firmware.core.notices import Notices
from firmware.core.release import Release
from firmware.core.release import unpacked as unpacked_release
from firmware.core.report import Report
from firmware.core.sensitive_names import SensitiveNames
from firmware.core.spool import Item, Spool
from firmware.core.streams.wish import note
from firmware.core.timestamp import SECOND
from firmware.deidentify.evidence import Counts
from firmware.deidentify.evidence import cleaned as cleaned_evidence
from firmware.deidentify.frames import FrameRules
from firmware.deidentify.packing import SMALL_BYTES, Packers, Packing
from firmware.deidentify.settings import DeidentifySettings
from firmware.deidentify.words import WORD_REMOVED, WordRules, is_harmless_word
from firmware.deidentify.words import cleaned as cleaned_message

AGAIN_NS = SECOND
ITEMS_A_STEP = 8  # groups cleaned for one sync of the outbox; a tenth of a second on a board
JOBS_MAX = 2  # pieces of evidence in hand, some MiB each: one, and one more urgent that came meanwhile


@dataclass(slots=True)
class _Job:
    """Something long in hand: cleaned a stretch a step, then compressed a slice a step. counts: of evidence."""

    item: Item
    release: Release
    pieces: Iterator[bytes]
    counts: Counts | None = None
    facts: dict[str, int | str] = field(default_factory=dict)
    done: list[bytes] = field(default_factory=list)
    packing: Packing | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    """Names not to take: those in hand, and those behind `last`."""

    names: set[str]
    last: str | None

    def __contains__(self, name: object) -> bool:
        return name in self.names or (self.last is not None and isinstance(name, str) and name > self.last)


class DeidentifyStation:
    """Groups at once, evidence a stretch at a time, so that an alarm does not wait behind four megabytes of frames."""

    name = "deidentify"

    def __init__(self, board: Board, settings: DeidentifySettings) -> None:
        self.report = Report(self.name)
        self._disk = board.disk
        self._box = board.identity.name
        names = SensitiveNames.of(settings.sensitive_fields)
        self._words = WordRules(names, frozenset(kind.lower() for kind in settings.release_attachment_types))
        self._frames = FrameRules(
            message_ports=frozenset(settings.message_ports),
            payload_ports=frozenset(settings.release_payload_ports),
            payload_ethertypes=frozenset(settings.release_payload_ethertypes),
            names=names,
        )
        policy = Policy(settings.compress_to_percent, settings.compress_to_bytes)
        self._packers = Packers(board, policy=policy, share=settings.compress_core_percent / 100)
        self._release = Spool(board.disk, "release")
        self._outbox = Spool(board.disk, "outbox")
        self._notices = Notices(board, self.name)
        self._jobs: dict[str, _Job] = {}
        self._ready: dict[str, tuple[Item, bytes]] = {}  # cleaned, not yet in the outbox
        self._pause = DiskPause(lambda cause: self.report.count(f"waits_{cause}"), pause_ns=AGAIN_NS)

    def start(self, now: Now) -> None:
        self._release.start(self.report.drop)
        make_directory(self._disk, "outbox")

    def step(self, now: Now) -> Monotonic | None:
        return self._pause.step(now, self._work)

    def directories(self) -> Sequence[str]:
        return ("release",)

    def descriptors(self) -> Sequence[int]:
        return ()

    def stop(self, now: Now) -> None:
        """What is in hand goes back; being asked to stop is no attempt that failed."""
        try:
            for item in [*(job.item for job in self._jobs.values()), *(item for item, _ in self._ready.values())]:
                self._release.put_back(item)
        except (DiskFull, DiskFailed):
            pass  # Then it counts as one: three are left.
        self._jobs.clear()
        self._ready.clear()

    def _work(self, now: Now) -> Monotonic | None:
        self._publish()
        busy = self._take(now)
        self._publish()
        self._clean_a_stretch()
        self.report.gauge("evidence_in_hand", len(self._jobs))
        return now.monotonic if busy or self._jobs or self._ready else None

    def _take(self, now: Now) -> bool:
        """The next items by name (most urgent, then earliest), while evidence is in hand only those before it; whether there was one."""
        known = _Known({*self._jobs, *self._ready}, min(self._jobs, default=None))
        items = self._release.take_new(known, count_max=ITEMS_A_STEP)
        for item in items:
            try:
                release = unpacked_release(item.data)
                if is_expired(release.facts, now):
                    self._discard(item, release, now)
                elif release.kind == "group":
                    self._clean_group(item, release)
                else:
                    counts = Counts()
                    pieces = cleaned_evidence(release.body, self._frames, counts, note=note(release.facts.get("reduce")))
                    self._jobs[item.name] = _Job(item, release, pieces, counts)
            except BadItem as trouble:
                self._reject(item, str(trouble))
        while len(self._jobs) > JOBS_MAX:
            last = max(self._jobs)
            self._release.put_back(self._jobs[last].item)
            del self._jobs[last]
        return bool(items)

    def _discard(self, item: Item, release: Release, now: Now) -> None:
        """It waited too long, for want of room perhaps. The original stays in groups/."""
        count = release.facts.get("messages", 0)
        try:
            say_discarded(
                self._notices, now, name=item.name, priority=release.priority, messages=count if isinstance(count, int) else 0,
                first_tai_ns=release.first_tai_ns, last_tai_ns=release.last_tai_ns,
            )  # fmt: skip
        except (DiskFull, DiskFailed):
            self._release.put_back(item)  # Not its fault, and never in silence.
            raise
        self._release.settle(item)
        self.report.drop(f"expired_p{int(release.priority)}")

    def _clean_group(self, item: Item, release: Release) -> None:
        removed, singles = 0, []
        for row in unpacked_rows(release.body):
            message, count = cleaned_message(row.message, self._words)
            removed += count
            singles.append(row.single if message is row.message else packed([message]))
        content = joined(singles)
        if len(content) > BATCH_BYTES_MAX:
            raise BadItem(f"expected a group of at most {BATCH_BYTES_MAX} bytes after removal")
        self.report.count("messages", len(singles))
        self.report.count("parts_removed", removed)
        facts: dict[str, int | str] = {"parts_removed": removed}
        if not is_harmless_word(str(release.facts.get("event", "")), self._words.names):
            facts["event"] = WORD_REMOVED
        job = _Job(item, release, iter(()), facts=facts, packing=self._packing(release, content))
        if len(content) > SMALL_BYTES:
            self._jobs[item.name] = job
            return
        while not self._pack_a_slice(job):
            continue

    def _clean_a_stretch(self) -> None:
        """Some frames, or some compression, of the most urgent long item."""
        if not self._jobs:
            return
        name = min(self._jobs)
        job = self._jobs[name]
        if job.packing is not None:
            if self._pack_a_slice(job):
                del self._jobs[name]
            return
        try:
            piece = next(job.pieces, None)
        except BadItem as trouble:
            del self._jobs[name]
            self._reject(job.item, str(trouble))
            return
        if piece is not None:
            job.done.append(piece)
            return
        assert job.counts is not None, "only evidence is cleaned in stretches"
        self.report.count("released_whole", job.counts.whole)
        self.report.count("released_cut", job.counts.cut)
        job.facts = {"released_whole": job.counts.whole, "released_cut": job.counts.cut}
        job.packing = self._packing(job.release, b"".join(job.done))
        job.done.clear()

    def _packing(self, release: Release, content: bytes) -> Packing:
        is_group = release.kind == "group"
        return self._packers.begin(content, is_small_group=is_group, is_urgent=is_group and int(release.priority) <= 2)

    def _pack_a_slice(self, job: _Job) -> bool:
        """Whether that was the last, and the item is ready."""
        assert job.packing is not None
        packing = job.packing
        job.packing = self._packers.step(packing)
        if job.packing is not None:
            return False
        release, choice = job.release, packing.choice
        out = envelope.sealed_envelope(
            box=self._box, kind=release.kind, priority=release.priority, first_tai_ns=release.first_tai_ns,
            last_tai_ns=release.last_tai_ns, content=packing.content, asked_by=release.asked_by,
            facts={**release.facts, **job.facts, **({} if choice.has_dictionary else {"codec": choice.reason})}, choice=choice, body=packing.body,
        )  # fmt: skip
        self._ready[job.item.name] = (job.item, envelope.packed(out))
        self.report.count(f"codec_{out.codec}")
        self.report.count("bytes_before", out.raw_size)
        self.report.count("bytes_after", len(out.body))
        return True

    def _publish(self) -> None:
        """Outbox first, release second: the other order loses the item when the power goes in between."""
        if not self._ready:
            return
        self._outbox.publish_all([(name, data) for name, (_, data) in sorted(self._ready.items())])
        for item, _ in self._ready.values():
            self._release.settle(item)
        self.report.count("released", len(self._ready))
        self._ready.clear()

    def _reject(self, item: Item, reason: str) -> None:
        self.report.drop("bad_item")
        try:
            self._release.reject(item, reason)
        except (DiskFull, DiskFailed):
            # It stays where it is, and does not leave: that is what matters. It is met again at the next start.
            self.report.count("waits_disk_full")

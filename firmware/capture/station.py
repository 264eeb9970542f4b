"""The capture station: blocks from the tap into stretches, stretches into the segment, segments sealed; and every trouble on the way.

    block ─▶ stretch (memory) ─▶ segment (page cache) ─▶ disk (sync) ─▶ sealed
             one second at most   searchable              survives a power cut   signed

A block is given back to the kernel only when its frames were handed to the disk: after a crash it may be heard twice, never not at all.
"""

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum

from drivers.board import Board
from drivers.clock import Monotonic, Now
from firmware.capture.announcer import Announcer
from firmware.capture.cut import MAD_NS, Cut, cut_after, first_moment
from firmware.capture.ears import Ears, Heard, last_stamp, requests, stamp_of
from firmware.capture.ledger import Ledger, then_ns, unsaid
from firmware.capture.overlap import Repeats
from firmware.capture.settings import CaptureSettings
from firmware.core._kernel import Stretch
from firmware.core.certificate import Account, TimeWatch, account_from
from firmware.core.durable import make_directory, read_or_none
from firmware.core.errors import Corrupt, DiskFailed, DiskFull, Missing
from firmware.core.message import Severity
from firmware.core.noted import note
from firmware.core.recovery import Chain, recover
from firmware.core.report import Report
from firmware.core.segment import Segment
from firmware.core.segment_writer import Losses, SegmentWriter, Source
from firmware.core.session import STANDING, is_to_record
from firmware.core.timestamp import MS, SECOND

SEGMENTS, RECEIPTS = "segments", "receipts"
CLOCK_STATE = "state/clock"
CLOCK_STATE_BYTES_MAX = 1 << 18  # with 256 devices it has 100 KiB
# Writing it costs two thirds a frame of what it does with 1 MiB (37 for 53 ns at IMIX); a search for one frame unpacks it in a millisecond.
STRETCH_BYTES = 2 << 20
# While blocks come several at once, beyond some 300 Mbit/s: writing a stretch costs 300 us of Python and system calls out of cold caches,
# however long it is. 60-byte frames and IMIX cost a twelfth less by it. As long as a link may be (lz4chain.RAW_MAX).
STRETCH_BYTES_BUSY = 4 << 20
BLOCKS_A_STEP = 16  # 16 MiB between two looks at the clock: a tenth of a second of a saturated Gbit/s.
# Handed over as one where so many are ready: what Python does around a block, out of caches that the frames before have swept, is as
# much as a fifth of what the frames cost. No more than a sixteenth of the ring, for the first of them is given back with the last, and
# after a kill all of them come again and are compared with what was recorded (overlap.py): 37,000 frames of 60 bytes at the most.
BLOCKS_AT_ONCE = 4
RING_SHARE = 16
DISK_RETRY_NS = SECOND
STANDING_NS = (
    SECOND  # How often it is looked whether to record; a session's first second is the price where a site records no others.
)
STANDING_BYTES_MAX = 256
ROOM_BYTES_MIN = 4 * STRETCH_BYTES  # Without a reserve, too, there must be room for a while.
_BLOCK_DONE, _CUT_REACHED = 0, 2  # why Stretch.add came back, as kernel.c says it; 1 is a full stretch


class State(Enum):
    """How recording stands."""

    RECORDING = "recording"
    DISK_FULL = "disk_full"
    DISK_FAILED = "disk_failed"
    OUTSIDE = "outside_session"  # the site records sessions only, and none is open
    STOPPED = "stopped"


class CaptureStation:
    """Records the interfaces. says: whether changes of state are published in inbox/ as well."""

    name = "capture"

    def __init__(self, board: Board, settings: CaptureSettings, *, says: bool = True) -> None:
        self.report = Report(self.name)
        self._board = board
        self._settings = settings
        self._announcer = Announcer(board, self.report, says=says)
        self._ledger = Ledger()
        self._ears = Ears(board, requests(settings), self._ledger, self.report)
        self._stretch = Stretch(STRETCH_BYTES_BUSY)
        self._stretch.clear(0, STRETCH_BYTES)
        self._is_busy = False  # whether the last blocks came several at once
        self._stretch_since: Monotonic | None = None
        self._state = State.STOPPED
        self._troubled: State | None = None  # what is wrong with the disk, since it was last seen to take frames
        self._longest_wait_ms = 0  # of a frame in the ring; beyond what the ring holds it would be lost there
        self._chain = Chain(0, None)
        self._has_begun = False  # since when this process knows by itself what was lost
        self._is_unsaid = False  # frames were lost, and neither a seal nor a note tells of them yet
        self._writer: SegmentWriter | None = None
        self._cut = Cut(0, Monotonic(0), 0)
        self._ending: tuple[str, Losses] | None = None
        self._time = TimeWatch()
        self._uncertain = 0
        self._unaccounted: tuple[SegmentWriter, tuple[str, Losses] | None] | None = None
        self._repeats = Repeats(board.disk, SEGMENTS, self.report, interfaces=len(settings.interfaces))
        self._sync_at: Monotonic | None = None
        self._retry_at = Monotonic(0)
        self._standing_at = Monotonic(0)
        self._outside: tuple[int, Now] | None = None  # frames heard and not recorded, and since when

    # What the loop calls.

    def start(self, now: Now) -> None:
        """Listen first: what is heard while the last segment is put right waits in the ring.

        In the same ring as before where the keeper has one: then nothing was missed, and what is handed out again is told apart.
        """
        if self._writer is None:
            self._ears.open(now)
            self._repeats.look_for([number for number, ear in enumerate(self._ears.all) if ear.is_taken_over])
            self._begin(now, "interrupted")
            self._hear(now)  # What there is to say about the interface has a place to lie only now.

    def step(self, now: Now) -> Monotonic | None:
        self._time.look(now)
        self._hear(now)
        if self._state is not State.RECORDING and now.monotonic >= self._retry_at:
            self._resume(now)
        self._look_whether_to_record(now)
        taken = self._take(now)
        self._keep_time(now)
        self._ears.poll(now)
        self._note_losses()
        return now.monotonic if taken == BLOCKS_A_STEP else self._wake(now)

    def directories(self) -> Sequence[str]:
        return ()

    def descriptors(self) -> Sequence[int]:
        """None while blocks are held: the kernel calls a ring with a block in our hands readable, and we would never rest."""
        return () if self._ears.has_blocks else self._ears.descriptors()

    def stop(self, now: Now) -> None:
        self._time.look(now)
        # What was heard before the end was asked for, to the last frame. What comes after is for the next life, where the keeper keeps
        # the rings for one; else nothing more is heard. An heir reads on in milliseconds: all that waits, waits for it.
        hands_over = self._keeps and self._board.supervisor.hands_over
        if not hands_over:
            self._take_round(now)
            if self._state is State.RECORDING:
                self._flush(now)  # With blocks in our hands a ring is readable, and cannot be waited on.
            if self._keeps:
                self._ears.catch_up()
            else:
                self._ears.finish()
            self._take_round(now)
            if not self._keeps:
                self._ears.note_left(now)
        if self._state is State.RECORDING:
            self._flush(now)
        if self._state is State.RECORDING:
            self._end(now, "handover" if hands_over else "stop")
        elif self._state is State.DISK_FULL and self._writer is not None:
            self._end(now, "stop")  # What the reserve is for. How many frames were lost is known to this process only.
        if self._writer is not None:
            self._writer.close()  # What could not be sealed is for the next start.
        self._lose(
            State.DISK_FAILED.value, self._uncertain, now
        )  # It was never looked at again: nobody knows that they are there.
        self._uncertain = 0
        self._ears.close()
        self._state = State.STOPPED
        self.report.gauge("state", self._state.value)

    def _take_round(self, now: Now) -> None:
        """The rings once round, and no more: a busy wire would have it go on for ever."""
        rings = len(self._ears.all)  # A block may be taken in as many slices as there are blocks of the others.
        for _ in range(self._settings.ring_block_count * rings * rings // BLOCKS_A_STEP + 1):
            if self._take(now) < BLOCKS_A_STEP:
                break

    @property
    def _keeps(self) -> bool:
        if not self._has_begun or self._is_unsaid:
            return False
        return self._board.supervisor.keeps and all(ear.title for ear in self._ears.all if ear.hears)

    # Hearing.

    def _hear(self, now: Now) -> None:
        self._ears.open(now)
        self._announcer.hearing(self._ears, now)
        self._note_losses()
        self._keep()

    def _take(self, now: Now) -> int:
        """Blocks taken, at most BLOCKS_A_STEP."""
        taken = 0
        # One by one while it is looked for frames that an earlier life recorded.
        most = 1 if self._repeats.may_come else max(1, min(BLOCKS_AT_ONCE, self._settings.ring_block_count // RING_SHARE))
        while taken < BLOCKS_A_STEP:
            heard = self._ears.next(now, min(most, BLOCKS_A_STEP - taken))
            if heard is None:
                self._announcer.hearing(self._ears, now)  # One may have gone.
                break
            self._longest_wait_ms = max(self._longest_wait_ms, min(now.utc_ns - heard.first_ns, MAD_NS) // MS)
            self.report.gauge("longest_wait_ms", self._longest_wait_ms)
            self._is_busy = heard.block.count > 1
            taken += heard.block.count
            self.report.count("blocks", heard.block.count)
            self._record(heard, now)
        return taken

    def _record(self, heard: Heard, now: Now) -> None:
        self._tell_stamps_apart(now)
        block, interface = heard.block, heard.interface
        index, offset = self._repeats.first_new(heard)
        while self._state is State.RECORDING:
            cut_ns, mad_ns = self._cut.stamps(now)
            apart = self._writer.source.apart if self._writer is not None else 0
            until_ns = min(cut_ns, heard.until_ns)
            index, offset, why = self._stretch.add(block.data, index, offset, until_ns, mad_ns, interface, apart, block.stride)
            if self._stretch_since is None and self._stretch.frames:
                self._stretch_since = now.monotonic
            if why == _BLOCK_DONE:
                self._ears.hold(heard)
                if self._ears.held_count >= self._settings.ring_block_count // 4:
                    self._flush(now)  # At low rate blocks are nearly empty; the ring must not be held for a second of them.
                return
            if why == _CUT_REACHED and (stamp_of(block, offset) < cut_ns or self._ears.have_before(cut_ns)):
                self._ears.leave(heard, index, offset)  # Another interface's turn, and not yet the segment's end.
                return
            ending = self._cut
            self._flush(now)
            if why == _CUT_REACHED and self._state is State.RECORDING and self._cut is ending:
                self._end(now, "time")
                self._open(now, stamp_ns=stamp_of(block, offset))
        if self._outside is not None:
            self._outside = self._outside[0] + block.frame_count - index, self._outside[1]
            self.report.count("outside_session", block.frame_count - index)
        else:
            first_ns = heard.first_ns if offset == heard.offset else stamp_of(block, offset)
            self._lose(self._state.value, block.frame_count - index, now, stamps=(first_ns, last_stamp(block)))
        self._ears.release(heard)

    def _tell_stamps_apart(self, now: Now) -> None:
        """From when an interface stamps frames itself, a segment says of each who stamped it; one that has begun without ends here."""
        writer = self._writer
        if writer is None or writer.source.stamps_itself or not self._ears.stamp_themselves or self._state is not State.RECORDING:
            return
        if writer.size == 0:
            writer.source = replace(writer.source, stamps_itself=True)  # its interfaces are described with the first stretch
            return
        self._flush(now)
        if self._state is State.RECORDING and self._writer is writer:
            self._end(now, "time")
            self._open(now)

    # Writing.

    def _flush(self, now: Now) -> None:
        """The stretch to the disk, and the blocks it came from back to the kernel."""
        if self._stretch.frames:
            self._write(now)
        self._empty(now)
        if self._state is State.RECORDING and self._writer is not None and self._writer.size >= self._settings.segment_mb << 20:
            self._end(now, "size")
            self._open(now)

    def _write(self, now: Now) -> None:
        assert self._writer is not None, "recording means that a segment is open"
        try:
            if self._board.disk.free_bytes() < self._settings.reserve_mb << 20:
                raise DiskFull("expected more than the reserve to be free")
            before = self._writer.size
            self._writer.write(self._stretch)
        except DiskFull as trouble:
            self._trouble(trouble, now)
            return
        except DiskFailed as trouble:
            # Its frames may be on the disk or not; they are counted when it can be looked at.
            self._uncertain = self._stretch.frames
            self._stretch.clear()
            self._trouble(trouble, now)
            return
        self.report.count("frames", self._stretch.frames)
        if len(self._ears.all) > 1:
            for ear, (frames, _) in zip(self._ears.all, self._stretch.by_interface, strict=False):
                if frames:
                    self.report.count(f"frames{ear.suffix}", frames)
        self.report.count("bytes_wire", self._stretch.bytes_wire)
        self.report.count("bytes_pcapng", len(self._stretch))
        self.report.count("bytes_disk", self._writer.size - before)
        self.report.count("stretches")
        self.report.gauge("page_cache_only", "yes" if self._writer.is_cached_only else "no")
        if self._sync_at is None:
            self._sync_at = now.monotonic.after(self._settings.sync_interval_ms * MS)

    def _empty(self, now: Now) -> None:
        """The stretch is on the disk or lost: either way its blocks are done with."""
        if self._stretch.malformed:
            self._lose("malformed_block", self._stretch.malformed, now)
        self._stretch.clear(
            self._writer.size if self._writer is not None else 0, STRETCH_BYTES_BUSY if self._is_busy else STRETCH_BYTES
        )
        self._stretch_since = None
        self._ears.release()

    def _keep_time(self, now: Now) -> None:
        """What is due by time and not by a frame."""
        due = self._stretch_since
        if due is not None and now.monotonic.since(due) >= self._settings.stretch_ms * MS:
            self._flush(now)
        if self._state is State.RECORDING and self._sync_at is not None and now.monotonic >= self._sync_at:
            self._sync(now)
        if self._state is State.RECORDING and self._cut.is_due(now):
            self._flush(now)
            if self._state is State.RECORDING and self._cut.is_due(now):
                self._end(now, "time")
                self._open(now)

    def _sync(self, now: Now) -> None:
        """Begin a sync, or look how the last one ended. Never wait for one: a disk may take longer over it than the ring holds."""
        assert self._writer is not None
        self._sync_at = None
        try:
            if self._writer.is_syncing() or self._writer.start_sync():
                self._sync_at = now.monotonic.after(self._settings.sync_interval_ms * MS)
        except DiskFailed as trouble:
            self._trouble(trouble, now)

    # Segments.

    def _begin(self, now: Now, cause: str) -> None:
        """Put right what lies hidden, go on with the chain, open the next segment."""
        disk = self._board.disk
        try:
            make_directory(disk, SEGMENTS)
            self._announcer.start()
            # With the rings of the life before, what was not written then is not lost: it comes now. But not when it came and was given
            # up: how much is known to this process only, until its first seal.
            is_heard_on = not self._has_begun and self._ears.are_taken_over and not self._is_unsaid
            found = recover(
                disk, SEGMENTS, RECEIPTS, identity=self._board.identity, now=now, cause=cause, is_heard_on=is_heard_on
            )
        except (DiskFull, DiskFailed) as trouble:
            self._trouble(trouble, now)
            return
        self._chain = found.chain
        self._account(now)
        if found.silent_since_ns is not None and not self._has_begun and not is_heard_on:
            # A cut while nothing was heard leaves nothing to seal, and would be an hour nobody speaks of (storm seed 4).
            self._ledger.lost("interrupted", None, first_ns=found.silent_since_ns, last_ns=max(found.silent_since_ns, now.utc_ns))
        self._has_begun = True
        if found.removed:
            self.report.count("leftovers_removed", found.removed)
        if found.unreadable:
            self.report.drop("segment_unreadable", found.unreadable)
        if found.sealed:
            self.report.count("segments_recovered", len(found.sealed))
            self._announcer.say(
                now,
                Severity.WARNING,
                "recovered",
                f"recording was interrupted; {found.frames} frames were on the disk and are sealed"
                + (", and nothing that passed since was missed" if is_heard_on else ""),
            )
        self._state = State.RECORDING
        self._open(now)

    def _note_losses(self) -> None:
        """What is lost is noted beside the frames at once, for whoever seals them if this process is killed."""
        if self._writer is None or self._state is not State.RECORDING or not self._ledger.has_grown:
            return
        try:
            note(self._board.disk, self._writer.hidden, self._ledger.so_far())
        except (DiskFull, DiskFailed):
            self._ledger.has_grown = self._is_unsaid = True
            self._ears.let_go()
        else:
            self._is_unsaid = False

    def _keep(self) -> None:
        """Leave the rings with the keeper, if there is a segment to go on from and nothing that only this process knows of."""
        if self._writer is not None and not self._is_unsaid:
            self._ears.keep()

    def _open(self, now: Now, *, stamp_ns: int | None = None) -> None:
        if self._state is not State.RECORDING:
            return
        moment = first_moment(stamp_ns, now)
        self._cut = cut_after(moment, length_ns=self._settings.segment_s * SECOND, now=now)
        first, *further = self._settings.interfaces
        source = Source(first, self._ears.link_type, self._settings.snap_bytes, tuple(further), self._ears.stamp_themselves)
        try:
            self._writer = SegmentWriter(
                self._board.disk, SEGMENTS, sequence=self._chain.sequence + 1, first_utc_ns=moment, source=source, now=now
            )
        except (DiskFull, DiskFailed) as trouble:
            self._trouble(trouble, now)
            return
        self._sync_at = None
        self.report.gauge("state", self._state.value)
        self.report.gauge("segment", self._writer.name)
        self._keep()

    def _end(self, now: Now, cause: str) -> None:
        """Seal the open segment. When the disk will not have it, it is sealed for the same cause as soon as it will.

        It then says all that was given up until then: the next seal may never come, and this one is dated now.
        """
        assert self._writer is not None
        if self._ending is None:
            self._ears.poll(now, at_once=True)
        else:
            cause, losses = self._ending
            self._ledger.again(losses)
        self._ending = cause, self._ledger.closed()
        cause, losses = self._ending
        try:
            made, digest = self._writer.seal(
                self._board.identity, previous=self._chain.digest, losses=losses, cause=cause, now=now,
                time=self._time.quality(self._clock_account(now)),
            )  # fmt: skip
        except (DiskFull, DiskFailed) as trouble:
            self._trouble(trouble, now)
            return
        self._chain = Chain(made.sequence, digest)
        self._writer = self._ending = None
        self._is_unsaid = False
        self._time.clear()
        self._time.look(now)
        self.report.count("segments_sealed")

    def _clock_account(self, now: Now) -> Account:
        """What the clock station knows of the grandmaster and the devices; it runs in another process, and may not."""
        try:
            return account_from(self._board.disk.read(CLOCK_STATE, size=CLOCK_STATE_BYTES_MAX), now=now.monotonic)
        except (Missing, DiskFailed):
            return Account()

    # Sessions, where a site records nothing else.

    def _look_whether_to_record(self, now: Now) -> None:
        if self._state is not State.RECORDING or now.monotonic < self._standing_at:
            return
        self._standing_at = now.monotonic.after(STANDING_NS)
        if self._is_to_record(now):
            return
        self._flush(now)
        if self._state is State.RECORDING:
            self._end(now, "stop")
        if self._state is State.RECORDING:
            self._state, self._outside = State.OUTSIDE, (0, now)
            self.report.gauge("state", self._state.value)
            self._announcer.say(
                now,
                Severity.NOTICE,
                self._state.value,
                "no session is open: frames are heard and not recorded, as the site has set",
            )

    def _is_to_record(self, now: Now) -> bool:
        """Whoever knows may be away, or the disk fail: then everything is recorded."""
        try:
            return is_to_record(read_or_none(self._board.disk, STANDING, size=STANDING_BYTES_MAX), now.monotonic)
        except DiskFailed:
            return True

    def _record_again(self, now: Now) -> None:
        assert self._outside is not None
        frames, since = self._outside
        self._ledger.lost(State.OUTSIDE.value, frames, first_ns=then_ns(since, now), last_ns=now.utc_ns)
        self._state, self._outside = State.RECORDING, None
        self._open(now)
        if self._state is State.RECORDING:
            self._announcer.say(now, Severity.NOTICE, self._state.value, "frames are recorded again")

    # Trouble.

    def _trouble(self, trouble: DiskFull | DiskFailed, now: Now) -> None:
        state = State.DISK_FULL if isinstance(trouble, DiskFull) else State.DISK_FAILED
        changed, self._state, self._troubled = self._troubled is not state, state, state
        self._retry_at = now.monotonic.after(DISK_RETRY_NS)
        # What is given up is known to this process alone: ended before a seal tells, it leaves a gap, as if there were no keeper. Else
        # who took the rings over would say that nothing is missing (storm seed 6).
        self._is_unsaid = True
        self._ears.let_go()
        self._lose(state.value, self._stretch.frames, now, stamps=(self._stretch.first_ns, self._stretch.last_ns))
        self._empty(now)
        if changed:
            self.report.count(f"{state.value}_times")
            self.report.gauge("state", state.value)
            self._announcer.say(
                now, Severity.ERROR, state.value, "the disk takes nothing more; frames are heard, counted and lost"
            )

    def _resume(self, now: Now) -> None:
        """Is there room again, does it obey again, is a session open? Then finish what was in hand and go on."""
        self._retry_at = now.monotonic.after(DISK_RETRY_NS)
        if self._state is State.OUTSIDE:
            if self._is_to_record(now):
                self._record_again(now)
            return
        try:
            # Twice the reserve: at the edge of it, recording would stop and begin with every stretch.
            wanted = max(self._settings.reserve_mb << 21, ROOM_BYTES_MIN) - self._board.disk.free_bytes()
            self.report.gauge("room_wanted_bytes", max(0, wanted))
            if wanted > 0:
                return
        except DiskFailed:
            return
        before, self._state = self._state, State.RECORDING
        if before is State.DISK_FAILED or self._writer is None:
            if self._writer is not None:
                self._writer.close()
                self._unaccounted, self._writer, self._ending = (self._writer, self._ending), None, None
            # Until the first beginning has succeeded, what lies hidden is a former life's, and how that ended is another matter.
            self._begin(now, State.DISK_FAILED.value if self._has_begun else "interrupted")
        elif self._ending is not None:
            self._end(now, "")
            self._open(now)
        if self._state is State.RECORDING:
            self._troubled = None
            self.report.gauge("state", self._state.value)
            self._announcer.say(now, Severity.NOTICE, "recording", "the disk takes frames again")

    def _account(self, now: Now) -> None:
        """After the disk failed nothing was known of what it holds; now it was looked at, and what is missing is counted."""
        if self._unaccounted is None:
            return
        (writer, ending), self._unaccounted = self._unaccounted, None
        try:
            found = Segment(self._board.disk, SEGMENTS, writer.name).seal()
        except (Missing, Corrupt):
            found = None
        expected, self._uncertain = writer.frames + self._uncertain, 0
        # Where some of it is there, its seal says since when nothing is; else nothing is since it was opened.
        since_ns = now.utc_ns if found is not None else then_ns(writer.opened, now)
        lost = expected - (found.frames if found is not None else 0)
        if lost > 0:
            self._ledger.lost(State.DISK_FAILED.value, lost, first_ns=since_ns, last_ns=now.utc_ns)
            self.report.drop(State.DISK_FAILED.value, lost)
        if ending is None:
            return
        cause, losses = ending
        if found is not None and found.cause == cause:
            # Published, but maybe as an earlier try had written it; the next one says the rest.
            losses = unsaid(losses, Losses(found.drops, found.gaps))
        self._ledger.again(losses)

    def _lose(self, cause: str, frames: int, now: Now, *, stamps: tuple[int, int] | None = None) -> None:
        """stamps: of the first and the last of them, UTC ns; a disk that stands still for seconds gives them up as late. None: not known."""
        if frames > 0:
            first_ns, last_ns = (first_moment(stamp, now) for stamp in stamps or (None, None))
            self._ledger.lost(cause, frames, first_ns=first_ns, last_ns=last_ns)
            self.report.drop(cause, frames)

    def _wake(self, now: Now) -> Monotonic | None:
        wishes = [self._ears.wake()]
        if self._state is State.RECORDING:
            wishes += [self._cut.wake(now), self._sync_at]
            if self._stretch_since is not None:
                wishes.append(self._stretch_since.after(self._settings.stretch_ms * MS))
        else:
            wishes.append(self._retry_at)
        if self._ears.hears and (self._ears.has_blocks or not self._ears.rings):
            # Nothing rings: blocks are held (`descriptors`), or the tap is simulated. The ring lasts for many such rests.
            wishes.append(now.monotonic.after(self._settings.ring_retire_ms * MS // 2))
        return min((wish for wish in wishes if wish is not None), default=None)

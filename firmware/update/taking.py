"""Bundles: taken from updates/received/, judged, and written as a copy beside the version at work, marked test."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from drivers.board import Board
from drivers.clock import Monotonic, Now
from drivers.slots import Slots
from firmware.core.errors import BadItem, DiskFailed, DiskFull, Missing
from firmware.core.message import Severity
from firmware.core.report import Report
from firmware.core.spool import Item, Spool
from firmware.core.timestamp import SECOND
from firmware.core.versions import GROUND, IMAGE, VERSIONS
from firmware.update.bundle import Bundle, Form, Manifest, opened
from firmware.update.ledger import ALL, UPDATES, Ledger
from firmware.update.record import Phase

RECEIVED = f"{UPDATES}/received"
FILES_A_STEP = 8  # Each is synced: on a slow card 50 ms of other stations' time.


class Taking:
    """One bundle at a time."""

    def __init__(
        self,
        board: Board,
        slots: Slots,
        report: Report,
        ledger: Ledger,
        *,
        done: Callable[[str], object],
        instead: Callable[[str, Now], tuple[str | None, bool]],
    ) -> None:
        """done: told the name of an item that became a copy. instead: the version of one
        that was refused, where it was fetched, and whether another bundle of it is tried."""
        self._board = board
        self._slots = slots
        self._report = report
        self._ledger = ledger
        self._received = Spool(board.disk, RECEIVED)
        self._done = done
        self._instead = instead
        self._copying: tuple[Item, Bundle, Iterator[int]] | None = None

    def start(self) -> None:
        """The spool is ours to consume."""
        self._received.start(self._report.drop)

    def is_at_work(self, now: Now) -> bool:
        """Whether there is something to `copy`; a bundle that waits is taken, if it is one for this box."""
        return self._copying is not None or self._take(now)

    def waits(self) -> bool:
        """Whether there is another bundle."""
        return bool(self._received.names())

    def copy(self, now: Now) -> Monotonic | None:
        """Some of its files; with the last the copy has its name. Raises DiskFull, DiskFailed."""
        assert self._copying is not None
        item, bundle, files = self._copying
        try:
            for _ in range(FILES_A_STEP):
                if next(files, None) is None:
                    break
            else:
                return now.monotonic
        except BadItem as problem:
            self._copying = None
            self._remove_hidden(bundle.manifest.version)
            self._refuse(item, str(problem), now)
            return now.monotonic
        manifest = bundle.manifest
        self._ledger.keep(
            replace(
                self._ledger.standing, phase=Phase.TRIAL, version=manifest.version, trials=0, cause="",
                counters={**self._ledger.standing.counters, manifest.version: manifest.counter},
            )
        )  # fmt: skip
        self._copying = None
        self._received.settle(item)
        self._report.count("copies")
        self._done(item.name)
        self._ledger.say(
            now, f"version {manifest.version} is here, marked test", Severity.NOTICE, version=manifest.version, outcome="here"
        )
        return now.monotonic

    def give_up(self) -> None:
        """The disk's fault: the bundle waits for room where it is, and what was copied of it is no copy."""
        if self._copying is None:
            return
        item, bundle, _ = self._copying
        self._copying = None
        try:
            version = bundle.manifest.version
            self._remove_hidden(version)
            if self._ledger.is_there(version) and not self._is_copied(bundle.manifest):
                # It had its name, and there was no room to write that down: left there, it would have its own bundle refused.
                self._ledger.remove(version)
            self._received.put_back(item)
        except (DiskFull, DiskFailed):
            return  # The next start removes it.

    def _take(self, now: Now) -> bool:
        gone_bad = self._received.quarantined_count
        item = self._received.take()
        if self._received.quarantined_count > gone_bad:
            # Whose it was, if it was fetched, is seen by who fetched it: it is gone.
            self._say_refused("too many attempts, this process ended at it again and again", now)
        if item is None:
            return False
        try:
            bundle = opened(item.data, self._board.identity.trusted())
            if item.attempt > 1 and self._is_copied(bundle.manifest):
                # The end came between the standing and this; its copy is on trial since, or more.
                self._received.settle(item)
                self._report.count("settled_late")
                self._done(item.name)
                return False
            self._check(bundle, now)
        except BadItem as problem:
            self._refuse(item, str(problem), now)
            return False
        self._board.disk.sync_dir(RECEIVED)  # That it was attempted: what is given again when it is here is somebody's mistake.
        self._copying = item, bundle, self._copied(bundle)
        self._report.gauge("copying", bundle.manifest.version)
        return True

    def _is_copied(self, manifest: Manifest) -> bool:
        """Whether this very version is here, and written down."""
        version = manifest.version
        return self._ledger.is_there(version) and self._ledger.standing.counters.get(version) == manifest.counter

    def _check(self, bundle: Bundle, now: Now) -> None:
        """Raises BadItem: what was signed, and still is not for this box now."""
        manifest, standing = bundle.manifest, self._ledger.standing
        if manifest.board != self._slots.board:
            raise BadItem(f"expected a version for {self._slots.board}, this is for {manifest.board}")
        late_ns = now.timestamp.tai_ns - manifest.expires_tai_ns
        if late_ns > now.timestamp.uncertainty_ns:
            raise BadItem(f"expected a bundle that has not expired, this one did {late_ns // SECOND} s ago")
        if manifest.counter == standing.counters.get(manifest.version) and self._ledger.is_there(manifest.version):
            # Brought twice, mostly. Of its number we would say less: that one was too low, of a version that is at work.
            state = "official" if manifest.version == standing.official else "test"
            raise BadItem(f"expected a version that is not here, {manifest.version} is, and it is {state}")
        if manifest.counter <= standing.counter:
            raise BadItem(
                f"expected a version above number {standing.counter}, the highest that was official here, got {manifest.counter}"
            )
        if manifest.version in (standing.official, standing.previous, standing.version) or self._ledger.is_there(
            manifest.version
        ):
            raise BadItem(f"expected a version that is not here, {manifest.version} is")
        if manifest.base not in (None, IMAGE) and not self._ledger.is_there(manifest.base):
            raise BadItem(f"expected its base {manifest.base} to be here; a whole bundle needs none")

    def _copied(self, bundle: Bundle) -> Iterator[int]:
        """Files written, one by one; the copy has its name with the last. Raises BadItem, DiskFull, DiskFailed."""
        disk, manifest = self._board.disk, bundle.manifest
        hidden = f"{VERSIONS}/.{manifest.version}"
        if disk.exists(hidden):
            disk.remove(hidden)
        directories = {hidden}
        for count, (file, data) in enumerate(bundle.contents(self._base_of(manifest.base)), 1):
            path = f"{hidden}/{file.path}"
            steps = path.split("/")
            directories |= {"/".join(steps[:depth]) for depth in range(2, len(steps))}
            disk.mkdir(path.rpartition("/")[0])
            disk.write(path, data)
            disk.sync(path)
            self._report.count("files_from_base" if file.form is Form.BASE else "files_from_bundle")
            yield count
        disk.write(f"{hidden}/{GROUND}", self._slots.ground.encode())
        disk.sync(f"{hidden}/{GROUND}")
        for directory in sorted(directories, reverse=True):
            disk.sync_dir(directory)
        disk.rename(hidden, f"{VERSIONS}/{manifest.version}")
        disk.sync_dir(VERSIONS)

    def _base_of(self, base: str | None) -> Callable[[str], bytes]:
        if base == IMAGE:
            return self._image_file
        return lambda path: self._read(f"{VERSIONS}/{base}/{path}")

    def _image_file(self, path: str) -> bytes:
        try:
            return self._slots.image_file(path)
        except Missing:
            return b""

    def _read(self, path: str) -> bytes:
        try:
            return self._board.disk.read(path)
        except Missing:
            return b""

    def _remove_hidden(self, version: str) -> None:
        try:
            self._board.disk.remove(f"{VERSIONS}/.{version}")
        except Missing:
            return

    def _refuse(self, item: Item, reason: str, now: Now) -> None:
        self._received.reject(item, reason)
        self._say_refused(reason, now, item.name)

    def _say_refused(self, reason: str, now: Now, name: str = "") -> None:
        self._report.drop("refused")
        self._ledger.note(now, ALL, "", "", f"a bundle was refused: {reason}")
        version, goes_on = self._instead(name, now)
        text = f"a bundle was refused: {reason}" + ("; another of the same version is fetched" if goes_on else "")
        self._ledger.say(now, text, Severity.WARNING, version=version, outcome="" if goes_on else "refused")

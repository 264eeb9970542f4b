"""An edition that was ordered: judged, and the smallest of its bundles that can be used here fetched, by whoever has the way out.

    commands/verified/update/ ─▶ judged ─▶ updates/edition ─▶ wanted/ ══ uplink ══▶ downloads/ ─┬▶ updates/received/
                                   └── refused                                                    └▶ updates/system/

What comes is judged again as if it had come on a stick. A bundle that cannot be used after all (a base that is not what its name says)
has the next larger one tried; after the whole one nothing is left, and the edition is given up.
"""

from drivers.board import Board
from drivers.clock import Now
from drivers.disk import Disk
from drivers.slots import Slots
from firmware.core import durable, edition
from firmware.core.download import DOWNLOADS, WANTED, wish_packed
from firmware.core.edition import Edition, Offered
from firmware.core.errors import BadItem, Missing
from firmware.core.message import Severity
from firmware.core.report import Report
from firmware.core.spool import Spool
from firmware.core.timestamp import SECOND
from firmware.core.versions import IMAGE
from firmware.update.bundle import BUNDLE_BYTES_MAX
from firmware.update.ledger import UPDATES, Ledger
from firmware.update.record import PURSUIT_BYTES_MAX, Pursuit, pursuit_packed, pursuit_unpacked
from firmware.update.settings import UpdateSettings
from firmware.update.system import SYSTEM, SystemSlots
from firmware.update.taking import RECEIVED

EDITION = "edition"


class Fetching:
    """One edition at a time; another one that is ordered takes its place."""

    def __init__(
        self, board: Board, slots: Slots, settings: UpdateSettings, report: Report, ledger: Ledger, *, system: SystemSlots
    ) -> None:
        self._board = board
        self._slots = slots
        self._system = system
        self._settings = settings
        self._report = report
        self._ledger = ledger
        self._wanted = Spool(board.disk, WANTED)
        self._received = Spool(board.disk, RECEIVED)  # to see what is there, under attempts as well; taking it is taking.py's
        self._pursuit: Pursuit | None = None
        self._wished = ""  # the file that was seen last as wanted, or received

    def start(self) -> None:
        """Go on with what was being fetched."""
        for directory in (WANTED, DOWNLOADS):
            durable.make_directory(self._board.disk, directory)
        data = durable.read_or_none(self._board.disk, f"{UPDATES}/{EDITION}", size=PURSUIT_BYTES_MAX)
        try:
            self._pursuit = None if data is None else pursuit_unpacked(data)
        except BadItem:
            self._report.drop("edition_unreadable")
            self._pursuit = None
        if self._pursuit is not None and self._is_made(self._pursuit.edition):
            # The end came between the copy and the end of its bundle, which would be refused for being here already.
            for bundle in self._pursuit.edition.bundles:
                self._received.settle_named(_received_name(bundle))
            self._forget()
        meant = set() if self._pursuit is None else {bundle.wish.name for bundle in self._pursuit.edition.bundles}
        for name in self._board.disk.list(DOWNLOADS):
            if not name.startswith(".") and name not in meant:
                _remove(self._board.disk, f"{DOWNLOADS}/{name}")  # What begins with a dot is the uplink's.
        for name in self._wanted.names():
            if name not in meant:
                self._wanted.settle_named(name)

    def take(self, text: object, now: Now) -> None:
        """An edition somebody trusted orders this box to have. Raises BadItem with the reason why not; DiskFull, DiskFailed."""
        data = edition.from_text(text)
        wanted = edition.opened(data, self._board.identity.trusted())
        self._check(wanted, now)
        if self._is_made(wanted) or (self._pursuit is not None and self._pursuit.data == data):
            return  # Ordered again; or the power has brought back an order that was settled.
        self._forget()
        self._pursue(Pursuit(data, wanted), now)

    def look(self, now: Now) -> bool:
        """Whether a bundle was handed on. What has expired meanwhile is given up."""
        pursuit = self._pursuit
        if pursuit is None:
            return False
        bundle = self._chosen(pursuit)
        if bundle is None or now.timestamp.tai_ns - pursuit.edition.until_tai_ns > now.timestamp.uncertainty_ns:
            self._give_up("it has expired" if bundle is not None else "no bundle of it can be used here", now)
            return False
        name = bundle.wish.name
        if self._board.disk.exists(f"{DOWNLOADS}/{name}"):
            return self._hand_on(pursuit, bundle, now)
        if name in self._wanted.names() or _received_name(bundle) in self._received.names():
            self._wished = name
        elif self._wished != name:
            self._wanted.publish(name, wish_packed(bundle.wish))
            self._wished = name
        elif not self._board.disk.exists(f"{DOWNLOADS}/{name}"):  # It may have come since we looked.
            self._pass_over(pursuit, bundle, now)
        return False

    def done(self, name: str) -> None:
        """This item of updates/received/ became a copy."""
        if self._pursuit is not None and name in {_received_name(bundle) for bundle in self._pursuit.edition.bundles}:
            self._board.disk.sync_dir(
                RECEIVED
            )  # Or the power could bring the item back, and nothing would say any more whose it was.
            self._forget()

    def refused(self, name: str, now: Now) -> tuple[str | None, bool]:
        """This item of updates/received/ was refused. The version it was fetched for, if it was; whether another bundle of it is tried."""
        pursuit = self._pursuit
        bundle = next((b for b in pursuit.edition.bundles if _received_name(b) == name), None) if pursuit is not None else None
        if pursuit is None or bundle is None:
            return None, False
        further = _without(pursuit, bundle)
        if self._chosen(further) is None:
            self._forget()
            return pursuit.edition.version, False
        self._pursue(further, now)
        return pursuit.edition.version, True

    def is_under_way(self) -> bool:
        """Whether an edition is being fetched."""
        return self._pursuit is not None

    def gauge(self) -> None:
        """What is being fetched, for the report."""
        self._report.gauge("fetching", self._pursuit.edition.version if self._pursuit is not None else "none")

    def _check(self, wanted: Edition, now: Now) -> None:
        """Raises BadItem."""
        standing, stamp = self._ledger.standing, now.timestamp
        if wanted.board != self._slots.board:
            raise BadItem(f"expected an edition for {self._slots.board}, this is for {wanted.board}")
        if wanted.channel not in self._settings.channels:
            raise BadItem(f"expected an edition of {' or '.join(self._settings.channels)}, this is of {wanted.channel}")
        if stamp.tai_ns - wanted.until_tai_ns > stamp.uncertainty_ns:
            raise BadItem(
                f"expected an edition that has not expired, this one did {(stamp.tai_ns - wanted.until_tai_ns) // SECOND} s ago"
            )
        if wanted.from_tai_ns - stamp.tai_ns > stamp.uncertainty_ns:
            raise BadItem(
                f"expected an edition whose time has come, this one's does in {(wanted.from_tai_ns - stamp.tai_ns) // SECOND} s"
            )
        if wanted.kind == "application" and wanted.number <= standing.counter:
            raise BadItem(
                f"expected a version above number {standing.counter}, the highest that was official here, got {wanted.number}"
            )
        if wanted.version in standing.refused:
            raise BadItem(f"expected a version that was not refused, this one stays test: {standing.refused[wanted.version]}")
        if wanted.kind == "system":
            self._system.check(wanted.version)
        if self._chosen(Pursuit(b"", wanted)) is None:
            raise BadItem("expected a bundle whose base is here, or a whole one")

    def _is_made(self, wanted: Edition) -> bool:
        """Whether the copy is here, or the system at work."""
        if wanted.kind == "system":
            return self._system.runs(wanted.version)
        return self._ledger.is_there(wanted.version) and self._ledger.standing.counters.get(wanted.version) == wanted.number

    def _chosen(self, pursuit: Pursuit) -> Offered | None:
        """The smallest bundle that was not tried and whose base is here."""
        is_application = pursuit.edition.kind == "application"
        has = (lambda base: base == IMAGE or self._ledger.is_there(base)) if is_application else (lambda base: False)
        for bundle in pursuit.edition.for_base(has):
            if bundle.digest not in pursuit.tried and (not is_application or bundle.size <= BUNDLE_BYTES_MAX):
                return bundle
        return None

    def _pursue(self, pursuit: Pursuit, now: Now) -> None:
        durable.replace(self._board.disk, UPDATES, EDITION, pursuit_packed(pursuit))
        self._pursuit = pursuit
        self._report.count("editions")
        self.look(now)

    def _hand_on(self, pursuit: Pursuit, bundle: Offered, now: Now) -> bool:
        disk, name = self._board.disk, bundle.wish.name
        is_application = pursuit.edition.kind == "application"
        target = f"{RECEIVED}/{_received_name(bundle)}" if is_application else f"{SYSTEM}/{pursuit.edition.version}.raucb"
        durable.move(disk, f"{DOWNLOADS}/{name}", target)
        disk.sync_dir(target.rpartition("/")[0])
        disk.sync_dir(DOWNLOADS)
        self._report.count("fetched")
        if not is_application:
            self._ledger.say(
                now, f"the system {pursuit.edition.version} is here, for the other slot", Severity.NOTICE,
                version=pursuit.edition.version, outcome="here",
            )  # fmt: skip
            self._forget()
        return True

    def _pass_over(self, pursuit: Pursuit, bundle: Offered, now: Now) -> None:
        """Its wish is gone and so is its file: what came was another each time, or ended whoever took it. Wished for once more it
        would come down for nothing, and so on until the edition expires."""
        further = _without(pursuit, bundle)
        if self._chosen(further) is None:
            self._give_up("what came of it could not be used, again and again", now)
        else:
            self._pursue(further, now)

    def _give_up(self, reason: str, now: Now) -> None:
        assert self._pursuit is not None
        version = self._pursuit.edition.version
        self._forget()
        self._report.drop("editions_given_up")
        text = f"version {version} was not fetched: {reason}"
        self._ledger.say(now, text, Severity.WARNING, version=version, outcome="refused")

    def _forget(self) -> None:
        """What was wanted for it is wanted no more; what has come of it goes."""
        if self._pursuit is None:
            return
        disk = self._board.disk
        for bundle in self._pursuit.edition.bundles:
            self._wanted.settle_named(bundle.wish.name)
            _remove(disk, f"{DOWNLOADS}/{bundle.wish.name}")
        _remove(disk, f"{UPDATES}/{EDITION}")
        self._pursuit, self._wished = None, ""


def _without(pursuit: Pursuit, bundle: Offered) -> Pursuit:
    """This bundle could not be used."""
    return Pursuit(pursuit.data, pursuit.edition, (*pursuit.tried, bundle.digest))


def _received_name(bundle: Offered) -> str:
    return f"bundle-{bundle.wish.name[:32]}"


def _remove(disk: Disk, path: str) -> None:
    try:
        disk.remove(path)
    except Missing:
        return

"""What a person sees of updates and does about them: `scrubjay update`. All of it files of the store; the station does the work."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from drivers.disk import Disk
from drivers.slots import Slots
from firmware.core.errors import BadItem, Missing
from firmware.core.spool import Spool
from firmware.core.versions import IMAGE, OFFICIAL, VERSIONS, is_version, official, started
from firmware.update import record
from firmware.update.bundle import PACKAGES, Manifest, opened
from firmware.update.ledger import HISTORY, STANDING, UPDATES
from firmware.update.record import Standing, Switch
from firmware.update.taking import RECEIVED

COMMANDS = "commands/received"
TROUBLES_MAX = 16  # of a stick's, in one sentence


@dataclass(frozen=True, slots=True)
class Page:
    """How versions stand. versions: name to (its mark, why); processes: name to version."""

    phase: str
    in_hand: str | None
    official: str
    previous: str | None
    versions: Mapping[str, tuple[str, str]]
    processes: Mapping[str, str]
    waiting: int

    def lines(self) -> list[str]:
        """For people."""
        width = max((len(name) for name in self.versions), default=0)
        return [
            f"official: {self.official}" + (f", before it: {self.previous}" if self.previous else ""),
            f"in hand: {self.in_hand} ({self.phase})" if self.in_hand else "nothing in hand",
            *([f"{self.waiting} bundles wait"] if self.waiting else []),
            "",
            *(f"  {name.ljust(width)}  {mark}" + (f": {why}" if why else "") for name, (mark, why) in self.versions.items()),
            *(["", "  processes that differ:"] if any(v != self.official for v in self.processes.values()) else []),
            *(f"    {process}: {version}" for process, version in self.processes.items() if version != self.official),
        ]

    def as_json(self) -> dict[str, object]:
        """For --json."""
        return {
            "phase": self.phase, "in_hand": self.in_hand, "official": self.official, "previous": self.previous, "waiting": self.waiting,
            "versions": {name: {"mark": mark, "why": why} for name, (mark, why) in self.versions.items()},
            "processes": dict(self.processes),
        }  # fmt: skip


def page(disk: Disk, ground: str | None = None) -> Page:
    """As it stands now. ground: of this machine (drivers/slots.py). Raises BadItem where what lasts of it makes no sense."""
    standing = _standing(disk)
    at_work = started(disk, standing.official, ground=ground)
    names = [IMAGE, *(name for name in disk.list(VERSIONS) if is_version(name))]
    processes = {name: official(disk, name, ground=ground) for name in disk.list(OFFICIAL) if not name.startswith(".")}
    marks = {
        name: ("official" if name == at_work else "test", standing.refused.get(name, "") or _role(name, standing, at_work))
        for name in names
    }
    waiting = sum(not name.startswith(".") for name in disk.list(RECEIVED))
    return Page(standing.phase.value, standing.version, at_work, standing.previous, marks, processes, waiting)


def history(disk: Disk) -> Sequence[Switch]:
    """Every switch with its cause, oldest first."""
    try:
        return record.rows_of(disk.read(f"{UPDATES}/{HISTORY}", size=record.HISTORY_BYTES_MAX))
    except Missing:
        return ()


def install(disk: Disk, data: bytes, trusted: Mapping[str, bytes]) -> Manifest:
    """Hand a bundle to the station, which checks it again. Raises BadItem, DiskFull, DiskFailed, or Missing: nobody would take it."""
    manifest = opened(data, trusted).manifest
    try:
        Spool(disk, RECEIVED).publish(f"bundle-{hashlib.sha256(data).hexdigest()[:32]}", data)
    except Missing:
        raise Missing("nobody takes bundles here: the box does not run, or has not started up yet") from None
    return manifest


def carry(disk: Disk, command: bytes) -> None:
    """Hand a signed order that came by hand to the command station, as the uplink would have. Raises DiskFull, DiskFailed, Missing."""
    try:
        Spool(disk, COMMANDS).publish(f"cmd-{hashlib.sha256(command).hexdigest()[:32]}", command)
    except Missing:
        raise Missing("nobody takes orders here: the box does not run, or has not started up yet") from None


class Offered(Protocol):
    """A file that somebody carries here."""

    @property
    def name(self) -> str: ...
    def read_bytes(self) -> bytes: ...


def chosen(disk: Disk, files: Iterable[Offered], trusted: Mapping[str, bytes], slots: Slots) -> tuple[bytes, Manifest]:
    """Of the bundles on a stick, the highest this box can use: for its board, whole or beside a version that is here, the smallest of one number.

    Raises BadItem with what was wrong with each when there is none. One at a time is held: a stick may have very many.
    """
    best: tuple[bytes, Manifest] | None = None
    troubles: list[str] = []
    for file in files:
        data = file.read_bytes()
        try:
            manifest = opened(data, trusted).manifest
        except BadItem as problem:
            troubles.append(f"{file.name}: {problem}")
            continue
        if manifest.board != slots.board:
            troubles.append(f"{file.name}: for {manifest.board}")
        elif manifest.base not in (None, IMAGE) and not disk.exists(f"{VERSIONS}/{manifest.base}"):
            troubles.append(f"{file.name}: beside {manifest.base}, which is not here")
        elif best is None or (manifest.counter, -len(data)) > (best[1].counter, -len(best[0])):
            best = data, manifest
    if best is None:
        raise BadItem("expected a bundle for this box; " + ("; ".join(troubles[:TROUBLES_MAX]) or "there is none at all"))
    return best


def program_files(slots: Slots) -> Iterator[tuple[str, bytes]]:
    """The application as it runs here, file by file: what a bundle is made of."""
    for path in slots.image_paths():
        if path.partition("/")[0] in PACKAGES:
            yield path, slots.image_file(path)


def _standing(disk: Disk) -> Standing:
    try:
        return record.unpacked(disk.read(f"{UPDATES}/{STANDING}", size=record.STANDING_BYTES_MAX))
    except Missing:
        return Standing()


def _role(name: str, standing: Standing, at_work: str) -> str:
    if name == standing.official != at_work:
        return "official where it was made; the image here came later"
    if name == standing.previous:
        return "the one before, stays ready"
    return standing.phase.value if name == standing.version else ""

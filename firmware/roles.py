"""A role is a table: which processes, and in each which stations. Nothing else differs between box and hub.

The same table is run by `scrubjay run` on a laptop, by systemd on the box (one `scrubjay@<process>` each) and by the storm.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from drivers.board import Board
from firmware.capture.settings import CaptureSettings
from firmware.capture.station import CaptureStation
from firmware.clock.settings import ClockSettings
from firmware.clock.station import ClockStation
from firmware.command.settings import CommandSettings
from firmware.command.station import CommandStation
from firmware.console.settings import ConsoleSettings
from firmware.console.station import ConsoleStation
from firmware.core import report
from firmware.core.settings import Settings, setting
from firmware.core.station import Station, run
from firmware.deidentify.settings import DeidentifySettings
from firmware.deidentify.station import DeidentifyStation
from firmware.group.settings import GroupSettings
from firmware.group.station import GroupStation
from firmware.health.settings import HealthSettings
from firmware.health.station import HealthStation
from firmware.hub.settings import HubSettings
from firmware.hub.station import HubStation
from firmware.intake.settings import IntakeSettings
from firmware.intake.station import IntakeStation
from firmware.retention.settings import RetentionSettings
from firmware.retention.station import RetentionStation
from firmware.retrieval.settings import RetrievalSettings
from firmware.retrieval.station import RetrievalStation
from firmware.uplink.settings import UplinkSettings
from firmware.uplink.station import UplinkStation


@dataclass(frozen=True, slots=True)
class BoardSettings:
    """What this machine is called, and through what it hears."""

    name: str = setting("", "This machine's name in the fleet: 3 to 63 of a-z, 0-9 and '-'. Empty: as its identity says.")
    site: str = setting("", "The site's name, same form. Empty: as its identity says.")
    identity: str = setting("", "Directory of its key and the keys it trusts. Empty: identity/ in the store.")
    tap: str = setting("ring", 'How frames are heard: "ring" (Linux), "portable" (libpcap), or "recording:FILE@SPEED".')


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a role. build: its stations, from the board and the settings; the order is the order of their steps.

    serve: instead of stations, for the hub's page, whose library brings its own loop.
    """

    name: str
    build: Callable[[Board, Settings], Sequence[Station]] | None = None
    serve: Callable[[Board, Settings], None] | None = None


def _serve_page(board: Board, settings: Settings) -> None:
    # Imported here so that a box, which has no page, does not load a web server (12 MiB a process).
    from firmware.hub.web import serve

    serve(board, settings.of(HubSettings))


BOX = (
    Process("capture", lambda board, s: [CaptureStation(board, s.of(CaptureSettings))]),
    Process("clock", lambda board, s: [ClockStation(board, s.of(ClockSettings))]),
    Process("roomside", lambda board, s: [IntakeStation(board, s.of(IntakeSettings))]),
    Process(
        "gate",
        lambda board, s: [
            GroupStation(board, s.of(GroupSettings)),
            DeidentifyStation(board, s.of(DeidentifySettings)),
            RetrievalStation(board, s.of(RetrievalSettings)),
        ],
    ),
    Process("uplink", lambda board, s: [UplinkStation(board, s.of(UplinkSettings))]),
    Process(
        "steward",
        lambda board, s: [
            CommandStation(board, s.of(CommandSettings)),
            RetentionStation(board, s.of(RetentionSettings)),
            HealthStation(board, s.of(HealthSettings)),
        ],
    ),
    Process("console", lambda board, s: [ConsoleStation(board, s.of(ConsoleSettings), rows=s.rows())]),
)

HUB = (
    Process("hub", lambda board, s: [HubStation(board, s.of(HubSettings))]),
    Process("web", serve=_serve_page),
)

ROLES: Mapping[str, Sequence[Process]] = {"box": BOX, "hub": HUB}

_BOX_SECTIONS: Mapping[str, type] = {
    "board": BoardSettings,
    "capture": CaptureSettings,
    "clock": ClockSettings,
    "intake": IntakeSettings,
    "group": GroupSettings,
    "deidentify": DeidentifySettings,
    "retrieval": RetrievalSettings,
    "uplink": UplinkSettings,
    "command": CommandSettings,
    "retention": RetentionSettings,
    "health": HealthSettings,
    "console": ConsoleSettings,
}

SECTIONS: Mapping[str, Mapping[str, type]] = {
    "box": _BOX_SECTIONS,
    "hub": {"board": BoardSettings, "hub": HubSettings},
}


def run_process(process: Process, board: Board, settings: Settings) -> None:
    """Run one process of a role until it is asked to end."""
    if process.serve is not None:
        process.serve(board, settings)
        return
    assert process.build is not None, "a process has stations or serves a page"
    board.disk.mkdir("state")
    run(
        process.build(board, settings),
        clock=board.clock,
        bell=board.bell(),
        supervisor=board.supervisor,
        publish_reports=lambda reports, now: report.publish(board.disk, process.name, reports, now),
    )

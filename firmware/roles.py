"""A role is a table: which processes, and in each which stations. Nothing else differs between box, relay and hub.

The same table is run by `scrubjay run` on a laptop, by systemd on the box (one `scrubjay@<process>` each) and by the storm.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drivers.board import Board
from drivers.clock import Now
from firmware.capture.settings import CaptureSettings
from firmware.clock.settings import ClockSettings
from firmware.cold.settings import ColdSettings
from firmware.command.settings import CommandSettings
from firmware.console.settings import ConsoleSettings
from firmware.core import report
from firmware.core.settings import Settings, setting
from firmware.core.station import Station, run
from firmware.core.succession import Launch, Succession
from firmware.core.versions import IMAGE
from firmware.deidentify.settings import DeidentifySettings
from firmware.feedback.settings import FeedbackSettings
from firmware.group.settings import GroupSettings
from firmware.health.settings import HealthSettings
from firmware.hub.settings import HubSettings
from firmware.intake.settings import IntakeSettings
from firmware.live.settings import LiveSettings
from firmware.relay.settings import RelaySettings
from firmware.retention.settings import RetentionSettings
from firmware.retrieval.settings import RetrievalSettings
from firmware.session.settings import SessionSettings
from firmware.slice.settings import SliceSettings
from firmware.update.settings import UpdateSettings
from firmware.uplink.settings import UplinkSettings

if TYPE_CHECKING:
    from firmware.core.wording import CompileFilter, Interpreter
    from firmware.retrieval.local import LocalAccess


@dataclass(frozen=True, slots=True)
class BoardSettings:
    """What this machine is called, and through what it hears."""

    name: str = setting("", "This machine's name in the fleet: 3 to 63 of a-z, 0-9 and '-'. Empty: as its identity says.")
    site: str = setting("", "The site's name, same form. Empty: as its identity says.")
    identity: str = setting("", "Directory of its key and the keys it trusts. Empty: identity/ in the store.")
    tap: str = setting(
        "ring", 'How frames are heard: "ring" (Linux), "portable" (libpcap), or "recording:FILE@SPEED", %40 for an @ in FILE.'
    )


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a role. build: its stations, from the board and the settings; the order is the order of their steps.

    serve: instead of stations, for the hub's page, whose library brings its own loop.
    """

    name: str
    build: Callable[[Board, Settings], Sequence[Station]] | None = None
    serve: Callable[[Board, Settings], None] | None = None


def interpreter(
    intake: IntakeSettings, retrieval: RetrievalSettings, *, compile_filter: "CompileFilter | None", now: Now
) -> "Interpreter":
    """Who understands what people ask for on this box: names of devices and ports of messages are intake's, which retrieval does not know."""
    from firmware.core.devices import Devices
    from firmware.core.streams.unrelated import Unrelated
    from firmware.core.wording import Interpreter
    from firmware.intake.rules import rules_of
    from firmware.intake.spoken import spoken_by

    rules = rules_of(intake)
    unrelated = Unrelated(frozenset(retrieval.request_ports), frozenset(retrieval.request_ethertypes), frozenset(rules.ports))
    return Interpreter(Devices(intake.devices), unrelated, spoken_by(rules, now), compile_filter)


# Each builder imports its own stations: a process loads what it runs and no more (10 MiB less in each of seven processes).


def _capture(board: Board, settings: Settings) -> Sequence[Station]:
    from firmware.capture.station import CaptureStation

    return [CaptureStation(board, settings.of(CaptureSettings))]


def _clock(board: Board, settings: Settings) -> Sequence[Station]:
    from firmware.clock.station import ClockStation

    return [ClockStation(board, settings.of(ClockSettings))]


def _roomside(board: Board, settings: Settings) -> Sequence[Station]:
    from firmware.intake.station import IntakeStation
    from firmware.live.station import LiveStation

    return [IntakeStation(board, settings.of(IntakeSettings)), LiveStation(board, settings.of(LiveSettings))]


def _gate(board: Board, settings: Settings) -> Sequence[Station]:
    from firmware.core.devices import Devices
    from firmware.deidentify.station import DeidentifyStation
    from firmware.group.station import GroupStation
    from firmware.intake.rules import rules_of
    from firmware.recall.station import RecallStation
    from firmware.retrieval.station import RetrievalStation
    from firmware.session.rules import Rules as SessionRules
    from firmware.session.station import SessionStation
    from firmware.slice.rules import Rules as SliceRules
    from firmware.slice.station import SliceStation

    slices, sessions = settings.of(SliceSettings), settings.of(SessionSettings)
    return [
        # Who waits for which messages is theirs to know; group, which sees all of them, only hands copies on.
        GroupStation(
            board,
            settings.of(GroupSettings),
            noticed={
                "session": SessionRules.of(sessions).fits(),
                "slice": SliceRules.of(slices.rules, around_s=slices.around_s).fits(),
            },
        ),
        SessionStation(board, sessions, not_uploaded=settings.of(GroupSettings).not_uploaded),
        SliceStation(board, slices, devices=Devices(settings.of(IntakeSettings).devices)),
        DeidentifyStation(board, settings.of(DeidentifySettings)),
        RetrievalStation(
            board,
            settings.of(RetrievalSettings),
            interpreter=interpreter(
                settings.of(IntakeSettings),
                settings.of(RetrievalSettings),
                compile_filter=board.frame_filter,
                now=board.clock.now(),
            ),
        ),
        # By the rules of intake: both copies of a message are the same message.
        RecallStation(board, rules_of(settings.of(IntakeSettings))),
    ]


def _feedback(board: Board, settings: Settings) -> Sequence[Station]:
    from firmware.feedback.station import FeedbackStation

    return [FeedbackStation(board, settings.of(FeedbackSettings))]


def _uplink(board: Board, settings: Settings) -> Sequence[Station]:
    from firmware.uplink.station import UplinkStation

    return [UplinkStation(board, settings.of(UplinkSettings))]


def _steward(board: Board, settings: Settings) -> Sequence[Station]:
    from firmware.cold.station import ColdStation
    from firmware.command.station import CommandStation
    from firmware.health.station import HealthStation
    from firmware.retention.station import RetentionStation

    return [
        CommandStation(board, settings.of(CommandSettings)),
        RetentionStation(board, settings.of(RetentionSettings)),
        ColdStation(board, settings.of(ColdSettings)),
        HealthStation(board, settings.of(HealthSettings)),
    ]


def _update(board: Board, settings: Settings) -> Sequence[Station]:
    from firmware.update.station import UpdateStation

    return [UpdateStation(board, settings.of(UpdateSettings), slots=board.slots(), processes=SWITCHED)]


def _console(board: Board, settings: Settings) -> Sequence[Station]:
    from firmware.console.station import ConsoleStation

    return [ConsoleStation(board, settings.of(ConsoleSettings), rows=settings.rows(), local=_local_access(board, settings))]


def _local_access(board: Board, settings: Settings) -> "LocalAccess":
    """What retrieval finds and deidentify cleans, for the person at the console."""
    from firmware.core.sensitive_names import SensitiveNames
    from firmware.deidentify.evidence import Counts, cleaned
    from firmware.deidentify.frames import FrameRules
    from firmware.retrieval.local import LocalAccess, Policy

    leaving = settings.of(DeidentifySettings)
    rules = FrameRules(
        message_ports=frozenset(leaving.message_ports), payload_ports=frozenset(leaving.release_payload_ports),
        payload_ethertypes=frozenset(leaving.release_payload_ethertypes), names=SensitiveNames.of(leaving.sensitive_fields),
    )  # fmt: skip
    words = interpreter(
        settings.of(IntakeSettings), settings.of(RetrievalSettings), compile_filter=board.frame_filter, now=board.clock.now()
    )
    forms = {"off": (), "deidentified": ("deidentified",), "raw": ("deidentified", "raw")}[settings.of(ConsoleSettings).export]
    return LocalAccess(board, words, lambda section: cleaned(section, rules, Counts()), Policy(forms))


def _relay(board: Board, settings: Settings) -> Sequence[Station]:
    from firmware.relay.station import RelayStation
    from firmware.uplink.station import UplinkStation

    return [RelayStation(board, settings.of(RelaySettings)), UplinkStation(board, settings.of(UplinkSettings), forwards=True)]


def _hub(board: Board, settings: Settings) -> Sequence[Station]:
    from firmware.hub.station import HubStation

    return [HubStation(board, settings.of(HubSettings))]


def _page(board: Board, settings: Settings) -> None:
    from firmware.hub.web import serve

    serve(board, settings.of(HubSettings))


BOX = (
    Process("capture", _capture),
    Process("clock", _clock),
    Process("roomside", _roomside),
    Process("gate", _gate),
    Process("uplink", _uplink),
    Process("steward", _steward),
    Process("feedback", _feedback),
    Process("console", _console),
    Process("update", _update),
)
# In this order they become of another version: what nobody waits for first, the recorder when the others have shown that it runs, and
# last of all who watches over them.
SWITCHED = ("console", "feedback", "clock", "steward", "gate", "uplink", "roomside", "capture", "update")
RELAY = (Process("relay", _relay),)
HUB = (Process("hub", _hub), Process("web", serve=_page))

ROLES: Mapping[str, Sequence[Process]] = {"box": BOX, "relay": RELAY, "hub": HUB}

_BOX_SECTIONS: Mapping[str, type] = {
    "board": BoardSettings,
    "capture": CaptureSettings,
    "clock": ClockSettings,
    "intake": IntakeSettings,
    "live": LiveSettings,
    "group": GroupSettings,
    "deidentify": DeidentifySettings,
    "session": SessionSettings,
    "slice": SliceSettings,
    "retrieval": RetrievalSettings,
    "feedback": FeedbackSettings,
    "uplink": UplinkSettings,
    "command": CommandSettings,
    "retention": RetentionSettings,
    "cold": ColdSettings,
    "health": HealthSettings,
    "console": ConsoleSettings,
    "update": UpdateSettings,
}

SECTIONS: Mapping[str, Mapping[str, type]] = {
    "box": _BOX_SECTIONS,
    "relay": {"board": BoardSettings, "relay": RelaySettings, "uplink": UplinkSettings},
    "hub": {"board": BoardSettings, "hub": HubSettings},
}


def run_process(
    process: Process,
    board: Board,
    settings: Settings,
    *,
    running: str = IMAGE,
    launch: Launch | None = None,
    ground: str | None = None,
    is_of_the_role: bool = True,
) -> None:
    """Run one process of a role until it is asked to end, or another version of it goes on.

    running: the version this is; launch: how another is started. None: this process is not replaced while it runs.
    is_of_the_role: else it is beside the role's own, and says nothing in that one's name: who watches over versions would see that one end
    and begin at each report.
    """
    if process.serve is not None:
        process.serve(board, settings)
        return
    assert process.build is not None, "a process has stations or serves a page"
    board.disk.mkdir("state")
    stations = list(process.build(board, settings))
    succession = None if launch is None else Succession(board, process.name, running=running, launch=launch, ground=ground)
    run(
        [*stations, *([] if succession is None else [succession])],
        clock=board.clock,
        bell=board.bell(),
        supervisor=board.supervisor,
        publish_reports=lambda reports, now: report.publish(board.disk, process.name, reports, now) if is_of_the_role else None,
        heir=(lambda: None) if succession is None else succession.heir,
    )

"""Sessions that hospital systems open and close: through the real door, by a program nobody here wrote, and never by another's patient."""

import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from drivers.linux.board import LinuxBoard
from firmware.core import envelope, message
from firmware.core.context import pseudonym
from firmware.core.durable import read_or_none
from firmware.core.hl7 import decoded
from firmware.core.message import Message
from firmware.core.session import CURRENT, LAST, Session, read
from firmware.core.station import Station
from firmware.deidentify.settings import DeidentifySettings
from firmware.deidentify.station import DeidentifyStation
from firmware.group.settings import GroupSettings
from firmware.group.station import GroupStation
from firmware.intake.settings import IntakeSettings
from firmware.intake.station import IntakeStation
from firmware.session.rules import Rules
from firmware.session.settings import SessionSettings
from firmware.session.station import SessionStation
from simulator.broker import free_port
from simulator.tap import SimulatedTap

Theatre = Any  # tests/session/conftest.py
WAIT_S = 60.0  # a busy machine starts an interpreter in seconds
HERE = "fields/hl7/location=OR/3"
SETTINGS = SessionSettings(
    opens=(f"procedure: kind=hl7 fields/hl7/appointment_status=Started {HERE}", f"procedure: kind=hl7 fields/hl7/order_status=IP {HERE}",
           "test: event=mpps/in-progress fields/dicom/location=OR-3"),
    closes=("any: event=mpps/completed", "any: kind=hl7 fields/hl7/appointment_status=Complete", "any: kind=hl7 fields/hl7/order_status=CM", "any: kind=hl7 fields/hl7/type=ADT/A03"),
    settle_ms=0,
)  # fmt: skip
PATIENT = "PID|||MRN-77301946^^^Hosp^MR||Quackenbush^Zebulon^^^^^L||19610203|M|||1 Elm St^^Town\\r"
OTHER = {"order": "1", "visit": "2", "appointment": "3"}
PLANTED = (b"77301946", b"Quackenbush", b"Zebulon", b"19610203", b"99001234", b"55017744", b"88112233", b"Elm St")
SENDER = """
import sys
from hl7.client import MLLPClient
with MLLPClient("127.0.0.1", int(sys.argv[1])) as client:
    for text in sys.argv[2:]:
        print(client.send_message(text.replace("\\\\r", "\\r")).decode().split("\\r")[1].strip(), flush=True)
"""


# What a modality does: C-ECHO, then a step begun, and one ended, each on an association of its own; argv: port, syntax ("implicit" or
# "explicit"), and for each "step,accession,study,state".
MODALITY = """
import sys
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import ModalityPerformedProcedureStep as STEP, Verification, CTImageStorage
port, syntax, *steps = sys.argv[1:]
ae = AE(ae_title="CARM_7")
syntaxes = [ExplicitVRLittleEndian if syntax == "explicit" else ImplicitVRLittleEndian]
for name in (CTImageStorage, STEP, Verification):
    ae.add_requested_context(name, syntaxes)
for words in steps:
    step, accession, study, state = words.split(",")
    association = ae.associate("127.0.0.1", int(port), ae_title="BOX")
    assert association.is_established
    assert {STEP, Verification} == {context.abstract_syntax for context in association.accepted_contexts}
    assert association.send_c_echo().Status == 0
    row = Dataset()
    row.PerformedProcedureStepStatus = state
    if state == "IN PROGRESS":
        row.PatientName, row.PatientID, row.PatientBirthDate, row.PatientSex = "Quackenbush^Zebulon", "MRN-77301946", "19610203", "M"
        row.PerformedProcedureStepID, row.PerformedStationAETitle, row.PerformedStationName = "P1", "CARM_7", "C-arm"
        row.PerformedLocation, row.Modality, row.StudyID = "OR 3", "XA", "S1"
        row.PerformedProcedureStepStartDate, row.PerformedProcedureStepStartTime = "20261122", "101500"
        row.ReferencedPatientSequence, row.PerformedSeriesSequence = [], []
        scheduled = Dataset()
        scheduled.StudyInstanceUID, scheduled.AccessionNumber = study, accession
        scheduled.ReferencedStudySequence, scheduled.RequestedProcedureDescription = [], "knee"
        row.ScheduledStepAttributesSequence = [scheduled]
        status, _ = association.send_n_create(row, STEP, step)
    else:
        series = Dataset()
        series.SeriesInstanceUID, series.PerformingPhysicianName = study + ".1", "Quackenbush^Zebulon"
        series.ReferencedImageSequence = [Dataset() for _ in range(300)]
        for number, image in enumerate(series.ReferencedImageSequence):
            image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = CTImageStorage, f"{study}.1.{number}"
        row.PerformedSeriesSequence = [series]
        status, _ = association.send_n_set(row, STEP, step)
    print(f"{state} {status.Status:04x}", flush=True)
    association.release()
"""


def scheduled(
    number: int,
    status: str,
    *,
    order: str = "99001234",
    visit: str = "55017744",
    appointment: str = "88112233",
    place: str = "OR^3",
) -> str:
    """SIU^S14: an appointment has changed."""
    head = f"MSH|^~\\&|SCHED|MAIN|||20261122101500+0000||SIU^S14^SIU_S12|S-{number}|P|2.6\\r"
    sch = f"SCH||{appointment}^SCHED|{'|' * 22}{status}|P-1|{order}\\r"
    return f"{head}{sch}{PATIENT}PV1|1|I|WARD 4^12^B{'|' * 16}{visit}\\rAIL|1||{place}\\r"


def discharged(number: int, *, visit: str = "55017744") -> str:
    """ADT^A03."""
    return f"MSH|^~\\&|ADT|MAIN|||20261122121500+0000||ADT^A03^ADT_A03|D-{number}|P|2.6\\r{PATIENT}PV1|1|I|WARD 4^12^B{'|' * 16}{visit}\\r"


def test_the_settings_example_is_a_place_as_it_is_heard() -> None:
    """What somebody copies out of `scrubjay settings` fits the message of a hospital whose room is number 3 of OR."""
    (example,) = (f.metadata["meaning"].split('"')[1] for f in fields(SessionSettings) if f.name == "opens")
    heard = dict(decoded(scheduled(1, "Started").replace("\\r", "\r").encode()).said.fields)
    words = [f"fields/{name}={heard[name]}" for name in ("hl7/appointment_status", "hl7/location")]

    assert ["procedure:", "kind=hl7", *words] == example.split()


class Gate:
    """Intake with a real socket, and what stands behind it, on a real disk."""

    def __init__(self, root: Path, **doors: int) -> None:
        self.root = root
        self.board = LinuxBoard(root, root / "identity", open_tap=SimulatedTap)
        self.board.disk.mkdir("state")
        self.intake = IntakeStation(self.board, IntakeSettings(listen_address="127.0.0.1", p4_batch_ms=0, **doors))  # type: ignore[arg-type]
        self.intake.start(self.board.clock.now())
        self.use(SETTINGS)

    def use(self, settings: SessionSettings) -> None:
        """A new life of all but intake."""
        rules = Rules.of(settings)
        behind: list[Station] = [
            GroupStation(self.board, GroupSettings(), noticed={"session": rules.fits()}), SessionStation(self.board, settings),
            DeidentifyStation(self.board, DeidentifySettings()),
        ]  # fmt: skip
        for station in behind:
            station.start(self.board.clock.now())
        self.stations: list[Station] = [self.intake, *behind]
        self.step()

    def step(self) -> None:
        for station in self.stations:
            station.step(self.board.clock.now())

    def until(self, done: Callable[[], bool]) -> None:
        """Step as the loop would, until it is so."""
        start = self.board.clock.now().monotonic
        while not done():
            assert self.board.clock.now().monotonic.since(start) < WAIT_S * 1e9, [
                station.report.as_json() for station in self.stations
            ]
            self.step()
            select.select([fd for fd in self.intake.descriptors() if fd >= 0], [], [], 0.02)

    def hear(self, port: int, *texts: str) -> list[str]:
        """What a client nobody here wrote is answered, message by message."""
        return self.meet(SENDER, str(port), *texts)

    def meet(self, program: str, *arguments: str) -> list[str]:
        """Lines a peer says while the stations work."""
        with subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True) as peer:
            self.until(lambda: peer.poll() is not None)
            assert peer.stdout is not None
            return peer.stdout.read().splitlines()

    @property
    def current(self) -> Session | None:
        return read(self.board.disk, CURRENT)

    @property
    def last(self) -> Session | None:
        return read(self.board.disk, LAST)

    def count(self, name: str) -> int:
        return self.stations[2].report.counts.get(name, 0)

    def left(self) -> list[Message]:
        """What has come to the outbox."""
        disk = self.board.disk
        names = [name for name in disk.list("outbox") if not name.startswith(".")]
        return [
            row for name in names for row in message.unpacked(envelope.content_of(envelope.unpacked(disk.read(f"outbox/{name}"))))
        ]

    def planted(self) -> list[str]:
        """Files of the store in which something of the patient is."""
        files = [path for path in self.root.rglob("*") if path.is_file() and path.parent.name != "identity"]
        return [str(path.relative_to(self.root)) for path in files if any(word in path.read_bytes() for word in PLANTED)]


@pytest.fixture
def make_gate(tmp_path: Path) -> Iterator[Callable[..., Gate]]:
    gates: list[Gate] = []

    def make(**doors: int) -> Gate:
        gates.append(Gate(tmp_path, **doors))
        return gates[-1]

    yield make
    for gate in gates:
        gate.intake.stop(gate.board.clock.now())


def test_hl7_opens_and_closes_a_session(make_gate: Callable[..., Gate]) -> None:
    """A scheduling system says over TCP that an appointment in this room has started, and that it is complete: each is acknowledged, the
    session begins and ends, and the hub is told by pseudonym what it belongs to. Another room's opens nothing, another patient's discharge
    and another appointment's end close nothing; and no file of the store holds anything of the patient. (S2-033, S2-085, S2-130, S2-132)"""
    port = free_port()
    gate = make_gate(hl7_listen=port)
    other_room, ours = scheduled(1, "Started", **OTHER, place="OR^7"), scheduled(2, "Started")
    assert ["MSA|AA|S-1", "MSA|AA|S-2"] == gate.hear(port, other_room, ours)
    gate.until(lambda: gate.current is not None)
    key = read_or_none(gate.board.disk, "intake/key", size=64)
    assert key is not None
    session = gate.current
    assert session is not None
    assert ("event", pseudonym(key, "order", "99001234")) == (session.opened_by, session.context["order"])

    others = (scheduled(3, "Complete", **OTHER), discharged(4, visit="2"), scheduled(5, "Started"))
    assert ["MSA|AA|S-3", "MSA|AA|D-4", "MSA|AA|S-5"] == gate.hear(port, *others)
    gate.until(lambda: gate.count("closings_of_others") == 2 and gate.count("openings_said_twice") == 1)
    assert session == gate.current

    assert ["MSA|AA|D-6"] == gate.hear(port, discharged(6))
    gate.until(lambda: gate.current is None and not gate.board.disk.list("flush"))
    assert gate.last is not None
    assert (session.identity, "event") == (gate.last.identity, gate.last.closed_by)
    gate.until(lambda: {"open", "closed"} <= {str(row.fields.get("state")) for row in gate.left()})
    told = {str(row.fields["state"]): row.fields for row in gate.left() if row.kind == "session"}
    assert {session.context["visit"]} == {fields["context/visit"] for fields in told.values()}
    assert [] == gate.planted()


@pytest.mark.parametrize("syntax", ["implicit", "explicit"])
def test_a_modality_opens_and_closes_a_session(make_gate: Callable[..., Gate], syntax: str) -> None:
    """A C-arm says by DICOM that a procedure step has begun, and later, on another association, that it is completed; each is answered
    when it is durable. Another patient's step that ends in the next room closes nothing; images are refused; and no file of the store holds
    anything of the patient. (S2-033, S2-085, S2-130)"""
    port = free_port()
    gate = make_gate(dicom_listen=port)
    ours, other = "1.2.3.7,99001234,1.2.3", "1.2.4.7,1,1.2.4"
    said = gate.meet(MODALITY, str(port), syntax, f"{ours},IN PROGRESS", f"{other},COMPLETED", f"{ours},COMPLETED")
    assert ["IN PROGRESS 0000", "COMPLETED 0000", "COMPLETED 0000"] == said
    gate.until(lambda: gate.last is not None and gate.current is None and not gate.board.disk.list("flush"))
    assert 1 == gate.count("closings_of_others")
    key = read_or_none(gate.board.disk, "intake/key", size=64)
    assert gate.last is not None and key is not None
    wanted = {
        "order": pseudonym(key, "order", "99001234"),
        "study": pseudonym(key, "study", "1.2.3"),
        "step": pseudonym(key, "step", "1.2.3.7"),
    }
    assert ("test", "event", wanted) == (gate.last.kind.value, gate.last.closed_by, gate.last.context)
    gate.until(lambda: {"mpps/in-progress", "mpps/completed"} <= {row.event for row in gate.left()})
    begun = next(row for row in gate.left() if row.event == "mpps/in-progress")
    assert ("XA", "CARM_7", "OR-3") == tuple(begun.fields[f"dicom/{name}"] for name in ("modality", "station", "location"))
    assert [] == gate.planted()


def test_hl7_opens_and_a_modality_closes(make_gate: Callable[..., Gate]) -> None:
    """An order begun by the scheduling system and the step of a C-arm name the same accession number: one session, and the step, which
    at its end names nothing but itself, closes it. (S2-130)"""
    hl7_port, dicom_port = free_port(), free_port()
    gate = make_gate(hl7_listen=hl7_port, dicom_listen=dicom_port)
    gate.hear(hl7_port, scheduled(1, "Started"))
    gate.until(lambda: gate.current is not None)
    opened = gate.current
    assert opened is not None
    rules = SessionSettings(
        opens=(*SETTINGS.opens[:2], "procedure: event=mpps/in-progress"), closes=SETTINGS.closes, settle_ms=0
    )  # fmt: skip
    gate.use(rules)
    gate.meet(
        MODALITY, str(dicom_port), "implicit", *(f"1.2.3.7,99001234,1.2.3,{state}" for state in ("IN PROGRESS", "COMPLETED"))
    )
    gate.until(lambda: gate.current is None)

    assert gate.last is not None
    assert (opened.identity, {"order", "visit", "appointment", "study", "step"}) == (gate.last.identity, set(gate.last.context))


def test_another_patients_step_closes_nothing_that_hl7_opened(make_gate: Callable[..., Gate]) -> None:
    """Where steps open nothing, the end of another patient's step is another's all the same, and our own closes: the modality named the order
    when it began. (S2-130)"""
    hl7_port, dicom_port = free_port(), free_port()
    gate = make_gate(hl7_listen=hl7_port, dicom_listen=dicom_port)
    gate.use(SessionSettings(opens=SETTINGS.opens[:1], closes=SETTINGS.closes[:1], settle_ms=0))
    gate.hear(hl7_port, scheduled(1, "Started"))
    gate.until(lambda: gate.current is not None)
    opened = gate.current
    other, ours = "1.2.4.7,1,1.2.4", "1.2.3.7,99001234,1.2.3"
    gate.meet(
        MODALITY,
        str(dicom_port),
        "implicit",
        *(f"{step},{state}" for state in ("IN PROGRESS", "COMPLETED") for step in (other, ours)),
    )
    gate.until(lambda: gate.current is None)

    assert opened is not None and gate.last is not None
    assert (opened.identity, 1) == (gate.last.identity, gate.count("closings_of_others"))
    assert [] == gate.planted()


def test_the_key_outlives_the_process(make_gate: Callable[..., Gate]) -> None:
    """A session opened before intake began anew is closed by its own number afterwards."""
    port = free_port()
    gate = make_gate(hl7_listen=port)
    gate.hear(port, scheduled(1, "Started"))
    gate.until(lambda: gate.current is not None)
    gate.intake.stop(gate.board.clock.now())
    port = free_port()
    again = make_gate(hl7_listen=port)
    again.hear(port, scheduled(2, "Complete", **OTHER), scheduled(3, "Complete"))
    again.until(lambda: again.current is None)

    assert 1 == again.count("closings_of_others")


def said(theatre: Theatre, event: str, **context: str) -> None:
    theatre.say(event, **{f"context/{kind}": word * 16 for kind, word in context.items()})
    theatre.run(3)


def test_what_it_is_about_decides(theatre: Theatre) -> None:
    """Another's end closes nothing; another's beginning ends this one and begins its own, however soon; the same one's beginning, said
    again hours later, begins nothing. (S2-130, S2-132)"""
    said(theatre, "procedure-started", order="a", visit="b")
    first = theatre.current
    said(theatre, "procedure-ended", order="c")
    assert first == theatre.current
    theatre.run(7200)
    said(theatre, "procedure-started", visit="b")
    assert first == theatre.current
    said(theatre, "procedure-started", order="c", visit="d")
    assert theatre.current is not None
    assert {"order": "c" * 16, "visit": "d" * 16} == theatre.current.context
    assert (first.identity, "another") == (theatre.last.identity, theatre.last.closed_by)
    theatre.cut_power()
    said(theatre, "procedure-ended", visit="b")
    assert theatre.current is not None
    said(theatre, "procedure-ended", visit="d")
    assert theatre.current is None


def test_who_says_nothing_of_it_is_believed_as_before(theatre: Theatre) -> None:
    """A console that only says that the procedure has ended ends it."""
    said(theatre, "procedure-started", order="a")
    said(theatre, "procedure-ended")

    assert theatre.current is None

"""HL7 v2: alerts and observations read, patients left alone, answers as the standard wants them."""

from collections.abc import Mapping
from datetime import timedelta, timezone
from pathlib import Path

import hl7 as somebody_elses
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.core.context import KINDS, is_pseudonym, pseudonym
from firmware.core.errors import BadItem
from firmware.core.hl7 import ABOUT_PERSONS, acknowledgement, decoded, header_of
from firmware.core.message import Priority, Severity

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "messages" / "hl7v2"
KEY = bytes(range(32))
PATIENT = "PID|||MRN-77301946^^^Hosp^MR||Quackenbush^Zebulon^^^^^L||19610203|M\r"


def alert(*, priority: str = "PH", phase: str = "start", msh: str = "", flags: str = "", extra: str = "") -> bytes:
    """An alert as IHE PCD-04 has it: event, source, phase, state, priority and type as facets."""
    head = (
        msh
        or "MSH|^~\\&|MINDRAY_VENTILATOR^0011223344556677^EUI-64|ICU|AM|HOSP|20261122101500.250+0100||ORU^R40^ORU_R40|MSG-1|P|2.6|||AL|NE"
    )
    facet = f"|||||F|||20261122101500+0100||||0011223344556677^^0011223344556677^EUI-64\r{extra}"
    rows = (
        f"OBX|1|CWE|196616^MDC_EVT_ALARM^MDC|1.0.0.0.1|196670^MDC_EVT_LO^MDC^^airway pressure low|||{flags}{facet}"
        f"OBX|2|NM|151793^MDC_PRESS_AWAY_MIN^MDC|1.0.0.0.2|3.5|266048^MDC_DIM_CM_H2O^MDC|5-20|L{facet}"
        f"OBX|3|ST|68481^MDC_ATTR_EVENT_PHASE^MDC|1.0.0.0.3|{phase}||{facet}"
        f"OBX|4|ST|68482^MDC_ATTR_ALARM_STATE^MDC|1.0.0.0.4|active||{facet}"
    )
    if priority:
        rows += f"OBX|5|ST|68484^MDC_ATTR_ALARM_PRIORITY^MDC|1.0.0.0.5|{priority}||{facet}"
    rows += f"OBX|6|ST|68485^MDC_ATTR_ALERT_TYPE^MDC|1.0.0.0.6|SP||{facet}"
    return f"{head}\r{PATIENT}OBR|1|1^VENT|1^VENT|196616^MDC_EVT_ALARM^MDC|||20261122101459.5+0100\r{rows}".encode()


def test_an_alert() -> None:
    """Who, what, how urgent, since when; the device's own words are its event. (S2-033)"""
    document = decoded(alert())
    said = document.said

    assert ("ORU^R40", "MSG-1", True) == (document.header.kind, document.header.control_id, document.header.wants_commit)
    assert ("alert", Priority.P1, Severity.ERROR, "MDC_EVT_LO") == (said.kind, said.priority, said.severity, said.event)
    assert ("MINDRAY_VENTILATOR", 1_795_338_899_500_000_000) == (said.process, said.time_utc_ns)
    assert ("start", "active", "SP", "196670") == tuple(
        said.fields[f"alert/{name}"] for name in ("phase", "state", "type", "code")
    )
    assert (3.5, "MDC_DIM_CM_H2O") == (said.fields["obx/MDC_PRESS_AWAY_MIN"], said.fields["obx/MDC_PRESS_AWAY_MIN/unit"])


@pytest.mark.parametrize(
    ("expected", "priority", "flags"),
    [
        (Priority.P1, "PH", ""), (Priority.P2, "PM", ""), (Priority.P3, "PL", ""), (Priority.P4, "PN", ""), (Priority.P1, "", "L~PH~SP"),
        (Priority.P2, "", "PM"), (Priority.P2, "", ""), (Priority.P2, "nonsense", ""), (Priority.P1, "PL", "PH"),
    ],
)  # fmt: skip
def test_priorities_of_alerts(expected: Priority, priority: str, flags: str) -> None:
    """As a facet or in the abnormal flags (table B.8-4), the most urgent of them; an alert that states none is a warning. (S2-030)"""
    assert expected == decoded(alert(priority=priority, flags=flags)).said.priority


def test_escalation_is_another_message() -> None:
    """The same alert, more urgent: another phase, another priority, and its own."""
    phases = (("PL", "start"), ("PH", "escalate"), ("PH", "end"))
    low, high, over = (decoded(alert(priority=priority, phase=phase)).said for priority, phase in phases)

    assert (Priority.P3, Priority.P1, "escalate") == (low.priority, high.priority, high.fields["alert/phase"])
    assert Priority.P3 == over.priority


@pytest.mark.parametrize(("phase", "expected"), [("start", Priority.P1), ("end", Priority.P3)])
def test_one_alert_ends_and_another_begins(phase: str, expected: Priority) -> None:
    """Of several alerts in one message the most urgent counts, and it is over when all are."""
    more = f"OBR|2|||196616^MDC_EVT_ALARM^MDC\rOBX|7|ST|68481^MDC_ATTR_EVENT_PHASE^MDC||{phase}||||||F\r"

    assert expected == decoded(alert(phase="end") + more.encode()).said.priority


def test_nothing_of_the_patient_is_taken_out() -> None:
    """Neither name nor number nor birthday is in text or fields; the message as a whole is tagged and does not leave. (S2-085)"""
    said = decoded(alert(extra="OBX|9|XPN|1^NAME^L||Quackenbush^Zebulon||||||F\r")).said
    shown = f"{said.text}{said.event}{ {name: value for name, value in said.fields.items() if name != 'obx/NAME'} }"

    assert "Quack" not in shown and "MRN" not in shown and "1961" not in shown
    assert [("attachment", "clinical")] == [(tag.path, tag.why) for tag in said.tags]
    assert said.attachment is not None and b"Quackenbush" in said.attachment[1]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("XPN", "Quackenbush^Zebulon"), ("PN", "Quackenbush^Zebulon"), ("XCN", "4711^Quackenbush^Zebulon"), ("xcn ", "4711^Quackenbush"),
        ("CX", "4711^^^WARD"), ("XAD", "4711 Main Street^^Quackenbush"), ("XTN", "+49 4711"), ("PL", "WARD^4711^2"),
    ],
)  # fmt: skip
def test_who_it_is_about_is_known_by_its_type(kind: str, value: str) -> None:
    """Observations of the types of persons are none of the room's, whatever they are called; those beside them are. (S2-085)"""
    rows = f"OBX|9|{kind}|69193^MDC_ATTENDING^MDC||{value}||||||F\rOBX|10|SI|1^Beds^L||4||||||F\r"
    said = decoded(alert(extra=rows)).said

    assert 4.0 == said.fields["obx/Beds"]
    assert all(word not in f"{said.fields} {said.text}" for word in ("Quackenbush", "Zebulon", "4711", "ATTENDING"))


def test_observations() -> None:
    """Vital signs are the last to leave; a critical one is a warning."""
    head = "MSH|^~\\&|MON|ICU|||20261122101500||ORU^R01^ORU_R01|7|P|2.6\r"
    obx = "OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1|{}|264864^MDC_DIM_BEAT_PER_MIN^MDC||{}||F\r"
    calm, alarming = (decoded((head + PATIENT + obx.format(*row)).encode()).said for row in ((77, "N"), (203, "HH")))

    assert ("observation", Priority.P4, 77.0) == (calm.kind, calm.priority, calm.fields["obx/MDC_ECG_HEART_RATE"])
    assert (Priority.P2, Severity.WARNING) == (alarming.priority, alarming.severity)
    assert (None, "20261122101500") == (calm.time_utc_ns, calm.fields["claimed_time"])


@pytest.mark.parametrize(
    ("unit", "expected"),
    [("mmol/l", "mmol/l"), ("beats/min^^ISO", "beats/min"), ("266016^MDC_DIM_MMHG^MDC", "MDC_DIM_MMHG"), ("", None)],
)
def test_a_unit_is_its_name_or_else_its_code(unit: str, expected: str | None) -> None:
    """Most laboratories, and whoever writes UCUM or ISO+, say the unit once, in the first component."""
    said = decoded(f"MSH|^~\\&|MON|ICU|||20261122101500||ORU^R01|7|P|2.6\rOBX|1|NM|1^Lactate^L||2.5|{unit}|||||F\r".encode()).said

    assert (2.5, expected) == (said.fields["obx/Lactate"], said.fields.get("obx/Lactate/unit"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (">^100", ">100"), ("<^0.05", "<0.05"), ("<>^7", "<>7"), ("^182", 182.0), ("=^182", "=182"), ("^100^-^200", "100-200"),
        ("^1^:^128", "1:128"), ("^2^+", "2+"), ("", ""), ("Zebulon^Quackenbush", "Quackenbush"),
    ],
)  # fmt: skip
def test_a_structured_number_keeps_what_it_is_compared_with(value: str, expected: str | float) -> None:
    """Below what can be measured is not the number measured, and of a titre or a range the half is another value (HL7 2.A, SN)."""
    said = decoded(f"MSH|^~\\&|LAB|ICU|||20261122101500||ORU^R01|7|P|2.6\rOBX|1|SN|1^Troponin^L||{value}||||||F\r".encode()).said

    assert expected == said.fields["obx/Troponin"]


@pytest.mark.parametrize(
    ("kind", "value", "expected", "unit"),
    [
        ("NA", "100^-105^^.5", "100 -105 - .5", "mV"), ("MA", "1^2~3^4", "1 2; 3 4", "mV"), ("NA", "100^Doe", "Doe", "mV"),
        ("NA", "^".join(["1000"] * 1_000), " ".join(["1000"] * 819) + " …", "mV"), ("NR", "10^20", "10..20", "mV"), ("NR", "^20", "..20", "mV"),
        ("DR", "20261122^20261123", "20261122..20261123", "mV"), ("CQ", "12^ml&millilitre&UCUM", 12.0, "ml"), ("MO", "7^EUR", 7.0, "EUR"),
        ("NA", f"1{' ' * 3000}^" * 3, "1 1 …", "mV"), ("NA", "1^" * 500_000, " ".join("1" * 2_047) + " 1 …", "mV"), ("TX", "~" * 1_000_000, " …", "mV"), ("TX", "a~" * 300, "; ".join("a" * 256) + " …", "mV"),
        ("ST", "\\X41\\" * 100_000, "A" * 4_096 + " …", "mV"), ("TS", "20261122101500^S", "20261122101500", "mV"), ("ST", "one~two^second~", "one; second", "mV"), ("TX", "line one~line two", "line one; line two", "mV"),
        ("CWE", "1^low^L~2^late^L", "low; late", "mV"), ("NM", "1~2", "1~2", "mV"), ("NM", "20261122101500123", "20261122101500123", "mV"), ("NM", "9007199254740991", 9007199254740991.0, "mV"),
        ("CQ", "Doe^Jane", "Jane", "mV"), ("NR", "Doe^Jane", "Jane", "mV"),
    ],
)  # fmt: skip
def test_of_a_value_every_part_is_there(kind: str, value: str, expected: str | float, unit: str) -> None:
    """Waveforms, ranges, quantities with their own unit, and repetitions (HL7 2.A): a part by itself would be another value."""
    row = f"OBX|1|{kind}|1^X^L||{value}|mV|||||F\r"
    said = decoded(f"MSH|^~\\&|MON|ICU|||20261122101500||ORU^R01|7|P|2.6\r{row}".encode()).said

    assert (expected, unit) == (said.fields["obx/X"], said.fields["obx/X/unit"])


def test_times_without_a_zone_are_the_sites() -> None:
    """A zone in the time wins; one that names none is read in the site's, where the site has said which."""
    data = b"MSH|^~\\&|MON|ICU|||20261122101500||ORU^R01|7|P|2.6\r"

    assert 1_795_313_700 * 10**9 == decoded(data, zone=timezone(timedelta(hours=8))).said.time_utc_ns
    assert 1_795_338_899_500_000_000 == decoded(alert(), zone=timezone(timedelta(hours=8))).said.time_utc_ns


@pytest.mark.parametrize(
    ("identifier", "name"),
    [
        ("8867-4^心率^LN", "心率"),
        ("心率", "心率"),
        ("SPO2^SpO2 饱和度", "SpO2-饱和度"),
        ("1^Tempé^L", "Tempé"),
        ("SAO2^%^L", "SAO2"),
    ],
)
def test_an_observation_is_called_as_its_sender_calls_it(identifier: str, name: str) -> None:
    """In whatever script; by its code where its name has no letter."""
    data = f"MSH|^~\\&|MON|ICU|||20261122101500||ORU^R01|7|P|2.6\rOBX|1|NM|{identifier}||72|/min|||||F\r".encode()

    assert {f"obx/{name}": 72.0, f"obx/{name}/unit": "/min"} == {
        name: value for name, value in decoded(data).said.fields.items() if name.startswith("obx/")
    }


@pytest.mark.parametrize(
    ("signs", "value", "text"),
    [
        ("|^~\\&", r"a\F\b\S\c\T\d\R\e\E\f", "a|b^c&d~e\\f"), ("|^~\\&", r"\H\stop\N\ now", "stop now"), ("|^~\\&", r"one\.br\two\X0D\\X0A\three", "one\ntwo\n\nthree"),
        ("|^~\\&", r"one\X0D0A\two\X41\\XC3A9\.", "one\ntwoAé."), ("|^~\\&", r"\X00\ \XFF\ \Q\ \.in4\.", r"\X00\ \XFF\ \Q\ \.in4\."),
        ("$*~!%", "a!F!b!S!c!T!d!E!e|f^g", "a$b*c%d!e|f^g"), ("|^~", r"a\F\b", r"a\F\b"),
    ],
)  # fmt: skip
def test_escapes_are_the_senders(signs: str, value: str, text: str) -> None:
    """HL7 2.7, by the signs of MSH-1 and MSH-2; what is none of them stays."""
    head = f"MSH{signs}$MON$ICU$$$20261122101500$$ORU*R01$7$P$2.6\rOBX$1$ST$1*X$${value}\r"
    data = head.replace("$", signs[0]).replace("*", signs[1]) if signs[0] != "$" else head

    assert text == decoded(data.encode()).said.fields["obx/X"]


@pytest.mark.parametrize(
    ("rows", "left_out"),
    [
        ("".join(f"OBX|{n}|NM|{n}^N{n}||{n}|/min\r" for n in range(300)), 300 - 254), ("OBX|1|NM|1^N||1\r" * 100, 37), ("OBX|1|ST|||free\r", 1),
        ("OBX|1|XPN|1^N||Quackenbush^Zebulon\rOBX|2|NM|1^N||1\r", None),
    ],
)  # fmt: skip
def test_what_is_left_out_is_counted(rows: str, left_out: int | None) -> None:
    """More observations than a message has room for, more of one name than anybody tells apart, and those without a name: said, how many."""
    said = decoded(f"MSH|^~\\&|MON|ICU|||20261122101500||ORU^R01|7|P|2.6\r{rows}".encode()).said

    assert left_out == said.fields.get("hl7/left_out")


@pytest.mark.parametrize(
    ("named", "encoding", "text"),
    [
        ("~ISO IR87", "iso2022_jp", "視力・心拍"), ("ISO IR87", "iso2022_jp", "視力・心拍"), ("8859/1~ISO IR87", "iso2022_jp", "視力・心拍"),
        ("~ISO IR87~ISO IR159", "iso2022_jp_2", "視力 鄧"), ("8859/2", "iso8859-2", "ciśnienie żyły"), ("8859/5", "iso8859-5", "давление"),
        ("8859/7", "iso8859-7", "πίεση"), ("KS X 1001", "euc_kr", "심박수"), ("BIG-5", "big5", "功蓋心率"), ("GB 18030-2000", "gb18030", "恷心率"),
        ("8859/15", "iso8859-15", "5 € Puls"), ("UNICODE UTF-8", "utf-8", "心率"), ("", "utf-8", "心率"), ("8859/1", "latin-1", "Atmung gestört"),
        ("ASCII", "latin-1", "Atmung gestört"),
    ],
)  # fmt: skip
def test_sets_of_characters(named: str, encoding: str, text: str) -> None:
    """Table 0211: names and texts are read as they were written, and a separator within a letter parts nothing."""
    head = f"MSH|^~\\&|MON|ICU|||20261122101500||ORU^R01|7|P|2.6||||||{named}\r"
    said = decoded((head + f"OBX|1|ST|1^{text}^L||{text}|mm|||||F\r").encode(encoding)).said

    assert [(text, "mm")] == [
        (value, said.fields[f"{name}/unit"])
        for name, value in said.fields.items()
        if name.startswith("obx/") and "unit" not in name
    ]


@pytest.mark.parametrize("site", [None, timezone(timedelta(hours=8))])
def test_the_zone_of_the_message_is_that_of_its_times(site: timezone | None) -> None:
    """A sender that names his zone in MSH-7 names it for all of the message; what the site has said is for those that name none."""
    data = b"MSH|^~\\&|MON|ICU|||20261122101500+0100||ORU^R01|7|P|2.6\rOBR|1|||1^ECG|||20261122101459.5\r"

    assert 1_795_338_899_500_000_000 == decoded(data, zone=site).said.time_utc_ns


@pytest.mark.parametrize(
    "data",
    [
        b"", b"MSH", b"MSH|", b"PID|1", b"MSH|^~\\&|", b"MSH|^^^^|A|B|C|D|20261122||ORU^R40|1|P|2.6\r", b"MSH||A|B|C|D|20261122||ORU^R40|1|P|2.6\r",
        b"MSH|^~\\&|A|B|C|D|20261122||ORU^R40|1|P|3.0\r", b"MSH|^~\\&|A|B|C|D|20261122||ORU^R40||P|2.6\r",
        b"MSH|^~\\&|A|B|C|D|20261122||ORU^R01|1|P|2.6\rMSH|^~\\&|X|B|C|D|20261122||ORU^R01|2|P|2.6\r",
        b"FHS|^~\\&|A\rBHS|^~\\&|A\rMSH|^~\\&|A|B|C|D|20261122||ORU^R01|1|P|2.6\rBTS|1\rFTS|1\r",
        b"MSH|^~\\&|A|B|C|D|20261122||ORU^R40|1|P|2.6\rOBX|1|ST|1^X||y\r", b"MSH|^~\\&|A|B|C|D|20261122||ADT^A01|1|P|2.6\r" + b"Z\r" * 5_000,
    ],
)  # fmt: skip
def test_what_is_refused(data: bytes) -> None:
    """No header, no control ID, another version, two messages or a batch of them, an alert without an alert, more segments than anybody has."""
    with pytest.raises(BadItem):
        decoded(data)


@pytest.mark.parametrize(("msh15", "mark"), [("", "A"), ("AL", "C")])
@pytest.mark.parametrize("code", ["A", "E", "R"])
def test_answers_are_understood_by_others(code: str, msh15: str, mark: str) -> None:
    """Original and enhanced mode, in the sender's own separators; read by a library nobody here wrote."""
    document = decoded(b"MSH$*~\\&$MON*1$ICU$$$20261122$$ORU*R01*ORU_R01$77$P$2.5$$$" + msh15.encode() + b"\r")
    answer = acknowledgement(document.header, code, utc_ns=1_795_342_500 * 10**9, control_id="9", reason="expected something")
    read = somebody_elses.parse(answer.decode())

    assert ("ACK", "R01", "77", mark + code) == (read["MSH.F9.R1.C1"], read["MSH.F9.R1.C2"], read["MSA.F2"], read["MSA.F1"])
    assert ("MON", "ICU", "2.5") == (read["MSH.F5"], read["MSH.F6"], read["MSH.F12"])


@pytest.mark.parametrize(
    ("asked", "answers"),
    [
        ("NE|NE", (None, None)), ("NE|", (None, None)), ("ER|NE", (None, "CE")), ("SU|NE", ("CA", None)), ("NE|AL", ("AA", "AE")),
        ("NE|ER", (None, "AE")), ("AL|AL", ("CA", "CE")), ("|", ("AA", "AE")), ("|NE", ("AA", "AE")), ("xx|", ("CA", "CE")),
    ],
)  # fmt: skip
def test_who_wants_no_answer_gets_none(asked: str, answers: tuple[str | None, str | None]) -> None:
    """MSH-15 and MSH-16 (HL7 2.9.2, table 0155): who does not listen would be told until his buffers are full, and then cut off."""
    header = decoded(f"MSH|^~\\&|MON|ICU|||20261122||ORU^R01|77|P|2.6|||{asked}\r".encode()).header
    given = (acknowledgement(header, code, utc_ns=0, control_id="9").decode() for code in "AE")

    assert answers == tuple(somebody_elses.parse(one)["MSA.F1"] if one else None for one in given)


def test_an_answer_where_nothing_could_be_read() -> None:
    """Rejected, to nobody in particular."""
    assert None is header_of(b"garbage")
    assert b"MSA|AR|" in acknowledgement(None, "R", utc_ns=0, control_id="1")


@pytest.mark.parametrize("path", sorted(DATA.glob("*.hl7")) if DATA.exists() else [], ids=lambda path: path.stem)
def test_messages_nobody_here_wrote(path: Path) -> None:
    """Every kind of them is taken; observations become fields, the rest is kept as it is; of schedules, orders and admissions nothing
    but the room, how far it is, and pseudonyms. (S2-085, S2-130)"""
    data = path.read_bytes().replace(b"\r\n", b"\r").replace(b"\n", b"\r").strip(b"\r\x0b\x1c")
    document = decoded(data, pseudonym=lambda kind, value: pseudonym(KEY, kind, value))

    assert document.header.kind and document.header.control_id
    if document.header.kind[:3] not in ABOUT_PERSONS:
        assert data == (document.said.attachment or ("", b""))[1]
        return
    assert (None, ()) == (document.said.attachment, document.said.tags)
    allowed = {"type", "control_id", "facility", "order_control", "order_status", "appointment_status", "location"}
    assert set(document.said.fields) <= {f"hl7/{name}" for name in allowed} | {f"context/{kind}" for kind in KINDS} | {
        "claimed_time"
    }
    assert all(is_pseudonym(value) for name, value in document.said.fields.items() if name.startswith("context/"))


@pytest.mark.parametrize("kind", ["MDM^T02", "REF^I12", "DFT^P03", "RDE^O11", "VXU^V04", "BAR^P01", "PPR^PC1"])
def test_what_was_written_about_a_patient_is_no_observation(kind: str) -> None:
    """A report's sentences come in OBX as well, with names nobody could tell from other words: they are kept, and no field. (S2-085)"""
    data = (
        f"MSH|^~\\&|NOTES|WARD|||20261122081500+0000||{kind}|D-1|P|2.6\r{PATIENT}"
        "OBX|1|TX|1^Text||Zebulon slept well\rOBX|2|TX|1^Text||so did Quackenbush's wife\r"
    ).encode()
    said = decoded(data).said

    assert {"hl7/type": kind.replace("^", "/"), "hl7/control_id": "D-1", "hl7/facility": "WARD", "hl7/left_out": 2} == said.fields
    assert (None, data) == (said.text, (said.attachment or ("", b""))[1])


SCHEDULED = (
    "MSH|^~\\&|SCHED|MAIN|||20261122081500+0000||SIU^S14^SIU_S12|S-1|P|2.6\rSCH|A-77^SCHED|F-78^SCHED|||||||||||||||||||||||Started^Started^HL7|P-1|99001234\r"
    f"{PATIENT}PV1|1|I|WARD 4^12^B^MAIN||||||||||||||||V-5501^^^MAIN\rAIL|1||OR&1.2.3&ISO^3^^MAIN\r"
)
ORDERED = (
    "MSH|^~\\&|RIS|MAIN|||20261122081500+0000||ORM^O01^ORM_O01|O-1|P|2.6\r"
    f"{PATIENT}PV1|1|I|OR^3\rORC|SC|P-1|x-9||IP\rOBR|1|P-1|x-9|CT^CT head||||||||||||||99001234\rOBX|1|ST|1^Told||to Zebulon\r"
)


def test_what_the_room_is_told() -> None:
    """Where, how far, and what it belongs to: an appointment and an order name one accession number, and have one pseudonym. (S2-130)"""

    def fields(text: str) -> Mapping[str, object]:
        return decoded(text.encode(), pseudonym=lambda kind, value: pseudonym(KEY, kind, value)).said.fields

    scheduled, ordered = fields(SCHEDULED), fields(ORDERED)
    assert ("SIU/S14", "Started", "OR/3") == tuple(
        scheduled[f"hl7/{name}"] for name in ("type", "appointment_status", "location")
    )
    assert ("ORM/O01", "SC", "IP", "OR/3") == tuple(
        ordered[f"hl7/{name}"] for name in ("type", "order_control", "order_status", "location")
    )
    assert scheduled["context/order"] == ordered["context/order"] == pseudonym(KEY, "order", "99001234")
    assert pseudonym(KEY, "visit", "V-5501") == scheduled["context/visit"]
    assert pseudonym(KEY, "appointment", "F-78") == scheduled["context/appointment"]
    said = f"{scheduled} {ordered}"
    assert not [word for word in ("99001234", "V-5501", "F-78", "Zebulon", "77301946", "1961") if word in said]


def test_without_a_key_nothing_stands_for_a_number() -> None:
    """A number that cannot be replaced is left out; one that was deleted (HL7's two quotation marks) is none."""
    assert not [name for name in decoded(SCHEDULED.encode()).said.fields if name.startswith("context/")]
    deleted = SCHEDULED.replace("V-5501^^^MAIN", '""').encode()
    assert "context/visit" not in decoded(deleted, pseudonym=lambda kind, value: value).said.fields


PIECES = st.sampled_from(
    [b"MSH|^~\\&|", b"MSH", b"|", b"^", b"~", b"\\", b"&", b"\r", b"\n", b"OBX|1|NM|", b"68484^MDC_ATTR_ALARM_PRIORITY", b"PH", b"ORU^R40", b"2.6",
     b"196616", b"20261122101500+9999", b"99999999999999", b"\xff", b"nan", b"\\F\\", b"A|B|C|D|20261122||ORU^R40|1|P|2.6\r", b"UNICODE UTF-8",
     b"SIU^S14", b"ORM^O01", b"SCH|1|2", b"PV1|1|I|", b"ORC|SC|", b"OBR|1|"]
)  # fmt: skip


@given(st.lists(PIECES | st.binary(max_size=6), max_size=40).map(b"".join))
def test_any_bytes(data: bytes) -> None:
    """A document or BadItem, and an answer in any case."""
    try:
        header = decoded(data, pseudonym=lambda kind, value: pseudonym(KEY, kind, value)).header
    except BadItem:
        header = header_of(data)  # type: ignore[assignment]

    assert acknowledgement(header, "E", utc_ns=0, control_id="1").endswith(b"\r")

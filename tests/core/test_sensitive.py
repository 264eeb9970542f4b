"""What is found to be sensitive: markers, names of fields, clinical documents; and in doubt, yes."""

import json
import random
import zlib
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.core import sensitive
from firmware.core.datagram import decoded
from firmware.core.message import Tag
from firmware.core.sensitive import SPANS_MAX, find_tags, holds_marker, marked_spans

DATA = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        ([], "arm 3 stopped"),
        (["#phi Jane Doe #end"], "stopped for #phi Jane Doe #end at 12 N"),
        (["#PHI Jane Doe #End"], "stopped for #PHI Jane Doe #End."),
        (["#phi Jane Doe"], "patient #phi Jane Doe"),
        (["#phi a #end", "#phi b #end"], "#phi a #end and #phi b #end"),
        (["#phi a #phi b #end c #end"], "#phi a #phi b #end c #end d"),
        (["#phi a #phi b #end c"], "#phi a #phi b #end c"),
        (["#phi at #endoscopy Jane"], "#phi at #endoscopy Jane"),
        (["#phidias"], "#phidias"),
        (["#phi#end"], "x#phi#end"),
        (["#phi"], "#end #phi"),
    ],
)
def test_markers(expected: list[str], text: str) -> None:
    """From `#phi` to its `#end`, or to the end of the text. (S2-082)"""
    assert expected == [text[start:end] for start, end in marked_spans(text)]


@given(st.lists(st.sampled_from(["#phi", "#PHI", "#end", "#endo", " ", "x", "Jane", "\n", "İ", "ſ"]), max_size=30).map("".join))
def test_marked_spans_are_in_order_and_open(text: str) -> None:
    """Spans are ordered, do not touch what is free, and no opening marker is left outside them."""
    position, free = 0, ""
    for start, end in marked_spans(text):
        assert position <= start < end <= len(text)
        free += text[position:start] + "|"
        position = end
    free += text[position:]

    assert "#phi" not in free.lower()


def test_fields_and_attachments() -> None:
    """Names take the whole value, markers in values their span, in bytes the attachment. (S2-080)"""
    tags = find_tags(None, {"mrn": 4711, "note": "saw #phi Jane", "torque": 1.5}, ("text/plain", b"x #PHI y"))

    assert (Tag("fields/mrn", 0, 0, "field"), Tag("fields/note", 4, 13, "marker"), Tag("attachment", 0, 0, "marker")) == tags


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        (["Jane Doe"], "patient_name=Jane Doe arm=3"),
        (["Jane Doe"], "moved; Patient: Jane Doe, bed 4"),
        (["Doe, Jane bed 4"], "moved; Patient: Doe, Jane bed 4"),
        (["Doe, Jane"], "Patient: Doe, Jane, bed 4"),
        (["van der Berg, J.-M. Anna"], "patient_name=van der Berg, J.-M. Anna arm=3"),
        (["Doe, Jane"], "Patient: Doe, Jane"),
        (["doe, jane"], "Patient: doe, jane"),
        (["doe, jane stopped the arm"], "patient=doe, jane stopped the arm, torque high"),
        (["van der berg, anna", "o'brien, ann"], "patient: van der berg, anna; patient: o'brien, ann"),
        (["Dr. von Berg, anna"], "name=Dr. von Berg, anna, arm stopped"),
        (["Doe"], "Patient: Doe, bed 4, arm stopped"),
        (["doe"], "Patient: doe, bed: 4"),
        (["Jane Doe"], "Patient: Jane Doe, arm stopped"),
        (["Doe, Jane, 1961-02-03"], "Patient: Doe, Jane, 1961-02-03, bed 4"),
        (["Jane Doe, *3.2.1961"], "Patient: Jane Doe, *3.2.1961"),
        (["Jane Doe"], "Patient: Jane Doe, 12:30:15 stopped, 4.5 N"),
        (["Doe, Jane, 4711"], "Patient Name: Doe, Jane, 4711"),
        (
            ["Doe, Jane, 1961-02-03, SJ-4711", "Roe, A12345"],
            "Patient: Doe, Jane, 1961-02-03, SJ-4711, bed 4; patient: Roe, A12345 arm=3",
        ),
        (["Jane Doe", "Roe"], "Patient: Jane Doe, 4711 rpm, 4.52, 12; patient=Roe, 12, 4711 N"),
        (["1,2", "4711, SJ-4712"], "patient_ids=1,2 arm=3; MRNs: 4711, SJ-4712, Arm 3 moved, 4.5"),
        (["4711"], "mrn=4711, 12, 13 arms=1,2"),
        (["name: Jane\n  id: 4711"], "patient:\n  name: Jane\n  id: 4711\nbed: 4"),
        (["- Jane Doe\n\n  - Ann"], "x\n  patient:\n  - Jane Doe\n\n  - Ann\n  arm: 3"),
        (["Jane"], "patient:\nJane\n  4711: x"),
        (["Jane (Jo) Doe"], "Patient: Jane (Jo) Doe, bed 4"),
        (["[VIP] Jane (Roe (born Poe), Ann) Doe"], "(Patient: [VIP] Jane (Roe (born Poe), Ann) Doe) bed 4"),
        (["Jane"], "arm [patient: Jane] stopped (4)"),
        (["Jane (Jo) Doe"], "patient=Jane (Jo) Doe arm=(3), [4]"),
        (["Jane (Jo Doe"], "patient: Jane (Jo Doe\nbed 4)"),
        (["欧阳, 鸦鸣春"], "patient=欧阳, 鸦鸣春; arm=3"),
        (["Doe,Jane, Roe, Ann"], "patients seen\npatient: Doe,Jane, Roe, Ann\nBed: 4"),
        (["Jane Doe"], "Patient: Jane Doe, Bed 4"),
        (["Jane Doe"], "Patient: Jane Doe, Bed: 4, Arm stopped"),
        (["Jane Doe"], "patient=Jane Doe, Bed=4"),
        (["SJ-4711"], "patient_id=SJ-4711, Arm stopped"),
        (["4711, Jane Doe"], "Patient: 4711, Jane Doe"),
        (["4711, Doe, Jane Anna"], "Patient: 4711, Doe, Jane Anna, bed 4"),
        (["SJ-4711, O'Brien, Ann, 1961-02-03"], "mrn = SJ-4711, O'Brien, Ann, 1961-02-03, Arm Left, moved"),
        (["4711,欧阳,鸦鸣春"], "patient=4711,欧阳,鸦鸣春; bed=4"),
        (["4711"], "mrn: 4711, Bed 4, Arm Left"),
        (["4711"], "mrn: 4711, Table Height 82, Table Height: 4"),
        (["4711"], "mrn: 4711, Arm 3, stopped"),
        (['"Jane Doe"'], 'patient="Jane Doe", Arm stopped'),
        ([], "patient=[removed], Arm stopped"),
        ([], "patient=, Arm stopped"),
        (["1961-02-03"], "dob=1961-02-03"),
        (['"Jane Doe"'], '{name="Jane Doe"}'),
        (['"Doe, Jane"'], 'patient_name="Doe, Jane" arm=3'),
        (["'Doe; J. (Jane) '"], "arm=3 patient='Doe; J. (Jane) ', bed 4"),
        (['"O\\"Doe, Jane" 4711'], 'patient: "O\\"Doe, Jane" 4711, bed 4'),
        (['"Doe'], 'patient="Doe, bed 4'),
        (["Jane Doe"], "patient   : Jane Doe\nbed       : 4"),
        (["4711"], "mrn\t \t= 4711"),
        ([], "patient\n\n: x"),
        (["Jane Doe\x1b[0m"], "\x1b[33mPatient: Jane Doe\x1b[0m, bed 4"),
        (["Jane"], "\x1b[1mPatient\x1b[0m: Jane, bed 4"),
        (["Jane"], "failed: b'bed 4\\nPatient: Jane; x"),
        (["Jane"], "failed: DOMAIN\\name: Jane; x"),
        (["4711", "Jane"], "run --patient-id=4711, __patient_name__=Jane; x"),
        (["Jane", "Ann", "Main St"], "patient1=Jane, Patient 2: Ann; address_2=Main St; x"),
        ([], "arm 3: moved at 12:30:15, --speed=4, _id=7"),
        (["4711"], "GET /fhir/Patient/4711/bed 200"),
        (["Doe_Jane.dcm"], "cannot open C:\\Patients\\Doe_Jane.dcm: no such file"),
        ([], "GET /fhir/Patient/[removed] and /patient/ and /outpatient/4"),
        (["4711", "a1b2-c3", "SJ-471"], "no such Patient/4711, see subject=Person/a1b2-c3 and (Practitioner/SJ-471"),
        (["roe", "4"], "GET /fhir/Practitioner/roe and /relatedpersons/4"),
        ([], "topic patient/cart, Patient/Surgeon side, Patient/Arm2, Device/4711, x.Patient/4711, joint/4711"),
        (["4711"], "Patient ID: 4711"),
        (["Jane Doe"], "Patient：Jane Doe, bed 4"),
        (["Jane Doe"], "arm=3 patient＝Jane Doe; bed 4"),
        (["4711"], "arm 3 of the patient id=4711, bed 4"),
        (["1961-02-03", "A1"], "Date of birth: 1961-02-03; accession number = A1"),
        (["4711"], "MEDICAL\tRECORD  NUMBER: 4711"),
        (["4711", "Jane Doe"], "patient IDs: 4711; patient names: Jane Doe; joint names: a"),
        (["1961-02-03"], "Patient's birth date: 1961-02-03"),
        (["4711"], "Patient\u2019s ID: 4711"),
        (["(MRN): 4711"], "Patient (MRN): 4711, bed 4"),
        (["[ID] : 4711"], "admitted patient [ID] : 4711; bed (left): 4"),
        (["4711", "A1"], "Number (MRN): 4711, [accession]= A1, arm (3): ok, state[1] = x"),
        (["4711: moved"], "MRN 4711: moved, arm 3: ok"),
        (["4711", "12", "A1", "SJ-4 moved"], "MRN# 4711, MRN #12, Accession #: A1; patient id # SJ-4 moved; joint #2"),
        (["4711: x"], "mrn #4711: x"),
        ([], "mrn #, mrn # x, name #end, patient # [removed], patient side cart #3, arm id #4"),
        (["4711"], "Patient\u00a0ID:\u00a04711"),
        (["555"], "moved to #3, phone number: 555"),
        (["Jane", "Ann", "Eve"], "Patient\u200b: Jane; Pa\u00adtient \ufeff: Ann; Patient\u00a0\u00a0: Eve; x"),
        (["Jane", "Ann"], "\ufeffPatient: Jane\nstopped\u200bpatient\u2060= Ann; x"),
        ([], "arm\u200b: 3, stopped\u200bjoint = 2"),
        ([], "arm id: 3, date: 2026-11-26, order number: 4, patient side cart: ready, zone of patient, id: 3"),
        ([], "arm=3 torque=4.5 at 12:30:15"),
        (["4711", "SJ-4712", "4713"], "MRN 4711 moved, mrn SJ-4712; +MRNs is 4713"),
        (
            ["4711", "SJ.4712/1", "A4713", "123-45-6789"],
            "patient ID 4711, Patient's id is SJ.4712/1. patientNumber A4713 SSN 123-45-6789",
        ),
        (
            ["A12345", "4711", "4712", "4713"],
            "accession no. A12345; Medical  Record 4711 of medical record number 4712, passport nr 4713",
        ),
        (["1961-02-03", "3.2.1961", "19610203"], "DOB 1961-02-03, born on 3.2.1961; date of birth 19610203"),
        (
            ["Jane Doe", "DOE, JANE", "Jane", "欧阳"],
            "Patient Jane Doe admitted; PATIENT DOE, JANE WAS ADMITTED. patient Jane (MRN) in; patient 欧阳 admitted",
        ),
        (["1961-02-03", "Jane O'Neil-Roe", "J. Doe"], "Patient Jane O'Neil-Roe, born 1961-02-03. Patient J. Doe, 43 years old"),
        (["Mr. Doe", "Dr. Ann Roe", "DR. ROE:"], "patient Mr. Doe moved, surgeon Dr. Ann Roe logged in; Physician DR. ROE: x"),
        (['"Jane Doe"', "'4711'"], "set patient \"Jane Doe\" and patient '4711'"),
        (["4711", "Jane Doe"], "Patient Jane Doe MRN: 4711"),
        (
            [],
            "MRN 12, mrn [removed], MRN field empty, patient ID 12, patient 4711 mm, IMRN 4711, patient ID missing, born in 2 s, MRN x-1",
        ),
        (
            [],
            "dob at 12:30:15, born 3, birth 4, patient [removed] admitted, PATIENT NOT ADMITTED, Patient Data Admitted, patient admitted",
        ),
        (
            [],
            "Patient MR Scanner on, patient Image admitted, Patient Side Cart Battery discharged, patient 'docked', surgeon Console died",
        ),
        ([], "device name: PSM-3, Tool  Name = Needle Driver; (joint name: j1), topic name: /tf"),
        ([], "IP address: 10.0.0.4, MAC Address=00:11:22:33:44:55; bus\taddress: 0x40"),
        (["Doe_Jane.dcm", "janes-mac"], "file name: Doe_Jane.dcm; host name: janes-mac"),
        (["4711", "4712", "Ann"], "X-Patient-Id: 4711, current_mrn=4712; lastPatientName: Ann; distance_to_patient: 3 mm"),
        (["Jane", "PSM-3", "Main St"], "patient's device name: Jane; device\nname: PSM-3; street address: Main St"),
        (["Jane", "Ann", "Eve"], "name: Jane; device full name: Ann; of arm, name: Eve"),
        ([], "see http://example.org/patient"),
        ([], "patient="),
        ([], "patient=[removed] arm=3"),
        (["[removed] Jane"], "patient=[removed] Jane"),
    ],
)
def test_names_in_texts(expected: list[str], text: str) -> None:
    """A name and its value in a log line: the value, up to what ends it."""
    assert expected == [text[tag.start : tag.end] for tag in find_tags(text, {})]


@pytest.mark.parametrize(
    "text",
    [
        "patient_name;mrn;bed\nJane Doe;4711;4\n",
        '"id","Patient Name"\r\n"1","Doe, Jane"',
        " mrn  | bed \n 4711 | 4 \n(1 row)",
        "bed\tdob\n4\t1961-02-03",
        "INSERT INTO t (bed, patient_name) VALUES (4, 'Jane Doe')",
        "insert into t (`mrn`) value (4711)",
    ],
)
def test_tables_are_sensitive_as_a_whole(text: str) -> None:
    """Where the first line, or what stands before the values, names a column of somebody's. (S2-081)"""
    assert (Tag("text", 0, 0, "field"),) == find_tags(text, {})


@pytest.mark.parametrize(
    "text",
    [
        "name,position\njoint_1,0.1", "docked, patient: [removed]\nmoved, x", "moved, patient\nready", "the surgeon, then 3, patient\nx,y", "arm;torque\n3;4.5",
        "INSERT INTO t (arm, name) VALUES (3, 'PSM')", "f(patient) and values", "arm, patient side cart\n3, x",
    ],
)  # fmt: skip
def test_other_tables_stay(text: str) -> None:
    """Of joints and arms, and sentences with commas."""
    assert () == find_tags(text, {})


def test_what_stands_between_markers_ends_no_value() -> None:
    """`Patient: #phi Jane; Ann #end Doe`: the surname behind the markers is of the value as well. (S2-082)"""
    text = "Patient: #phi Jane; Ann #end Doe, bed 4"

    assert (Tag("text", 9, 28, "marker"), Tag("text", 9, 32, "field")) == find_tags(text, {})


def test_documents_are_sensitive_as_a_whole() -> None:
    """JSON in a text, HL7, CDA, audit messages, FHIR taken apart into fields."""
    whole = [Tag("text", 0, 0, "field")]

    assert whole == list(find_tags('got {"patientId": "4711"} from x', {}))
    assert whole == list(find_tags('{\\"mrn\\": 1', {}))
    for text in ("MSH|^~\\&|ADT", "\x0bMSH|^~\\&", "x\rPID|1||", "<?xml?><AuditMessage>", '{"resourceType": "Patient"'):
        assert "clinical" == find_tags(text, {})[0].why
    assert {"clinical"} == {tag.why for tag in find_tags(None, {"a/00100020/vr": "LO", "a/00100020/Value/0": "4711"})}
    assert {"clinical"} == {tag.why for tag in find_tags(None, {"resourceType": "Observation", "valueQuantity/value": 6.3})}
    assert {"clinical"} == {
        tag.why for tag in find_tags(None, {"subject/reference": "Patient/example", "subject/display": "Jane Doe"})
    }
    assert () == find_tags(None, {"device/reference": "Device/4711", "device/display": "PSM 3", "frame_of_reference": "world"})


@pytest.mark.parametrize(
    "text",
    [
        "PID|1||PATID1234^5^M11||JONES^WILLIAM^A^III|",
        "\x0bNK1|1|Aniston",
        "arm 3 stopped\rGT1|1||Bixby|",
        "association for Doe^Jane refused",
        "61|M|SMITH^JOHN|2106-3",
        '"div": "<div xmlns=\\"http://www.w3.org/1999/xhtml\\"><p>Jane Doe',
        'Everywoman1", "given": [ "Eve" ]',
        "stored for Jose\u0301^A\u0301na",
        "शर्मा^राम",
        "(0010,0020) LO [4711]",
        "(0010,0010) PN [Doe]                      #   4, 1 PatientName",
        "(0010,0030) Patient's Birth Date                DA '19610203'",
        "W: (0008,0090) PN #4 [Roe] ReferringPhysicianName",
        '{"x": [{"00100020": {"vr": "LO", "Value": ["4711"]}}]}',
        '{\\"00100020\\":{\\"vr\\":\\"LO\\"',
        "received PID|1||4711||Doe",
        "sent: MSH|^~\\&|ADT|x",
        "queue: NK1|2|Roe\\rGT1|1||Roe",
        "MRG|4711",
        "61^^PH|Ann",
        "recv OREY^|(610)271-9000",
        "x ROL|4|AD|AP|4711",
        "<PID.5><FN.1>Doe</FN.1>",
        'x <Observation id="1" xmlns="http://hl7.org/fhir"><valueString value="Ja',
        '<birthDate value="1961-02-03"/>',
        "<p><b>name</b>: Jane Doe </p>",
        "x: <li><strong>Date of birth </strong> = 3 February",
        '"url": "http://hl7.org/fhir/StructureDefinition/patient-mothersMaidenName", "valueString": "Roe"',
        "url http://hl7.org/fhir/StructureDefinition/patient-mothersMaidenName valueString Roe",
        '"use": "home", "line": [\n "2222 Home Street"',
        '\\"line\\": [\\n \\"2222 Home Street',
        '{\\"resourceType\\":\\"Observation\\", \\"valueString\\": \\"Jane',
        'x "reference": "Practitioner/roe", "display": "Ann Roe',
        "<PatientName>Doe, Jane</PatientName>",
        "<ns:patient id='x'><n>Ja",
        "ne Doe</mrn > arm",
    ],
)
def test_pieces_of_documents_are_sensitive(text: str) -> None:
    """What a datagram holds of a clinical document, wherever it was cut, as long as it can be told from a log line. (S2-082)"""
    assert [(0, 0)] == [(tag.start, tag.end) for tag in find_tags(text, {})]


@pytest.mark.parametrize("text", ["load 40%, 12%ab", "GET /w?x=%20a%2Fb", "GET /w?patient=%20"])
def test_percent_alone_is_harmless(text: str) -> None:
    """Of an address in which nobody is named, all stays; of a value, only that."""
    assert all(tag.start < tag.end for tag in find_tags(text, {}))


@pytest.mark.parametrize("text", ["arm|12.3|ok", "force 10^6 N, 2^x", "a | b | c", "ERR|no such joint", "usage: open <name>",
     "moved to (1024,2048) PX", "missing (0008,0018) SOPInstanceUID", "<b>stopped</b>", "(0020,000d) UI [1.2.3]", "(0018,1030) LO [T1 axial]",
     "in: IN1|0|IN2|1|", "  | x = 2^;\n  |   ^~~~ |", "a ^^ b, 2^(3)", "|^^^|", "valves PV1|1|PV2|0|", "USER|PID|CPU|MEM", "arm|PID|4711|CPU|3", "usage: <name/>", "<joint value='2'/>", "<arm.2> up",
     'xmlns="urn:hl7-org:v3"', '{"reference": "Device/4711", "display": "PSM 3"}', "a <x xmlns='urn:acme'>", "<b>joint</b>: 2, <i>torque</i> = 4", '{"line": 12, "file": "a.c"}', '"lines": ["a"]',
     "profile http://hl7.org/fhir/StructureDefinition/Device-x, GET /fhir/metadata"])  # fmt: skip
def test_log_lines_are_no_documents(text: str) -> None:
    """Tables, powers and pipes of ordinary log lines stay."""
    assert () == find_tags(text, {})


ORDINARY = (
    "arm 3: joint 2 torque 4.52 Nm above its limit (4.50)",
    "[INFO] [1795342537.123456789] [da_vinci_driver]: PSM1 homed, state=READY",
    "[WARN] [1795342537.5] [move_group.planning]: Planning failed (error code: -31)",
    "ERROR: PSM2 encoder mismatch: expected=12034 got=12031 delta=3",
    "Patient side cart: ready, arm 4 docked",
    "patient-side cart power: battery (24.1 V)",
    "patient_cart_state=DOCKED brake=on",
    "PSC event #4711: clutch pressed",
    "Instrument installed: type=Large Needle Driver lives=7 serial=10233",
    "Instrument lives remaining (USM3): 4",
    "Endoscope white balance done, gain=1.20",
    "MTM left: gravity compensation residual 0.03 Nm",
    "ECM camera zoom: 2x, focus: 0.4",
    "Energy delivery: mode=COAG power=35 W duration=1.2s",
    "Surgeon console: head out, following paused",
    "surgeon_console/left_hand pose=(0.1, 0.2, 0.3)",
    "[ros2_control]: Loaded controller 'joint_trajectory_controller'",
    "process[arm_driver-3]: started with pid [4711]",
    "topic /tf: 100.02 Hz min: 0.009s max: 0.011s std dev: 0.0002s window: 100",
    "TF_OLD_DATA ignoring data from the past for frame tool0 at time 1795342.5",
    "Waiting for service /psm1/set_state...",
    "Transform from base_link to tool0: xyz=[0.1, 0.2, 0.3] rpy=[0, 0, 1.57]",
    "diagnostics: level=WARN hardware_id=arm-3 message=over temperature",
    "<30>Nov 26 22:07:23 tower sshd[812]: Accepted publickey for service from 10.0.0.9 port 51812",
    "<13>Nov 26 22:07:23 tower systemd[1]: Started Daily apt download activities.",
    "<6>Nov 26 22:07:23 tower kernel: [ 12.345678] eth0: link up, 1000 Mbps, full duplex",
    "<86>Nov 26 22:07:24 tower CRON[9913]: pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)",
    "kernel: usb 1-1: New USB device found, idVendor=046d, idProduct=c31c, bcdDevice=64.00",
    "kernel: EXT4-fs (sda1): mounted filesystem with ordered data mode. Opts: (null)",
    "ptp4l[1234.567]: rms 4 max 12 freq +120 +/- 3 delay 330 +/- 1",
    "ptp4l[1234.567]: port 1: UNCALIBRATED to SLAVE on MASTER_CLOCK_SELECTED",
    "ptp4l[1234.567]: selected best master clock 00a0de.fffe.123456",
    "phc2sys[99.1]: CLOCK_REALTIME phc offset -12 s2 freq +3412 delay 512",
    "ptp: domainNumber=24 priority1=128 clockClass=6 stepsRemoved=1",
    "chronyd[700]: Selected source 10.0.0.1 (ntp.hospital.lan)",
    "%LINEPROTO-5-UPDOWN: Line protocol on Interface GigabitEthernet1/0/1, changed state to up",
    "%LINK-3-UPDOWN: Interface GigabitEthernet1/0/7, changed state to down",
    "%SYS-5-CONFIG_I: Configured from console by vty0 (10.0.0.9)",
    "snmpd: Connection from UDP: [10.0.0.9]:51123->[10.0.0.3]:161",
    "LLDP neighbor: chassis id 00:11:22:33:44:55 port id: Gi1/0/4",
    "STP: topology change on VLAN 30, port 12 (forwarding)",
    "port #12: rx_errors=0 tx_dropped=3 crc=0",
    "VLAN #30 (imaging): 4 members",
    "DICOM association accepted: calling AET=CT01 called AET=PACS",
    "C-STORE RQ: SOP class CT Image Storage, 512 x 512, 1.2 MB",
    "C-ECHO SCP: status=0x0000 Success",
    "Missing attribute (0008,0018) SOPInstanceUID",
    "(0020,000d) UI [1.2.840.113619.2.55] StudyInstanceUID",
    "(0018,0060) DS [120] KVP",
    "MPPS N-CREATE: status=IN PROGRESS station=CT01",
    "Scanner: kV=120 mA=200 rotation=0.5 s pitch 0.98",
    "HL7 listener: connection from 10.0.0.20:40112 accepted",
    "HL7 listener: ACK AA sent in 12 ms, queue depth: 0",
    "MLLP: framing error, expected 0x0b got 0x0d (byte 3)",
    "FHIR server: GET /fhir/metadata 200 in 14 ms",
    "bed 4: monitor lead off, HR=--, SpO2=98 %",
    "insufflator: pressure=12 mmHg (set: 12), flow 2.1 l/min",
    "OR table: height 82 cm, tilt: 5 deg, lock [on]",
    "light #2 (main): intensity=80 %",
    "UPS: on battery, load 34%, runtime: 18 min",
    "C:\\Program Files\\Scanner\\bin\\recon.exe exited with code 0xC0000005",
    "at Recon.Pipeline.Run(String path) in D:\\src\\Pipeline.cs:line 412",
    "java.lang.NullPointerException: null at com.acme.Worker.run(Worker.java:73)",
    "Traceback (most recent call last): File \"arm.py\", line 12, in <module>: KeyError: 'torque'",
    "{\"level\":\"info\",\"ts\":1795342537.1,\"logger\":\"arm\",\"msg\":\"moved\",\"joint\":2}",
    "level=info ts=2026-11-26T22:07:23Z caller=main.go:42 msg=\"listening\" addr=:9100",
    "{\"names\": [\"joint_1\", \"joint_2\"], \"position\": [0.1, 0.2]}",
    "Patient Side Cart ready, Patient Cart 2 docked, Patient table height 820 mm",
    "PATIENT CART POWER ON, SURGEON CONSOLE 2 CONNECTED, PATIENT MONITOR ALARM 4711",
    "Patient registration error 1.2 mm, patient-to-robot transform updated after 1200 samples",
    "patient ID scanner connected on ttyUSB0 at 115200 baud, accession numbers requested: 0",
    "admission control rejected 4711 flows, insurance of delivery off, medical grade power 24 V, social 1",
    "Surgeon \"console\" profile loaded in 120 ms, physician mode on",
    "process born at 12:30:15, birth message sent, retained presence 4711 bytes",
    "module name: PSM driver; interface name: eth1; IP address: 10.0.0.4; MAC address: 00:11:22:33:44:55",
    "certificate SHA256:uNiVztksCsDhcc0u9e8BzrzT4wGoN1xLJB5DPeR7m3E accepted, serial 00A1B2C3D4E5F607",
    "commit 26d9c6e4b1b6f8e5d3a1c0b9a8f7e6d5c4b3a291 built R&D image 3f2504e0-4f89-11d3-9a0c-0305e82c3301",
    "Saved /data/PSM1/setpoint_js/joint_trajectory_Controller9_20261126T220723.mcap, 1,204 messages",
    "arm;joint;torque\n3;2;4.5\n3;4;4.4",
)  # fmt: skip


@pytest.mark.parametrize("line", ORDINARY)
def test_what_robots_clocks_switches_and_scanners_log_stays(line: str) -> None:
    """Of da Vinci, ROS, syslog, PTP, switches, scanners and HL7 listeners, as they reach the entrance: nothing of it is about anybody."""
    said = decoded(line.encode())

    assert () == find_tags(said.text, said.fields)


def test_every_hl7_file_is_clinical() -> None:
    """Each of a collection nobody here wrote is tagged whole. (S2-089)"""
    folder = DATA / "messages" / "hl7v2"
    if not folder.exists():
        pytest.skip(f"no messages at {folder}")
    texts = [path.read_text("utf-8", "replace") for path in sorted(folder.glob("*.hl7"))]

    assert len(texts) > 30
    assert [(Tag("text", 0, 0, "clinical"),)] * len(texts) == [find_tags(text, {}) for text in texts]


def test_marked_sentences_with_identities() -> None:
    """1,500 sentences with gold spans: where the publisher marks each, nothing of it is outside the tags."""
    path = DATA / "text-phi" / "presidio_synth_dataset_v2.json"
    if not path.exists():
        pytest.skip(f"no sentences at {path}")
    count = 0
    for row in json.loads(path.read_text()):
        text, secrets = "", []
        position = 0
        for span in sorted(row["spans"], key=lambda span: span["start_position"]):
            if span["start_position"] < position:
                continue
            text += row["full_text"][position : span["start_position"]] + "#phi" + span["entity_value"] + "#end "
            position = span["end_position"]
            secrets.append(span["entity_value"])
        text += row["full_text"][position:]
        tags = find_tags(text, {})
        for secret in secrets:
            start = text.index("#phi" + secret)
            assert any(tag.start == tag.end or (tag.start <= start and start + 4 + len(secret) <= tag.end) for tag in tags)
            count += 1

    assert count > 2_000


def test_many_spans_become_whole_values() -> None:
    """A text of nothing but markers costs one tag, not ten thousand."""
    tags = find_tags("#phi #end " * (SPANS_MAX + 1), {})

    assert (Tag("text", 0, 0, "marker"),) == tags


@pytest.mark.parametrize(
    "text",
    [
        "name:" * 13_000,
        "#phi" * 16_000,
        "<" * 65_000,
        '"a' * 30_000,
        "name=" + " " * 60_000,
        "\r\nPID" * 13_000,
        "name=A" + ", A" * 20_000,
        "name=A" + ",  A 1" * 10_000,
        "name=" + "a" * 60_000 + "1, A",
        "name=" + "(" * 60_000,
        "name=" + "()" * 30_000,
        "name=(() " * 8_000,
        "name=a b=c " * 6_000,
        "name=" + "(a" * 20_000 + ")" * 20_000,
        "name=x, 1.1.1" * 5_000,
        "ID:" * 20_000,
        "mrn=" + "1a" * 30_000 + "(",
        "mrn=" + "1" * 60_000 + "(,",
        "mrn=1, A B" * 6_000,
        "name#" * 12_000,
        "name #1" * 8_000,
        "name" + "#" * 60_000,
        "name(" * 12_000,
        "name (a):" * 7_000,
        "name" + " " * 60_000,
        "id: " * 16_000,
        "name\u200b" * 12_000,
        "name" + "\u200b" * 60_000,
        "name=" + "van " * 15_000,
        "<a " * 20_000,
        "<a>" * 20_000,
        ">" * 60_000,
        "> a" * 20_000,
        "<a x='" * 10_000 + "/>",
        '"line": [' * 7_000,
        "<a xmlns='" * 6_000,
        "(0010,0010)" * 6_000,
        "name=#phi , #end " * 4_000,
        "%25" * 20_000,
        "-" * 60_000,
        "/patient" * 8_000,
        "\x1b[0m" * 15_000,
        "\\n" * 30_000,
        "&lt;" * 16_000,
        "mrn " * 16_000,
        "MRN 1a2b3c " * 6_000,
        "mrn " + "a" * 60_000,
        "patient A " * 6_500,
        "patient " + "A. " * 20_000,
        "patient A,  B,  C,  D " * 3_000,
        "patient 'A " * 6_000,
        "date of birth " * 4_500,
        "mrn=1 mrn 4711 " * 4_000,
        "name:\n a\n" * 6_000,
        "name:\n" + " name:\n" * 8_000,
        "".join(" " * depth + "name:\n" for depth in range(350)),
        "names=1" + ",1" * 30_000,
        "mrns=1a" * 9_000,
        "mrn," * 1_000 + "\n" + "," * 60_000,
        "(mrn" * 16_000,
        "(a)" * 20_000,
        "&amp;" * 13_000,
        "\\u0041" * 10_000,
        "a+" * 30_000 + "=",
        "aB1" * 20_000,
        "aB1+/" * 13_000,
        "/aB1cD2eF3gH4iJ5kL6mN" * 3_000,
        "4a" * 30_000,
        "0x4a4b4c4d4e4f4a4b " * 3_400,
        "a" * 60_000 + "B1",
        b64encode(random.Random(1).randbytes(49_000)).decode(),
        (b64encode(zlib.compress(b"name=a " * 5_000)).decode() + " ") * 200,
    ],
)
@pytest.mark.timeout(5)
def test_hostile_texts_cost_little(text: str) -> None:
    """The longest datagram of the worst kind is looked through in well under a second."""
    find_tags(text, {})


def test_markers_in_other_encodings() -> None:
    """Bytes of a Windows program that logs in UTF-16."""
    assert holds_marker("so #PHI Jane".encode("utf-16-le"))
    assert holds_marker("so #phi Jane".encode("utf-16-be"))
    assert not holds_marker(b"phi #ph i")


PIECES = st.sampled_from(
    ["MSH", "msh ", "FHS", " ", "#phi", "#end", "patient", "name", "=", ":", "：", "＝", "|", "^", "<ClinicalDocument", "</patient>", "(0010,0020)", "LO", "1999/xhtml", "resourceType",
     "%3A", "%", "\\n", "\\", "\x1b[0m", "_", "-", " 1", "/patient", "(", '"', "'", "\n", "x", "Jane", "ſ", "12 N", "/", "."]
)  # fmt: skip


@given(st.lists(PIECES, max_size=8).map("".join))
def test_a_look_that_spares_the_others_overlooks_nothing(text: str) -> None:
    """What is taken for harmless at one look is found harmless by all of them."""
    if not sensitive._UNSUSPICIOUS.fullmatch(text):
        return
    quoted = [match[1] for match in sensitive._QUOTED_NAME.finditer(text)]
    bare = [match[1] for match in sensitive._BARE_NAME.finditer(text)]

    assert (None, [], [], []) == (sensitive._CLINICAL.search(text), list(sensitive.marked_spans(text)), quoted, bare)


@given(st.lists(PIECES, max_size=8).map("".join))
def test_what_has_no_sign_of_a_document_is_none(text: str) -> None:
    """The quick look before the slow one overlooks none."""
    assert sensitive._is_clinical(text) == (sensitive._CLINICAL.search(text) is not None)


@given(st.lists(PIECES, max_size=8).map("".join))
def test_the_quicker_pattern_finds_the_same_names(text: str) -> None:
    """Where no colour and no backslash stands."""
    found = [(match["name"], match["escape"], match.span()) for match in sensitive._BARE_NAME.finditer(text)]
    quick = [(match["name"], match["escape"], match.span()) for match in sensitive._bare_name_in(text).finditer(text)]

    assert found == quick

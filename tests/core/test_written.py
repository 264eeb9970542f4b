"""What was encoded is read as whoever gets it could read it."""

import gzip
import zlib
from base64 import b64encode, urlsafe_b64encode

import cbor2
import pytest

from firmware.core.datagram import decoded
from firmware.core.message import Tag
from firmware.core.sensitive import find_tags


@pytest.mark.parametrize(
    "text",
    [
        "GET /w?x=1&patient%20name=Jane",
        "GET /w?q=%7B%22patientName%22%3A%22Jane%22%7D",
        "GET /w?q=%257B%2522patientName%2522%253A%2522Jane",
        "GET /w/DOE%5EJANE",
        "GET /w?patient+id=4711&x=1",
        "&lt;PatientName&gt;Jane",
        "patient&#58; Jane, &amp;quot;mrn&amp;quot;: 4711",
        'got "p\\u0061tient": "Jane"',
        "b'\\x70atient: Jane",
        'x "{\\\\\\"patient\\\\\\": \\\\\\"Jane',
        '{"_patient": "Jane"}',
        '{"patient1": "Jane"}',
        '{"\ufeffpati\u200bent"\u200b: "Jane"}',
    ],
)
def test_what_was_encoded_more_than_once_is_read(text: str) -> None:
    """In an address of the web, and in a document within a document: where a value ends is anybody's guess. (S2-081)"""
    assert [(0, 0)] == [(tag.start, tag.end) for tag in find_tags(text, {})]


HL7 = "MSH|^~\\&|ADT|x\rPID|1||4711||Müller^Jane\r"


@pytest.mark.parametrize(
    "text",
    [
        b64encode(HL7.encode()).decode(),
        "got " + b64encode(HL7.encode("latin-1")).decode().rstrip("=") + ", 4 bytes",
        "/in/" + b64encode(b'?{"patientName": "Jane"}').decode(),
        "x." + urlsafe_b64encode(b'{"sub":"~~~","patient_id":"4711"}').decode() + ".y",
        b64encode(gzip.compress(HL7.encode(), mtime=0)).decode(),
        b64encode(zlib.compress(b"arm 3 stopped for #phi Jane Doe #end")).decode(),
        b64encode(b64encode(b"Patient: Jane Doe, arm 3")).decode(),
        HL7.encode().hex(),
        "raw 0x" + b"Patient: Jane".hex().upper() + "!",
        "Patient: Jane Doe".encode("utf-16-be").hex(),
        b64encode("Patient: Jane Doe".encode("utf-16")).decode(),
        b"mrn%3D4711".hex() + "%20",
    ],
)
def test_base64_and_hexadecimal_are_read(text: str) -> None:
    """Documents and names that a publisher packed into a text: anybody can unpack them. (S2-081)"""
    assert [(0, 0)] == [(tag.start, tag.end) for tag in find_tags(text, {})]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_datagram_in_utf_16_is_read(encoding: str) -> None:
    """Without its mark it is UTF-8 with zeros in between; and a publisher's bytes become hexadecimal. (S2-081)"""
    said = decoded("Patient: Jane Doe".encode(encoding))
    packed = decoded(cbor2.dumps({"raw": "Patient: Jane Doe".encode(encoding), "torque": 4.5}))

    assert [(Tag("text", 0, 0, "field"),), ()] == [find_tags(said.text, {}), find_tags((said.text or "")[::34], {})]
    assert (Tag("fields/raw", 0, 0, "field"),) == find_tags(None, packed.fields)


@pytest.mark.parametrize(
    "text",
    [
        "Accepted publickey for service: ED25519 SHA256:uNiVztksCsDhcc0u9e8BzrzT4wGoN1xLJB5DPeR7m3E",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "image 3f2504e0-4f89-11d3-9a0c-0305e82c3301 built from 26d9c6e4b1b6f8e5d3a1",
        "NullPointerException1InJointTrajectoryController, /PSM1/setpoint_js/joint_trajectory_Controller9",
        "stamp 1795342537123456789, serial 00A1B2C3D4E5F607, R&D, a&b, x &", "C:\\xampp\\users, \\u, +a+b 4",
        b64encode(b"arm 3 stopped at 12 N, all is well").decode(), b"arm 3 stopped at 12 N".hex(), " " * 40, "arm\x003 stopped",
    ],
)  # fmt: skip
def test_other_runs_of_letters_and_digits_stay(text: str) -> None:
    """Digests, keys, serial numbers, names of classes and topics; and what is encoded and about nobody."""
    assert () == find_tags(text, {})


def test_what_unpacks_to_more_than_anybody_reads_stays_inside() -> None:
    """A thousandfold of itself is not looked through, and does not leave."""
    assert (Tag("text", 0, 0, "clinical"),) == find_tags(b64encode(zlib.compress(bytes(40) + b"0" * 1_000_000)).decode(), {})

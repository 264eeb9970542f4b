"""Datagrams in four forms say the same; what is in no form is kept as it is."""

import json
import math

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.core.datagram import decoded, says_each_once
from firmware.core.message import Priority, Severity
from firmware.core.sensitive import find_tags

ROW = {
    "version": 1, "process": "arm-3", "sequence": 17, "severity": 3, "priority": 2, "kind": "published", "event": "tool-failure",
    "time_utc_ns": 1_795_342_500_000_000_000, "text": "joint 2 stopped", "fields": {"torque_nm": 4.25},
}  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [cbor2.dumps(ROW), b"\xd9\xd9\xf7" + cbor2.dumps(ROW), json.dumps(ROW).encode(), b"\xef\xbb\xbf " + json.dumps(ROW).encode()],
)
def test_cbor_and_json_say_the_same(data: bytes) -> None:
    """All agreed names, in both forms. (S2-023, S2-031)"""
    said = decoded(data)

    assert ("arm-3", 17, Severity.ERROR, Priority.P2) == (said.process, said.sequence, said.severity, said.priority)
    assert ("published", "tool-failure", 1_795_342_500_000_000_000) == (said.kind, said.event, said.time_utc_ns)
    assert ("joint 2 stopped", {"torque_nm": 4.25}) == (said.text, said.fields)


def test_names_of_severity_and_time_for_people() -> None:
    """`"warning"`, `"P1"`, RFC 3339 and base64 are understood in JSON."""
    said = decoded(
        b'{"severity": "Warning", "priority": "p1", "time": "2026-11-22T10:15:00Z", "attachment": ["image/png", "iVBORw=="]}'
    )

    assert (Severity.WARNING, Priority.P1, 1_795_342_500_000_000_000) == (said.severity, said.priority, said.time_utc_ns)
    assert ("image/png", b"\x89PNG") == said.attachment


def test_nothing_said_is_lost() -> None:
    """Unknown names, nested maps and values of the wrong kind become fields."""
    said = decoded(b'{"arm": {"temperature": [36.5, NaN]}, "severity": "terrible", "priority": 9, "sequence": -1, "empty": {}}')

    assert {
        "arm/temperature/0": 36.5, "arm/temperature/1": None, "claimed_severity": "terrible", "claimed_priority": 9,
        "claimed_sequence": -1, "empty": None,
    } == said.fields  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [
        b'{"text": "patient=Jane Doe", "text": "stopped"}',
        b'{"fields": {"note": "patient=Jane Doe", "note": 1}}',
        b'{"severity": "patient=Jane Doe", "fields": {"claimed_severity": 1}}',
        b'{"clock": "ptp", "fields": {"claimed_clock": "patient=Jane Doe"}}',
        b"<11>1 - - arm - - [x " + b" ".join(b'a%d=""' % n for n in range(1_100)) + b' note="patient=Jane Doe"] stopped',
    ],
)
def test_nothing_said_is_overlooked(data: bytes) -> None:
    """One name twice, or more than fits: it stays one piece, in which all of it is found. (S2-082)"""
    said = decoded(data)

    assert ("text", data.decode()) == (said.form, said.text)
    assert [] != list(find_tags(said.text, said.fields))


@pytest.mark.parametrize(
    ("expected", "data"),
    [
        (True, cbor2.dumps({"text": "a", "fields": {"text": [1, 2.5, None], "b": {"c": b"d"}}})),
        (True, cbor2.dumps(cbor2.CBORTag(55799, {"text": "a", "fields": {"x": cbor2.CBORTag(0, "2026-11-22T10:15:00Z")}}))),
        (True, b"\xbf\x61a\x01\x61b\x9f\x01\xff\xff"), (True, b"text"), (True, b'{"a": 1}'),
        (False, b"\xa2\x61a\x01\x61a\x02"), (False, b"\xa1\x61x\xa2\x61a\x01\x61a\x02"), (False, b"\xbf\x61a\x01\x61a\x02\xff"),
        (False, b"\xa1\x61x\x81\xc0\xa2\x61a\x01\x61a\x02"), (False, b"\xa2\x61a\x01\x79\x00\x01a\x02"), (False, b"\xa2\x61a\x01\x78\x01a\x02"),
        (False, b"\xa2\x61a\x01"), (False, b"\xd9\xd9\xf7"), (False, b"\xa1\x61a" + b"\x81" * 30 + b"\x01"),
    ],
)  # fmt: skip
def test_a_name_twice_in_cbor(expected: bool, data: bytes) -> None:
    """It is seen in any map, however its text is written; and what cannot be followed is not vouched for."""
    assert expected == says_each_once(data)


@given(st.binary(max_size=60).map(lambda data: b"\xa2" + data) | st.recursive(st.integers() | st.text(max_size=3) | st.none() | st.floats(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)).map(lambda row: cbor2.dumps({"x": row})))  # fmt: skip
def test_any_cbor_is_followed(data: bytes) -> None:
    """To its end, or it is said that it cannot be."""
    assert says_each_once(data) in (True, False)


def test_a_parameter_of_syslog_more_than_once() -> None:
    """(RFC 5424 §6.3.3) Each of them is a field."""
    said = decoded(b'<11>1 - - arm - - [origin ip="192.0.2.1" ip="192.0.2.129" ip="192.0.2.2"][origin/ip 2="x"] stopped')

    assert {"origin/ip": "192.0.2.1", "origin/ip/2": "192.0.2.129", "origin/ip/3": "192.0.2.2", "origin/ip/2+": "x"} == {
        name: value for name, value in said.fields.items() if name != "syslog/facility"
    }


def test_rfc_5424() -> None:
    """Header, structured data with escapes, and a text with a byte order mark."""
    said = decoded(
        b'<11>1 2003-08-24T05:14:15.000003-07:00 or3 arm 4711 ID47 [a@1 iut="3" q="a\\"\\]b"][b x=""] \xef\xbb\xbfjoint \xe2\x9c\x93\n'
    )

    assert ("syslog", "or3", "arm", "ID47", Severity.ERROR) == (said.form, said.device, said.process, said.event, said.severity)
    assert 1_061_727_255_000_003_000 == said.time_utc_ns
    assert {"syslog/facility": 1, "syslog/process_id": "4711", "a@1/iut": "3", "a@1/q": 'a"]b', "b/x": ""} == said.fields
    assert "joint ✓" == said.text


def test_rfc_3164() -> None:
    """Host and tag where they are; the time has no year and is only kept as text."""
    said = decoded(b"<34>Oct 11 22:14:15 mymachine su[77]: 'su root' failed")

    assert ("mymachine", "su", None, Severity.CRITICAL) == (said.device, said.process, said.time_utc_ns, said.severity)
    assert ("'su root' failed", "Oct 11 22:14:15", "77") == (
        said.text,
        said.fields["claimed_time"],
        said.fields["syslog/process_id"],
    )


def test_rfc_3164_with_a_time_of_rfc_3339() -> None:
    """As rsyslog's RSYSLOG_ForwardFormat writes it: the time has a zone and is believed, host and tag are where they were."""
    said = decoded(b"<11>2003-08-24T05:14:15.000003-07:00 or3 arm[4711]: joint 2 stopped")

    assert ("or3", "arm", "joint 2 stopped", 1_061_727_255_000_003_000) == (
        said.device,
        said.process,
        said.text,
        said.time_utc_ns,
    )
    assert {"syslog/facility": 1, "syslog/process_id": "4711"} == said.fields


@pytest.mark.parametrize(
    ("process", "text", "data"),
    [
        (None, "10:15 joint 2 stopped", b"<11>10:15 joint 2 stopped"),
        (None, "45: *Nov 22 10:15:00.1: %SYS-3-CPUHOG: x", b"<11>45: *Nov 22 10:15:00.1: %SYS-3-CPUHOG: x"),
        (None, "2026-11-22T10:15:00Z stopped", b"<11>2026-11-22T10:15:00Z stopped"),
        (None, "2026-99-22T10:15:00Z stopped", b"<11>2026-99-22T10:15:00Z stopped"),
        ("arm", "joint 2 stopped", b"<11>arm:joint 2 stopped"),
        ("2-arm", "stopped", b"<11>2-arm: stopped"),
    ],
)
def test_a_time_is_no_tag(process: str | None, text: str, data: bytes) -> None:
    """What writers without a time begin with is a tag only if it has a letter: else the text would lose its beginning."""
    said = decoded(data)

    assert (process, text) == (said.process, said.text)


@pytest.mark.parametrize(
    ("expected", "data"),
    [
        ("just text", b"just text\r\n\x00"),
        ("{not json", b"{not json"),
        ("<192>no priority", b"<192>no priority"),
        ("<x> angle", b"<x> angle"),
        ("", b""),
        ("[1,2]", b"[1,2]"),
        ('{"version": 2}', b'{"version": 2}'),
    ],
)
def test_text_is_what_is_left(expected: str, data: bytes) -> None:
    """What fits no other form is plain text."""
    assert ("text", expected) == (decoded(data).form, decoded(data).text)


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"\xa1\x61", cbor2.dumps({"version": 2}), b"\xa0\xa0", b"stop \xe4"])
def test_what_makes_no_sense_is_kept_whole(data: bytes) -> None:
    """Bytes that are no text are an attachment nobody will mistake for one."""
    said = decoded(data)

    assert ("opaque", ("application/octet-stream", data), True) == (said.form, said.attachment, said.undecodable)


def test_syslog_in_another_encoding() -> None:
    """The header is read, the text's bytes are kept."""
    said = decoded(b"<11>1 - - arm - - - Zahl\xe4ufer")

    assert ("arm", None, b"Zahl\xe4ufer") == (said.process, said.text, (said.attachment or ("", b""))[1])


@pytest.mark.parametrize(
    "row",
    [
        {"a": {str(n): 1 for n in range(1_100)}},
        {"a": [[[[[[[[[[1]]]]]]]]]]},
        {"a": {"b": 1}, "a/b": 2},
        {"x": 1, "fields": {"x": 2}},
        {"n" * 300: 1},
    ],
)
def test_too_much_is_no_message(row: dict[str, object]) -> None:
    """More than the limits, or one name twice, is not taken apart: it stays one piece."""
    assert "opaque" == decoded(cbor2.dumps(row)).form
    assert "text" == decoded(json.dumps(row).encode()).form


def test_a_structure_that_holds_itself() -> None:
    """CBOR can share values in circles (tags 28 and 29); the limits end the walk."""
    assert "opaque" == decoded(b"\xa1\x61a\xd8\x1c\x82\xd8\x1d\x00\xd8\x1d\x00").form


def test_odd_values() -> None:
    """Integers beyond 63 bits, bytes, lone surrogates, infinities: kept in a form that can be stored."""
    said = decoded(cbor2.dumps({"big": 1 << 70, "raw": b"\x01\xff", "far": math.inf, "nan": math.nan}))

    assert {"big": str(1 << 70), "raw": "01ff", "far": math.inf, "nan": None} == said.fields
    assert "?" == decoded(b'{"text": "\\ud800"}').text

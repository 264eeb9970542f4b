"""Syslog as received: RFC 5424 with structured data, and RFC 3164 as far as its writers agree with one another."""

import re
from collections import Counter
from collections.abc import Container, Iterator

from firmware.core.errors import BadItem
from firmware.core.message import FIELDS_MAX, Field, Severity
from firmware.core.said import Said, clean_text
from firmware.core.timestamp import parse_utc_us

_PRI = re.compile(rb"<(\d{1,3})>")
_HEADER = re.compile(rb"1 (\S{1,64}) (\S{1,255}) (\S{1,48}) (\S{1,128}) (\S{1,32}) ")
_ELEMENT = re.compile(r"\[([!#-<>-\\^-~]{1,64})((?: [!#-<>-\\^-~]{1,64}=\"(?:[^\"\\\]]|\\.)*\")*)\]", re.DOTALL)
_PARAMETER = re.compile(r" ([!#-<>-\\^-~]{1,64})=\"((?:[^\"\\\]]|\\.)*)\"", re.DOTALL)
_ESCAPE = re.compile(r"\\([\"\\\]])")
# RFC 3164 §4.1: "Mmm dd hh:mm:ss host tag[pid]: text". Host and tag are what most writers leave out or add to.
_OLD_TIME = re.compile(
    r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d (?:\d{4} )?\d\d:\d\d:\d\d(?:\.\d{1,9})?(?: \d{4})?(?= )"
)
# What rsyslog and syslog-ng write there when asked for a time that can be relied upon; behind it all is as of old.
_EXACT_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)(?= )", re.ASCII)
_OLD_TAG = re.compile(r"(?: ([A-Za-z0-9._:-]{1,255}))?(?: ([A-Za-z0-9._/-]{1,48})(?:\[(\w{1,32})\])?:)")
# Alone, a tag has a letter: "45:" is a router's count, and "10:15 stopped" says when.
_OLD_TAG_ALONE = re.compile(r"(?=[0-9._/-]*[A-Za-z])([A-Za-z0-9._/-]{1,48})(?:\[(\w{1,32})\])?:")
_BOM = b"\xef\xbb\xbf"


def decoded(data: bytes) -> Said:
    """A syslog datagram. Raises BadItem when it does not begin with <priority>, or says more than a message holds.

    RFC 5424: APP-NAME is the process, MSGID the event, structured data the fields ("id/name", "id/name/2" …), TIMESTAMP the origin time.
    RFC 3164: the tag is the process; its time has neither year nor zone and is kept as field "claimed_time" only, unless it is RFC 3339's.
    A message whose text is not UTF-8 keeps its bytes as attachment.
    """
    start = _PRI.match(data)
    if start is None or int(start[1]) > 191:
        raise BadItem("expected <0> to <191> at the beginning of a syslog message")
    facility, severity = divmod(int(start[1]), 8)
    rest = data[start.end() :].rstrip(b"\x00\r\n")
    header = _HEADER.match(rest)
    if header is None:
        return _old(rest, facility, Severity(severity))
    time, host, process, process_id, event = (_word(group) for group in header.groups())
    fields: dict[str, Field] = {"syslog/facility": facility}
    if process_id is not None:
        fields["syslog/process_id"] = process_id
    body = rest[header.end() :]
    time_utc_ns: int | None = None
    if time is not None:
        try:
            time_utc_ns = parse_utc_us(time)
        except ValueError:
            fields["claimed_time"] = time
    elements, body = _structured_data(body)
    if len(elements) > FIELDS_MAX - 16:  # room for what is said beside them, and for what the entrance adds
        raise BadItem(f"expected at most {FIELDS_MAX - 16} parameters")  # What was left out of them would be overlooked.
    said = Counter[str]()
    for name, value in elements:
        said[name] += 1  # A parameter may stand more than once (§6.3.3).
        fields[_free(name if said[name] == 1 else f"{name}/{said[name]}", fields)] = value
    text, attachment = _text(body.removeprefix(b" "))
    return Said(
        "syslog", device=host, process=process, severity=Severity(severity), event=event, time_utc_ns=time_utc_ns,
        text=text, fields=fields, attachment=attachment, undecodable=attachment is not None,
    )  # fmt: skip


def _free(name: str, taken: Container[str]) -> str:
    while name in taken:
        name += "+"
    return name


def _old(rest: bytes, facility: int, severity: Severity) -> Said:
    text, attachment = _text(rest)
    fields: dict[str, Field] = {"syslog/facility": facility}
    device: str | None = None
    process: str | None = None
    time_utc_ns: int | None = None
    if text is not None:
        time = _EXACT_TIME.match(text) or _OLD_TIME.match(text)
        tag = _OLD_TAG.match(text, time.end()) if time else _OLD_TAG_ALONE.match(text)
        if time:
            try:
                time_utc_ns = parse_utc_us(time[0])
            except ValueError:
                fields["claimed_time"] = time[0]
        if tag and time:
            device, process, process_id = tag.groups()
        elif tag:
            process, process_id = tag.groups()
        else:
            process_id = None
        if process_id is not None:
            fields["syslog/process_id"] = process_id
        if tag:
            text = text[tag.end() :].removeprefix(" ")
    return Said(
        "syslog", device=device, process=process, severity=severity, time_utc_ns=time_utc_ns, text=text, fields=fields,
        attachment=attachment, undecodable=attachment is not None,
    )  # fmt: skip


def _word(value: bytes) -> str | None:
    """A header field; "-" says there is none."""
    return None if value == b"-" else value.decode("ascii", "replace")


def _structured_data(body: bytes) -> tuple[list[tuple[str, str]], bytes]:
    """Parameters as (id/name, value), and what follows. Structured data that does not parse is left in the text."""
    if body[:1] == b"-":
        return [], body[1:]
    # Latin-1 keeps a position in the text the same position in the bytes; values are decoded for themselves.
    text = body.decode("latin-1")
    parameters: list[tuple[str, str]] = []
    position = 0
    while match := _ELEMENT.match(text, position):
        parameters += _parameters(match[1], match[2])
        position = match.end()
    return parameters, body[position:]


def _parameters(element: str, text: str) -> Iterator[tuple[str, str]]:
    for match in _PARAMETER.finditer(text):
        value = match[2].encode("latin-1").decode("utf-8", "replace")
        yield f"{element}/{match[1]}", clean_text(_ESCAPE.sub(r"\1", value))


def _text(body: bytes) -> tuple[str | None, tuple[str, bytes] | None]:
    if not body:
        return None, None
    try:
        return body.removeprefix(_BOM).decode("utf-8"), None
    except UnicodeDecodeError:
        return None, ("application/octet-stream", body)

"""HL7 v2 as alarm systems and monitors send it: ORU^R40 (IHE PCD-04 alerts), ORU^R01 (observations), and acknowledgements; and what
schedules, orders and admissions (SIU, ORM, OMI, ADT) say of the room: where, how far, and what it belongs to. Pure.

Taken out are the sender's names, numbers and texts of observations (OBX) and their times; nothing of who the patient is, and of visit,
order and appointment only a pseudonym. The whole message is kept beside it as an attachment that never leaves (S2-085); but of those
schedules, orders and admissions nothing: what is in them beyond the room is about a person, and the room is told all of the hospital's.
Observations are taken out of what was made to report them (ORU, OUL): in a document, a referral, a bill or a prescription they are what
somebody wrote about a patient, and stay in the attachment.
Source: HL7 v2.6 chapters 2, 3, 4, 7 and 10; IHE Devices TF-2, PCD-04 with tables B.8-3 to B.8-5 for alert type, phase and priority; IHE
Radiology TF-2, 4.1 and 4.4 for the accession number in OBR-18 and IPC-1.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

from firmware.core.context import Kind, as_fields
from firmware.core.errors import BadItem
from firmware.core.message import Field, Priority, Tag, is_token
from firmware.core.priority import BY_ALERT, CRITICAL_FLAGS, SEVERITY_OF
from firmware.core.said import Said, clean_text
from firmware.core.timestamp import SECOND

MEDIA_TYPE = "application/hl7-v2"
SEGMENTS_MAX = 4_096
FIELDS_MAX = 512  # of a message, half of what ours may have
VALUE_MAX = 4_096  # characters of one observation's value
REPEATED_MAX = 256  # of one value; lines of text, mostly
_ESCAPED_MAX = 8 * VALUE_MAX  # An escape of five characters is one.
ABOUT_PERSONS = frozenset({"ADT", "SIU", "ORM", "OMG", "OMI", "OML"})
_OBSERVING = frozenset({"ORU", "OUL"})
# Facets of an alert by their codes, and by their names where a sender has no codes (IHE PCD-04).
_EVENT = frozenset({"196616", "MDC_EVT_ALARM"})
_PHASE = frozenset({"68481", "MDC_ATTR_EVENT_PHASE"})
_STATE = frozenset({"68482", "MDC_ATTR_ALARM_STATE"})
_PRIORITY = frozenset({"68484", "MDC_ATTR_ALARM_PRIORITY", "MDC_ATTR_ALERT_PRIORITY"})
_TYPE = frozenset({"68485", "MDC_ATTR_ALERT_TYPE"})
# OBX-2, HL7 table 0125: names, numbers, addresses and telephones of persons (2.A), and where they lie. Their values stay, whatever they are
# called.
_OF_PERSONS = frozenset({"PN", "XPN", "PPN", "CN", "XCN", "NDL", "CK", "CX", "AD", "XAD", "SAD", "TN", "XTN", "PL"})
# MSH-18, HL7 table 0211, as far as met; what cannot be read so is read as Latin-1, in which everything can.
_CHARSETS = {
    "UNICODE UTF-8": "utf-8",
    **{f"8859/{part}": f"iso8859-{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
    "GB 18030-2000": "gb18030",
    "KS X 1001": "cp949",
    "BIG-5": "cp950",
}
# Switched to within a text, so one of several sets that are named: Japanese senders write "~ISO IR87".
_SWITCHED = frozenset({"ISO IR87", "ISO IR159"})
# Where what it belongs to stands, the surest place first: segment and field.
_CONTEXT: Mapping[Kind, tuple[tuple[str, int], ...]] = {
    "visit": (("PV1", 19), ("PID", 18)),
    "order": (("IPC", 1), ("OBR", 18), ("ORC", 3), ("OBR", 3), ("SCH", 27), ("ORC", 2), ("OBR", 2)),
    "appointment": (("SCH", 2), ("SCH", 1)),
}
_STATES = (("order_control", "ORC", 1), ("order_status", "ORC", 5), ("appointment_status", "SCH", 25))
_TIME = re.compile(r"(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:\.(\d{1,9}))?([+-]\d{4})?")
# SN (2.A): comparator, number, separator or suffix, number.
_STRUCTURED = re.compile(r"(?:[<>]=?|=|<>)?\^[+-]?[\d.]{1,32}(?:\^[-+/.:]?(?:\^(?:[+-]?[\d.]{1,32})?)?)?", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d{1,32}(?:\.\d{0,32})?|\.\d{1,32})", re.ASCII)
# What stands between two escape characters (2.7): a separator, marks of stress, an end of a line, bytes.
_ESCAPED = r"{0}(?:([FSTREHN]|\.br|\.sp\+?\d{{0,2}})|X((?:[0-9A-Fa-f]{{2}}){{1,64}})){0}"
_NOT_NAME = re.compile(r"[^A-Za-z0-9._:/-]+")
# An observation is called as its sender calls it, in whatever script: by its name it is known to be sensitive, too.
_NOT_SHOWN = re.compile(r"[^\w.:/-]+")


@dataclass(frozen=True, slots=True)
class Header:
    """What an answer needs of a message. kind: "ORU^R40". wants_commit: it asks for an accept acknowledgement (MSH-15 is valued).

    wanted: which answers, by HL7 table 0155: "AL" all, "NE" none, "ER" that it is no good, "SU" that it is good.
    """

    separator: str
    encoding: str
    application: str
    facility: str
    kind: str
    control_id: str
    version: str
    wants_commit: bool
    wanted: str = "AL"


@dataclass(frozen=True, slots=True)
class Document:
    """A message that was understood."""

    header: Header
    said: Said


def decoded(data: bytes, *, zone: timezone | None = None, pseudonym: Callable[[Kind, str], str] | None = None) -> Document:
    """A message between <VT> and <FS>. zone: of senders whose times name none; None leaves such a time as a claim. A zone in MSH-7 is that
    of all times in its message (HL7 chapter 2, MSH-7).

    pseudonym: what stands for the number of a visit, an order, an appointment; without it nothing does.

    Raises BadItem: `header_of` may tell whom to answer all the same.
    """
    rows = list(_segments(data))
    header = _header(rows[0])
    if header.version.partition(".")[0] != "2":
        raise BadItem("expected HL7 version 2")
    if not header.control_id:
        raise BadItem("expected a message control ID in MSH-10")
    if any(row[0] == "MSH" for row in rows[1:]):
        raise BadItem("expected one message in an MLLP block")  # The second one's values would be the first one's.
    fields: dict[str, Field] = {
        "hl7/type": header.kind.replace("^", "/"), "hl7/control_id": header.control_id, "hl7/facility": header.facility,
    }  # fmt: skip
    fields |= _room(rows, header)
    if pseudonym is not None:
        fields |= as_fields({kind: pseudonym(kind, value) for kind in _CONTEXT if (value := _number_of(kind, rows, header))})
    is_alert, is_kept = header.kind.startswith("ORU^R40"), header.kind[:3] not in ABOUT_PERSONS
    observations = [row for row in rows if row[0] == "OBX"] if is_kept else []
    if header.kind[:3] not in _OBSERVING:
        _say_left_out(len(observations), fields)
        observations = []
    priority, text, event = _alert(observations, header, fields) if is_alert else _results(observations, header, fields)
    sent = _at(rows[0], 7)
    moment = next((_at(row, 7) for row in rows if row[0] == "OBR" and _at(row, 7)), "") or sent
    time_utc_ns = _time_utc_ns(moment, _zone_of(sent) or zone)
    if moment and time_utc_ns is None:
        fields["claimed_time"] = clean_text(moment[:64])
    return Document(
        header,
        Said(
            "hl7", device=header.application or None, process=_token(header.application) or "hl7",
            kind="alert" if is_alert else "observation" if header.kind.startswith("ORU^") else "hl7",
            severity=SEVERITY_OF[priority], priority=priority, event=event, time_utc_ns=time_utc_ns, text=text, fields=fields,
            attachment=(MEDIA_TYPE, data) if is_kept else None, tags=(Tag("attachment", 0, 0, "clinical"),) if is_kept else (),
            is_unique=True,
        ),
    )  # fmt: skip


def header_of(data: bytes) -> Header | None:
    """Whom to answer, also where the rest is no good; None where not even that can be read."""
    try:
        return _header(next(_segments(data)))
    except BadItem:
        return None


def acknowledgement(header: Header | None, code: str, *, utc_ns: int, control_id: str, reason: str = "") -> bytes:
    """The answer, without MLLP's frame; empty where the sender wants none. code: "A", "E" or "R"; with "A" or "C" before it as he asked for
    (HL7 2.9.2).
    """
    if header is not None and header.wanted in ("NE", "SU" if code != "A" else "ER"):
        return b""
    separator, encoding = (header.separator, header.encoding) if header is not None else ("|", "^~\\&")
    mark = "C" if header is not None and header.wants_commit else "A"
    component = encoding[0]
    trigger = header.kind.partition("^")[2].partition("^")[0] if header is not None else ""
    moment = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=utc_ns // SECOND)).strftime("%Y%m%d%H%M%S+0000")
    kind = component.join(part for part in ("ACK", trigger, "ACK") if part) if trigger else "ACK"
    head = (
        "MSH" + separator + encoding,
        "SCRUBJAY",
        "",
        header.application if header else "",
        header.facility if header else "",
        moment,
    )
    rows = [
        separator.join((*head, "", kind, control_id, "P", header.version if header is not None and header.version else "2.6")),
        separator.join(("MSA", mark + code, header.control_id if header is not None else "", *([reason] if reason else []))),
    ]
    return "".join(row + "\r" for row in rows).encode("utf-8", "replace")


def _segments(data: bytes) -> Iterator[list[str]]:
    """Segments as lists: the name, then the fields, so that row[n] is field n; of MSH, row[1] is the separator itself."""
    # Most separators are ASCII whatever the set of characters; the header is, so it can be read before one knows it.
    start = data.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n ")
    if len(start) < 8 or start[:3] != b"MSH" or not 0x20 < start[3] < 0x7F:
        raise BadItem("expected MSH at the beginning of an HL7 message")
    separator = chr(start[3])
    head = start.split(b"\r", 1)[0].split(b"\n", 1)[0].decode("latin-1").split(separator)
    sets = [part.strip() for part in (head[17] if len(head) > 17 else "").split(head[1][1:2] or "~")]
    charset = "iso2022_jp_ext" if not _SWITCHED.isdisjoint(sets) else _CHARSETS.get(sets[0], "utf-8")
    try:
        text = start.decode(charset)
    except UnicodeDecodeError:
        text = start.decode("latin-1")
    rows = [row for row in re.split(r"[\r\n]+", text, maxsplit=SEGMENTS_MAX) if row]
    if len(rows) > SEGMENTS_MAX:
        raise BadItem(f"expected an HL7 message of at most {SEGMENTS_MAX} segments")
    for row in rows:
        parts = row.split(separator)
        yield ["MSH", separator, *parts[1:]] if parts[0] == "MSH" else parts


def _header(row: Sequence[str]) -> Header:
    encoding = _at(row, 2)
    if (
        not 2 <= len(encoding) <= 5
        or len(set(encoding + row[1])) != len(encoding) + 1
        or any(not 0x20 < ord(c) < 0x7F for c in encoding)
    ):
        raise BadItem("expected encoding characters in MSH-2")
    component = encoding[0]
    kind = "^".join(part for part in _at(row, 9).split(component)[:2])
    accept, application = _at(row, 15).strip(), _at(row, 16).strip()
    # Who never wants to hear that it came may want to hear that it was taken: here both are one.
    wants_commit = bool(accept) and not (accept == "NE" and application not in ("", "NE"))
    return Header(
        row[1], encoding, _first(_at(row, 3), component)[:180], _first(_at(row, 4), component)[:180], _plain(kind)[:20],
        _plain(_at(row, 10))[:199], _plain(_first(_at(row, 12), component))[:8], wants_commit,
        (accept if wants_commit else application if accept else "") or "AL",
    )  # fmt: skip


def _room(rows: Sequence[list[str]], header: Header) -> dict[str, Field]:
    """How far an order or an appointment is, and where: point of care and room, never the bed, which is somebody's."""
    states = {
        f"hl7/{name}": _token(_components(_first_valued(rows, ((segment, field),)), header)[0])
        for name, segment, field in _STATES
    }
    place = _components(_first_valued(rows, (("AIL", 3), ("PV1", 3))), header)[:2]
    part = header.encoding[3:4] or "&"
    states["hl7/location"] = _token("/".join(filter(None, (name.partition(part)[0].strip() for name in place))))
    return {name: value for name, value in states.items() if value is not None}


def _number_of(kind: Kind, rows: Sequence[list[str]], header: Header) -> str:
    return _components(_first_valued(rows, _CONTEXT[kind]), header)[0]


def _first_valued(rows: Sequence[list[str]], places: Sequence[tuple[str, int]]) -> str:
    """HL7's \"\" says that a value was deleted."""
    found = (_at(row, field) for segment, field in places for row in rows if row[0] == segment)
    return next((value for value in found if value not in ("", '""')), "")


def _alert(rows: Sequence[list[str]], header: Header, fields: dict[str, Field]) -> tuple[Priority, str | None, str | None]:
    """The most urgent priority stated, the alert's words, and its code as the event. Raises BadItem where no alert is in it."""
    priorities: list[Priority] = []
    phases: set[str] = set()
    words: list[str] = []
    left_out = 0
    event: str | None = None
    seen = False
    for row in rows:
        code, name = _identifier(_at(row, 3), header)
        value = _at(row, 5)
        identity, spelled = _identifier(value, header)
        if _is(code, name, _EVENT):
            seen = True
            event = event or _token(spelled if spelled.startswith("MDC") else identity)
            words += [part for part in _components(value, header)[1:2] if part]
            fields.setdefault("alert/code", identity)
        elif _is(code, name, _PRIORITY) and identity in BY_ALERT:
            priorities.append(BY_ALERT[identity])
        elif _is(code, name, _PHASE):
            fields.setdefault("alert/phase", identity)
            phases.add(identity)
        elif _is(code, name, _STATE):
            fields.setdefault("alert/state", identity)
        elif _is(code, name, _TYPE):
            fields.setdefault("alert/type", identity)
        else:
            left_out += not _note(row, header, fields)
        flags = _at(row, 8).split(header.encoding[1])
        priorities += [BY_ALERT[flag] for flag in flags if flag in BY_ALERT]
    _say_left_out(left_out, fields)
    if not seen and not priorities:
        raise BadItem("expected an alert's event or priority in the observations of an ORU^R40")
    priority = min(priorities, default=Priority.P2)
    if phases == {"end"}:
        priority = max(priority, Priority.P3)  # That a condition is over is worth knowing and nothing to be woken for.
    return priority, clean_text("; ".join(words)[:VALUE_MAX]) or None, event


def _results(rows: Sequence[list[str]], header: Header, fields: dict[str, Field]) -> tuple[Priority, str | None, str | None]:
    is_critical = False
    left_out = 0
    for row in rows:
        left_out += not _note(row, header, fields)
        is_critical |= not CRITICAL_FLAGS.isdisjoint(_at(row, 8).split(header.encoding[1]))
    _say_left_out(left_out, fields)
    return Priority.P2 if is_critical else Priority.P4, None, None


def _say_left_out(count: int, fields: dict[str, Field]) -> None:
    """How many observations are only in the attachment: who reads the fields must not take them for all there is."""
    if count:
        fields["hl7/left_out"] = count


def _note(row: Sequence[str], header: Header, fields: dict[str, Field]) -> bool:
    """One observation as a field under its name, and its unit; none that is about a person by its type. False: there was no place for it."""
    kind = _at(row, 2).strip().upper()
    if kind in _OF_PERSONS:
        return True
    if len(fields) >= FIELDS_MAX - 1:
        return False
    code, name = _identifier(_at(row, 3), header)
    named = (_NOT_SHOWN.sub("-", word).strip("-")[:120] for word in (name, code))
    name = next(filter(None, named), "")
    if not name:
        return False
    where = f"obx/{name}"
    number = 2
    while where in fields:
        where, number = f"obx/{name}/{number}", number + 1
        if number > 64:
            return False
    fields[where], own_unit = _value(kind, _at(row, 5), header)
    code, name = _identifier(_at(row, 6), header)
    if unit := own_unit or name or code:  # "mmol/l" or "mm[Hg]^^UCUM": most say it once, and not in the second place.
        fields[f"{where}/unit"] = unit
    return True


def _value(kind: str, value: str, header: Header) -> tuple[Field, str]:
    """What was observed, and the unit where the value names it itself. A part of a value by itself is another value."""
    parts = _components(value, header)
    match kind:
        case "NM" | "SI":
            return _number(value), ""
        case "SN":
            return _structured(value, header), ""
        case "CQ" | "MO" if len(parts) > 1 and _NUMBER.fullmatch(parts[0]):  # "12^ml&millilitre&UCUM"
            return _number(parts[0]), parts[1].partition(header.encoding[3:4] or "&")[0][:128]
        case "NR" | "DR" if _is_range(parts):
            return "..".join(parts), ""
        case "TS" | "DTM":  # Behind it stands how exact it is.
            return clean_text(parts[0][:VALUE_MAX]), ""
        case "NA" | "MA" if (numbers := _numbers(value, header)) is not None:
            return numbers, ""
    return _words(value, header), ""


def _is_range(parts: Sequence[str]) -> bool:
    """One end may be open."""
    return len(parts) == 2 and all(not part or _NUMBER.fullmatch(part) for part in parts)


def _number(value: str) -> Field:
    try:
        number = float(value)
    except ValueError:
        return clean_text(value[:VALUE_MAX])
    if not abs(number) < 1e300:  # also "nan", which is below nothing
        return None
    return (
        number if abs(number) < 1 << 53 else clean_text(value[:VALUE_MAX])
    )  # A float has no more digits: it would be another number.


def _numbers(value: str, header: Header) -> str | None:
    """A waveform's "100^105^^110" as "100 105 - 110", several channels with a semicolon between; None where something else is in it."""
    rows = [row.split(header.encoding[0]) for row in value[: 2 * VALUE_MAX].split(header.encoding[1])]
    if is_cut := len(value) > 2 * VALUE_MAX:
        rows[-1].pop()  # Never the half of a number.
    if not all(part == "" or _NUMBER.fullmatch(part) for row in rows for part in map(str.strip, row)):
        return None
    whole = "; ".join(" ".join(part.strip() or "-" for part in row) for row in rows)
    if len(whole) > VALUE_MAX:
        whole, is_cut = whole[: whole.rindex(" ", 0, VALUE_MAX)], True
    return f"{whole} …" if is_cut else whole


def _structured(value: str, header: Header) -> Field:
    """Of ">^100" it is ">100", of "^1^:^128" "1:128": a part of it is another value. A number where nothing but a number is stated."""
    parts = _components(value, header)[:4]
    whole = "".join(parts)
    if _STRUCTURED.fullmatch("^".join(parts)) is None:
        return _words(value, header)
    return whole if parts[0] else _number(whole)


def _words(value: str, header: Header) -> str:
    """Of each repetition a coded value's text, else its code; of any other what stands in their places: the caret, with which HL7 parts
    a name, stays out."""
    each = value.split(header.encoding[1], REPEATED_MAX)
    said = ([part for part in _components(one, header)[:2] if part] for one in each[:REPEATED_MAX])
    text = "; ".join(parts[-1] for parts in said if parts)
    is_cut = len(text) > VALUE_MAX or len(each) > REPEATED_MAX
    return clean_text(f"{text[:VALUE_MAX]} …" if is_cut else text)


def _identifier(value: str, header: Header) -> tuple[str, str]:
    """(code, name) of a coded element."""
    parts = _components(value, header)
    return parts[0][:128], parts[1][:128] if len(parts) > 1 else ""


def _components(value: str, header: Header) -> list[str]:
    first = value.split(header.encoding[1], 1)[0] if len(header.encoding) > 1 else value
    parts = [part.strip()[:_ESCAPED_MAX] for part in first.split(header.encoding[0], 8)[:8]]
    return [_unescaped(part, header) for part in parts] if header.encoding[2:3] in first else parts


def _unescaped(text: str, header: Header) -> str:
    """In the sender's own signs; what stands for nothing that can be shown stays as it is."""
    escape = header.encoding[2:3]
    if not escape:
        return text
    signs = {
        "F": header.separator, "S": header.encoding[0], "R": header.encoding[1], "E": escape, "T": header.encoding[3:4] or "&",
        "H": "", "N": "",
    }  # fmt: skip

    def meant(match: re.Match[str]) -> str:
        if match[2] is None:
            return signs.get(match[1], "\n")
        try:
            shown = bytes.fromhex(match[2]).decode().replace("\r\n", "\n").replace("\r", "\n")
        except UnicodeDecodeError:
            return match[0]
        return shown if shown.replace("\n", "").replace("\t", "").isprintable() else match[0]

    return re.sub(_ESCAPED.format(re.escape(escape)), meant, text)


def _is(code: str, name: str, known: frozenset[str]) -> bool:
    return code in known or name in known


def _at(row: Sequence[str], number: int) -> str:
    return row[number] if number < len(row) else ""


def _first(value: str, component: str) -> str:
    return _plain(value.split(component, 1)[0])


def _plain(text: str) -> str:
    """Without control characters: it is sent back in an answer."""
    return "".join(c for c in text if c.isprintable())


def _token(text: str) -> str | None:
    word = _NOT_NAME.sub("-", text).strip("-")[:64]
    return word if is_token(word) else None


def _zone_of(text: str) -> timezone | None:
    """The zone a time names; None where it names none, or none that there is."""
    match = _TIME.fullmatch(text.split("^", 1)[0])
    if match is None or not match[8]:
        return None
    offset = timedelta(hours=int(match[8][1:3]), minutes=int(match[8][3:5])) * (-1 if match[8][0] == "-" else 1)
    return timezone(offset) if abs(offset) < timedelta(days=1) else None


def _time_utc_ns(text: str, zone: timezone | None) -> int | None:
    """HL7's YYYYMMDDHHMM[SS[.S…]][+/-ZZZZ]; None where it is none, names no zone and nobody told one, or is no moment at all."""
    match = _TIME.fullmatch(text.split("^", 1)[0])
    if match is None or match[4] is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    if match[8]:
        zone = _zone_of(text)
    if zone is None:
        return None
    try:
        moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=zone)
        delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return (delta.days * 86_400 + delta.seconds) * SECOND + int(((match[7] or "") + "000000000")[:9])

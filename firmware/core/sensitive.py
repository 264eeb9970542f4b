"""What in a message is sensitive: names of fields, `#phi` markers, and documents of clinical systems. Pure.

Markers, for people who write log lines by hand (S2-082), in any text value, in upper or lower case:

    arm 3 stopped for #phi Jane Doe, born 1961-02-03 #end at 12 N          what lies between is sensitive
    patient #phi Jane Doe                                                  never closed: to the end of the text
    #phi a #phi b #end c #end d                                            they nest: d is the first free word

Every doubt is decided towards sensitive: `#phidias` opens, `#endoscope` does not close. Names are looked for in texts as well.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from firmware.core.message import Field, Tag
from firmware.core.sensitive_names import NAMES, NUMBER_OF_SOMEBODY_MIN, SEPARATOR, SensitiveNames, plain
from firmware.core.written import hidden, may_hide, readings

REMOVED = "[removed]"  # what stands in place of a sensitive part after it was removed

# More spans than this in one message are not worth their positions: the values that hold them are sensitive as a whole.
SPANS_MAX = 256

_OPEN = r"#phi"
# The closing marker must stand alone: `#phi seen at #endoscopy Jane Doe` closes nowhere.
_CLOSE = r"#end(?![A-Za-z0-9_])"
_MARKER = re.compile(f"({_OPEN})|{_CLOSE}", re.IGNORECASE)
_MARKER_BYTES = tuple("#phi".encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-16-be"))
# HL7 v2, CDA, ATNA audit, FHIR: whatever such a document says, it says about a patient. So does a piece of one, as datagrams cut
# it: any HL7 segment at the begin of a line, the caret between two letters, with which HL7 and DICOM write a person's name, or several where HL7 leaves components out, and
# the name space of FHIR's narrative. Within a line only the segments that name people, as they begin, for `IN1|0|` may be an input. A
# reference to somebody in FHIR, beside which a name may stand. Of DICOM an element of the patient's or of a person with its value, as every tool prints it, and its JSON.
_CLINICAL = re.compile(
    r"\A[\s\x00-\x1f]*(?:MSH|FHS|BHS)\W|(?:\A|[\r\n])[ \x0b]*(?-i:[A-Z][A-Z0-9]{2})\|[^|\r\n]*\||(?:[^\W\d_]|[^\x00-\x7f])\^(?:[^\W\d_]|[^\x00-\x7f])|\w\^(?:\^+\w|\|)"
    r"|(?-i:(?<![A-Z0-9])(?:MSH\|\^~|PID\|1?\||(?:NK1|GT1|PD1|TXA)\|\d{0,2}\||ROL\|[^|\r\n]*\|(?:AD|CO|DE|LI|UC|UN|UP)\|)|(?:\A|[\r\n])MRG\|\w)"
    r"|<(?:\w+:)?(?:ClinicalDocument|AuditMessage|RCMRMessage)\b|\b1999/xhtml\b|\"resourceType\\*\"\s*:"
    r"|<(?-i:[A-Z][A-Z0-9]{2})\.\d|<[\w:.-]{1,64}\s[^<>]{0,200}?xmlns(?::\w+)?=\\*[\"'](?:http://hl7\.org/fhir|urn:hl7-org:v[23])"
    r"|\bhl7\.org/fhir/StructureDefinition/(?:patient|person|relatedPerson|practitioner|humanname|contactpoint|iso21090)-"
    r"|\"line\\*\"\s*:\s*\[(?:\s|\\+[nrt])*\\*\""
    r"|\"reference\\*\"\s*:\s*\\*\"[^\"\s]{0,200}?(?-i:(?<![A-Za-z])(?:Patient|RelatedPerson|Practitioner|Person)/)"
    r"|\((?:0010,[ ]?[0-9A-F]{4}|0008,[ ]?0050)\)[^\r\n]{0,60}?(?-i:\b[A-Z]{2}\b)|\([0-9A-F]{4},[ ]?[0-9A-F]{4}\)[^\r\n]{0,60}?(?-i:\bPN\b)"
    r"|\"[0-9A-F]{8}\\*\"\s*:\s*\{\s*\\*\"vr\\*\"",
    re.IGNORECASE,
)
# Without one of these there is none, and to look for them costs a tenth.
_CLINICAL_BEGIN = re.compile(r"[\s\x00-\x1f]*(?:MSH|FHS|BHS)", re.IGNORECASE)
_CLINICAL_SIGN = re.compile(r"[|^<\"]|/(?:[Xx][Hh]|[Ff][Hh][Ii][Rr]/)|\([0-9A-Fa-f]{4},")
# Names of fields inside a text. Quoted, as in JSON that came as text or stands in a log line: the text is a document, and where a
# value in it ends is anybody's guess. Bare, as in `patient_name=Jane Doe arm=3` or `Patient: Jane Doe, bed 4`: up to what ends it, but
# not within its quotation marks. Many spaces before the sign: in columns. turnstile.c: is_harmless_before looks for the same.
# In any script: marks of vowels and accents that stand for themselves are no letters to Python. The signs also in the width of Chinese ones.
_MARK = "\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u064b-\u065f\u0900-\u0963\u0966-\u0dff\u0e31-\u0e4e\u0eb1-\u0ecd\u3099\u309a"
# Nobody sees them, between any two letters and before the sign; spaces that no typewriter has are as good as others.
_UNSEEN = "\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
_MARK += _UNSEEN
_BLANK = f"[ \t\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000{_UNSEEN}]"
_SIGN = "[=:\uff1a\uff1d]"
_QUOTED_NAME = re.compile(rf"[\"'][$@_.{_UNSEEN}-]{{0,4}}([^\W\d_][\w .@:/{_MARK}-]{{0,63}})\\*[\"'][\s{_UNSEEN}]*{_SIGN}")
# Something in brackets may stand before the sign, and is of the value then: `Patient (MRN): 4711`; or the name in them: `No. (MRN): 4711`.
# The sign of a number is one before a number: `MRN# 4711`, `Accession #A1`.
# Bare names also behind dashes, as on a command line, behind a terminal's colours, and behind the `\n` of a text that was quoted once.
_COLOUR = r"\x1b\[[\d;]{0,16}m"
_BARE = (
    rf"[_.{_UNSEEN}-]*+(?P<name>[^\W\d_][\w.{_MARK}-]{{0,63}}+)(?:{_BLANK}++#?(?P<number>\d{{1,4}}))?(?:{_COLOUR})?"
    rf"(?:{_BLANK}*(?=[(\[][^()\[\]\r\n]{{1,40}}[)\]](?:{_BLANK}+|\s)?{_SIGN}(?!//))|[)\]]?(?:{_BLANK}+|\s)?{_SIGN}(?!//)\s*"
    rf"|{_BLANK}*\#(?:{_BLANK}*{_SIGN}(?!//)\s*|(?={_BLANK}*(?:[A-Z]{{1,4}}-?)?\d){_BLANK}*))"
)
_BARE_NAME = re.compile(rf"(?:(?<![\w.{_MARK}-])|{_COLOUR}|\\(?P<escape>[nrt])){_BARE}")
# The same in less time, for texts with neither colour nor backslash; its escape matches nothing.
_BARE_NAME_UNCOLOURED = re.compile(rf"(?<![\w.{_MARK}-])(?P<escape>(?!))?{_BARE}")
# In addresses of the web and in names of files, whom a path leads to.
_PATH = re.compile(
    r"(?:[/\\](?:patients?|mrns?|practitioners?|(?:related)?persons?)[/\\]"
    r"|(?-i:(?<![\w.-])(?:Patient|RelatedPerson|Practitioner|Person)/)(?=(?:[a-z.-]*\d){3}))([^\s/\\?#&\"'<>:,;]+)",
    re.IGNORECASE,
)
# The same as the value of a reference in FHIR, taken apart into fields.
_REFERENCE = re.compile(r"(?:\S*/)?(?:Patient|RelatedPerson|Practitioner|Person)/\S+")
# An element of XML, in a text that has its end or goes on behind it: `usage: open <name>` is none.
_ELEMENT = re.compile(
    rf"<(?:[\w.-]+:)?([^\W\d_][\w.{_MARK}-]{{0,63}})(?:\s[^<>]{{0,999}})?>(?=\S)|</(?:[\w.-]+:)?([^\W\d_][\w.{_MARK}-]{{0,63}})\s*>"
    rf"|<(?:[\w.-]+:)?([^\W\d_][\w.{_MARK}-]{{0,63}})\s[^<>]{{0,998}}/>|(?<=>)\s*+([^\W\d_][\w. {_MARK}-]{{0,63}})</\w{{1,9}}>\s*{_SIGN}"
)
_QUOTED_VALUE = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'", re.DOTALL)
_VALUE_END = re.compile(r"[,;\r\n\])}|]|\s[A-Za-z][\w.-]{0,63}=")
# Brackets within a value, of which none may end it: `Patient: Jane (Jo) Doe`, `Patient: [VIP] Jane Doe`. Two levels are more than names have.
_OPENED = re.compile(r"[(\[{]")
_BRACKETED = re.compile(r"[(\[{](?:[^()\[\]{}\r\n]|[(\[{][^()\[\]{}\r\n]{0,100}+[)\]}]){0,100}+[)\]}]")
# After a surname: `Doe, Jane`, in capitals or in a script that has none, and not `Doe, Bed 4`, `Doe, Bed: 4` or `Doe, bed 4`; and the day
# somebody was born. Such a comma ends no value of words alone.
_GIVEN_NAME = re.compile(r",[ \t]*+([^\W\d_](?:[^\W\d_]|['\u2019.-])*+)(?!\w|\s*[=:\uff1a\uff1d\d])")
_DAY = re.compile(r",\s*+(?:born|b\.|\*)?\s*+\d{1,4}([-./])\d{1,2}\1\d{1,4}(?![\d:])", re.IGNORECASE)
# What is a surname alone, or may be: one word behind particles and titles. A name in small letters has small letters behind its comma, too.
_SURNAME = re.compile(
    r"\W*+(?:(?:van|von|vom|zu|zum|der|den|de|del|della|da|di|do|dos|das|du|la|le|el|al|bin|ibn|ben|ter|ten|te|st|dr|mr|mrs|ms|prof)\b\.?"
    r"[ \t]+)*+[^\s,]++\s*+",
    re.IGNORECASE,
)
_WORDS = re.compile(r"\W*+[^\W\d]\D*+")
# Behind somebody's number two words, as a name is written: `4711, Jane Doe` and `4711, Doe, Jane`, and not `4711, Arm stopped`.
_NUMBER = re.compile(r"[\w./-]++\s*+")
_FULL_NAME = re.compile(
    r",[ \t]*+([^\W\d_](?:[^\W\d_]|['\u2019.-])*+)(?:[ \t]++|,[ \t]*+)([^\W\d_](?:[^\W\d_]|['\u2019.-])*+)(?!\w|\s*[=:\uff1a\uff1d\d])"
)
# Behind somebody's name a number that stands alone, as somebody's would: `Doe, Jane, 4711`, and not `Jane Doe, 4711 rpm`.
_ALONE = r"(?=[ \t]*+(?:[,;\r\n)\]}|]|\Z)|[ \t]++[A-Za-z][\w.-]{0,63}=)"
_NUMBER_NEXT = re.compile(rf",[ \t]*+(?=(?:[A-Za-z/-]*\d){{{NUMBER_OF_SOMEBODY_MIN}}})[A-Za-z]{{0,4}}-?\d[\w/-]*+{_ALONE}")
# Behind the number of one of several the others': `patient_ids=1,2`.
_NEXT_OF_SEVERAL = re.compile(rf",[ \t]*+[A-Za-z]{{0,4}}-?\d[\w./-]*+{_ALONE}")
# Lines farther in than the name's, as YAML has what belongs to it, or a list of it.
_LINE = re.compile(r"([ \t]*+)(- )?[^\r\n]*+(?:\r?\n)?")
# The first line of a table, and names of columns before the values of a row in SQL. A column called `name` is anything's.
_COLUMN = re.compile(r"[ \t]*+[\"']?([^\W\d_][\w .-]{0,39})[\"']?[ \t\r]*")
_OF_ANYTHING = frozenset({"name", "address"})
_SQL_ROW = re.compile(r"\(([^()]{1,400})\)\s*VALUES?\b", re.IGNORECASE)
# Without any sign, where nothing but somebody can be meant: a number of three digits behind a word for somebody's number, a day behind one
# for the day of birth, and behind `patient` a title, quotation marks, or capitals that go on as only somebody does. turnstile.c: may_name_somebody.
_SIGN_TOO = rf"(?:(?:{_BLANK}++|\s)?{_SIGN})?"  # behind it one is of the value, or what was removed would stand before it as a name's brackets do
_NUMBER_UNSIGNED = re.compile(
    rf"(?<![\w.-])(?P<name>(?P<head>MRN|SSN|(?:patient|accession|admission|medical{_BLANK}++record|social{_BLANK}++security|passport|insurance)(?:['\u2019]?s)?)s?"
    rf"(?P<kind>(?:{_BLANK}*+|[_-])(?:IDs?|identifiers?|numbers?|no\.?|nr\.?)(?!\w))?)(?:{_BLANK}++(?:is|was))?{_BLANK}++"
    rf"(?P<value>(?=(?:[a-z./-]*+\d){{{NUMBER_OF_SOMEBODY_MIN}}})[\w./-]*\w{_SIGN_TOO})",
    re.IGNORECASE,
)
_DAY_UNSIGNED = re.compile(
    rf"(?<![\w.-])(?:DOB|birth{_BLANK}?day|birth{_BLANK}?date|date{_BLANK}++of{_BLANK}++birth|born(?:{_BLANK}++on)?)(?:{_BLANK}++(?:is|was))?{_BLANK}++"
    rf"(?P<value>(?:\d{{1,4}}([-./])\d{{1,2}}\2\d{{2,4}}(?!\d)|(?:19|20)\d{{6}}(?!\d)){_SIGN_TOO})",
    re.IGNORECASE,
)
_CAPITAL = r"[^\W\d_a-z][\w'\u2019-]*+\.?"
_NAME_UNSIGNED = re.compile(
    rf"(?<![\w.-])(?P<name>(?i:patient|surgeon|physician)){_BLANK}++(?P<value>(?:(?:Mr|Mrs|Ms|Miss|Dr|Prof)\.?|(?:MR|MRS|MS|DR|PROF)\.){_BLANK}++"
    rf"{_CAPITAL}(?:{_BLANK}++{_CAPITAL}){{0,2}}{_SIGN_TOO}|\"[^\W_a-z][^\"\r\n]{{0,80}}\"{_SIGN_TOO}|'[^\W_a-z][^'\r\n]{{0,80}}'{_SIGN_TOO})"
    rf"|(?<![\w.-])(?P<patient>(?i:patient)){_BLANK}++(?!(?i:not|no|is|was|has|been|being|to|data|id|identifier|name|record|list|file|monitor|side|cart"
    rf"|table|bed|arm|study|image|successfully|already|newly)\b)(?P<whole>{_CAPITAL}(?:,?{_BLANK}++{_CAPITAL}){{0,3}}?)"
    rf"(?={_BLANK}*+[,(]?{_BLANK}*+(?i:(?:(?:was|is|has{_BLANK}++been|being){_BLANK}++)?admitted|deceased|died|born|DOB|MRN|aged"
    rf"|\d{{1,3}}[ -]?(?:y/?o|yrs?|years?))\b)"
)
# Every one of the patterns above needs a character that is not here, or begins as HL7 does: most log lines are told by one look.
_UNSUSPICIOUS = re.compile(
    r"(?!\s*(?:MSH|FHS|BHS)\W)(?:[^#\"'=:\uff1a\uff1d|^<()%&/\\\x00-\x1f]++|\)(?!\s*V)|\((?![0-9A-F]{4},)|%(?![0-9A-F]{2})|&(?![#A-Z]))*+",
    re.IGNORECASE,
)
# The words before a bare name: `Date of birth: 1961-02-03`. As many as a listed name has, with one to spare.
_WORD_BEFORE = re.compile(r"[^\W\d_][^\W_]*(?:['\u2019]s)?")
_UNSEEN_PART = re.compile(f"[{_UNSEEN}]+")
_BLANKS = re.compile(f"{_BLANK}+")
_POSSESSIVE = re.compile(r"['\u2019]s\Z")
_WORDS_BEFORE_MAX = 3
_HEAD_MAX = 4_096
_BEFORE_MAX = 80  # characters looked at for them
# `Device name: PSM-3`, `IP address: 10.0.0.4`: what they are of stands before them. Not of files and hosts, that may be called after somebody.
_OF_DEVICES = {
    "name": frozenset((
        "device", "robot", "arm", "joint", "tool", "instrument", "topic", "node", "interface", "module", "component", "sensor", "actuator",
        "motor", "channel", "signal", "parameter", "variable", "controller", "driver", "frame", "link", "plugin", "class", "function",
        "method", "model", "part", "bus", "protocol",
    )),
    "address": frozenset((
        "ip", "ipv4", "ipv6", "mac", "ethernet", "bus", "memory", "base", "register", "i2c", "can", "multicast", "broadcast", "hardware",
        "network", "gateway",
    )),
}  # fmt: skip
_DICOM_JSON = re.compile(r"(?:\A|/)[0-9A-Fa-f]{8}/vr\Z")


def find_tags(
    text: str | None,
    fields: Mapping[str, Field],
    attachment: tuple[str, bytes] | None = None,
    *,
    names: SensitiveNames = NAMES,
) -> tuple[Tag, ...]:
    """What is sensitive, in the order text, fields, attachment.

    why: "field" (its name), "marker" (#phi), "clinical" (a document of a clinical system).
    """
    tags: list[Tag] = []
    if text is not None:
        tags += _text_tags("text", text, names)
    everything = any(map(_is_of_document, fields)) or any(  # FHIR or DICOM, taken apart into fields
        name.endswith("reference") and isinstance(value, str) and _REFERENCE.fullmatch(value) for name, value in fields.items()
    )
    for name, value in fields.items():
        path = f"fields/{name}"
        if everything:
            tags.append(Tag(path, 0, 0, "clinical"))
        elif name in names:
            tags.append(Tag(path, 0, 0, "field"))
        elif "#" in name and _MARKER.search(name):
            tags.append(Tag(path, 0, 0, "marker"))
        elif isinstance(value, str):
            tags += _text_tags(path, value, names)
    if attachment is not None and holds_marker(attachment[1]):
        tags.append(Tag("attachment", 0, 0, "marker"))
    if len(tags) > SPANS_MAX:
        tags = list({tag.path: Tag(tag.path, 0, 0, tag.why) for tag in tags}.values())
    return tuple(tags)


def find_tags_below(heading: str, text: str | None, *, names: SensitiveNames = NAMES) -> tuple[Tag, ...]:
    """What more of a text is sensitive because of what stood before it and was parted from it."""
    if not heading or not text:
        return ()
    shift, own = len(heading), set(_text_tags("text", text, names))
    found = (
        Tag("text", max(0, tag.start - shift), max(0, tag.end - shift), tag.why)
        for tag in _text_tags("text", heading + text, names)
        if tag.start == tag.end or tag.end > shift
    )
    return tuple(tag for tag in found if tag not in own)


@lru_cache(4096)
def _is_of_document(name: str) -> bool:
    return plain(SEPARATOR.split(name)[-1]) == "resourcetype" or _DICOM_JSON.search(name) is not None


def marked_spans(text: str) -> Iterator[tuple[int, int]]:
    """Spans between markers, the markers included: first character, and after the last."""
    depth, opened = 0, 0
    for match in _MARKER.finditer(text):
        if match[1]:
            if depth == 0:
                opened = match.start()
            depth += 1
        elif depth:
            depth -= 1
            if depth == 0:
                yield opened, match.end()
    if depth:
        yield opened, len(text)


def bare_names(text: str) -> Iterator[str]:
    """What stands in a text as a field's name would: before `=` or `:`."""
    for match in _bare_name_in(text).finditer(text):
        yield match["name"]
        if match["escape"]:
            yield match["escape"] + match["name"]


def _bare_name_in(text: str) -> re.Pattern[str]:
    return _BARE_NAME if "\x1b" in text or "\\" in text else _BARE_NAME_UNCOLOURED


def is_harmless(name: str, names: SensitiveNames) -> bool:
    """Whether this name, of a field or in a text, never makes anything sensitive by itself."""
    return name not in names and "#" not in name and not _is_of_document(name)


def may_end_one(name: str, names: SensitiveNames) -> bool:
    """Whether with words before it, as they stand in a text, this name may be sensitive: `ID`, for `Patient ID`."""
    return plain(name) in names.last_words


def has_marker(text: str) -> bool:
    """Whether an opening or closing marker is in it."""
    return _MARKER.search(text) is not None


def holds_marker(data: bytes) -> bool:
    """Whether bytes that are not known to be text hold an opening marker, in UTF-8 or UTF-16."""
    lowered = data.lower()
    return any(marker in lowered for marker in _MARKER_BYTES)


def _text_tags(path: str, text: str, names: SensitiveNames) -> Iterator[Tag]:
    is_hiding = may_hide(text)
    if not is_hiding and _UNSUSPICIOUS.fullmatch(text) and not _may_name_somebody(text):
        return
    tags = list(_plain_text_tags(path, text, names))
    for read in readings(text):
        within = list(_plain_text_tags(path, read, names))
        if len(within) > len(tags) or any(tag.start == tag.end for tag in within):
            tags = [Tag(path, 0, 0, within[0].why)]
    if is_hiding and (why := _hidden(text, names)):
        tags = [Tag(path, 0, 0, why)]
    yield from tags


def _hidden(text: str, names: SensitiveNames) -> str | None:
    """Why what stands in it in another encoding is sensitive."""
    for inner in hidden(text):
        if inner is None:
            return "clinical"
        for tag in _plain_text_tags("", inner, names):
            return tag.why
    return None


def _plain_text_tags(path: str, text: str, names: SensitiveNames) -> Iterator[Tag]:
    if _is_clinical(text):
        yield Tag(path, 0, 0, "clinical")
        return
    if _has_quoted_name(text, names) or _has_element(text, names) or _is_table(text, names):
        yield Tag(path, 0, 0, "field")
        return
    marked = list(marked_spans(text)) if "#" in text and (not text.isascii() or _OPEN in text.lower()) else []
    for start, end in marked:
        yield Tag(path, start, end, "marker")
    if "/" in text or "\\" in text:
        for match in _PATH.finditer(text):
            if match[1] != REMOVED:
                yield Tag(path, *match.span(1), "field")
    signed: list[tuple[int, int]] = []
    covered = (
        0  # Names inside a value already taken are not looked at again, or a text of nothing but names would cost its square.
    )
    for match in _bare_name_in(text).finditer(text):
        if match.start() < covered or not _is_name(text, match, names):
            continue
        is_counted = len(match["number"] or "") < NUMBER_OF_SOMEBODY_MIN
        start = match.end() if is_counted else match.start("number")
        quoted = _QUOTED_VALUE.match(text, start)
        least = quoted.end() if quoted else start + len(REMOVED) if text.startswith(REMOVED, start) else start
        least = _indented_end(text, match, least)
        is_several = plain(match["name"]).endswith("s")
        covered = _value_end(text, start, least, is_several=is_several)
        while (at := bisect_left(marked, (covered, 0))) and covered < marked[at - 1][1]:
            covered = _value_end(text, start, marked[at - 1][1])  # What stands between markers ends no value.
        if text[start:covered].strip() not in ("", REMOVED):
            signed.append((start, covered))
            yield Tag(path, start, covered, "field")
    if _may_name_somebody(text):
        for start, end in _unsigned(text, names):
            at = bisect_left(signed, (end, 0))
            if at == 0 or signed[at - 1][1] <= start:
                yield Tag(path, start, end, "field")


def _may_name_somebody(text: str) -> bool:
    """A quick look for the words of _unsigned; written out, for a loop over them costs as much as all the rest."""
    low = text.lower()
    return (
        "patient" in low or "mrn" in low or "born" in low or "birth" in low or "dob" in low or "ssn" in low or "surgeon" in low
        or "physician" in low or "ssion" in low or "medical" in low or "social" in low or "passport" in low or "insurance" in low
    )  # fmt: skip


def _unsigned(text: str, names: SensitiveNames) -> Iterator[tuple[int, int]]:
    for match in _NUMBER_UNSIGNED.finditer(text):
        head, kind = match["head"], match["kind"] or ""
        if plain(head) in ("mrn", "ssn", "medicalrecord") or kind:
            spelled = match["name"] if kind and plain(kind)[:2] not in ("no", "nr") else f"{head}number"
            if head in names or spelled in names:
                yield match.span("value")
    if "dob" in names or "birth_date" in names:
        for match in _DAY_UNSIGNED.finditer(text):
            yield match.span("value")
    for match in _NAME_UNSIGNED.finditer(text):
        if (match["name"] or match["patient"]) in names:
            yield match.span("value" if match["name"] else "whole")


def _is_clinical(text: str) -> bool:
    return (_CLINICAL_SIGN.search(text) or _CLINICAL_BEGIN.match(text)) is not None and _CLINICAL.search(text) is not None


def _has_quoted_name(text: str, names: SensitiveNames) -> bool:
    return ('"' in text or "'" in text) and any(match[1] in names for match in _QUOTED_NAME.finditer(text))


def _has_element(text: str, names: SensitiveNames) -> bool:
    return "<" in text and any(match[match.lastindex or 0] in names for match in _ELEMENT.finditer(text))


def _is_name(text: str, match: re.Match[str], names: SensitiveNames) -> bool:
    """Whether a bare name is sensitive, by itself or with the words before it."""
    name = match["name"]
    if _is_of_device(text, match, names):
        return False
    if name in names or (match["escape"] and match["escape"] + name in names):
        return True
    if not name.isascii() and [*filter(None, _UNSEEN_PART.split(name))][-1] in names:
        return True  # A space that nobody sees may stand between two words.
    start = match.start("name")
    if plain(name) not in names.last_words or not _BLANKS.fullmatch(text, start - 1, start):
        return False
    before = name
    for word in _BLANKS.split(text[max(0, start - _BEFORE_MAX) : start])[-2 : -2 - _WORDS_BEFORE_MAX : -1]:
        if not _WORD_BEFORE.fullmatch(word):
            break
        before = _POSSESSIVE.sub("", word) + before
        if before in names:
            return True
    return False


def _is_of_device(text: str, match: re.Match[str], names: SensitiveNames) -> bool:
    """Whether a name or an address by itself is that of a part of a machine, and of no one's."""
    known = _OF_DEVICES.get(match["name"].lower())
    start = match.start("name")
    if known is None or not _BLANKS.fullmatch(text, start - 1, start):
        return False
    words = _BLANKS.split(text[max(0, start - _BEFORE_MAX) : start])[-1 - _WORDS_BEFORE_MAX : -1]
    if not words or words[-1].lower().lstrip("([") not in known or words[-1] + match["name"] in names:
        return False
    for word in words[-2::-1]:
        if not _WORD_BEFORE.fullmatch(word):
            break
        if word in names:
            return False  # `patient's device name`
    return True


def _is_table(text: str, names: SensitiveNames) -> bool:
    """Whether it is one with a column of somebody's: its first line names them, the next has as many; or a row for a database."""
    head, newline, rest = text.partition("\n")
    for sign in ",;\t|" if newline and len(head) <= _HEAD_MAX else "":
        columns = head.split(sign)
        if len(columns) > 1 and rest.partition("\n")[0].count(sign) >= len(columns) - 1:
            found = [_COLUMN.fullmatch(column) for column in columns]
            if all(found) and _have_one(tuple(match[1] for match in found if match), names):
                return True
    rows = _SQL_ROW.finditer(text) if ")" in text else ()
    return any(_have_one(match[1].split(","), names) for match in rows)


def _have_one(columns: Iterable[str], names: SensitiveNames) -> bool:
    return any(column.strip(" \"'`\t\r") in names and plain(column) not in _OF_ANYTHING for column in columns)


def _indented_end(text: str, match: re.Match[str], least: int) -> int:
    """Where what is indented below a name that stands at the end of its line ends; `least` where nothing is."""
    begin = match.end()
    newline = text.rfind("\n", match.start("name"), begin)
    if newline < 0:
        return least
    above = _LINE.match(text, text.rfind("\n", 0, match.start("name")) + 1)
    at = newline + 1
    while at < len(text) and (line := _LINE.match(text, at)) is not None and above is not None:
        is_below = len(line[1]) > len(above[1]) or (line[2] and len(line[1]) == len(above[1]))
        if line[0].strip() and not is_below:
            break
        at = line.end()
    while at > begin and text[at - 1] in " \t\r\n":
        at -= 1
    return max(least, at) if at > begin else least


def _value_end(text: str, start: int, least: int, *, is_several: bool = False) -> int:
    """Where the value that begins at `start` ends. least: where it does at the earliest, for its quotation marks."""
    stop = _stop(text, least)
    value = text[start : stop.start()] if stop is not None else ""
    if least == start and stop is not None and _WORDS.fullmatch(value):
        # Somebody's name, for all we know. To its last separator and not only over the given name: cleaned again it is the same.
        is_small = value.islower() or _SURNAME.fullmatch(value) is not None
        while stop is not None:
            given = _GIVEN_NAME.match(text, stop.start())
            if given is not None and given[1][0].islower():
                # A given name and no more: what follows it may be anything.
                given, is_small = given if is_small else None, False
            found = given or _DAY.match(text, stop.start())
            if found is None:
                break
            stop = _stop(text, found.end())
        if stop is not None and (number := _NUMBER_NEXT.match(text, stop.start())) is not None:
            stop = _stop(text, number.end())
    elif least == start and stop is not None and _NUMBER.fullmatch(value):
        named = _FULL_NAME.match(text, stop.start())
        if named is not None and not named[1][0].islower() and not named[2][0].islower():
            stop = _stop(text, named.end())
            born = _DAY.match(text, stop.start()) if stop is not None else None
            stop = _stop(text, born.end()) if born is not None else stop
        while is_several and stop is not None and (another := _NEXT_OF_SEVERAL.match(text, stop.start())) is not None:
            stop = _stop(text, another.end())
    return stop.start() if stop is not None else len(text)


def _stop(text: str, at: int) -> re.Match[str] | None:
    """What ends a value, looked for from here on: nothing in brackets that it opens itself."""
    while True:
        stop = _VALUE_END.search(text, at)
        opened = _OPENED.search(text, at, stop.start() if stop is not None else len(text))
        inside = _BRACKETED.match(text, opened.start()) if opened is not None else None
        if inside is None:
            return stop
        at = inside.end()

"""What a retrieval order asks for: the parameters of its order, written by whoever asks and read by the box that answers.

Parameters (envelope.cddl, order key 6), all but `since` optional:

    since, until   UTC, ns since 1970 (int); until absent: as far as was recorded when the order was made
    hosts          IPv4 and IPv6 addresses      "10.77.0.11,fe80::1"
    ports          TCP and UDP port numbers     "47001,104"
    macs           hardware addresses           "02:53:4a:00:00:0b"
    protocols      names or numbers             "tcp,udp"
    vlans          identifiers                  "7,8"
    devices        names the box knows, or addresses; either end      "arm-2"
    senders, receivers    the same, of that end
    kinds          kinds of record: kinds.py    "motion,time"
    message        a published message's identity, 32 hexadecimal digits: the frame that carried it
    event          the key that messages about one event share: the frames that carried them
    process        by which messages were said: the frames that carried them
    contains       bytes anywhere in the frame: a text, or 0x and hexadecimal digits
    filter         a pcap-filter(7) expression
    priority       1 to 4, how soon the evidence should travel (int)
    reduce, rates, every, error    how much less than all of it will do: streams/wish.py

A list is a text with commas: any one of them (OR); between the names all must hold (AND). An unknown name is refused, not
ignored: a criterion that is not understood would send more than was asked for.

An order that ends another has one parameter only:

    cancel         the identity of the order to be ended, 32 hexadecimal digits
"""

from collections.abc import Mapping
from dataclasses import dataclass

from firmware.core.errors import BadItem
from firmware.core.message import Priority
from firmware.core.query import Query, terms_of
from firmware.core.streams import wish
from firmware.core.streams.wish import NOTHING_LESS, Wish
from firmware.core.wording import NO_WORDS, Wording

LISTS = ("devices", "senders", "receivers", "kinds")
TEXTS = ("contains", "filter")
NAMES = (
    "since", "until", "hosts", "ports", "macs", "protocols", "vlans", *LISTS, "message", "event", "process", *TEXTS, "priority", *wish.NAMES,
)  # fmt: skip
CANCEL = "cancel"
LIST_MAX = 64  # criteria of one kind
TEXT_MAX = 256  # characters of one
_UTC_NS_MAX = 1 << 63


@dataclass(frozen=True, slots=True)
class Request:
    """A query, how soon what it finds should travel (None: as the box is set), and how much less than all of it will do.

    wording: what only the box can make a query of.
    """

    query: Query
    priority: Priority | None = None
    less: Wish = NOTHING_LESS
    wording: Wording = NO_WORDS


def as_parameters(request: Request) -> dict[str, int | str | None]:
    """The parameters of an order that asks for this."""
    query = request.query
    parameters: dict[str, int | str | None] = {}
    for name, value in (("since", query.since_utc_ns), ("until", query.until_utc_ns), ("priority", request.priority)):
        if value is not None:
            parameters[name] = int(value)
    for name, values in (
        ("hosts", query.hosts), ("ports", query.ports), ("macs", query.macs), ("protocols", query.protocols), ("vlans", query.vlans),
    ):  # fmt: skip
        if values:
            parameters[name] = ",".join(str(value) for value in values)
    words = request.wording
    parameters |= {name: ",".join(getattr(words, name)) for name in LISTS if getattr(words, name)}
    parameters |= {name: getattr(words, name) for name in ("event", "process", *TEXTS) if getattr(words, name)}
    if words.message is not None:
        parameters["message"] = words.message.hex()
    return parameters | wish.as_parameters(request.less)


def cancelled_by(parameters: Mapping[str, int | str | None]) -> bytes | None:
    """Identity of the order that this one ends; None where it asks for frames. Raises BadItem."""
    if CANCEL not in parameters:
        return None
    if set(parameters) != {CANCEL}:
        raise BadItem(f"expected {CANCEL} as the only parameter of an order that ends another")
    return _identity(parameters[CANCEL], CANCEL)


def from_parameters(parameters: Mapping[str, int | str | None]) -> Request:
    """What an order asks for. Raises BadItem naming the parameter and what was expected of it, never its value."""
    if not set(parameters) <= set(NAMES):
        raise BadItem(f"expected parameters among {', '.join(NAMES)}")
    given = {name: value for name, value in parameters.items() if value is not None}
    since, until = _moment(given, "since"), _moment(given, "until")
    if since is None:
        raise BadItem("expected since, the moment from which on")
    if until is not None and until < since:
        raise BadItem("expected until no earlier than since")
    priority = given.get("priority")
    if priority is not None and (isinstance(priority, bool) or priority not in (1, 2, 3, 4)):
        raise BadItem("expected priority 1 to 4")
    query = Query(
        since_utc_ns=since,
        until_utc_ns=until,
        hosts=_words(given, "hosts"),
        ports=tuple(_number(word, "ports") for word in _words(given, "ports")),
        macs=_words(given, "macs"),
        protocols=_words(given, "protocols"),
        vlans=tuple(_number(word, "vlans") for word in _words(given, "vlans")),
    )
    terms_of(query)  # Raises where a word is none of the things it should be.
    wording = Wording(
        devices=_words(given, "devices"),
        senders=_words(given, "senders"),
        receivers=_words(given, "receivers"),
        kinds=_words(given, "kinds"),
        message=_identity(given["message"], "message") if "message" in given else None,
        event=_text(given, "event") or None,
        process=_text(given, "process") or None,
        contains=_text(given, "contains"),
        filter=_text(given, "filter"),
    )
    return Request(query, Priority(priority) if isinstance(priority, int) else None, wish.from_parameters(given), wording)


def _moment(given: Mapping[str, int | str], name: str) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _UTC_NS_MAX:
        raise BadItem(f"expected {name} as UTC ns since 1970")
    return value


def _words(given: Mapping[str, int | str], name: str) -> tuple[str, ...]:
    value = given.get(name)
    if value is None:
        return ()
    words = tuple(word.strip().lower() for word in str(value).split(","))
    if len(words) > LIST_MAX or not all(0 < len(word) <= 64 for word in words):
        raise BadItem(f"expected {name} as 1 to {LIST_MAX} words with commas between them")
    return words


def _text(given: Mapping[str, int | str], name: str) -> str:
    value = given.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_MAX:
        raise BadItem(f"expected {name} as a text of 1 to {TEXT_MAX} characters")
    return value


def _identity(value: int | str | None, name: str) -> bytes:
    if isinstance(value, str) and len(value) == 32 and set(value.lower()) <= set("0123456789abcdef"):
        return bytes.fromhex(value)
    raise BadItem(f"expected {name} as 32 hexadecimal digits")


def _number(word: str, name: str) -> int:
    if not (word.isascii() and word.isdecimal() and len(word) <= 5):
        raise BadItem(f"expected {name} as numbers")
    return int(word)

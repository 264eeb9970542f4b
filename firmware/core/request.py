"""What a retrieval order asks for: the parameters of its order, written by whoever asks and read by the box that answers.

Parameters (envelope.cddl, order key 6), all but `since` optional:

    since, until   UTC, ns since 1970 (int); until absent: as far as was recorded when the order was made
    hosts          IPv4 and IPv6 addresses      "10.77.0.11,fe80::1"
    ports          TCP and UDP port numbers     "47001,104"
    macs           hardware addresses           "02:53:4a:00:00:0b"
    protocols      names or numbers             "tcp,udp"
    vlans          identifiers                  "7,8"
    priority       1 to 4, how soon the evidence should travel (int)
    reduce, rates, every, error    how much less than all of it will do: streams/wish.py

A list is a text with commas: any one of them (OR); between the names all must hold (AND). An unknown name is refused, not
ignored: a criterion that is not understood would send more than was asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from firmware.core.errors import BadItem
from firmware.core.message import Priority
from firmware.core.query import Query, terms_of
from firmware.core.streams import wish
from firmware.core.streams.wish import NOTHING_LESS, Wish

NAMES = ("since", "until", "hosts", "ports", "macs", "protocols", "vlans", "priority", *wish.NAMES)
LIST_MAX = 64  # criteria of one kind
_UTC_NS_MAX = 1 << 63


@dataclass(frozen=True, slots=True)
class Request:
    """A query, how soon what it finds should travel (None: as the box is set), and how much less than all of it will do."""

    query: Query
    priority: Priority | None = None
    less: Wish = NOTHING_LESS


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
    return parameters | wish.as_parameters(request.less)


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
    return Request(query, Priority(priority) if isinstance(priority, int) else None, wish.from_parameters(given))


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


def _number(word: str, name: str) -> int:
    if not (word.isascii() and word.isdecimal() and len(word) <= 5):
        raise BadItem(f"expected {name} as numbers")
    return int(word)

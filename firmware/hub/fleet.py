"""`scrubjay fleet`: the operator's side, on a command line. It speaks to the hub as the page does and knows no more than it."""

import base64
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol

from firmware.core.errors import Trouble

ANSWER_S_MAX = 30.0
STREAM_S_MAX = 60.0  # Four times the hub's sign of life on a quiet stream.
PIECE_BYTES = 1 << 20
Plain = dict[str, Any]  # Any: JSON of the hub, shown and not reasoned about


class HubFailed(Trouble):
    """The hub did not answer, or said no. Look at its address, or at what it said."""


class Sink(Protocol):
    """Something that takes bytes, as a file does."""

    def write(self, data: bytes, /) -> int: ...


@contextmanager
def understood(address: str) -> Iterator[None]:
    """Whatever answers at this address in another way than a hub of this version does: HubFailed instead of our surprise at it."""
    try:
        yield
    except UnicodeEncodeError:
        raise  # of what was to be asked, not of the answer
    except (TimeoutError, ConnectionResetError, ConnectionAbortedError, http.client.IncompleteRead) as problem:
        raise HubFailed(
            f"expected the whole answer of a hub at {address}, the connection ended: {type(problem).__name__}"
        ) from None
    except (KeyError, TypeError, ValueError, AttributeError, http.client.HTTPException) as problem:
        raise HubFailed(
            f"expected the answers of a hub of this version at {address}, got others ({type(problem).__name__}); is it the hub's page?"
        ) from None


@dataclass(frozen=True, slots=True)
class Wish:
    """Whose frames, and which. about: identity of a message, hexadecimal; then around_s counts, otherwise the moments.

    reduce, rates, every, error: how much less than all of it will do (firmware/core/streams/wish.py). only_message: the frame that carried it.
    criteria: further ones by the names of firmware/core/request.py.
    """

    box: str
    about: str | None = None
    around_s: int = 30
    since_utc_ns: int | None = None
    until_utc_ns: int | None = None
    hosts: Sequence[str] = ()
    ports: Sequence[int] = ()
    reduce: str = "none"
    rates: str | None = None
    every: int | None = None
    error: str | None = None
    only_message: bool = False
    priority: int | None = None
    criteria: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def as_json(self) -> Plain:
        """As POST /api/evidence takes it."""
        row: Plain = {"box": self.box}
        if self.about is not None:
            row |= {"message": self.about, "before_s": self.around_s, "after_s": self.around_s}
        else:
            row |= {"since_utc_ns": self.since_utc_ns, "until_utc_ns": self.until_utc_ns}
        if self.hosts:
            row["hosts"] = ",".join(self.hosts)
        if self.ports:
            row["ports"] = ",".join(str(port) for port in self.ports)
        for name, value in (("reduce", self.reduce), ("rates", self.rates), ("every", self.every), ("error", self.error)):
            if value not in (None, "none"):
                row[name] = value
        if self.only_message:
            row["only_message"] = True
        if self.priority is not None:
            row["priority"] = self.priority
        return row | {name: ",".join(values) for name, values in self.criteria.items() if values}


class Fleet:
    """One hub, by the address of its page; where the site has set people, as http://NAME:TOKEN@host:port."""

    def __init__(self, address: str) -> None:
        if not address.startswith(("http://", "https://")):
            raise HubFailed("expected the hub's address as http://host:port or https://host:port")
        parts = urllib.parse.urlsplit(address.rstrip("/"))
        self._headers = {"Content-Type": "application/json"}
        if parts.username is not None:
            who = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(who.encode()).decode()}"
        # Without them: the address is repeated in messages.
        self._address = urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    def boxes(self) -> tuple[list[Plain], str]:
        """Every box the hub has heard of; and why it does not hear them now, "" when it does."""
        found = self._json("/api/boxes")
        return found["boxes"], found["trouble"] or ""

    def watch(self) -> Iterator[Plain]:
        """Messages as they arrive, from now on and for ever. Raises HubFailed when the connection ends: others arrive that are not seen."""
        newest = self._json("/api/messages?newest=1")["messages"]
        after = newest[-1]["number"] if newest else 0
        with self._open(f"/api/events?after={after}", timeout=STREAM_S_MAX) as stream:
            for line in stream:
                if line.startswith(b"data: [") and line.endswith(b"\n"):  # To http.client a line that is cut is one.
                    yield from json.loads(line[6:])
        raise HubFailed("expected messages for as long as they are watched, the connection to the hub ended")

    def retrieve(self, wish: Wish, progress: Callable[[Plain], None]) -> Plain:
        """Ask for evidence and wait until it is complete, refused or expired; the last state the hub told. progress: each change.

        Raises HubFailed, which says where it will be: it was asked for, and comes whether somebody waits or not.
        """
        command = str(self._json("/api/evidence", body=wish.as_json())["command"])
        try:
            return self._followed(command, progress)
        except (HubFailed, TimeoutError, ConnectionResetError, ConnectionAbortedError, http.client.HTTPException) as trouble:
            raise HubFailed(
                f"{trouble or type(trouble).__name__}; {wish.box} goes on with {command}, complete it is at"
                f" {self._address}/evidence/{command}.pcapng"
            ) from None

    def _followed(self, command: str, progress: Callable[[Plain], None]) -> Plain:
        with self._open("/api/events?after=9007199254740991", timeout=STREAM_S_MAX) as news:
            state: Plain = {}
            while True:
                latest = self._json(f"/api/evidence/{command}")
                if latest != state:
                    state = latest
                    progress(state)
                if state["complete"] or state["state"] in ("refused", "expired", "failed", "cancelled"):
                    return state
                _next_event(news)

    def cancel(self, command: str) -> str:
        """Ask for the end of a request; returns the identity of the order that ends it."""
        ended: str = self._json(f"/api/evidence/{command}/cancel", body={})["command"]
        return ended

    def sessions(self, box: str | None) -> list[Plain]:
        """The latest sessions, of one box or of all."""
        found: list[Plain] = self._json("/api/sessions" + (f"?{urllib.parse.urlencode({'box': box})}" if box else ""))["sessions"]
        return found

    def calls(self, *, everything: bool) -> list[Plain]:
        """Service calls that are not closed, or all."""
        found: list[Plain] = self._json("/api/calls" + ("?all=1" if everything else ""))["calls"]
        return found

    def change_call(self, number: int, *, to: str, by: str, note: str) -> Plain:
        """Acknowledge or close one; as it is then."""
        return self._json(f"/api/calls/{number}", body={"to": to, "by": by, "note": note})

    def session(self, box: str, kind: str | None) -> str:
        """Have a box begin a session, or end it (None); the order's identity."""
        wish = {"do": "close"} if kind is None else {"do": "start", "kind": kind}
        return str(self._json("/api/sessions", body={"box": box, **wish})["command"])

    def advise(self, wish: Plain) -> str:
        """Advise the people around a box; the order's identity."""
        return str(self._json("/api/feedback", body=wish)["command"])

    def feedback(self) -> list[Plain]:
        """The latest advice, and whether it was shown."""
        found: list[Plain] = self._json("/api/feedback")["feedback"]
        return found

    def rules(self, text: str | None = None) -> Plain:
        """The rules as the hub uses them. text: other ones from now on."""
        return self._json("/api/rules", body=None if text is None else {"text": text})

    def updates(self) -> Plain:
        """Editions, the latest roll-outs, and which version each box says it runs."""
        return self._json("/api/updates")

    def update_history(self, box: str | None) -> list[Plain]:
        """Every switch with its cause, the latest first."""
        query = f"?{urllib.parse.urlencode({'box': box})}" if box else ""
        found: list[Plain] = self._json(f"/api/updates/history{query}")["history"]
        return found

    def put_file(self, digest: str, source: BinaryIO, size: int) -> None:
        """A file that an edition is made of, by its SHA-256 in hexadecimal."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        with self._open(f"/api/updates/files/{digest}", timeout=STREAM_S_MAX, method="PUT", data=source, headers=headers):
            return

    def publish_edition(self, text: str) -> Plain:
        """An edition, in base64, whose files are there."""
        return self._json("/api/updates/editions", body={"edition": text})

    def start_rollout(self, wish: Plain) -> Plain:
        """As POST /api/rollouts takes it; how it stands."""
        return self._json("/api/rollouts", body=wish)

    def rollout(self, number: int) -> Plain:
        """Box by box."""
        return self._json(f"/api/rollouts/{number}")

    def change_rollout(self, number: int, *, to: str, by: str) -> Plain:
        """Halt it, let it go on, take it back; how it stands then."""
        return self._json(f"/api/rollouts/{number}", body={"to": to, "by": by})

    def download(self, path: str, into: Sink) -> int:
        """Bytes written: all of them. A connection that ends goes on where it was, as long as each brings more (RFC 9110 §14)."""
        size, length, tag = 0, 0, None
        while size < length or not length:
            rest = {"Range": f"bytes={size}-", "If-Range": str(tag)} if size else {}
            with self._open(path, timeout=ANSWER_S_MAX, headers=rest) as answer:
                if not size:
                    length, tag = int(answer.headers["Content-Length"] or 0), answer.headers["ETag"]
                elif answer.status != 206 or not str(answer.headers["Content-Range"]).startswith(f"bytes {size}-"):
                    raise HubFailed(f"expected the rest of {path} behind {size} bytes, it has changed since they came; ask again")
                # By our own count: to urllib an answer that is cut short has just ended.
                more = _poured(answer, into) if length else 0
            size += more
            if (size < length and (not more or tag is None)) or not length:
                raise HubFailed(f"expected {length or 'the'} bytes of {path}, the connection ended after {size}")
        return size

    def _json(self, path: str, body: Plain | None = None) -> Plain:
        with self._open(path, timeout=ANSWER_S_MAX, body=body) as answer:
            found: Plain = json.loads(answer.read())
            return found

    def _open(
        self,
        path: str,
        *,
        timeout: float,
        body: Plain | None = None,
        method: str | None = None,
        data: BinaryIO | bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:  # Any: urllib's answer has no type of its own
        data = data if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self._address}{path}", data=data, headers={**self._headers, **(headers or {})}, method=method
        )
        try:
            return urllib.request.urlopen(request, timeout=timeout)
        except urllib.error.HTTPError as refusal:
            raise HubFailed(f"the hub said {refusal.code}: {_reason(refusal)}") from None
        except (urllib.error.URLError, OSError) as problem:
            raise HubFailed(
                f"expected a hub at {self._address}, got no answer: {getattr(problem, 'reason', problem)}; is `scrubjay run hub` up?"
            ) from None


def box_line(box: Plain) -> str:
    """A box for people."""
    return f"{box['name']:24} {box['site']:16} {box['state']:10} seen {box['seen']}"


def request_line(state: Plain) -> str:
    """How far a request for evidence has come, for people."""
    detail = f", {_safe(state['detail'])}" if state["detail"] else ""
    away = f"; {state['box']} is away since {state['away']}: what is missing comes when it is back" if state["away"] else ""
    return f"{state['command']} {state['state']}: {state['parts']} parts, {state['frames']} frames{detail}{away}"


def call_line(call: Plain) -> str:
    """A service call for people."""
    often = f" ({call['times']} times, last {call['last']})" if call["times"] > 1 else ""
    said = f"  {call['by']}: {call['note']}" if call["note"] else f"  {call['by']}" if call["by"] else ""
    return f"{call['number']:>5}  {call['state']:12}  {call['opened']}  {call['about'] or 'fleet'}: {_safe(call['text'] or call['rule'])}{often}{_safe(said)}"


def session_line(session: Plain) -> str:
    """A session for people."""
    end = session["end"] or "now"
    missing = f", {session['missing']} not here yet" if session["missing"] else ""
    return f"{session['box']:24} {session['kind']:10} {session['state']:9} {session['start']} – {end}  {session['messages']} messages{missing}  [{session['session']}]"


def rollout_line(row: Plain) -> str:
    """A roll-out for people."""
    boxes = ", ".join(f"{count} {state}" for state, count in row["counts"].items())
    cause = f": {_safe(row['cause'])}" if row["cause"] else ""
    return f"{row['number']:>4}  {row['version']:12} {row['state']}{cause}  phase {row['phase']} of {len(row['phases'])}  {boxes}"


def edition_line(row: Plain) -> str:
    """An edition for people."""
    bundles = ", ".join(f"{b['bytes']} bytes" + (f" beside {b['base']}" if b["base"] else "") for b in row["bundles"])
    return f"{row['version']:12} number {row['number']}  {row['channel']}  {row['kind']} for {row['board']}  until {row['until']}  {bundles}"


def version_line(row: Plain) -> str:
    """Which version a box says it runs, for people."""
    before = f", before it {row['previous']}" if row["previous"] else ""
    system = row["system"]
    slots = (
        ""
        if system is None
        else f"  system {system['version']} in slot {system['slot']}, {system['state']}; the other holds {system['other']}"
    )
    return f"{row['box']:24} {_safe(row['official'])}{_safe(before)}  {_safe(row['phase'])}{_safe(slots)}  said {row['said']}"


def member_line(row: Plain) -> str:
    """A box of a roll-out, for people."""
    since = f" since {row['since']}" if row["since"] else ""
    return f"{row['box']:24} {row['state']}{since}" + (f": {_safe(row['cause'])}" if row["cause"] else "")


def switch_line(row: Plain) -> str:
    """A row of history for people."""
    return f"{row['at']}  {row['box']:24} {_safe(row['text'] or '')}"


def advice_line(row: Plain) -> str:
    """Advice for people."""
    where = f" ({row['device']})" if row["device"] else ""
    detail = f", {row['detail']}" if row["detail"] else ""
    return f"{row['made']}  {row['box']}{_safe(where)}: {_safe(row['sentence'])}  [{row['state']}{_safe(detail)}]"


def message_line(message: Plain) -> str:
    """A message for people; text of foreign origin is stripped of what a terminal would obey."""
    text = message["text"] or ", ".join(f"{name}={value}" for name, value in message["fields"].items())
    safe = _safe(text)
    where = f"{message['box']} {message['device']}/{message['process']}"
    return f"{message['origin']} P{message['priority']} {where}: {safe}  [{message['identity']}]"


def _safe(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(c if c.isprintable() else "�" for c in text)


def _next_event(stream: Any) -> None:  # Any: as above
    """Wait for the hub to say that something has changed; a silent hub is noticed by the connection's time-out."""
    for line in stream:
        if line.startswith(b"event:"):
            return
    raise HubFailed("expected the hub to say more, it ended the connection")


def _poured(answer: Any, into: Sink) -> int:  # Any: as above
    """Bytes written until it ended, one way or the other."""
    size = 0
    while True:
        try:
            piece = answer.read(PIECE_BYTES)
        except (OSError, http.client.HTTPException):
            return size
        if not piece:
            return size
        size += into.write(piece)


def _reason(refusal: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(refusal.read(4096))["error"])
    except (ValueError, KeyError, TypeError):
        return refusal.reason

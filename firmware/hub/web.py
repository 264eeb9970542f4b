"""The hub's page (S2-120, S2-121, S2-107): messages as they arrive, boxes, and evidence on request. A process of its own.

GET  /                       the page
GET  /api/messages           ?after= ?before= ?newest= ?priority= ?box=      messages in order of arrival; priority as often as wanted
GET  /api/messages/<number>  one, its text whole; a list has the beginning of a long one, and says in cut_from how long it is
GET  /api/boxes              ?box=   boxes, how many messages of each priority (of one box), the hub's time, and why it does not hear them
GET  /api/clocks             ?box= ?after=   the boxes' clocks (clocks.py); after the `number` of an answer, what is new behind it
GET  /api/events             the same as /api/messages, as server-sent events; `news` whenever anything has changed
POST /api/evidence           {"box", "message" or "since_utc_ns" with "until_utc_ns", "before_s", "after_s", "only_message",
                              "priority", "every", and the criteria firmware/core/request.py explains}
POST /api/evidence/<command>/cancel   end it; what was found until then is complete
GET  /api/evidence           the latest requests, and how far they have come
GET  /api/evidence/<command> how far it has come
GET  /evidence/<command>.pcapng       all of it, or a range of its bytes (download.py); its ETag is its SHA-256
and what affairs.py and updates.py list: sessions, calls, advice, rules; versions and roll-outs
"""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from importlib.resources import files

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from drivers.board import Board
from drivers.clock import Now
from firmware.core import report
from firmware.core.durable import make_directory
from firmware.core.envelope import Order, is_name
from firmware.core.errors import BadItem, DiskFailed, DiskFull, Missing
from firmware.core.report import Report
from firmware.core.request import Request, from_parameters
from firmware.core.station import ALIVE_EVERY_NS
from firmware.core.timestamp import SECOND, iso
from firmware.hub import calls, questions, sessions
from firmware.hub.affairs import feedback, firings, give_advice, order_session, rules, set_rules
from firmware.hub.asking import TooLong, body_of, json_object
from firmware.hub.clocks import clocks, newest
from firmware.hub.download import Part, part
from firmware.hub.editions import PUBLISHED, clear_arriving
from firmware.hub.evidence import EVIDENCE, digest_of
from firmware.hub.guard import Guard
from firmware.hub.order import cancel_evidence, request_evidence
from firmware.hub.outgoing import OUTGOING
from firmware.hub.people import People
from firmware.hub.questions import Selection
from firmware.hub.reach import check_certificate, check_page
from firmware.hub.repository import Repository, RepositoryFailed
from firmware.hub.rules import RULES_BYTES_MAX
from firmware.hub.settings import HubSettings
from firmware.hub.standing import Standing
from firmware.hub.station import NEWS
from firmware.hub.versions import Versions

CRITERIA = (
    "hosts", "ports", "macs", "protocols", "vlans", "devices", "senders", "receivers", "kinds", "event", "contains", "filter",
    "reduce", "rates", "error",
)  # fmt: skip
OVER = ("refused", "expired", "done", "cancelled")
PRIORITIES_MAX = 4
LISTENERS_MAX = 64  # pages open at once; each costs a task and a question a commit
AROUND_S_MAX = 3600
QUIET_S = 15.0  # An idle stream says something this often, so that whatever is between us does not cut it.
PIECE_BYTES = 1 << 20
PCAPNG = "application/vnd.tcpdump.pcap"
FILES = {
    "/": ("page.html", "text/html"), "/page.js": ("page.js", "text/javascript"), "/affairs.js": ("affairs.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}  # fmt: skip


class Newsroom:
    """Who waits for news. `knock` comes from the thread that hears the bell; everything else happens in the page's loop."""

    def __init__(self) -> None:
        self.listeners = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._next = asyncio.Event()

    def open(self) -> None:
        """Called in the loop, before anybody waits."""
        self._loop = asyncio.get_running_loop()

    def knock(self) -> None:
        """Something has changed."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def next(self) -> asyncio.Event:
        """Set at the next knock. Take it before looking, so that nothing falls between."""
        return self._next

    def _wake(self) -> None:
        former, self._next = self._next, asyncio.Event()
        former.set()


class Page:
    """The answers."""

    def __init__(self, board: Board, settings: HubSettings, newsroom: Newsroom) -> None:
        self._board = board
        self._settings = settings
        self._newsroom = newsroom
        self.trouble = ""  # of the process that takes in (standing.py), as of the last look
        self._counts = questions.Counts()
        self._threads = threading.local()
        self._ordering = threading.Lock()
        self._versions = Versions(board, settings, self._repository, self._ordering)

    def app(self) -> Starlette:
        """The application, guarded."""
        routes = [Route(path, self._file, methods=["GET"]) for path in FILES]
        routes += [
            Route("/api/messages", self._messages, methods=["GET"]),
            Route("/api/messages/{number:int}", self._message, methods=["GET"]),
            Route("/api/boxes", self._boxes, methods=["GET"]),
            Route("/api/clocks", self._clocks, methods=["GET"]),
            Route("/api/events", self._events, methods=["GET"]),
            Route("/api/evidence", self._ask, methods=["POST"]),
            Route("/api/evidence", self._newest_evidence, methods=["GET"]),
            Route("/api/evidence/{command}", self._progress, methods=["GET"]),
            Route("/api/evidence/{command}/cancel", self._cancel, methods=["POST"]),
            Route("/api/sessions", self._sessions, methods=["GET"]),
            Route(
                "/api/sessions",
                self._change(lambda wish, box: order_session(self._board, self._repository(), wish, box=box)),
                methods=["POST"],
            ),
            Route("/api/feedback", self._feedback, methods=["GET"]),
            Route(
                "/api/feedback",
                self._change(lambda wish, box: give_advice(self._board, self._repository(), wish, box=box)),
                methods=["POST"],
            ),
            Route("/api/calls", self._calls, methods=["GET"]),
            Route("/api/calls/{number:int}", self._change_call, methods=["POST"]),
            Route("/api/firings", self._firings, methods=["GET"]),
            Route("/api/rules", self._rules, methods=["GET"]),
            Route("/api/rules", self._set_rules, methods=["POST"]),
            *self._versions.routes(),
            Route("/evidence/{command}.pcapng", self._download, methods=["GET"]),
        ]
        names = (self._settings.page_host, *self._settings.page_names)
        return Starlette(
            routes=routes,
            middleware=[Middleware(Guard, names=names, people=People.of(self._settings.people))],
            exception_handlers={
                RepositoryFailed: _unavailable,
                DiskFull: _unavailable,
                DiskFailed: _unavailable,
                BadItem: _bad,
                TooLong: _too_long,
                ClientDisconnect: _gone,
            },
        )

    def look_at(self, standing: Standing, now: Now, *, disk: str) -> bool:
        """Whether it stands otherwise than before. disk: what is wrong with the one they share; "" for nothing."""
        former = self.trouble
        try:
            # What the other process says of itself is then what it said last, before it found no room for more.
            self.trouble = disk or standing.trouble(now.monotonic, tai_ns=now.timestamp.tai_ns)
        except DiskFailed:
            self.trouble = "its disk cannot be read"
        return self.trouble != former

    # Looking.

    def _file(self, request: HttpRequest) -> Response:
        name, media_type = FILES[request.url.path]
        return Response(files("firmware.hub").joinpath(name).read_bytes(), media_type=media_type)

    def _messages(self, request: HttpRequest) -> Response:
        found = questions.messages(self._repository(), _selection(request), tai_offset_s=self._tai_offset_s())
        return JSONResponse({"messages": found})

    def _message(self, request: HttpRequest) -> Response:
        number = min(request.path_params["number"], 1 << 62)
        found = questions.message(self._repository(), number, tai_offset_s=self._tai_offset_s())
        return JSONResponse(found) if found else JSONResponse({"error": "expected the number of a message"}, 404)

    def _boxes(self, request: HttpRequest) -> Response:
        repository = self._repository()
        now = self._board.clock.now()
        boxes = questions.boxes(repository, tai_offset_s=now.tai_offset_s)
        counts = self._counts.of(repository, box=request.query_params.get("box") or None)
        utc = iso(now.timestamp.tai_ns - now.tai_offset_s * SECOND)
        return JSONResponse({"boxes": boxes, "messages": counts, "now": utc, "trouble": self.trouble or None})

    def _clocks(self, request: HttpRequest) -> Response:
        box = request.query_params.get("box") or None
        repository, after = self._repository(), _selection(request).after
        # Taken first: what comes while it is looked is told next time, of whichever box.
        upto = newest(repository)
        after = after if after <= upto else 0  # of a database that was lost
        found = clocks(repository, box=box, after=after, upto=upto, tai_offset_s=self._tai_offset_s())
        return JSONResponse({"clocks": found, "number": upto, "whole": after == 0})

    async def _events(self, request: HttpRequest) -> Response:
        selection = replace(_selection(request), before=None, newest=None)
        resumed = request.headers.get("last-event-id", "")
        if resumed.isascii() and resumed.isdecimal() and len(resumed) < 19:
            selection = replace(selection, after=int(resumed))
        if self._newsroom.listeners >= LISTENERS_MAX:
            return JSONResponse({"error": f"expected at most {LISTENERS_MAX} pages open at once"}, 503)
        return StreamingResponse(self._stream(selection), media_type="text/event-stream")

    async def _stream(self, selection: Selection) -> AsyncIterator[bytes]:
        self._newsroom.listeners += 1
        try:
            while True:
                news = self._newsroom.next()
                try:
                    found = await run_in_threadpool(self._after, selection)
                except RepositoryFailed:
                    found = []  # They are looked for again at the next news, from where it was; who follows them is told by what he asks.
                if found:
                    last = found[-1]["number"]
                    assert isinstance(last, int), "as the repository counts"
                    selection = replace(selection, after=last)
                    yield f"id: {last}\nevent: messages\ndata: {json.dumps(found)}\n\n".encode()
                    if len(found) == questions.ROWS_MAX:
                        continue
                yield b"event: news\ndata:\n\n"
                try:
                    await asyncio.wait_for(news.wait(), QUIET_S)
                except TimeoutError:
                    yield b": still here\n\n"
        finally:
            self._newsroom.listeners -= 1

    def _after(self, selection: Selection) -> list[dict[str, object]]:
        return questions.messages(self._repository(), selection, tai_offset_s=self._tai_offset_s())

    # Evidence.

    async def _ask(self, request: HttpRequest) -> Response:
        command = await run_in_threadpool(self._order, await body_of(request))
        return JSONResponse({"command": command.hex()}, 202)

    def _order(self, body: bytes) -> bytes:
        wish = json_object(body)
        now = self._board.clock.now()
        repository = self._repository()
        box, about = self._box(wish), _identity(wish.get("message"))
        if about is not None:
            heard = questions.heard_utc_ns(repository, box=box, identity=about, tai_offset_s=now.tai_offset_s)
            if heard is None:
                raise BadItem("expected message: the identity of a message of this box")
            since, until = heard - _seconds(wish, "before_s") * SECOND, heard + _seconds(wish, "after_s") * SECOND
        else:
            since, until = _moment(wish, "since_utc_ns"), _moment(wish, "until_utc_ns")
        parameters: dict[str, int | str | None] = {"since": max(since, 0), "until": max(until, 0)}
        if wish.get("only_message") is True and about is not None:
            parameters["message"] = about.hex()
        for name in ("priority", "every"):
            value = wish.get(name)
            if value is not None:
                parameters[name] = value if isinstance(value, int) else str(value)
        for name in CRITERIA:
            value = wish.get(name)
            if value is not None and not isinstance(value, str):
                raise BadItem(f"expected {name} as a text")
            parameters[name] = value or None
        asked: Request = from_parameters(parameters)
        made = now.timestamp.tai_ns
        expires = made + self._settings.command_expires_s * SECOND
        with self._ordering:
            order = request_evidence(
                self._board, repository, box=box, request=asked, about=about, made_tai_ns=made, expires_tai_ns=expires
            )
        return order.identity

    async def _cancel(self, request: HttpRequest) -> Response:
        command = _identity(request.path_params["command"])
        ended = await run_in_threadpool(self._end, command) if command else None
        if ended is None:
            return JSONResponse({"error": "expected a request for evidence that is not over"}, 404)
        return JSONResponse({"command": ended.hex()}, 202)

    def _end(self, command: bytes) -> bytes | None:
        now = self._board.clock.now()
        repository = self._repository()
        state = questions.evidence(repository, command, tai_offset_s=now.tai_offset_s)
        if state is None or state["complete"] or state["state"] in OVER:
            return None
        made = now.timestamp.tai_ns
        expires = made + self._settings.command_expires_s * SECOND
        with self._ordering:
            order = cancel_evidence(
                self._board, repository, box=str(state["box"]), ended=command, made_tai_ns=made, expires_tai_ns=expires
            )
        return order.identity

    def _newest_evidence(self, request: HttpRequest) -> Response:
        return JSONResponse({"evidence": questions.newest_evidence(self._repository(), tai_offset_s=self._tai_offset_s())})

    def _progress(self, request: HttpRequest) -> Response:
        command = _identity(request.path_params["command"])
        found = command and questions.evidence(self._repository(), command, tai_offset_s=self._tai_offset_s())
        return JSONResponse(found) if found else JSONResponse({"error": "expected a command this hub knows"}, 404)

    def _download(self, request: HttpRequest) -> Response:
        command = _identity(request.path_params["command"])
        path = f"{EVIDENCE}/{command.hex()}.pcapng" if command else ""
        try:
            size = self._board.disk.size(path) if command else 0
        except Missing:
            size = 0
        if not command or not size:
            return JSONResponse({"error": "expected evidence that is complete"}, 404)
        digest = digest_of(self._board.disk, command, size=size)
        tag = None if digest is None else f'"{digest}"'
        headers = {"Content-Disposition": f'attachment; filename="{path.rpartition("/")[2]}"', "Accept-Ranges": "bytes"}
        if tag is not None:
            headers["ETag"] = tag
        if request.method == "HEAD":  # A range is none to it, and the bytes would be read for nobody.
            return Response(headers=headers | {"Content-Length": str(size)}, media_type=PCAPNG)
        asked = part(request.headers.get("range"), only_of=request.headers.get("if-range"), tag=tag, size=size)
        if asked is None:
            return JSONResponse(
                {"error": f"expected a range of these {size} bytes"}, 416, headers={"Content-Range": f"bytes */{size}"}
            )
        headers["Content-Length"] = str(asked.end - asked.begin)
        if not asked.is_whole:
            headers["Content-Range"] = f"bytes {asked.begin}-{asked.end - 1}/{size}"
        return StreamingResponse(
            self._pieces(command, asked, digest=digest, size=size),
            status_code=200 if asked.is_whole else 206,
            media_type=PCAPNG,
            headers=headers,
        )

    def _pieces(self, command: bytes, asked: Part, *, digest: str | None, size: int) -> Iterator[bytes]:
        """Raises Missing where it became another's meanwhile: an answer that breaks off, and not one file's beginning before another's end."""
        path = f"{EVIDENCE}/{command.hex()}.pcapng"
        for offset in range(asked.begin, asked.end, PIECE_BYTES):
            piece = self._board.disk.read(path, offset=offset, size=min(PIECE_BYTES, asked.end - offset))
            # Behind it: the description goes before the file does (evidence.py).
            if digest is not None and digest_of(self._board.disk, command, size=size) != digest:
                raise Missing(f"expected evidence {command.hex()} to stay as it was while it is sent")
            yield piece

    # Sessions, calls, advice, rules: affairs.py says which.

    def _sessions(self, request: HttpRequest) -> Response:
        box = request.query_params.get("box") or None
        return JSONResponse({"sessions": sessions.listed(self._repository(), box=box, tai_offset_s=self._tai_offset_s())})

    def _feedback(self, request: HttpRequest) -> Response:
        return JSONResponse({"feedback": feedback(self._repository(), tai_offset_s=self._tai_offset_s())})

    def _firings(self, request: HttpRequest) -> Response:
        return JSONResponse({"firings": firings(self._repository(), tai_offset_s=self._tai_offset_s())})

    def _calls(self, request: HttpRequest) -> Response:
        everything = request.query_params.get("all") == "1"
        found = calls.listed(self._repository(), tai_offset_s=self._tai_offset_s(), everything=everything)
        return JSONResponse({"calls": found})

    def _rules(self, request: HttpRequest) -> Response:
        return JSONResponse(rules(self._board))

    async def _set_rules(self, request: HttpRequest) -> Response:
        body = await body_of(request, longest=2 * RULES_BYTES_MAX)
        return JSONResponse(await run_in_threadpool(lambda: set_rules(self._board, json_object(body))))

    async def _change_call(self, request: HttpRequest) -> Response:
        body = await body_of(request)
        call = await run_in_threadpool(self._changed_call, request.path_params["number"], body, request.scope.get("who", ""))
        return JSONResponse(call) if call else JSONResponse({"error": "expected the number of a call"}, 404)

    def _changed_call(self, number: int, body: bytes, who: str) -> dict[str, object] | None:
        """who: somebody this site knows, in whose name it is then, whatever else is said; "" where nobody is asked."""
        wish = json_object(body)
        to, by, note = (str(wish.get(name, "")) for name in ("to", "by", "note"))
        by = who or by
        now = self._board.clock.now()
        found = calls.change(
            self._repository(),
            min(number, 1 << 62),
            to=to,
            by=by,
            note=note,
            now_tai_ns=now.timestamp.tai_ns,
            tai_offset_s=now.tai_offset_s,
        )
        self._newsroom.knock()
        return found

    def _change(self, ordered: Callable[[dict[str, object], str], Order]) -> Callable[[HttpRequest], Awaitable[Response]]:
        """An answer to what becomes an order to one box."""

        def order(body: bytes) -> Order:
            wish = json_object(body)
            with self._ordering:
                return ordered(wish, self._box(wish))

        async def answer(request: HttpRequest) -> Response:
            made = await run_in_threadpool(order, await body_of(request))
            return JSONResponse({"command": made.identity.hex()}, 202)

        return answer

    # Small print.

    def _box(self, wish: dict[str, object]) -> str:
        box = wish.get("box")
        if not isinstance(box, str) or not is_name(box) or box not in {name for _, name in self._repository().boxes()}:
            raise BadItem("expected box: the name of a box this hub has heard of")
        return box

    def _repository(self) -> Repository:
        # One a thread of the library's pool (40 at most): SQLite's connections are nobody's to share.
        repository: Repository | None = getattr(self._threads, "repository", None)
        if repository is None:
            repository = self._threads.repository = Repository(self._settings.database)
        return repository

    def _tai_offset_s(self) -> int:
        return self._board.clock.now().tai_offset_s


class _Server(uvicorn.Server):
    """Says when it listens. It runs beside the main thread and so takes no signals: those are the supervisor's."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._on_started()

    @property
    def address(self) -> str:
        """ "host:port" it listens on."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return f"{host}:{port}"


def serve(board: Board, settings: HubSettings) -> None:
    """Serve the page until the supervisor asks to end. The address stands in state/web.json. Raises BadSettings."""
    check_page(settings)
    check_certificate(settings)
    board.disk.mkdir("state")
    board.disk.mkdir(NEWS)
    make_directory(board.disk, OUTGOING)
    make_directory(board.disk, PUBLISHED)
    clear_arriving(board)
    bell = board.bell()
    bell.watch_directory(NEWS)
    newsroom = Newsroom()
    page = Page(board, settings, newsroom)
    standing = Standing(board.disk, brokers=len(settings.brokers), since=board.clock.now().monotonic)
    config = uvicorn.Config(
        page.app(), host=settings.page_host, port=settings.page_port, lifespan="off",
        log_level="warning", access_log=False, server_header=False, date_header=False, timeout_graceful_shutdown=1,
        ssl_certfile=settings.page_certificate or None, ssl_keyfile=settings.page_key or None,
    )  # fmt: skip

    def started() -> None:
        newsroom.open()
        bell.ring()

    server = _Server(config, started)
    thread = threading.Thread(target=server.run, name="page")
    thread.start()
    figures = Report("web")
    is_ready = False
    while not board.supervisor.stop_requested() and (thread.is_alive() or not is_ready):
        now = board.clock.now()
        if server.started and not is_ready:
            is_ready = True
            address = f"{'https' if settings.page_certificate else 'http'}://{server.address}/"
            figures.gauge("address", address)
            board.supervisor.ready(f"page {address}")
        if not thread.is_alive():
            break
        board.supervisor.alive()
        figures.gauge("pages_open", newsroom.listeners)
        disk = ""
        try:
            report.publish(board.disk, "web", [figures], now)
        except (DiskFull, DiskFailed) as trouble:
            # As Loop._report: the next ones come in two seconds, and who looks at a full hub needs the page.
            disk = "its disk is full" if isinstance(trouble, DiskFull) else "its disk cannot be written"
        if page.look_at(standing, now, disk=disk):
            newsroom.knock()  # Who has died does not.
        until = now.monotonic.after(ALIVE_EVERY_NS)
        bell.wait(until)
        if board.clock.now().monotonic < until:
            newsroom.knock()
    board.supervisor.stopping()
    server.should_exit = True
    thread.join()
    bell.close()


def _selection(request: HttpRequest) -> Selection:
    def number(name: str, text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) < 19):
            raise BadItem(f"expected {name} as a number")
        return int(text)

    values = request.query_params
    after, before, newest = (number(name, values[name]) if values.get(name) else None for name in ("after", "before", "newest"))
    priorities = tuple(number("priority", text) for text in values.getlist("priority")[:PRIORITIES_MAX] if text)
    return Selection(after or 0, before, priorities, values.get("box") or None, newest)


def _identity(value: object) -> bytes | None:
    """16 bytes from 32 hexadecimal digits; None for nothing. Raises BadItem for anything else."""
    if value is None:
        return None
    try:
        identity = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        identity = b""
    if len(identity) != 16:
        raise BadItem("expected an identity of 32 hexadecimal digits")
    return identity


def _seconds(wish: dict[str, object], name: str) -> int:
    value = wish.get(name, 30)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= AROUND_S_MAX:
        raise BadItem(f"expected {name} from 0 to {AROUND_S_MAX}")
    return value


def _moment(wish: dict[str, object], name: str) -> int:
    value = wish.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadItem(f"expected message, or {name} as UTC ns since 1970")
    return value


def _bad(request: HttpRequest, trouble: Exception) -> Response:
    return JSONResponse({"error": str(trouble)}, 400)


def _too_long(request: HttpRequest, trouble: Exception) -> Response:
    return JSONResponse({"error": str(trouble)}, 413)


def _gone(request: HttpRequest, trouble: Exception) -> Response:
    """Nobody hears it: who asked has gone before he had asked, as every line does that drops while a system is published over it."""
    return JSONResponse({"error": "expected the whole request"}, 400)


def _unavailable(request: HttpRequest, trouble: Exception) -> Response:
    return JSONResponse({"error": str(trouble)}, 503)

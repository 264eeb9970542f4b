"""The page's answers about versions and roll-outs; what they say is updates.py's and editions.py's."""

import threading
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from drivers.board import Board
from firmware.hub import updates
from firmware.hub.asking import body_of, json_object
from firmware.hub.editions import Arriving, publish
from firmware.hub.repository import Repository
from firmware.hub.settings import HubSettings

ROLLOUT_BYTES_MAX = 8 << 20  # Names of a hundred thousand boxes.


class Versions:
    """repository: that of the thread it is asked in. ordering: one order after the other, as the page keeps it."""

    def __init__(
        self, board: Board, settings: HubSettings, repository: Callable[[], Repository], ordering: threading.Lock
    ) -> None:
        self._board = board
        self._settings = settings
        self._repository = repository
        self._ordering = ordering

    def routes(self) -> list[Route]:
        """As updates.py lists them."""
        return [
            Route("/api/updates", self._updates, methods=["GET"]),
            Route("/api/updates/history", self._update_history, methods=["GET"]),
            Route("/api/updates/files/{digest}", self._take_file, methods=["PUT"]),
            Route("/api/updates/editions", self._publish_edition, methods=["POST"]),
            Route("/api/rollouts", self._rollouts, methods=["GET"]),
            Route("/api/rollouts", self._start_rollout, methods=["POST"]),
            Route("/api/rollouts/{number:int}", self._rollout, methods=["GET"]),
            Route("/api/rollouts/{number:int}", self._change_rollout, methods=["POST"]),
        ]

    def _updates(self, request: HttpRequest) -> Response:
        return JSONResponse(updates.overview(self._repository(), tai_offset_s=self._board.clock.now().tai_offset_s))

    def _rollouts(self, request: HttpRequest) -> Response:
        return JSONResponse({"rollouts": updates.newest(self._repository(), tai_offset_s=self._board.clock.now().tai_offset_s)})

    def _update_history(self, request: HttpRequest) -> Response:
        box = request.query_params.get("box") or None
        return JSONResponse(
            {"history": updates.history(self._repository(), box=box, tai_offset_s=self._board.clock.now().tai_offset_s)}
        )

    async def _take_file(self, request: HttpRequest) -> Response:
        who = self._board.identity.entropy(4).hex()
        arriving = await run_in_threadpool(Arriving, self._board, request.path_params["digest"], who)
        try:
            async for piece in request.stream():
                if piece:
                    await run_in_threadpool(arriving.append, piece)
            size = await run_in_threadpool(arriving.finish)
        finally:
            await run_in_threadpool(arriving.give_up)
        return JSONResponse({"bytes": size}, 201)

    async def _publish_edition(self, request: HttpRequest) -> Response:
        wish = json_object(await body_of(request))
        now = self._board.clock.now().timestamp.tai_ns
        found = await run_in_threadpool(lambda: publish(self._board, self._repository(), wish.get("edition"), now))
        return JSONResponse({"version": found.version, "number": found.number, "channel": found.channel}, 201)

    async def _start_rollout(self, request: HttpRequest) -> Response:
        wish, who = json_object(await body_of(request, longest=ROLLOUT_BYTES_MAX)), request.scope.get("who", "")

        def work() -> dict[str, object]:
            by = who or str(wish.get("by", ""))
            with self._ordering:
                return updates.start(self._board, self._repository(), self._settings, wish, by=by)

        return JSONResponse(await run_in_threadpool(work), 201)

    def _rollout(self, request: HttpRequest) -> Response:
        number = min(request.path_params["number"], 1 << 62)
        found = updates.shown(self._repository(), number, tai_offset_s=self._board.clock.now().tai_offset_s)
        return JSONResponse(found) if found else JSONResponse({"error": "expected the number of a roll-out"}, 404)

    async def _change_rollout(self, request: HttpRequest) -> Response:
        wish, who = json_object(await body_of(request)), request.scope.get("who", "")
        number = min(request.path_params["number"], 1 << 62)

        def work() -> dict[str, object] | None:
            by = who or str(wish.get("by", ""))
            with self._ordering:
                return updates.change(self._board, self._repository(), self._settings, number, wish, by=by)

        found = await run_in_threadpool(work)
        return JSONResponse(found) if found else JSONResponse({"error": "expected the number of a roll-out"}, 404)

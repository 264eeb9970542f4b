"""What stands before the page: who may ask, and what a browser may do with the answer."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from firmware.hub.people import People, Role

PATH_MAX = 256  # A file's SHA-256 is the longest thing we have in one.
ALWAYS = ("localhost", "127.0.0.1", "::1")
HEADERS = {
    # Nothing from elsewhere, no inline script or style, in nobody's frame.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Refuses a Host we are not called by (DNS rebinding), and changes asked for by another site's page (CSRF)."""

    def __init__(self, app: ASGIApp, *, names: Sequence[str], people: People) -> None:
        self._app = app
        self._people = people
        self._names = {name.lower() for name in (*ALWAYS, *names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        who = self._people.who(headers.get("authorization", ""))
        scope["who"] = who[0] if who is not None else ""
        refusal = (
            _too_long(scope["path"])
            or self._refusal(scope["method"], headers)
            or self._unknown(who, scope["method"], scope["path"])
        )
        if refusal is not None:
            status, text = refusal
            asking = {"WWW-Authenticate": 'Basic realm="Scrubjay hub", charset="UTF-8"'} if status == 401 else None
            await JSONResponse({"error": text}, status, headers=asking)(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)

    def _unknown(self, who: tuple[str, Role] | None, method: str, path: str) -> tuple[int, str] | None:
        """Somebody this site does not know, or whose role does not include this (S2-123)."""
        if not self._people.known:
            return None
        if who is None:
            return 401, "expected the name and token of somebody this site knows (setting people)"
        if not self._people.may(who[1], method, path):
            return 403, f"expected another role than {who[1].name.lower()} for this"
        return None

    def _refusal(self, method: str, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if (_name_in(f"//{host}") or "") not in self._names:
            return 421, "expected one of the names this hub is called by (setting page_names)"
        if method in ("GET", "HEAD"):
            return None
        origin = headers.get("origin")
        if origin is not None and origin.partition("//")[2].lower() != host.lower():
            return 403, "expected a request from the hub's own page"
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return 403, "expected a request from the hub's own page"
        # A form of another site cannot say this without the browser asking us first, and we never answer yes.
        # Nor can it PUT without that question, whatever it sends.
        if method != "PUT" and headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return 415, "expected application/json"
        return None


def _too_long(path: str) -> tuple[int, str] | None:
    """Beyond our longest path, before anybody makes a number of thousands of digits of it."""
    return (414, f"expected a path of at most {PATH_MAX} characters") if len(path) > PATH_MAX else None


def _name_in(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None

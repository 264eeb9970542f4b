"""What is asked of the page, taken apart: bounded, and a JSON object or refused."""

import json

from starlette.requests import Request as HttpRequest

from firmware.core.errors import BadItem, Trouble

BODY_BYTES_MAX = 8192


class TooLong(Trouble):
    """Somebody sent more than an answer to it could need. Nothing was done."""


async def body_of(request: HttpRequest, *, longest: int = BODY_BYTES_MAX) -> bytes:
    """The whole body. Raises TooLong."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > longest:
            raise TooLong(f"expected at most {longest} bytes")
    return body


def json_object(body: bytes) -> dict[str, object]:
    """Raises BadItem."""
    try:
        wish = json.loads(body)
        # JSON can carry halves of surrogate pairs; neither the database nor an order to a box can (as core/said.py: clean_text).
        json.dumps(wish, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        wish = None
    if not isinstance(wish, dict):
        raise BadItem("expected a JSON object")
    return wish

"""What a text says to whoever undoes how it was written: letters written as signs, and texts packed into letters and digits.

For sensitive.py, which looks into each: anybody who gets the text can do the same. Nothing is unpacked beyond WITHIN_MAX characters.
"""

import codecs
import re
import zlib
from base64 import b64decode
from collections.abc import Iterator
from html import unescape
from urllib.parse import unquote

# Percent-encoding, as in addresses of the web; the ways of web pages and XML, of strings in JSON and in programs; Windows puts zeros between.
_PERCENT = re.compile(r"%[0-9A-F]{2}", re.IGNORECASE)
_ESCAPED = re.compile(r"\\(?:u([0-9A-F]{4})|x([0-9A-F]{2}))", re.IGNORECASE)
_ENTITY = re.compile(r"&#?[A-Za-z0-9]{1,31};")
_WRITTEN_LEVELS = 3
# A blank in a form that was sent.
_QUERY_PLUS = re.compile(r"(?<=[A-Za-z])\+(?=[A-Za-z])")
# What may be base64 or hexadecimal: a run long enough, of capitals, small letters and digits, or of the sixteen digits, some of them
# letters. Names of topics and classes are none, nor numbers of nanoseconds. turnstile.c: is_encoded looks for the same.
_ENCODED = re.compile(
    r"(?<![A-Za-z0-9+])(?:0x)?(?:(?=\d*[A-Fa-f])([0-9A-Fa-f]{16,})(?![A-Za-z0-9+])"
    r"|(?=[a-z0-9+]*[A-Z])(?=[A-Z0-9+]*[a-z])(?=[A-Za-z+]*\d)[A-Za-z0-9+]{20,})"
)
_ENCODED_MIN = 16
_AROUND_ENCODED = re.compile(r"[A-Za-z0-9+/_-]*+")
WITHIN_MAX = (
    131_072  # characters looked at within one text; what unpacks to more than that is not waited for, and counts as found
)
_NO_TEXT = re.compile(r"[\x01-\x08\x0e-\x1a\x7f]")


def readings(text: str) -> Iterator[str]:
    """What it says to whoever undoes how it was written."""
    read = text
    for _ in range(_WRITTEN_LEVELS):
        before = read
        read = read.replace("\0", "")
        if "%" in read and _PERCENT.search(read):
            read = unquote(read)
        if "&" in read:
            read = _ENTITY.sub(lambda match: unescape(match[0]), read)
        if "\\" in read:
            read = _ESCAPED.sub(lambda match: chr(int(match[1] or match[2], 16)), read)
        if read == before:
            break
    if read != text:
        yield read
    if "+" in read and "=" in read and (spaced := _QUERY_PLUS.sub(" ", read)) != read:
        yield spaced.replace("?", " ").replace("&", " ")


def may_hide(text: str) -> bool:
    """Whether there is a run in it that could be an encoding of bytes; quick."""
    return (
        len(text) >= _ENCODED_MIN and max(map(len, text.split()), default=0) >= _ENCODED_MIN and _ENCODED.search(text) is not None
    )


def hidden(text: str) -> Iterator[str | None]:
    """Every reading of what stands in it in base64 or hexadecimal, compressed perhaps, or within that; None last where that is too much."""
    left, waiting = WITHIN_MAX, [text]
    while waiting:
        for data in _encoded_in(waiting.pop()):
            inner = _text_of(data, left)
            if inner is None:
                continue
            left -= len(inner)
            if left <= 0:
                yield None
                return
            yield inner
            yield from readings(inner)
            waiting.append(inner)


def _encoded_in(text: str) -> Iterator[bytes]:
    """What may be meant by each run of letters and digits that could be an encoding of bytes."""
    end = 0
    for match in _ENCODED.finditer(text):
        if match[1]:
            yield bytes.fromhex(match[1][: len(match[1]) & ~1])
        if match.start() < end:
            continue
        start = match.start()
        while start > end and text[start - 1] in "/_-":
            start -= 1
            while start > end and text[start - 1].isascii() and (text[start - 1].isalnum() or text[start - 1] == "+"):
                start -= 1
        around = _AROUND_ENCODED.match(text, start)
        assert around is not None
        end = around.end()
        for part in dict.fromkeys((around[0], *around[0].split("/"))):
            if len(part) >= _ENCODED_MIN:
                part = part[: len(part) - (len(part) % 4 == 1)]
                yield b64decode(part + "=" * (-len(part) % 4), altchars=b"-_" if "-" in part or "_" in part else None)


def _text_of(data: bytes, size_max: int) -> str | None:
    """Bytes as text, unpacked where they were packed; None where they are none."""
    if data[:3] == b"\x1f\x8b\x08" or data[:1] == b"\x78":
        try:
            data = zlib.decompressobj(47).decompress(data, size_max)
        except zlib.error:
            pass
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return data.decode("utf-16", "replace")
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(data)  # Its last letter may be cut.
    except UnicodeDecodeError:
        text = data.decode("latin-1")
        if 3 * sum(c > "\x7f" for c in text) > len(text):
            return None
    return None if _NO_TEXT.search(text) else text

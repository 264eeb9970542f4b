"""Part of a file over HTTP (RFC 9110 §14), so that a download that broke off goes on where it did (S3-09).

One range of bytes. Of several the whole is sent, as of what is no range of bytes: the RFC lets a server, and nobody who resumes asks so.
"""

import re
from dataclasses import dataclass

_RANGE = re.compile(r"bytes[ \t]*=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.ASCII | re.IGNORECASE)
_DIGITS_MAX = 18  # Longer is beyond the end of every file.


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes from `begin` to before `end`. is_whole: nobody asked for less."""

    begin: int
    end: int
    is_whole: bool = True


def part(asked: str | None, *, only_of: str | None, tag: str | None, size: int) -> Part | None:
    """What to send of a file of `size` bytes; None where nothing of it lies in the range that is asked for.

    asked, only_of: Range and If-Range, as they came. tag: the file's strong ETag, quotes and all; None while it has none.
    """
    whole = Part(0, size)
    # A date, a weak tag and another file's are no word for these bytes: what came before them would not belong to them.
    if asked is None or (only_of is not None and (tag is None or only_of.strip() != tag)):
        return whole
    match = _RANGE.fullmatch(asked.strip())
    if match is None or match[1] == match[2] == "":
        return whole
    if not match[1]:
        length = min(_number(match[2]), size)
        return Part(size - length, size, is_whole=False) if length else None
    begin, last = _number(match[1]), _number(match[2]) if match[2] else size - 1
    if match[2] and last < begin:
        return whole
    return Part(begin, min(last + 1, size), is_whole=False) if begin < size else None


def _number(digits: str) -> int:
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= _DIGITS_MAX else 10**_DIGITS_MAX

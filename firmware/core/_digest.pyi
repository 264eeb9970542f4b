"""Types of digest.c; what it does is said there."""

from typing_extensions import Buffer

is_fast: bool

def pieces(data: Buffer, size: int, /) -> bytes: ...

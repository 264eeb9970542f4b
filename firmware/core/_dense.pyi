"""Types of dense.c; what the streams mean is said there."""

from typing_extensions import Buffer

STREAMS: int
RAW_MAX: int

def split(blocks: Buffer, /) -> tuple[bytes, ...]: ...
def join(streams: tuple[bytes, ...], size: int, /) -> bytes: ...

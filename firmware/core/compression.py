"""Which codec for which body, and the codecs themselves. Pure but for the dictionary, which is part of the firmware.

    none      what does not shrink: video, archives, anything compressed before (S2-064)
    lz4       fast links: costs the board a tenth of what deflate does
    deflate   small groups, with the dictionary shipped with the firmware; middling links
    zstd, xz  slow links and long bodies: seconds of a core for minutes of the link

The choice is the least time from here to the hub, worked out from the size, a probe of a few samples and the measured rate of the link
(fleet study §5: within 2 to 11 % of the best choice known afterwards). `tests/bench/compression.py` makes that comparison again.
"""

import lzma
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal, Protocol

import lz4.frame
import zstandard

from firmware.core.errors import BadItem

Codec = Literal["none", "lz4", "deflate", "zstd", "xz"]
CODECS: tuple[Codec, ...] = ("none", "lz4", "deflate", "zstd", "xz")
DICTIONARY = 1  # The newest; envelopes name theirs, and all are kept.
DICTIONARIES: Mapping[int, str] = {1: "dictionary_1.bin"}
SMALL_BYTES = 16_384  # Beyond the dictionary's own length it is worth nothing.

# A sample of 8 × 8 KiB tells more than one of 64 KiB: a recording has quiet and busy stretches. 3 ms for 16 MiB.
SAMPLES, SAMPLE_BYTES = 8, 8192
COMPRESSIBLE_MIN = (
    1.05  # Below it nothing is tried (Btrfs and OpenZFS do the same with 1.25 and 1.125, where a block is the least gain).
)
HYSTERESIS = 0.97  # A dearer codec has to save 3 % of the time.
# How hard each tries: deflate 6 is where more effort stops to pay, zstd 9 what a board still does at 10 MB/s, xz 6 with no longer
# memory than a part of evidence has (4 MiB: 48 MiB of ours while it works).
DEFLATE_LEVEL, ZSTD_LEVEL, XZ_DICTIONARY_BYTES = 6, 9, 4 << 20
# Ratio expected, as the probe's to this power; fitted by tests/bench/compression.py over what rooms and messages look like.
EXPONENTS: Mapping[Codec, float] = {"lz4": 0.93, "deflate": 1.19, "zstd": 1.38, "xz": 1.56}
# Bytes/s of one core of a small board (an A53 has a fifth of a desktop's core), until the station has measured its own.
SPEEDS: Mapping[Codec, float] = {"lz4": 180e6, "deflate": 8e6, "zstd": 10e6, "xz": 0.5e6}
_FASTEST_FIRST: tuple[Codec, ...] = ("lz4", "deflate", "zstd", "xz")
_XZ_FILTERS = ({"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": XZ_DICTIONARY_BYTES},)
_XZ_MEMORY_MAX = 64 << 20  # A decoder's; what wants more is not ours.
_ZSTD_WINDOW_MAX = 16 << 20


@dataclass(frozen=True, slots=True)
class Policy:
    """What is wanted besides the least time. percent: of its size it should shrink to; bytes_max: size it should not exceed; 0: neither."""

    percent: int = 0
    bytes_max: int = 0


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the choice depends on beside the body. rate: of the link, bytes/s. share: of a core that may be spent, 0..1."""

    rate_bytes_per_s: float
    share: float = 0.25
    speeds: Mapping[Codec, float] | None = None
    policy: Policy = Policy()


@dataclass(frozen=True, slots=True)
class Choice:
    """A codec and why, in words that go with the envelope. probe: ratio of the samples."""

    codec: Codec
    reason: str
    probe: float = 0.0
    has_dictionary: bool = False


class Packer(Protocol):
    """A body being compressed, a piece at a time."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


def probe(content: bytes) -> float:
    """How well samples of it shrink with the fastest deflate; 1.0: not at all."""
    if len(content) <= SAMPLES * SAMPLE_BYTES:
        samples = [content]
    else:
        apart = (len(content) - SAMPLE_BYTES) // (SAMPLES - 1)
        samples = [content[at * apart : at * apart + SAMPLE_BYTES] for at in range(SAMPLES)]
    return max(1.0, sum(map(len, samples)) / max(1, sum(len(zlib.compress(sample, 1)) for sample in samples)))


def chosen(content: bytes, conditions: Conditions, *, is_small_group: bool = False) -> Choice:
    """The codec for it. is_small_group: of messages, for which the dictionary was made."""
    if is_small_group and len(content) <= SMALL_BYTES:
        return Choice("deflate", "small group: dictionary", has_dictionary=True)
    ratio = probe(content)
    if ratio < COMPRESSIBLE_MIN:
        return Choice("none", f"probe {ratio:.2f}: does not shrink", ratio)
    wanted = _wanted(len(content), conditions.policy)
    if wanted:
        return _for_size(len(content), ratio, wanted)
    return _for_time(len(content), ratio, conditions)


def stronger(codec: Codec) -> Codec | None:
    """The next that shrinks more, for a policy that was missed."""
    place = _FASTEST_FIRST.index(codec) if codec in _FASTEST_FIRST else -1
    return _FASTEST_FIRST[place + 1] if place + 1 < len(_FASTEST_FIRST) else None


def is_met(policy: Policy, *, raw_size: int, size: int) -> bool:
    """Whether the body is as small as the policy wants it."""
    wanted = _wanted(raw_size, policy)
    return not wanted or size <= wanted


def packer(codec: Codec, *, has_dictionary: bool = False, size: int = 0) -> Packer:
    """A new one. size: bytes that will come, where it is known; saves memory."""
    if codec == "deflate":
        return (
            zlib.compressobj(DEFLATE_LEVEL, zdict=dictionary(DICTIONARY)) if has_dictionary else zlib.compressobj(DEFLATE_LEVEL)
        )
    return _PACKERS[codec](size)


def unpacked(codec: Codec, body: bytes, *, size: int, dictionary_id: int | None = None) -> bytes:
    """The body as it was; at most size + 1 bytes, so that who expects `size` notices more without making room for it. Raises BadItem."""
    try:
        match codec:
            case "none":
                return body
            case "deflate" if dictionary_id is not None:
                return zlib.decompressobj(zdict=dictionary(dictionary_id)).decompress(body, size + 1)
            case "deflate":
                return zlib.decompressobj().decompress(body, size + 1)
            case "lz4":
                return bytes(lz4.frame.LZ4FrameDecompressor().decompress(body, size + 1))
            case "zstd":
                return _zstd_unpacked(body, size + 1)
            case "xz":
                return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_MAX).decompress(body, size + 1)
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError, RuntimeError, EOFError, ValueError, MemoryError):
        raise BadItem(f"expected a body compressed with {codec}, the decoder stopped") from None


@cache
def dictionary(number: int) -> bytes:
    """One of those shipped with the firmware; raises BadItem for a number that is not among them."""
    name = DICTIONARIES.get(number)
    if name is None:
        raise BadItem(f"expected a dictionary of this firmware (1 to {DICTIONARY})")
    return resources.files("firmware.core").joinpath(name).read_bytes()


def seconds(size: int, ratio: float, codec: Codec, conditions: Conditions) -> float:
    """From here to the hub: a long body is packed while it is sent, so that the slower of the two counts, and a little of the other."""
    sending = size / ratio / conditions.rate_bytes_per_s
    if codec == "none":
        return sending
    packing = size / ((conditions.speeds or SPEEDS)[codec] * conditions.share)
    return max(sending, packing) + min(sending, packing) * min(1.0, 262_144 / max(1, size))


def _for_time(size: int, ratio: float, conditions: Conditions) -> Choice:
    best: Codec = "none"
    least = whole = seconds(size, 1.0, "none", conditions)
    for codec in _FASTEST_FIRST:
        took = seconds(size, _expected(codec, ratio), codec, conditions)
        if took < least * HYSTERESIS:
            best, least = codec, took
    rate = round(conditions.rate_bytes_per_s / 1000)
    return Choice(best, f"probe {ratio:.2f}, {rate} kB/s: {best} {least:.2f} s, none {whole:.2f} s", ratio)


def _for_size(size: int, ratio: float, wanted: int) -> Choice:
    if size <= wanted:
        return Choice("none", f"policy {wanted} bytes: small enough", ratio)
    for codec in _FASTEST_FIRST:
        if size / _expected(codec, ratio) <= wanted:
            return Choice(codec, f"probe {ratio:.2f}, policy {wanted} bytes: {codec} is the fastest that should do", ratio)
    return Choice("xz", f"probe {ratio:.2f}, policy {wanted} bytes: none is expected to do, the strongest", ratio)


def _expected(codec: Codec, ratio: float) -> float:
    return max(1.0, float(ratio ** EXPONENTS[codec]))


def _wanted(size: int, policy: Policy) -> int:
    """Bytes the policy allows; 0: as many as it is."""
    limits = [limit for limit in (size * policy.percent // 100, policy.bytes_max) if limit]
    return min(limits, default=0)


def _zstd_unpacked(body: bytes, size: int) -> bytes:
    reader = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_MAX).stream_reader(body)
    pieces, room = [], size
    while room and (piece := reader.read(min(room, 1 << 20))):
        pieces.append(piece)
        room -= len(piece)
    return b"".join(pieces)


class _None:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


class _Lz4:
    def __init__(self) -> None:
        self._frame = lz4.frame.LZ4FrameCompressor()
        self._head: bytes = self._frame.begin()

    def compress(self, data: bytes, /) -> bytes:
        head, self._head = self._head, b""
        return bytes(head + self._frame.compress(data))

    def flush(self) -> bytes:
        return self._head + bytes(self._frame.flush())


class _Zstd:
    def __init__(self, size: int) -> None:
        self._stream = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj(size=size or -1)

    def compress(self, data: bytes, /) -> bytes:
        return bytes(self._stream.compress(data))

    def flush(self) -> bytes:
        return bytes(self._stream.flush())


_PACKERS: Mapping[Codec, Callable[[int], Packer]] = {
    "none": lambda size: _None(),
    "lz4": lambda size: _Lz4(),
    "zstd": _Zstd,
    "xz": lambda size: lzma.LZMACompressor(lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, filters=list(_XZ_FILTERS)),
}

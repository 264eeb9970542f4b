"""Which codec for which body, and that every codec gives back what it got, and no more than was said."""

import hashlib
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.core import compression
from firmware.core.compression import CODECS, Codec, Conditions, Policy, chosen, dictionary, packer, probe, unpacked
from firmware.core.errors import BadItem

TEXT = b"".join(b"%06d joint %d torque %d.%d Nm\n" % (n, n % 7, n * 31 % 97, n * 17 % 10) for n in range(40_000))
NOISE = Random(1).randbytes(1_000_000)


def packed(content: bytes, codec: Codec, *, has_dictionary: bool = False, slice_bytes: int = 100_000) -> bytes:
    one = packer(codec, has_dictionary=has_dictionary, size=len(content))
    pieces = [one.compress(content[at : at + slice_bytes]) for at in range(0, len(content), slice_bytes)]
    return b"".join(pieces) + one.flush()


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("content", [b"", b"x", TEXT, NOISE, bytes(3_000_000)])
def test_what_comes_back(codec: Codec, content: bytes) -> None:
    """(S2-062) A slice at a time in, the same bytes out."""
    assert content == unpacked(codec, packed(content, codec), size=len(content))


@given(st.binary(max_size=3000), st.integers(1, 700))
@settings(deadline=None, max_examples=50)
def test_small_groups_with_the_dictionary(content: bytes, slice_bytes: int) -> None:
    """(S2-062) Whatever is in them and however they are cut."""
    body = packed(content, "deflate", has_dictionary=True, slice_bytes=slice_bytes)

    assert content == unpacked("deflate", body, size=len(content), dictionary_id=1)


def test_dictionary_1_is_for_ever() -> None:
    """Envelopes made with it are opened with it: its bytes never change. Another one gets another number."""
    assert "9fed99d74399e3d19fc05e061b96b229da497d05cdbd8c61edebb4daca65f284" == hashlib.sha256(dictionary(1)).hexdigest()
    assert b"tok-00001 joint 2 stopped" == unpacked(
        "deflate", bytes.fromhex("78bb02f10d62838d65636cdd0600633a0822"), size=25, dictionary_id=1
    )
    with pytest.raises(BadItem):
        dictionary(2)


@pytest.mark.parametrize("codec", [codec for codec in CODECS if codec != "none"])
def test_a_bomb_is_not_made_room_for(codec: Codec) -> None:
    """64 MiB that say they are 10 bytes: at most 11 come out, and who expected 10 knows."""
    assert 11 >= len(unpacked(codec, packed(bytes(64 << 20), codec, slice_bytes=1 << 20), size=10))


@pytest.mark.parametrize("codec", [codec for codec in CODECS if codec != "none"])
@given(body=st.binary(max_size=300), flip=st.integers(0, 10_000))
@settings(deadline=None, max_examples=80)
def test_broken_bodies(codec: Codec, body: bytes, flip: int) -> None:
    """Noise, and a good body with a bit turned: an answer within the size, or BadItem; never anything else."""
    good = bytearray(packed(TEXT[:2000], codec))
    good[flip % len(good)] ^= 1 << flip % 8
    for broken in (body, bytes(good)):
        try:
            assert len(unpacked(codec, broken, size=2000)) <= 2001
        except BadItem:
            continue


def test_a_dictionary_for_another_codec_or_another_dictionary() -> None:
    """A body that wants the dictionary is not opened without it."""
    with pytest.raises(BadItem):
        unpacked("deflate", packed(b"content" * 10, "deflate", has_dictionary=True), size=70)


# The choice.

FAST, SLOW, SLOWEST = Conditions(125e6), Conditions(250e3), Conditions(6_000)


def test_compressed_content_is_left_alone() -> None:
    """(S2-064) Video and archives gain nothing: no codec is tried on any link, and no policy changes that."""
    for conditions in (FAST, SLOW, SLOWEST, Conditions(1e6, policy=Policy(percent=50))):
        assert "none" == chosen(NOISE, conditions).codec
    assert "does not shrink" in chosen(NOISE, SLOW).reason


def test_the_slower_the_link_the_harder_it_tries() -> None:
    """(S2-064) From a gigabit to a modem the codec only ever becomes stronger."""
    order = [CODECS.index(chosen(TEXT, Conditions(rate)).codec) for rate in (1e9, 125e6, 12.5e6, 1.25e6, 125e3, 12.5e3, 2e3)]

    assert order == sorted(order)
    assert order[0] <= CODECS.index("lz4") and order[-1] == CODECS.index("xz")


def test_less_of_a_core_is_a_faster_codec() -> None:
    """(S2-064) What the recorder needs is not spent on compressing."""
    assert CODECS.index(chosen(TEXT, Conditions(250e3, share=0.01)).codec) < CODECS.index(
        chosen(TEXT, Conditions(20e3, share=1.0)).codec
    )


def test_small_groups_take_the_dictionary() -> None:
    """(S2-062) Up to 16 KiB of messages; evidence of that length does not, for it is no messages."""
    assert chosen(TEXT[:16_384], FAST, is_small_group=True).has_dictionary
    assert not chosen(TEXT[:16_385], FAST, is_small_group=True).has_dictionary
    assert not chosen(TEXT[:1000], FAST).has_dictionary


def test_by_a_fixed_amount() -> None:
    """(S2-063) To 50 %: the fastest codec that should do, on any link; to 2 %: the strongest, and it says so."""
    half = chosen(TEXT, Conditions(1e9, policy=Policy(percent=50)))
    assert half.codec in ("lz4", "deflate")
    assert len(packed(TEXT, half.codec)) <= len(TEXT) // 2
    most = chosen(TEXT, Conditions(1e9, policy=Policy(percent=2)))
    assert ("xz", True) == (most.codec, "none is expected to do" in most.reason)


def test_to_a_given_size() -> None:
    """(S2-063) Under a ceiling (5 GB, say) nothing is done; over it the fastest codec that gets below; the edge itself is below."""
    assert "none" == chosen(TEXT, Conditions(1e6, policy=Policy(bytes_max=5_000_000_000))).codec
    assert "none" == chosen(TEXT, Conditions(1e6, policy=Policy(bytes_max=len(TEXT)))).codec
    below = chosen(TEXT, Conditions(1e9, policy=Policy(bytes_max=len(TEXT) - 1)))
    assert below.codec == "lz4"
    assert compression.is_met(Policy(bytes_max=100), raw_size=1000, size=100)
    assert not compression.is_met(Policy(bytes_max=100), raw_size=1000, size=101)
    assert not compression.is_met(Policy(percent=50, bytes_max=900), raw_size=1000, size=501)


def test_the_probe_sees_the_whole() -> None:
    """A quiet beginning and a busy end: the samples are spread."""
    mixed = bytes(4_000_000) + NOISE * 4
    assert probe(NOISE) == 1.0
    assert probe(mixed) < 2.3 < probe(TEXT)


def test_stronger_and_stronger() -> None:
    """What a missed policy tries next, and that it ends."""
    tried: list[Codec | None] = ["lz4"]
    while tried[-1] is not None:
        tried.append(compression.stronger(tried[-1]))

    assert ["lz4", "deflate", "zstd", "xz", None] == tried

"""The small parts of an update: bundles, what lasts, who fails."""

import json

import pytest

from drivers.clock import Monotonic
from firmware.core.errors import BadItem
from firmware.update.bundle import Form, made, manifest_packed, manifest_unpacked, opened
from firmware.update.record import (
    HISTORY_ROWS_MAX,
    STANDING_BYTES_MAX,
    Phase,
    Standing,
    Switch,
    packed,
    rows_of,
    unpacked,
    with_row,
)
from firmware.update.watch import STOPPED, Watch
from simulator.identity import SimulatedIdentity

SECOND = 1_000_000_000
VENDOR = SimulatedIdentity(name="vendor")
OLD = {"firmware/a.py": b"one line\n" * 500, "firmware/b.py": b"same", "drivers/c.py": bytes(range(256)) * 20}
NEW = {**OLD, "firmware/a.py": OLD["firmware/a.py"] + b"another line\n", "firmware/d.py": b"new"}


def bundle(files: dict[str, bytes] = NEW, base: dict[str, bytes] | None = OLD) -> bytes:
    return made(
        files, base or {}, version="v2", counter=2, board="here", made_tai_ns=1, expires_tai_ns=2, base="v1" if base else None,
        signer="vendor", sign=VENDOR.sign,
    )  # fmt: skip


TRUSTED = {"vendor": VENDOR.public_key()}


@pytest.mark.parametrize("base", [OLD, None], ids=["delta", "whole"])
def test_a_bundle_gives_back_what_was_put_in(base):
    """Every file, whatever form it travels in; the forms are the smallest there are. (S1-05)"""
    found = opened(bundle(base=base), TRUSTED)
    contents = {file.path: data for file, data in found.contents(lambda path: OLD.get(path, b""))}
    forms = {file.path: file.form for file in found.manifest.files}

    assert NEW == contents
    if base:
        assert {
            "firmware/a.py": Form.PATCH,
            "firmware/b.py": Form.BASE,
            "drivers/c.py": Form.BASE,
            "firmware/d.py": Form.WHOLE,
        } == forms
    else:
        assert {Form.WHOLE} == set(forms.values())


def test_a_line_costs_a_line():
    """A file that grew by a line travels as that line."""
    sizes = {file.path: file.stored_bytes for file in opened(bundle(), TRUSTED).manifest.files}

    assert 0 == sizes["firmware/b.py"]
    assert sizes["firmware/a.py"] < 40 < len(OLD["firmware/a.py"])


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../up.py", "firmware/../../up.py", "rootfs/x.py", "firmware", "firmware/.hidden", "firmware//x", "firmware/a\0b", "firmware/a\nb", "firmware/" + "x" * 250]
)  # fmt: skip
def test_files_lie_where_the_program_lies(path):
    """No path leads out of the copy, hides, or names something that is not of the application. (S1-06)"""
    with pytest.raises(BadItem):
        opened(made({path: b"x"}, {}, version="v2", counter=1, board="b", made_tai_ns=1, expires_tai_ns=2, base=None, signer="vendor", sign=VENDOR.sign), TRUSTED)  # fmt: skip


def test_a_bomb_is_not_unpacked():
    """A form that says it is larger than what was signed ends before it is unpacked."""
    import dataclasses

    import zstandard

    found = opened(bundle(base=None), TRUSTED)
    bomb = zstandard.ZstdCompressor().compress(bytes(64 << 20))
    first = dataclasses.replace(found.manifest.files[0], stored_bytes=len(bomb))
    lying = dataclasses.replace(found, manifest=dataclasses.replace(found.manifest, files=(first,)), stored=memoryview(bomb))

    with pytest.raises(BadItem, match="unpack to"):
        next(lying.contents(lambda path: b""))


def test_a_manifest_is_as_it_was_packed():
    """The signed bytes are the whole truth: packed again they are the same."""
    manifest = opened(bundle(), TRUSTED).manifest

    assert manifest == manifest_unpacked(manifest_packed(manifest))


def test_what_lasts_is_as_it_was_packed():
    """Standing with all in it; anything else is refused."""
    standing = Standing(Phase.RETURNING, "v1", "v2", "image", 9, 2, "why", {"v3": "reason"}, {"v2": 9}, 5)

    assert standing == unpacked(packed(standing))
    for data in (b"", b"\xa0", packed(standing)[:-1], packed(standing) + b"x"):
        with pytest.raises(BadItem):
            unpacked(data)


def test_the_history_is_bounded_and_its_lines_are_json():
    """The oldest go; a line that somebody broke hides none of the others."""
    history = b""
    for number in range(HISTORY_ROWS_MAX + 5):
        history = with_row(history, Switch("now", "gate", "v1", f"v{number}", 'a "cause"\n'))
    rows = rows_of(b"not json\n{}\n" + history)

    assert HISTORY_ROWS_MAX == len(rows)
    assert ("v5", f"v{HISTORY_ROWS_MAX + 4}") == (rows[0].version, rows[-1].version)
    assert 'a "cause"\n' == json.loads(history.splitlines()[-1])["cause"]


@pytest.mark.parametrize(
    ("seen", "failures"),
    [
        ("aaaa", 0),
        ("aabb", 1),
        ("abcd", 3),
        ("as--b", 0),
        ("asb", 0),
        ("a---", 3),
        ("a-a", 1),
        ("a-b", 2),
        ("---", 0),
        ("s", 0),
    ],
)
def test_an_end_nobody_asked_for_is_a_failure(seen, failures):
    """Letters are moments a process began at, s an orderly stop, - half a minute of silence; what was never there is not missed."""
    watch = Watch()
    for at, word in enumerate(seen):
        watch.saw("gate", None if word == "-" else STOPPED if word == "s" else word, Monotonic(at * 30 * SECOND))

    assert failures == len(watch.failures(Monotonic(len(seen) * 30 * SECOND), window_s=600))
    assert [] == watch.failures(Monotonic(9000 * SECOND), window_s=600)


def test_a_standing_has_room_for_every_refusal():
    """As many as are kept, each with a name and a reason as long as they may be, in any alphabet: it can be read again."""
    standing = Standing()
    for number in range(200):
        standing = standing.refusing(f"{number:063d}", "≠" * 1000)
    data = packed(standing)

    assert len(data) <= STANDING_BYTES_MAX
    assert standing == unpacked(data)

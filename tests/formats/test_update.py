"""Bundles and the standing of updates, pinned by golden bytes, by their CDDL and by a foreign reader.

`python tests/formats/test_update.py` writes the file of a new version; those of an old one are never written again.
"""

from pathlib import Path

from pycddl import Schema

from firmware.core.cbor import decoded_cbor
from firmware.update.bundle import MAGIC, made, manifest_packed, opened
from firmware.update.record import Phase, Standing, packed, unpacked
from simulator.identity import SimulatedIdentity

HERE = Path(__file__).parent
GOLDEN, GOLDEN_STANDING = HERE / "bundle-v1.scrubjay", HERE / "standing-v1.cbor"
CDDL = (HERE.parents[1] / "firmware" / "update" / "update.cddl").read_text().split("; The head of a bundle")
RULES = "; The head of a bundle" + CDDL[1]
VENDOR = SimulatedIdentity(name="vendor")
OLD = {"firmware/a.py": b"one line\n" * 30, "drivers/b.py": b"same"}
NEW = {"firmware/a.py": b"one line\n" * 31, "drivers/b.py": b"same", "simulator/c.bin": bytes(range(256))}
STANDING = Standing(Phase.RETURNING, "v1", "v2", "image", 9, 2, "3 unexpected ends", {"v3": "why"}, {"v1": 8, "v2": 9}, 5)


def bundle() -> bytes:
    return made(
        NEW, OLD, version="v2", counter=2, board="linux-x86_64-cpython-311", made_tai_ns=1_795_342_537_000_000_000,
        expires_tai_ns=1_803_118_537_000_000_000, base="v1", signer="vendor", sign=VENDOR.sign,
    )  # fmt: skip


def checked(rule: str, data: bytes) -> None:
    Schema(f"start = {rule}\n{RULES}").validate_cbor(data)


def test_version_1_is_read() -> None:
    """A bundle written by version 1 gives its files; a standing reads as what it was. (S1-05)"""
    found = opened(GOLDEN.read_bytes(), {"vendor": VENDOR.public_key()})

    assert NEW == {file.path: data for file, data in found.contents(lambda path: OLD.get(path, b""))}
    assert ("v2", 2, "v1", "vendor") == (
        found.manifest.version,
        found.manifest.counter,
        found.manifest.base,
        found.manifest.signer,
    )
    assert STANDING == unpacked(GOLDEN_STANDING.read_bytes())


def test_version_1_is_written() -> None:
    """The same manifest gives the same bytes, the same standing too; how zstd packs is its own."""
    data = GOLDEN.read_bytes()
    size = int.from_bytes(data[len(MAGIC) : len(MAGIC) + 4], "big")
    head = decoded_cbor(data[len(MAGIC) + 4 : len(MAGIC) + 4 + size])

    assert head[1] == manifest_packed(opened(data, {"vendor": VENDOR.public_key()}).manifest)
    assert GOLDEN_STANDING.read_bytes() == packed(STANDING)


def test_the_cddl_says_so() -> None:
    """Somebody else's reader finds what is written as described."""
    data = GOLDEN.read_bytes()
    size = int.from_bytes(data[len(MAGIC) : len(MAGIC) + 4], "big")
    head = data[len(MAGIC) + 4 : len(MAGIC) + 4 + size]

    checked("bundle-head", head)
    checked("manifest", decoded_cbor(head)[1])
    checked("standing", packed(STANDING))
    checked("standing", packed(Standing()))


if __name__ == "__main__":
    GOLDEN.write_bytes(bundle())
    GOLDEN_STANDING.write_bytes(packed(STANDING))

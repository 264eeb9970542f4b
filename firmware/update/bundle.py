"""A bundle: one version of the application as one file, signed; its files whole, or only what differs from a version that is there.

     0  18  "scrubjay bundle 1\n"
    18   4  length of the head, big endian
    22   …  head: CBOR {0: 1, 1: manifest, the very bytes that were signed; 2: Ed25519 over "scrubjay bundle 1" and them}
     …   …  stored forms of the files in the manifest's order: nothing (BASE), a zstd frame (WHOLE), a zstd frame made with the base's
            file of the same path as its raw dictionary (PATCH)

manifest = {0: 1, 1: version, 2: counter, 3: board, 4: [made, expires: ns TAI], 5: base / null, 6: signer, 7: [+ file]}
file = [path, size, SHA-256, form: 0 / 1 / 2, stored size]

Every file is checked against its own digest when it is written, wherever it came from; so a base that is not what its name says, or a
stored form that is not what was signed, is found before anything has its name. Nothing in a bundle is executed or even looked at by
anything but this module before its signature is good.
"""

import hashlib
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

import cbor2
import zstandard

from drivers.disk import parts
from firmware.core.cbor import decoded_cbor
from firmware.core.envelope import is_name
from firmware.core.errors import BadItem
from firmware.core.signature import SIGNATURE_SIZE, is_signed_by
from firmware.core.versions import IMAGE, is_version

MAGIC = b"scrubjay bundle 1\n"
SIGNED_PREFIX = b"scrubjay bundle 1"
HEAD_BYTES_MAX = 1 << 20
BUNDLE_BYTES_MAX = (
    16 << 20
)  # The application is 5 MB, 1.2 MB packed; a bundle is read whole, and the update process may hold that much.
FILES_MAX = 4096
FILE_BYTES_MAX = 16 << 20
PACKAGES = ("firmware", "drivers", "simulator")
LEVEL = 19
_LENGTH = struct.Struct(">I")
_INT63 = 1 << 63


class Form(IntEnum):
    """How a file's contents come."""

    BASE = 0
    WHOLE = 1
    PATCH = 2


@dataclass(frozen=True, slots=True)
class File:
    """One file of a version. stored_bytes: of its form in the bundle."""

    path: str
    size: int
    digest: bytes
    form: Form
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a version consists of.

    counter: grows from version to version of one signer's; a box takes no lower one than it has had. board: what it runs on
    (drivers/slots.py). base: the version whose files are used again; None: it is whole.
    """

    version: str
    counter: int
    board: str
    made_tai_ns: int
    expires_tai_ns: int
    base: str | None
    signer: str
    files: tuple[File, ...]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose signature was good. stored: the forms, one behind the other."""

    manifest: Manifest
    stored: memoryview
    digest: bytes

    def contents(self, base_file: Callable[[str], bytes]) -> Iterator[tuple[File, bytes]]:
        """Each file with its bytes, checked. base_file: a file of the base by its path. Raises BadItem where one is not as was signed."""
        at = 0
        for file in self.manifest.files:
            form = self.stored[at : at + file.stored_bytes]
            at += file.stored_bytes
            base = base_file(file.path) if file.form is not Form.WHOLE else b""
            data = base if file.form is Form.BASE else _unpacked(form, base, file)
            if len(data) != file.size or hashlib.sha256(data).digest() != file.digest:
                raise BadItem(f"expected {file.path} as it was signed, its form {file.form.name} gives another")
            yield file, data


def opened(data: bytes, trusted: Mapping[str, bytes]) -> Bundle:
    """The bundle, once a trusted signature over its manifest was found good. Raises BadItem; never anything else, whatever the bytes."""
    if len(data) > BUNDLE_BYTES_MAX:
        raise BadItem(f"expected a bundle of at most {BUNDLE_BYTES_MAX} bytes, got {len(data)}")
    begin = len(MAGIC) + _LENGTH.size
    if data[: len(MAGIC)] != MAGIC or len(data) < begin:
        raise BadItem("expected a bundle, this is none")
    (size,) = _LENGTH.unpack_from(data, len(MAGIC))
    if size > HEAD_BYTES_MAX or begin + size > len(data):
        raise BadItem(f"expected a head of at most {HEAD_BYTES_MAX} bytes that is all there; the bundle is cut short or damaged")
    match decoded_cbor(data[begin : begin + size]):
        case {0: 1, 1: bytes(manifest_bytes), 2: bytes(signature)} if len(signature) == SIGNATURE_SIZE:
            manifest = manifest_unpacked(manifest_bytes)
        case _:
            raise BadItem("expected a head with a manifest and a signature")
    key = trusted.get(manifest.signer)
    if key is None:
        raise BadItem("expected a signer this board trusts")
    if not is_signed_by(key, signature, SIGNED_PREFIX + manifest_bytes):
        raise BadItem("expected the named signer's signature over this manifest")
    stored = memoryview(data)[begin + size :]
    expected = sum(file.stored_bytes for file in manifest.files)
    if len(stored) != expected:
        raise BadItem(f"expected {expected} bytes of files, got {len(stored)}; the bundle is cut short or damaged")
    return Bundle(manifest, stored, hashlib.sha256(data).digest())


def made(
    files: Mapping[str, bytes], base_files: Mapping[str, bytes], *, version: str, counter: int, board: str, made_tai_ns: int,
    expires_tai_ns: int, base: str | None, signer: str, sign: Callable[[bytes], bytes],
) -> bytes:  # fmt: skip
    """A bundle of these files, by path. base_files: of the version `base` at every box it is for; empty: it is whole."""
    rows: list[File] = []
    forms: list[bytes] = []
    for path in sorted(files):
        data, former = files[path], base_files.get(path)
        kind, form = Form.BASE, b""
        if former != data:
            kind, form = Form.WHOLE, zstandard.ZstdCompressor(level=LEVEL).compress(data)
            if former:
                patch = zstandard.ZstdCompressor(level=LEVEL, dict_data=_dictionary(former)).compress(data)
                if len(patch) < len(form):
                    kind, form = Form.PATCH, patch
        rows.append(File(path, len(data), hashlib.sha256(data).digest(), kind, len(form)))
        forms.append(form)
    manifest = Manifest(version, counter, board, made_tai_ns, expires_tai_ns, base, signer, tuple(rows))
    manifest_bytes = manifest_packed(manifest)
    head = cbor2.dumps({0: 1, 1: manifest_bytes, 2: sign(SIGNED_PREFIX + manifest_bytes)}, canonical=True)
    return MAGIC + _LENGTH.pack(len(head)) + head + b"".join(forms)


def manifest_packed(manifest: Manifest) -> bytes:
    """The bytes to sign."""
    rows = [[file.path, file.size, file.digest, int(file.form), file.stored_bytes] for file in manifest.files]
    return cbor2.dumps(
        {
            0: 1, 1: manifest.version, 2: manifest.counter, 3: manifest.board, 4: [manifest.made_tai_ns, manifest.expires_tai_ns],
            5: manifest.base, 6: manifest.signer, 7: rows,
        },
        canonical=True,
    )  # fmt: skip


def manifest_unpacked(data: bytes) -> Manifest:
    """Raises BadItem. Says nothing about who signed it."""
    match decoded_cbor(data):
        case {
            0: 1, 1: str(version), 2: int(counter), 3: str(board), 4: [int(made_ns), int(expires_ns)], 5: (str() | None) as base,
            6: str(signer), 7: [*rows],
        } if (
            is_version(version) and 0 < counter < _INT63 and 0 < len(board) <= 128 and abs(made_ns) < _INT63 and abs(expires_ns) < _INT63
            and (base is None or base == IMAGE or is_version(base)) and is_name(signer) and 0 < len(rows) <= FILES_MAX
        ):  # fmt: skip
            files = tuple(_file(row, has_base=base is not None) for row in rows)
            if len({file.path for file in files}) != len(files):
                raise BadItem("expected each file once")
            return Manifest(version, counter, board, made_ns, expires_ns, base, signer, files)
    raise BadItem("expected a manifest of version 1 (firmware/update/bundle.py)")


def _file(row: object, *, has_base: bool) -> File:
    match row:
        case [str(path), int(size), bytes(digest), (0 | 1 | 2) as form, int(stored)] if (
            type(form) is int and 0 <= size <= FILE_BYTES_MAX and 0 <= stored <= BUNDLE_BYTES_MAX and len(digest) == 32
        ):
            if not _is_place(path):
                raise BadItem(f"expected files of {', '.join(PACKAGES)}, by plain relative paths")
            if form != Form.WHOLE and not has_base:
                raise BadItem("expected whole files where there is no base")
            return File(path, size, digest, Form(form), stored)
    raise BadItem("expected a file as [path, size, digest, form, stored size]")


def _is_place(path: str) -> bool:
    try:
        names = parts(path)
    except ValueError:
        return False
    return (
        1 < len(names) <= 12
        and names[0] in PACKAGES
        and len(path) <= 240
        and all(name[0] != "." and name.isascii() and name.isprintable() for name in names)
    )


def _dictionary(base: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def _unpacked(form: memoryview, base: bytes, file: File) -> bytes:
    """Never more than the size that was signed."""
    try:
        if zstandard.get_frame_parameters(bytes(form[:18])).content_size != file.size:
            raise BadItem(f"expected {file.path} to unpack to {file.size} bytes")
        if file.form is Form.PATCH and base:
            return zstandard.ZstdDecompressor(dict_data=_dictionary(base)).decompress(bytes(form), max_output_size=file.size)
        return zstandard.ZstdDecompressor().decompress(bytes(form), max_output_size=file.size)
    except zstandard.ZstdError:
        raise BadItem(f"expected {file.path} as a zstd frame") from None

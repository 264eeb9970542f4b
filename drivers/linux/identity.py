"""Identity from a directory: the box's key and name, and the keys of those whose commands it takes.

key                Ed25519 private key, PEM (PKCS #8), mode 0600, or 0640 for the group of those who sign; made at first use
key.pub            its public key, 64 hexadecimal digits
name, site         one line each; made at first use ("box-" and the beginning of the public key; "unassigned")
trusted/<signer>.pub   public keys of signers, 64 hexadecimal digits each
"""

import base64
import binascii
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from drivers.errors import DiskFailed

# The library is loaded by who signs and by nobody else: it is 6 MiB in each of seven processes.
if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{2,62}")
_KEY = re.compile(r"[0-9a-f]{64}")
_PEM = re.compile(rb"-----BEGIN PRIVATE KEY-----\s+([A-Za-z0-9+/=\s]{1,200})-----END PRIVATE KEY-----\s*")
_PKCS8_ED25519 = bytes.fromhex("302e020100300506032b657004220420")  # RFC 8410 §7: this, then the 32 bytes of the key


class LinuxIdentity:
    """The identity kept in `directory`. Raises DiskFailed when it cannot be read, is not ours, or others may read the key.

    A process that may not read the private key is one that signs nothing; it has a name and a public key all the same.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            (directory / "trusted").mkdir(mode=0o755, parents=True, exist_ok=True)
            if not (directory / "key").exists():
                _make_key(directory)
            self._seed = _seed_or_none(directory)
            self._key: Ed25519PrivateKey | None = None
            if self._seed and not (directory / "key.pub").exists():
                _settled(directory / "key.pub", _public_bytes(_loaded(self._seed)).hex())
            public = _line(directory / "key.pub")
            if not _KEY.fullmatch(public):
                raise DiskFailed(f"expected 64 hexadecimal digits in {directory / 'key.pub'}")
            self._public_key = bytes.fromhex(public)
            self._name = _settled(directory / "name", f"box-{public[:12]}")
            self._site = _settled(directory / "site", "unassigned")
        except OSError as problem:
            said = problem.strerror or type(problem).__name__
            raise DiskFailed(f"expected an identity in {directory}, or to make one there, the system says: {said}") from None
        for what, value in (("name", self._name), ("site", self._site)):
            if not _NAME.fullmatch(value):
                raise DiskFailed(f"expected [a-z0-9][a-z0-9-]{{2,62}} in {directory / what}")

    @property
    def name(self) -> str:
        return self._name

    @property
    def site(self) -> str:
        return self._site

    def public_key(self) -> bytes:
        return self._public_key

    def check(self) -> None:
        """For who signs much later: raises DiskFailed now, where `sign` would then. Who may not read the key has nothing to check."""
        if self._seed is not None:
            self._signing()

    def sign(self, data: bytes) -> bytes:
        return self._signing().sign(data)

    def _signing(self) -> "Ed25519PrivateKey":
        if self._key is None:
            if self._seed is None:
                raise DiskFailed(f"expected a key in {self._directory} that this process may read")
            key = _loaded(self._seed)
            if _public_bytes(key) != self._public_key:
                raise DiskFailed(
                    f"expected key and key.pub in {self._directory} to belong together; where the key was replaced on purpose, remove key.pub"
                )
            self._key = key
        return self._key

    def trusted(self) -> Mapping[str, bytes]:
        keys = {}
        for path in sorted((self._directory / "trusted").glob("*.pub")):
            try:
                text = path.read_text("ascii").strip()
            except (OSError, UnicodeDecodeError):
                continue  # a key that cannot be read is a key that is not trusted
            if _KEY.fullmatch(text) and _NAME.fullmatch(path.stem):
                keys[path.stem] = bytes.fromhex(text)
        return keys

    def entropy(self, size: int) -> bytes:
        return os.urandom(size)


def introduce(directory: Path, *, name: str, site: str) -> None:
    """Call this board so from now on; an empty text leaves what is there. Raises DiskFailed for what is no name."""
    given = [(what, value) for what, value in (("name", name), ("site", site)) if value]
    for what, value in given:
        if not _NAME.fullmatch(value):
            raise DiskFailed(f"expected a {what} of [a-z0-9][a-z0-9-]{{2,62}}, got {value!r}")
    for what, value in given:
        path = directory / what
        if path.exists() and _line(path) == value:
            continue
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        _written(path, f"{value}\n".encode(), 0o644, replace=True)


def trust(directory: Path, signer: str, public_key: bytes) -> None:
    """Take this signer's commands from now on; what `trusted/<signer>.pub` looks like is known here only."""
    assert _NAME.fullmatch(signer) and len(public_key) == 32, "a signer has a name and a key of 32 bytes"
    trusted = directory / "trusted"
    trusted.mkdir(mode=0o755, parents=True, exist_ok=True)
    _written(trusted / f"{signer}.pub", f"{public_key.hex()}\n".encode(), 0o644, replace=True)


def _make_key(directory: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    fresh = Ed25519PrivateKey.generate()
    data = fresh.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _written(directory / "key", data, 0o600, replace=False)


def _loaded(seed: bytes) -> "Ed25519PrivateKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed)


def _public_bytes(key: "Ed25519PrivateKey") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _seed_or_none(directory: Path) -> bytes | None:
    """The 32 bytes of the private key, looked at once so that a broken one is named at the start; None where it may not be read."""
    path = directory / "key"
    if path.stat().st_mode & 0o037:
        raise DiskFailed(f"expected mode 0600 (or 0640) on {path}: others may read it")
    try:
        found = _PEM.fullmatch(path.read_bytes())
    except PermissionError:
        return None
    try:
        der = base64.b64decode(found[1]) if found else b""
    except binascii.Error:
        der = b""  # cut short
    if len(der) != len(_PKCS8_ED25519) + 32 or not der.startswith(_PKCS8_ED25519):
        raise DiskFailed(f"expected an Ed25519 private key in PEM in {path}")
    return der[len(_PKCS8_ED25519) :]


def _settled(path: Path, default: str) -> str:
    if not path.exists():
        _written(path, f"{default}\n".encode(), 0o644, replace=False)
    return _line(path)


def _line(path: Path) -> str:
    """What is no text is, with a mark for each byte that is none, at any rate not what it should be; who asked says of which file."""
    return path.read_bytes().decode("utf-8", "replace").strip()


def _written(path: Path, data: bytes, mode: int, *, replace: bool) -> None:
    """The whole file at once, durable. Several processes may come here together at the first start: the first one's stays."""
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if replace:
        hidden.rename(path)
    else:
        try:
            path.hardlink_to(hidden)
        except FileExistsError:
            pass
        hidden.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)

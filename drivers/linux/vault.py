"""The vault, real: the file system's own encryption (fscrypt, version 2), on ext4 and f2fs with the feature `encrypt`.

Why fscrypt and not LUKS: it needs no partition of its own and no device mapper, its key can be taken away while the machine runs,
and everything beneath the store's root inherits it without a word from any station. AES-256 in XTS and CTS mode.
Key: 64 bytes in a file. On the box that is a credential systemd unseals with the TPM (rootfs/…/scrubjay-vault.service), on a laptop
a file of mode 0600, which protects against nothing but the loss of the disk alone.
Source: Documentation/filesystems/fscrypt.rst, linux/fscrypt.h.
"""

import errno
import fcntl
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from drivers.errors import DiskFailed, VaultShut
from drivers.vault import VaultState

KEY_BYTES = 64
_SET_POLICY, _GET_POLICY_EX = 0x800C6613, 0xC0096616
_ADD_KEY, _REMOVE_KEY, _KEY_STATUS = 0xC0506617, 0xC0406619, 0xC080661A  # the removal is that for all users
_BY_IDENTIFIER = 2
_AES_256_XTS, _AES_256_CTS, _PAD_32 = 1, 4, 3
_ABSENT, _PRESENT = 1, 2
_FILES_BUSY = 1
_SPEC = struct.Struct("=II16s16x")  # kind, reserved, identifier
_KEY_HEAD = struct.Struct("=II32x")  # size, id in the keyring; behind it the key
_POLICY = struct.Struct("=BBBB4x16s")
_SIZED_POLICY = struct.Struct("=Q24s")
_NOT_ENCRYPTED = (errno.ENODATA, errno.EOPNOTSUPP, errno.ENOTTY)


class LinuxVault:
    """The vault of the store at `root`.

    key: file to read the key from. destroyed: files that end with the key, where those are others than `key` itself (the sealed
    credential of which `key` is what systemd unsealed).
    """

    def __init__(self, root: Path, key: Path, *, destroyed: Sequence[Path] = ()) -> None:
        self._root = root
        self._key = key
        self._destroyed = tuple(destroyed) or (key,)

    def state(self) -> VaultState:
        identifier = self._identifier()
        if identifier is None:
            return VaultState.PLAIN
        with _opened(self._root) as directory:
            answer = bytearray(_SPEC.pack(_BY_IDENTIFIER, 0, identifier)).ljust(128, b"\0")
            _ioctl(directory, _KEY_STATUS, answer)
        return VaultState.OPEN if struct.unpack_from("=I", answer, 64)[0] == _PRESENT else VaultState.LOCKED

    def open(self) -> None:
        key = self._read_key()
        try:
            self._root.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise VaultShut(f"expected a directory for the store, {problem.strerror}") from None
        expected = self._identifier()
        if expected is None and any(self._root.iterdir()):
            raise VaultShut("expected an encrypted store or an empty directory; this one holds plain files, which stay plain")
        with _opened(self._root) as directory:
            given = bytearray(_SPEC.pack(_BY_IDENTIFIER, 0, bytes(16)) + _KEY_HEAD.pack(KEY_BYTES, 0) + key)
            _ioctl(directory, _ADD_KEY, given)
            identifier = bytes(given[8:24])
            if expected is None:
                policy = _POLICY.pack(2, _AES_256_XTS, _AES_256_CTS, _PAD_32, identifier)
                _ioctl(directory, _SET_POLICY, bytearray(policy))
                os.fsync(directory)
            elif expected != identifier:
                self._forget(directory, identifier)
                raise VaultShut("expected the key of this store, this is another's")

    def destroy(self) -> bool:
        identifier = self._identifier()
        for path in self._destroyed:
            _shred(path)
        if identifier is None:
            return True
        # Asked at the file system's top: our own hand on the store would keep it open.
        with _opened(_top(self._root)) as directory:
            return self._forget(directory, identifier)

    def _read_key(self) -> bytes:
        try:
            key = self._key.read_bytes()
        except FileNotFoundError:
            raise VaultShut(f"expected the store's key in {self._key}, there is none") from None
        except OSError as problem:
            raise VaultShut(f"expected the store's key in {self._key}, it cannot be read: {problem.strerror}") from None
        if len(key) != KEY_BYTES:
            raise VaultShut(f"expected a key of {KEY_BYTES} bytes in {self._key}, got {len(key)}")
        return key

    def _identifier(self) -> bytes | None:
        """Which key the store is encrypted with; None when it is not, or not there."""
        if not self._root.is_dir():
            return None
        with _opened(self._root) as directory:
            answer = bytearray(_SIZED_POLICY.pack(_POLICY.size, b""))
            try:
                fcntl.ioctl(directory, _GET_POLICY_EX, answer, True)
            except OSError as problem:
                if problem.errno in _NOT_ENCRYPTED:
                    return None
                raise DiskFailed("expected to be told how the store is encrypted") from None
        version, *_, identifier = _POLICY.unpack_from(answer, 8)
        if version != 2:
            raise VaultShut(f"expected encryption policy 2, the store has {version}")
        return bytes(identifier)

    def _forget(self, directory: int, identifier: bytes) -> bool:
        given = bytearray(_SPEC.pack(_BY_IDENTIFIER, 0, identifier)).ljust(64, b"\0")
        try:
            fcntl.ioctl(directory, _REMOVE_KEY, given, True)
        except OSError as problem:
            if problem.errno == errno.ENOKEY:
                return True  # It was locked already.
            raise DiskFailed(f"expected the kernel to forget the key, it answered {problem.errno}") from None
        return not struct.unpack_from("=I", given, 40)[0] & _FILES_BUSY


def _top(root: Path) -> Path:
    """Where the file system that holds the store is mounted; the store has to lie below it."""
    place, device = root.resolve(), root.stat().st_dev
    while place.parent != place and place.parent.stat().st_dev == device:
        place = place.parent
    return place


@contextmanager
def _opened(root: Path) -> Iterator[int]:
    try:
        directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as problem:
        raise VaultShut(f"expected the directory of a store, {problem.strerror}") from None
    try:
        yield directory
    finally:
        os.close(directory)


def _ioctl(directory: int, request: int, data: bytearray) -> None:
    try:
        fcntl.ioctl(directory, request, data, True)
    except OSError as problem:
        if problem.errno in _NOT_ENCRYPTED:
            raise VaultShut(
                "expected a file system that encrypts: ext4 or f2fs with the feature `encrypt` (tune2fs -O encrypt DEVICE)"
            ) from None
        raise VaultShut(f"expected the file system to take the key, it answered {problem.strerror}") from None


def _shred(path: Path) -> None:
    """Written over, then removed, each durable. Flash may keep the former bytes somewhere: that is what the TPM's seal is for."""
    try:
        size = path.stat().st_size
        with path.open("r+b", buffering=0) as file:
            file.write(os.urandom(size))
            os.fsync(file.fileno())
        path.unlink()
        with _opened(path.parent) as directory:
            os.fsync(directory)
    except FileNotFoundError:
        return
    except OSError as problem:
        raise DiskFailed(f"expected to destroy the key, {problem.strerror}") from None

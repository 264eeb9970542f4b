"""The identity's contract, on the real one and the simulated one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from drivers.errors import DiskFailed
from drivers.identity import Identity
from drivers.linux.identity import LinuxIdentity, trust
from firmware.core.signature import is_signed_by
from simulator.identity import SimulatedIdentity

Make = Callable[[], Identity]


@pytest.fixture(params=["linux", "simulated"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes the identity; a second call is the next start of the same machine."""
    if request.param == "linux":
        return lambda: LinuxIdentity(tmp_path / "identity")
    return lambda: SimulatedIdentity(seed=5)


def test_the_key_stays(make: Make) -> None:
    """Name, site and key are the same after a restart, and are what topics allow."""
    first, second = make(), make()

    assert (first.name, first.site, first.public_key()) == (second.name, second.site, second.public_key())
    assert 32 == len(first.public_key())
    assert 3 <= len(first.name) <= 63


def test_signatures_verify(make: Make) -> None:
    """What is signed verifies with the public key, and with nothing changed."""
    identity = make()
    signature = identity.sign(b"data")

    assert is_signed_by(identity.public_key(), signature, b"data")
    assert not is_signed_by(identity.public_key(), signature, b"Data")


def test_entropy(make: Make) -> None:
    """As many bytes as asked for, and never the same."""
    identity = make()

    assert [0, 1, 300] == [len(identity.entropy(size)) for size in (0, 1, 300)]
    assert identity.entropy(16) != identity.entropy(16)


def test_nobody_is_trusted_at_first(make: Make) -> None:
    """Trust is given, never assumed."""
    assert {} == make().trusted()


def test_trust_is_read_afresh(tmp_path: Path) -> None:
    """A key added is taken and a key removed is not, without a restart; a file that makes no sense trusts nobody."""
    identity = LinuxIdentity(tmp_path)
    trust(tmp_path, "hub-1", bytes(range(32)))
    (tmp_path / "trusted" / "broken.pub").write_text("not a key")
    (tmp_path / "trusted" / "Bad Name.pub").write_text("00" * 32)
    (tmp_path / "trusted" / "binary.pub").write_bytes(b"\xff\xfe")

    assert {"hub-1": bytes(range(32))} == identity.trusted()
    (tmp_path / "trusted" / "hub-1.pub").unlink()
    assert {} == identity.trusted()


def test_others_may_not_read_the_key(tmp_path: Path) -> None:
    """The key file is made with mode 0600, and one that others may read is refused."""
    LinuxIdentity(tmp_path)

    assert 0o600 == (tmp_path / "key").stat().st_mode & 0o777
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(DiskFailed, match="0600"):
        LinuxIdentity(tmp_path)


@pytest.mark.parametrize("broken", ["key", "name", "site"])
def test_a_broken_identity_is_named(tmp_path: Path, broken: str) -> None:
    """A file that cannot be used is an error that names it, never a new identity in its place."""
    LinuxIdentity(tmp_path)
    (tmp_path / broken).write_text("No Such Thing\n")
    (tmp_path / broken).chmod(0o600)

    with pytest.raises(DiskFailed, match=broken):
        LinuxIdentity(tmp_path)


@pytest.mark.parametrize(
    ("file", "data"),
    [
        ("key", b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ\n-----END PRIVATE KEY-----\n"),
        ("key", b"\xff" * 119), ("key.pub", b"\xff\xfe"), ("name", b"or\xff1"), ("site", b"\x80"),
    ],
)  # fmt: skip
def test_bytes_that_are_no_text_are_named(tmp_path: Path, file: str, data: bytes) -> None:
    """A key that was cut short, a file that is no text: which file, and what was expected of it."""
    LinuxIdentity(tmp_path)
    (tmp_path / file).write_bytes(data)
    with pytest.raises(DiskFailed, match=f"expected .* in {tmp_path / file}"):
        LinuxIdentity(tmp_path)


def test_a_seed_is_a_machine() -> None:
    """Same seed, same key and same entropy; another seed, other ones."""
    one, same, other = (SimulatedIdentity(seed=seed) for seed in (1, 1, 2))

    assert (one.public_key(), one.entropy(8)) == (same.public_key(), same.entropy(8))
    assert one.public_key() != other.public_key()


def test_a_place_for_no_identity_is_named(tmp_path: Path) -> None:
    """With what the system says of it, in its words and not in Python's."""
    (tmp_path / "file").write_text("")

    with pytest.raises(
        DiskFailed, match=r"expected an identity in .*/file, or to make one there, the system says: Not a directory"
    ):
        LinuxIdentity(tmp_path / "file")

"""Updates that are refused before a byte of them is written, by the program that refuses them on the box, with the box's own settings."""

import subprocess
from pathlib import Path
from random import Random

import pytest
from conftest import TOP

pytestmark = [pytest.mark.image]
MIB = 1 << 20


def keys(place: Path) -> Path:
    subprocess.run([str(TOP / "tools/signing-keys.sh"), str(place)], check=True, capture_output=True)
    return place


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    made = tmp_path / "parts"
    made.mkdir()
    (made / "root.img").write_bytes(Random(1).randbytes(MIB))
    (made / "boot.img").write_bytes(bytes(MIB))
    (made / "version").write_text("1.2.3")
    return made


def bundle(parts: Path, place: Path, *words: str) -> Path:
    path = parts.parent / "update.raucb"
    command = [str(TOP / "tools/bundle.sh"), "--from", str(parts), "--to", str(path), *words]
    subprocess.run(
        command, check=True, capture_output=True, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SCRUBJAY_KEYS": str(place)}
    )
    return path


def asked(path: Path, authority: Path, box: Path) -> "subprocess.CompletedProcess[str]":
    """What `slots take` asks first. authority: directory of the keys that this box was built with."""
    settings = (TOP / "rootfs/etc/rauc/system.conf").read_text().replace("@ARCH@", "amd64").replace("@BOOTLOADER@", "grub")
    settings = settings.replace("@BOOTLOADER_STATE@", "grubenv=/efi/grubenv").replace(
        "/etc/rauc/ca.pem", str(authority / "ca.pem")
    )
    settings = settings.replace("/var/lib/rauc/recipient", str(box / "recipient"))
    (box / "system.conf").write_text(settings)
    command = ["rauc", f"--conf={box / 'system.conf'}", "info", "--output-format=shell", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_ours_is_taken(parts: Path, tmp_path: Path) -> None:
    """With its version, its board and its purpose, which are signed with it."""
    place = keys(tmp_path / "keys")
    answer = asked(bundle(parts, place, "--downgrade"), place, tmp_path)

    assert 0 == answer.returncode, answer.stderr
    for line in ("COMPATIBLE='scrubjay-amd64'", "VERSION='1.2.3'", "DESCRIPTION='update downgrade'"):
        assert f"RAUC_MF_{line}" in answer.stdout.splitlines()


def test_one_that_is_encrypted(parts: Path, tmp_path: Path) -> None:
    """Read by the box it was made for, with its version; by no other box, and by nobody who finds the file. (S1-03)"""
    place = keys(tmp_path / "keys")
    boxes = {}
    for name in ("ours", "other"):
        boxes[name] = tmp_path / name
        boxes[name].mkdir()
        files = [
            "-keyout",
            str(boxes[name] / "recipient.key"),
            "-out",
            str(boxes[name] / "recipient.pem"),
            "-subj",
            f"/CN={name}",
        ]
        kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        subprocess.run(["openssl", "req", "-x509", *kind, *files], check=True, capture_output=True)
    path = bundle(parts, place, "--for", str(boxes["ours"] / "recipient.pem"))

    assert b"scrubjay-amd64" not in path.read_bytes()
    assert "RAUC_MF_VERSION='1.2.3'" in asked(path, place, boxes["ours"]).stdout.splitlines()
    answer = asked(path, place, boxes["other"])
    assert answer.returncode != 0 and "decrypt" in answer.stderr


def test_for_boxes_that_are_none(parts: Path, tmp_path: Path) -> None:
    """A file without a certificate is said so, and nothing is made."""
    (tmp_path / "x.pem").write_text("box-1\n")
    with pytest.raises(subprocess.CalledProcessError) as refusal:
        bundle(parts, keys(tmp_path / "keys"), "--for", str(tmp_path / "x.pem"))

    assert b"show recipient" in refusal.value.stderr
    assert not (tmp_path / "update.raucb").exists()


def test_a_foreign_signature(parts: Path, tmp_path: Path) -> None:
    """Another fleet's keys are as good as none."""
    answer = asked(bundle(parts, keys(tmp_path / "theirs")), keys(tmp_path / "ours"), tmp_path)

    assert answer.returncode != 0
    assert "verif" in answer.stderr


@pytest.mark.parametrize("cut", [1, 100, 4096, MIB])
def test_a_truncated_bundle(parts: Path, tmp_path: Path, cut: int) -> None:
    """A download or a copy that ended early, by however little."""
    place = keys(tmp_path / "keys")
    path = bundle(parts, place)
    path.write_bytes(path.read_bytes()[:-cut])

    assert asked(path, place, tmp_path).returncode != 0


def test_every_bit_of_the_signed_part_counts(parts: Path, tmp_path: Path) -> None:
    """Manifest and signature lie at the end; the payload is proved by the hash tree whose root is in the manifest (test_update.py)."""
    place = keys(tmp_path / "keys")
    path = bundle(parts, place)
    data = path.read_bytes()
    size = int.from_bytes(data[-8:], "big")
    start = len(data) - 8 - size
    at = data.index(b"compatible=scrubjay-amd64", start)
    for where in (start, at + 12, at + 40, len(data) - 9, len(data) - 1):
        path.write_bytes(data[:where] + bytes((data[where] ^ 1,)) + data[where + 1 :])
        assert asked(path, place, tmp_path).returncode != 0, where


def test_an_expired_signature(parts: Path, tmp_path: Path) -> None:
    """A signer's certificate that has run out signs nothing for a box any more."""
    place = keys(tmp_path / "keys")
    extension = tmp_path / "extension"
    extension.write_text("keyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\n")
    request = [
        "openssl",
        "ca",
        "-batch",
        "-notext",
        "-md",
        "default",
        "-startdate",
        "20200101000000Z",
        "-enddate",
        "20210101000000Z",
    ]
    (tmp_path / "index").touch()
    (tmp_path / "serial").write_text("77\n")
    (tmp_path / "ca.conf").write_text(
        f"[ca]\ndefault_ca=x\n[x]\ndatabase={tmp_path}/index\nserial={tmp_path}/serial\nnew_certs_dir={tmp_path}\npolicy=p\n"
        "[p]\norganizationName=optional\ncommonName=optional\n"
    )
    files = [
        "-config",
        str(tmp_path / "ca.conf"),
        "-cert",
        str(place / "ca.pem"),
        "-keyfile",
        str(place / "ca.key"),
        "-extfile",
        str(extension),
    ]
    subprocess.run(
        [*request, *files, "-in", str(place / "sign.csr"), "-out", str(tmp_path / "old.pem")], check=True, capture_output=True
    )
    made = tmp_path / "bundle"
    made.mkdir()
    (made / "root.img").write_bytes(Random(1).randbytes(MIB))
    (made / "manifest.raucm").write_text(
        "[update]\ncompatible=scrubjay-amd64\nversion=1.2.3\n[bundle]\nformat=verity\n[image.root]\nfilename=root.img\n"
    )
    path = tmp_path / "old.raucb"  # not with tools/bundle.sh, which would not let it out
    signer = [f"--cert={tmp_path / 'old.pem'}", f"--key={place / 'sign.key'}"]
    subprocess.run(["rauc", *signer, "bundle", str(made), str(path)], check=True, capture_output=True)
    answer = asked(path, place, tmp_path)

    assert answer.returncode != 0
    assert "expired" in answer.stderr

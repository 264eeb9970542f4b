"""The very first start, as its unit says it: what a power cut leaves of it is made good by the next one."""

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "rootfs/usr/lib/systemd/system/scrubjay-first-start.service"


def start(at: Path, *, instead: Path | None = None) -> None:
    """Its commands, below another root. instead: a directory with programs that are found first."""
    path = f"{instead}:{os.environ['PATH']}" if instead is not None else os.environ["PATH"]
    for command in re.findall(r"^ExecStart=(.*)$", UNIT.read_text(), re.MULTILINE):
        script = re.sub(
            r"(?<=[ {])/(data|usr/share)/", rf"{at}/\1/", command.replace("/bin/mkdir", "mkdir").replace("/bin/sh", "sh")
        )
        done = subprocess.run(["sh", "-c", script], env={**os.environ, "PATH": path}, capture_output=True, check=False)
        if done.returncode != 0:
            return  # The power is gone.


def test_settings_are_whole_or_not_there(tmp_path: Path) -> None:
    """The power goes in the middle of the first copy of the settings: the next start makes it whole, and none after that changes it."""
    shipped = tmp_path / "usr/share/scrubjay/etc/scrubjay.toml"
    shipped.parent.mkdir(parents=True)
    shipped.write_bytes((ROOT / "rootfs/etc/scrubjay/scrubjay.toml").read_bytes())
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/cp").write_text('#!/bin/sh\nhead -c 200 "$1" >"$2"\nkill -9 $PPID\n')
    (tmp_path / "bin/cp").chmod(0o755)
    settings = tmp_path / "data/etc/scrubjay.toml"
    start(tmp_path, instead=tmp_path / "bin")
    assert not settings.exists() and (tmp_path / "data/versions").is_dir()
    start(tmp_path)

    assert shipped.read_bytes() == settings.read_bytes()
    settings.write_text("# the site's own\n")
    start(tmp_path)
    assert "# the site's own\n" == settings.read_text()

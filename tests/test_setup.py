"""tools/setup.sh, which every target of the Makefile runs first."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SETUP = Path(__file__).parents[1] / "tools" / "setup.sh"
# All it calls but apt-get and sudo: nothing is installed on the machine that tests.
CALLED = ("bash", "cat", "cc", "cut", "dirname", "env", "find", "id", "rm", "sed", "sha256sum", "sort", "tr", "xargs")


def set_up(checkout: Path) -> "subprocess.CompletedProcess[str]":
    """Where no package index can be reached."""
    bin_ = checkout.parent / "bin"
    if not bin_.exists():
        bin_.mkdir()
        for name in CALLED:
            (bin_ / name).symlink_to(str(shutil.which(name)))
    environment = {**os.environ, "PATH": str(bin_), "PYTHON": sys.executable, "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
    script = checkout / "tools" / "setup.sh"
    return subprocess.run([str(script)], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """One with a virtual environment whose making was interrupted before it had its pip."""
    place = tmp_path / "a checkout"
    (place / "tools").mkdir(parents=True)
    shutil.copy(SETUP, place / "tools")
    (place / "pyproject.toml").write_text('[project]\nname = "nothing"\nversion = "1"\n')
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place / ".venv")], check=True)
    return place


@pytest.mark.skipif(any(shutil.which(name) is None for name in CALLED), reason="needs what tools/setup.sh calls")
def test_an_environment_that_cannot_be_used_is_made_anew(checkout: Path) -> None:
    """Ctrl-C in the first `make demo`, or a checkout that was moved: the next one begins again, and what fails then is said in words."""
    interrupted = set_up(checkout)
    moved = checkout.rename(checkout.parent / "elsewhere")
    elsewhere = set_up(moved)

    for done in (interrupted, elsewhere):
        assert "making .venv with Python" in done.stdout, done
        assert 1 == done.returncode
        assert done.stdout.splitlines()[-1].startswith("set-up: cannot go on: pip says above"), done
    assert f" {moved}/.venv" in (moved / ".venv" / "pyvenv.cfg").read_text()

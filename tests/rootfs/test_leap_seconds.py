"""What the image gives chronyd to know leap seconds by, made as the build makes it, and asked by a real chronyd."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from firmware.clock.configuration import configuration
from firmware.clock.settings import ClockSettings

ROOT = Path(__file__).parents[2]
TABLE = Path("/usr/share/zoneinfo/leapseconds")
LOOK_S = "5"  # It looks for them first thing, and ends where it has nothing else to do.


def made_in(stage: Path) -> None:
    """What the build's step makes below a root that has Debian's table; without the change of root."""
    build = (ROOT / "rootfs/build.sh").read_text()
    step = re.search(r"^leap_seconds\(\) \{\n(.*?)^\}", build, re.MULTILINE | re.DOTALL)
    if step is None:
        return
    script = step[1].replace('chroot "$stage" ', "").replace(" /usr/share/zoneinfo", f" {stage}/usr/share/zoneinfo")
    environment = {**os.environ, "stage": str(stage), "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    subprocess.run(["bash", "-euc", script], env=environment, check=True)
    assert re.search(r"^leap_seconds$", build, re.MULTILINE), "the build calls it"
    assert "zoneinfo" not in (re.search(r"^root_image\(\) \{.*?^\}", build, re.MULTILINE | re.DOTALL) or [""])[0]


@pytest.mark.lab
@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("chronyd", path="/usr/sbin:/usr/bin") is None or not TABLE.exists(),
    reason="needs root, chronyd and tzdata",
)
def test_the_image_knows_leap_seconds(tmp_path: Path) -> None:
    """chronyd, told as on the box, finds them in the image's time zones; in Debian's alone, which have no such zone, it says it does not."""
    zones = tmp_path / "usr/share/zoneinfo"
    zones.mkdir(parents=True)
    shutil.copy(TABLE, zones / TABLE.name)
    made_in(tmp_path)
    told = re.sub(r"(?m)^(driftfile|cmdport|bindcmdaddress|rtcsync).*$", "", configuration("chronyd", ClockSettings()))
    settings = tmp_path / "chrony.conf"
    settings.write_text(f"{told}\ncmdport 0\nbindcmdaddress /\npidfile {tmp_path}/pid\n")
    said = subprocess.run(
        ["timeout", LOOK_S, "chronyd", "-x", "-d", "-u", "root", "-f", str(settings)],
        env={**os.environ, "TZDIR": str(zones), "PATH": f"{os.environ['PATH']}:/usr/sbin"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "Using right/UTC timezone to obtain leap second data" in said.stdout + said.stderr

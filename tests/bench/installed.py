"""The command as an appliance has it: its packages in the environment's own directory, compiled once.

From a developer's editable install it begins some 25 ms later, for what finds the packages there is loaded first, at each start of Python.
"""

import compileall
import py_compile
import shutil
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def installed(place: Path) -> list[str]:
    """What to run; `place` becomes an environment. Libraries are those of the one that runs this."""
    venv.create(place, symlinks=True)
    (site,) = place.glob("lib/python*/site-packages")
    for package in ("firmware", "drivers", "simulator"):
        shutil.copytree(ROOT / package, site / package, ignore=shutil.ignore_patterns("__pycache__"))
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    # As rootfs/build.sh does.
    if not compileall.compile_dir(site, quiet=1, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH):
        raise RuntimeError("expected the packages to compile")
    command = place / "bin/scrubjay"
    command.write_text(f"#!{place}/bin/{Path(sys.executable).name}\nfrom firmware.cli import main\nraise SystemExit(main())\n")
    command.chmod(0o755)
    return [str(command)]

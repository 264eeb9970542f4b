"""Every benchmark, or those named: each in a process of its own, its table on the screen, its JSON in build/bench/.

Ratios against real peers in the same run; nothing here passes or fails on an absolute time.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
NAMES = (
    "recorder",
    "parts",
    "habits",
    "alarm",
    "intake",
    "gate",
    "uplink",
    "memory",
    "density",
    "reduction",
    "time",
    "compression",
    "find",
    "stenoread",
    "update",
    "day",
)


def main(names: list[str]) -> int:
    """Run them in order; 1 when one could not be run."""
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        print(f"no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    into = HERE.parents[1] / "build" / "bench"
    into.mkdir(parents=True, exist_ok=True)
    failed = False
    for name in names or NAMES:
        print(f"== {name}", flush=True)
        ended = subprocess.run([sys.executable, str(HERE / f"{name}.py"), "--json", str(into / f"{name}.json")], check=False)
        failed |= ended.returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Every benchmark, or those named: each in a process of its own, its table on the screen, its JSON in build/bench/.

Ratios against real peers in the same run; nothing here passes or fails on an absolute time.
"""

import subprocess
import sys
from pathlib import Path

from firmware.cli.simulated import BENCHMARKS

HERE = Path(__file__).parent


def main(names: list[str]) -> int:
    """Run them in order; 1 when one could not be run."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"expected benchmarks of {', '.join(BENCHMARKS)}; got {unknown[0]!r}", file=sys.stderr)
        return 2
    into = HERE.parents[1] / "build" / "bench"
    into.mkdir(parents=True, exist_ok=True)
    failed = False
    for name in names or BENCHMARKS:
        print(f"== {name}", flush=True)
        ended = subprocess.run([sys.executable, str(HERE / f"{name}.py"), "--json", str(into / f"{name}.json")], check=False)
        failed |= ended.returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

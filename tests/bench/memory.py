"""Memory of every process of the box, hearing the loopback interface for some seconds while messages are published.

Resident set as the kernel counts it, its peak, and the proportional share (pages shared with other processes counted once). The
interpreter with nothing loaded stands beside them: what Python itself costs.
"""

import argparse
import json
import select
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRUBJAY = [sys.executable, "-m", "firmware.cli"]
SETTLE_S = 8.0  # Every process has reported once, the recorder has written some stretches.


def figures(pid: int) -> dict[str, int]:
    """KiB of one process: rss, peak, share."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    rollup = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    kib = {"rss": status["VmRSS"], "peak": status["VmHWM"], "share": rollup["Pss"]}
    return {name: int(value.split()[0]) for name, value in kib.items()}


def children(pid: int) -> list[int]:
    """Process ids of the direct children."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def name_of(pid: int) -> str:
    """What follows --process on its command line."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return words[words.index(b"--process") + 1].decode() if b"--process" in words else "?"


def bare_interpreter() -> dict[str, int]:
    """A Python that loaded nothing."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bare:
        select.select([], [], [], 0.5)
        found = figures(bare.pid)
        bare.communicate(b"\n")
    return found


def box_figures() -> dict[str, dict[str, int]]:
    """The processes of a box after SETTLE_S of publishing."""
    with tempfile.TemporaryDirectory() as root:
        sets = ["capture.interface=lo", "intake.interface=lo", "uplink.brokers=['127.0.0.1:1']"]
        command = [*SCRUBJAY, "run", "box", "--root", root, "--without", "console", *(f"--set={pair}" for pair in sets)]
        # As on the box, where the identity is made before anybody needs it: who makes it loads what the others do not.
        subprocess.run([*SCRUBJAY, "identity", "--root", root], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as box:
            try:
                assert box.stdout is not None
                ready = 0
                while ready < 6:
                    line = box.stdout.readline()
                    assert line, "the box ended before it was ready"
                    ready += "state=ready" in line
                for number in range(int(SETTLE_S * 10)):
                    publish = [*SCRUBJAY, "publish", f"message {number}", "--to", "127.0.0.1"]
                    if number % 10 == 0:
                        subprocess.run(publish, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
                    select.select([], [], [], 0.1)
                return {name_of(pid): figures(pid) for pid in children(box.pid)}
            finally:
                box.terminate()
                box.wait(20)


def main() -> None:
    """Print the table, write the JSON."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--json", type=Path)
    into: Path | None = arguments.parse_args().json
    rows = {"(bare Python)": bare_interpreter()} | dict(sorted(box_figures().items()))
    print(f"{'process':16}{'resident MiB':>14}{'peak MiB':>12}{'share MiB':>12}")
    for name, row in rows.items():
        print(
            f"{name:16}" + "".join(f"{row[key] / 1024:>{width}.1f}" for key, width in (("rss", 14), ("peak", 12), ("share", 12)))
        )
    total = sum(row["share"] for name, row in rows.items() if not name.startswith("("))
    print(f"{'together':16}{'':26}{total / 1024:>12.1f}   (capture's and intake's rings included)")
    if into:
        into.write_text(json.dumps({"kib": rows, "together_share_kib": total}, indent=1))


if __name__ == "__main__":
    main()

"""How near the choice of a codec comes to the best one, known afterwards: time from here to the hub, by rate of the link.

Bodies: what storms' boxes sent (groups), recordings of a room and of real devices, noise. Each is really compressed by each codec; the best
possible is the least of those times, the rule sees only its probe. Fixed choices stand beside it. Also fits the exponents anew.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from firmware.core.compression import CODECS, EXPONENTS, Codec, Conditions, chosen, packer, probe, seconds

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared/data"
RATES_KBIT = (250, 2_000, 10_000, 50_000, 100_000, 1_000_000)
BODY_BYTES = 4 << 20  # as long as a part of evidence
TAKES = 3


def bodies() -> dict[str, bytes]:
    """By name."""
    found = {"noise": os.urandom(1 << 20), "empty": bytes(1 << 20)}
    recording = (ROOT / "simulator/recordings/room.pcapng").read_bytes()
    found["room recording"] = (
        (recording * (1 + BODY_BYTES // len(recording)))[:BODY_BYTES]
        if len(recording) < BODY_BYTES // 4
        else recording[:BODY_BYTES]
    )
    for path in sorted((DATA / "pcap").rglob("*.pcap*")) if DATA.is_dir() else []:
        data = path.read_bytes()[:BODY_BYTES]
        if len(data) >= 256_000 and len(found) < 14:
            found[path.name] = data
    text = "".join(
        f"{n:06d} joint {n % 7} torque {n * 31 % 97}.{n * 17 % 10} Nm, temperature {20 + n * 7 % 30} C\n" for n in range(60_000)
    )
    found["text of joints"] = text.encode()
    found["half noise"] = found["text of joints"][:1_000_000] + os.urandom(1_000_000)
    return found


def measured(body: bytes, codec: Codec) -> tuple[int, float]:
    """Bytes it becomes, and the least seconds that took."""
    took, size = math.inf, 0
    for _ in range(1 if codec == "xz" else TAKES):
        began = time.perf_counter()
        one = packer(codec, size=len(body))
        size = len(one.compress(body) + one.flush())
        took = min(took, time.perf_counter() - began)
    return size, max(took, 1e-6)


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return sorted(values)[len(values) // 2]


def main() -> None:
    """Print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    a = parser.parse_args()
    found = bodies()
    results = {name: {codec: measured(body, codec) for codec in CODECS} for name, body in found.items()}
    speeds = {
        codec: median([len(found[name]) / row[codec][1] for name, row in results.items()]) for codec in CODECS if codec != "none"
    }
    rows: dict[str, dict[str, float]] = {}
    for kbit in RATES_KBIT:
        conditions = Conditions(kbit * 125.0, share=1.0, speeds=speeds)
        times: dict[str, list[float]] = {}
        for name, body in found.items():
            real = {
                codec: seconds(len(body), len(body) / row[0], codec, Conditions(kbit * 125.0, 1.0, {codec: len(body) / row[1]}))
                for codec, row in results[name].items()
            }
            best = min(real.values())
            times.setdefault("the rule", []).append(real[chosen(body, conditions).codec] / best)
            for codec in CODECS:
                times.setdefault(f"always {codec}", []).append(real[codec] / best)
        for name, values in times.items():
            rows.setdefault(name, {})[f"{kbit}"] = round(sum(values) / len(values), 2)
            rows[name][f"{kbit} worst"] = round(max(values), 2)
    print("time relative to the best possible choice, mean / worst of", len(found), "bodies, one core")
    print(f"{'kbit/s':16}" + "".join(f"{kbit:>16}" for kbit in RATES_KBIT))
    for name, row in rows.items():
        print(f"{name:16}" + "".join(f"{row[str(kbit)]:>9.2f} /{row[f'{kbit} worst']:>5.1f}" for kbit in RATES_KBIT))
    fitted = {}
    for codec in EXPONENTS:
        logs = [
            (math.log(probe(found[name])), math.log(len(found[name]) / row[codec][0]))
            for name, row in results.items()
            if 1.05 < probe(found[name]) < 20
        ]
        fitted[codec] = round(sum(x * y for x, y in logs) / sum(x * x for x, _ in logs), 2)
    print("exponents that fit here:", fitted, " in the firmware:", dict(EXPONENTS))
    print("bytes/s of one core here:", {codec: f"{speed / 1e6:.1f} MB/s" for codec, speed in speeds.items()})
    began = time.perf_counter()
    for body in found.values():
        probe(body)
    print(f"a probe: {(time.perf_counter() - began) / len(found) * 1e3:.1f} ms")
    if a.json:
        a.json.write_text(json.dumps({"cores": os.cpu_count(), "rows": rows, "exponents": fitted, "speeds": speeds}, indent=1))


if __name__ == "__main__":
    main()
    sys.exit(0)

"""What reduction leaves of recorded traffic, rule by rule, and how fast it is: frames a second, samples a second of each decoder.

Recordings beside the project (shared/data/pcap) or one given by --file; without any, our own room's. Ratios are of pcapng bytes as found,
and of the same bytes after zlib as they travel; speeds are of one core, in this run.
"""

import argparse
import json
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

from drivers.tap import HeardFrame
from firmware.core import pcapng
from firmware.core.errors import BadItem
from firmware.core.frame import Frame, parsed
from firmware.core.streams import wish
from firmware.core.streams.decoders import DECODERS
from firmware.core.streams.reduction import Reduction
from firmware.core.streams.unrelated import Unrelated
from firmware.retrieval.settings import RetrievalSettings
from simulator.capture_file import frames
from simulator.recordings import ROOM

SHARED = Path(__file__).parents[3] / "shared" / "data" / "pcap"
RECORDINGS = (
    "lab/or_mix_lab.pcap", "lab/openigtlink_60hz.pcap", "robot-fieldbus/replay-dc.pcapng",
    "robot-fieldbus/twincat-akd-nc-mode.pcapng",
)  # fmt: skip
JOINTS = "1%+0.00001,rtps/rt/joint_states/velocity=any"
WISHES: dict[str, dict[str, int | str]] = {
    "filter": {"reduce": "filter"},
    "every 2nd": {"reduce": "sample", "every": 2},
    "60/5/20 Hz": {"reduce": "sample"},
    "change 0.1%": {"reduce": "change", "error": "0.1%"},
    "change 1%": {"reduce": "change", "error": "1%"},
    "1%, no velocity": {"reduce": "change", "error": JOINTS},
}


def reduced(rows: Sequence[HeardFrame], blocks: Sequence[bytes], parameters: dict[str, int | str]) -> dict[str, object]:
    """One wish tried on one recording."""
    settings = RetrievalSettings()
    unrelated = Unrelated(
        frozenset(settings.request_ports), frozenset(settings.request_ethertypes), frozenset(settings.message_ports)
    )
    reduction = Reduction(wish.from_parameters(parameters), unrelated)
    begun = time.perf_counter()
    kept = []
    for row, block in zip(rows, blocks, strict=True):
        kept += list(reduction.add(memoryview(block), row.stamp_ns, row.data, row.wire_bytes))
    kept += list(reduction.finish())
    spent = time.perf_counter() - begun
    left, whole = b"".join(row.block for row in kept), b"".join(blocks)
    return {
        "frames": len(kept) / len(rows),
        "bytes": len(left) / len(whole),
        "compressed": len(zlib.compress(left)) / len(zlib.compress(whole)),
        "frames_per_s": len(rows) / spent,
        "left_out": reduction.left_out,
    }


def decoding(rows: Sequence[HeardFrame]) -> dict[str, dict[str, float]]:
    """Each decoder by itself, over the frames it knows."""
    heads: list[tuple[Frame, HeardFrame]] = []
    for row in rows:
        try:
            frame = parsed(row.data)
        except BadItem:
            continue
        if frame.trouble is None and frame.fragment is None and len(row.data) >= row.wire_bytes:
            heads.append((frame, row))
    found = {}
    for name, make in DECODERS.items():
        decoder = make()
        known = [pair for pair in heads if decoder.decode(pair[0], pair[1].data, pair[1].stamp_ns).samples]
        if not known:
            continue
        decoder = make()
        begun = time.perf_counter()
        count = sum(len(decoder.decode(frame, row.data, row.stamp_ns).samples) for frame, row in known)
        spent = time.perf_counter() - begun
        found[name] = {"samples": count, "samples_per_s": count / spent, "frames_per_s": len(known) / spent}
    return found


def main() -> None:
    """Print the tables; write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--file", type=Path)
    options = parser.parse_args()
    paths = [options.file] if options.file else [path for name in RECORDINGS if (path := SHARED / name).exists()] or [ROOM]
    results: dict[str, object] = {}
    for path in paths:
        rows = list(frames(path))
        blocks = [pcapng.enhanced_packet(row.stamp_ns, row.data, row.wire_bytes) for row in rows]
        print(f"\n{path.name}: {len(rows)} frames")
        print(f"  {'left of it':16} {'frames':>7} {'bytes':>7} {'zlib':>7} {'frames/s':>9}   left out")
        found = {}
        for name, parameters in WISHES.items():
            row = found[name] = reduced(rows, blocks, parameters)
            causes = ", ".join(f"{rule} {count}" for rule, count in row["left_out"].items())  # type: ignore[attr-defined]
            print(
                f"  {name:16} {row['frames']:7.1%} {row['bytes']:7.1%} {row['compressed']:7.1%} {row['frames_per_s']:9,.0f}   {causes}"
            )
        speeds = decoding(rows)
        for name, speed in speeds.items():
            print(
                f"  {name:16} {speed['samples']:,} samples, {speed['samples_per_s']:,.0f} a second, {speed['frames_per_s']:,.0f} frames a second"
            )
        results[path.name] = {"reduction": found, "decoders": speeds}
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()

"""Makes firmware/core/dictionary_1.bin anew, from what boxes in storms have put on the wire: python tools/dictionary.py

A group of one alarm is 200 bytes, in which a compressor finds nothing to refer to; a dictionary of what such groups consist of is what it
refers to. Made once, shipped with the firmware and named by its number in each envelope: another one is another number, and a hub
keeps all of them for ever. So running this is the beginning of dictionary 2, not a repair of 1.
"""

import sys
import zlib
from pathlib import Path

import zstandard

from firmware.core.envelope import content_of, unpacked
from firmware.core.topics import parsed
from simulator import storm
from simulator.storm import BOX, HUB

INTO = Path(__file__).parents[1] / "firmware/core/dictionary_1.bin"
SIZE = 16_384  # Half of what deflate can refer to; twice as much made groups 1 % smaller.
TRAINED_ON, JUDGED_ON = range(1, 13), range(101, 104)


def groups(seeds: range) -> list[bytes]:
    """Contents of the groups some storms sent."""
    found: dict[bytes, bytes] = {}
    for seed in seeds:
        one = storm._Storm(seed, ":memory:", BOX, HUB)
        one.box.start_all()
        one.hub.start_all()
        one._voices()
        one.world.run(120 * 1_000_000_000)
        for topic, payload in one.world.broker.published:
            where = parsed(topic)
            if where is not None and where.channel in ("p1", "p2", "p3", "p4"):
                envelope = unpacked(payload)
                found[envelope.identity] = content_of(envelope)
    return list(found.values())


def deflated(content: bytes, dictionary: bytes) -> int:
    """Bytes of it with the dictionary."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15, zdict=dictionary)
    return len(packer.compress(content) + packer.flush())


def main() -> None:
    """Train, say what it is worth on other seeds, write."""
    samples = groups(TRAINED_ON)
    trained = zstandard.train_dictionary(SIZE, samples).as_bytes()
    others = groups(JUDGED_ON)
    raw = sum(map(len, others))
    with_it, without = sum(deflated(one, trained) for one in others), sum(len(zlib.compress(one, 6)) for one in others)
    sys.stdout.write(
        f"{len(samples)} groups for, {len(others)} others: {raw} bytes, deflate {without}, with the dictionary {with_it}\n"
    )
    INTO.write_bytes(trained)


if __name__ == "__main__":
    main()

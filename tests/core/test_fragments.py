"""Fragments become datagrams; what does not fit together is given up, and counted."""

from collections import Counter
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP, fragment
from scapy.layers.l2 import Ether

from firmware.core.fragments import Reassembler
from firmware.core.frame import parsed
from simulator.capture_file import frames

RECORDING = Path(__file__).parents[2].parent / "shared" / "data" / "pcap" / "vlan-frag-jumbo" / "ip-frag.pcap"


class Bench:
    """A reassembler, its drops, and frames fed to it."""

    def __init__(self, **limits: int) -> None:
        self.drops: Counter[str] = Counter()
        self.reassembler = Reassembler(lambda cause: self.drops.update([cause]), **limits)

    def add(self, data: bytes, stamp_ns: int = 0) -> bytes | None:
        frame = parsed(data)
        return self.reassembler.add(frame, data[frame.transport_start : frame.payload_end], stamp_ns)


def parts(identification: int, body: bytes, size: int = 64) -> list[bytes]:
    packet = IP(src="10.0.0.1", dst="10.0.0.2", id=identification) / UDP(sport=1, dport=47001) / body
    return [bytes(Ether() / piece) for piece in fragment(packet, fragsize=size)]


@pytest.mark.parametrize("order", ["forward", "backward", "twice"])
def test_whole_again(order: str) -> None:
    """In order, in reverse order, and each fragment twice: the same datagram."""
    rows = parts(1, bytes(range(200)))
    rows = {"forward": rows, "backward": rows[::-1], "twice": [row for row in rows for _ in (1, 2)]}[order]
    bench = Bench()
    whole = [found for row in rows if (found := bench.add(row)) is not None]

    assert [bytes(range(200))] == [found[8:] for found in whole]


@pytest.mark.parametrize("order", ["each twice", "all twice", "backward"])
def test_a_copy_is_not_the_begin_of_another(order: str) -> None:
    """A mirror port that copies both directions: one datagram, and nothing is given up when its copies have no more to wait for."""
    rows = parts(1, bytes(range(200)))
    rows = {"each twice": [row for row in rows for _ in (1, 2)], "all twice": rows * 2, "backward": rows + rows[::-1]}[order]
    bench = Bench(passes_over_copies=True)
    whole = [found for number, row in enumerate(rows) if (found := bench.add(row, number * 1_000_000)) is not None]
    assert 0 == len(bench.reassembler)
    bench.add(parts(2, bytes(200))[0], 6_000_000_000)

    assert [bytes(range(200))] == [found[8:] for found in whole]
    assert {} == bench.drops


def test_an_identification_is_used_again() -> None:
    """Other bytes under the number of a datagram that is whole are another datagram; so are the same a second later."""
    bench = Bench(passes_over_copies=True)
    rows = [(parts(1, bytes(200)), 0), (parts(1, b"\1" * 200), 1_000_000), (parts(1, b"\1" * 200), 1_001_000_000)]
    whole = [found[8:] for pieces, at in rows for row in pieces if (found := bench.add(row, at)) is not None]

    assert [bytes(200), b"\1" * 200, b"\1" * 200] == whole
    assert {} == bench.drops


def test_a_recording_read_again_says_the_same_again() -> None:
    """Without being told to, nothing is taken for a copy: one question after the other finds a datagram."""
    bench = Bench()
    whole = [found[8:] for row in parts(1, bytes(200)) * 2 if (found := bench.add(row)) is not None]

    assert [bytes(200)] * 2 == whole


def test_overlap_is_refused() -> None:
    """Two fragments that say different things about the same bytes end the datagram (RFC 5722)."""
    bench = Bench()
    first, second, *_ = parts(1, bytes(200))
    _, other, *_ = parts(1, b"\1" * 200)
    for row in (first, second, other):
        bench.add(row)

    assert {"fragment_overlap": 1} == bench.drops
    assert 0 == len(bench.reassembler)


def test_too_long() -> None:
    """A fragment that reaches beyond 65,535 bytes ends the datagram (ping of death)."""
    bench = Bench()
    bench.add(bytes(Ether() / IP(id=1, frag=8189, proto=17) / bytes(80)))

    assert {"fragment_too_long": 1} == bench.drops


def test_limits_hold() -> None:
    """Ten thousand beginnings without an end cost a bounded number, the oldest first."""
    bench = Bench(count_max=100)
    for identification in range(300):
        bench.add(parts(identification, bytes(200))[0])

    assert {"fragment_overflow": 200} == bench.drops
    assert 100 == len(bench.reassembler)


def test_age_is_bounded_in_frame_time() -> None:
    """What has not come within five seconds is given up, also when stamps jump back."""
    bench = Bench()
    bench.add(parts(1, bytes(200))[0], 0)
    bench.add(parts(2, bytes(200))[0], 6_000_000_000)
    bench.add(parts(3, bytes(200))[0], 0)

    assert {"fragment_expired": 2} == bench.drops


def test_a_real_recording() -> None:
    """NFS over UDP in 8 kB datagrams: most become whole, each with the length its UDP header says."""
    if not RECORDING.exists():
        pytest.skip(f"no recording at {RECORDING}")
    bench, whole = Bench(), 0
    for heard in frames(RECORDING):
        frame = parsed(heard.data)
        if frame.fragment is not None and frame.protocol == 17:
            found = bench.add(bytes(heard.data), heard.stamp_ns)
            if found is not None:
                whole += 1
                assert len(found) == int.from_bytes(found[4:6], "big")

    assert whole > 100

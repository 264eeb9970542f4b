"""The store: exact answers, and a verdict no flipped byte escapes."""

import struct
from collections.abc import Callable

import pcapy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.tap import HeardFrame, pack_block
from firmware.core import index, pcapng, receipt, seal
from firmware.core._kernel import Stretch
from firmware.core.errors import BadItem
from firmware.core.receipt import Receipt
from firmware.core.recovery import recover
from firmware.core.segment import record_of
from firmware.core.segment_writer import Losses, SegmentWriter, Source
from firmware.core.store import Hit, Query, Store
from firmware.core.verify import verify
from simulator.clock import SimulatedClock
from simulator.disk import SimulatedDisk
from simulator.identity import SimulatedIdentity

START = 1_795_342_500_000_000_000
IDENTITY = SimulatedIdentity()
V6 = bytes.fromhex("fe80000000000000000000000000000a"), bytes.fromhex("fe80000000000000000000000000000b")


def ethernet(payload: bytes, ethertype: int, *, vlans: tuple[int, ...] = (), source: int = 2, destination: int = 1) -> bytes:
    tags = b"".join(struct.pack(">HH", 0x8100, vlan) for vlan in vlans)
    return (
        b"\x02\0\0\0\0" + bytes([destination]) + b"\x02\0\0\0\0" + bytes([source]) + tags + struct.pack(">H", ethertype) + payload
    )


def ipv4(source: str, destination: str, protocol: int, payload: bytes, *, fragment: int = 0, options: bytes = b"") -> bytes:
    a, b = (bytes(int(part) for part in text.split(".")) for text in (source, destination))
    head = struct.pack(">BBHHHBBH", 0x45 + len(options) // 4, 0, 20 + len(options) + len(payload), 1, fragment, 64, protocol, 0)
    return head + a + b + options + payload


def ports(source: int, destination: int) -> bytes:
    return struct.pack(">HH", source, destination) + bytes(16)


FRAMES = {
    "tcp": ethernet(ipv4("10.0.0.1", "10.0.0.2", 6, ports(40000, 104)), 0x0800),
    "udp": ethernet(ipv4("10.0.0.2", "10.0.0.3", 17, ports(47001, 47001)), 0x0800, source=3),
    "options": ethernet(ipv4("10.0.0.9", "10.0.0.1", 17, ports(5, 6), options=bytes(8)), 0x0800),
    "fragment": ethernet(ipv4("10.0.0.1", "10.0.0.2", 17, ports(104, 104), fragment=100), 0x0800),
    "vlan": ethernet(ipv4("10.0.0.1", "10.0.0.4", 17, ports(1, 2)), 0x0800, vlans=(7,)),
    "qinq": ethernet(ipv4("10.0.0.1", "10.0.0.5", 17, ports(1, 2)), 0x0800, vlans=(100, 7)),
    "v6": ethernet(struct.pack(">IHBB", 6 << 28, 20, 17, 64) + V6[0] + V6[1] + ports(123, 104), 0x86DD),
    "v6 options": ethernet(struct.pack(">IHBB", 6 << 28, 28, 0, 64) + V6[0] + V6[1] + b"\x11" + bytes(7) + ports(99, 104), 0x86DD),
    "arp": ethernet(struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + bytes(6) + bytes([10, 0, 0, 7]) + bytes(6) + bytes([10, 0, 0, 8]), 0x0806),
    "ptp": ethernet(bytes(44), 0x88F7),
    "llc": ethernet(bytes(40), 38),
    "short": b"\x02\0\0",
}  # fmt: skip
NAMES = list(FRAMES)


def stored(disk: SimulatedDisk, *, segments: int = 1, seal_last: bool = True) -> SimulatedDisk:
    """Every frame once in each segment, a second apart, a stretch for three of them."""
    disk.mkdir("segments")
    clock = SimulatedClock()
    digest = None
    for number in range(segments):
        first = START + number * 300 * 10**9
        writer = SegmentWriter(disk, "segments", sequence=number + 1, first_utc_ns=first, source=Source("m0"), now=clock.now())
        rows = [HeardFrame(first + place * 10**9, data, len(data)) for place, data in enumerate(FRAMES.values())]
        for at in range(0, len(rows), 3):
            stretch = Stretch(1 << 20)
            stretch.add(pack_block(rows[at : at + 3], sequence=at), 0, 0, 0, 0)
            writer.write(stretch)
        if number < segments - 1 or seal_last:
            _, digest = writer.seal(IDENTITY, previous=digest, losses=Losses({}), cause="time", now=clock.now())
    return disk


def found(disk: SimulatedDisk, query: Query) -> list[str]:
    """Names of the frames found, in order."""
    data = b"".join(hit.blocks for hit in Store(disk).search(query))
    names = {frame: name for name, frame in FRAMES.items()}
    section = pcapng.section_header() + pcapng.interface("x")
    return [names[packet.data] for packet in pcapng.packets(section + data)]


DISK = stored(SimulatedDisk())


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query(), NAMES),
        (Query(hosts=("10.0.0.3",)), ["udp"]),
        (Query(hosts=("10.0.0.3", "10.0.0.5")), ["udp", "qinq"]),
        (Query(hosts=("10.0.0.7",)), ["arp"]),
        (Query(hosts=("::ffff:10.0.0.3",)), ["udp"]),
        (Query(hosts=("fe80::a",)), ["v6", "v6 options"]),
        (Query(ports=(104,)), ["tcp", "v6", "v6 options"]),
        (Query(ports=(5,)), ["options"]),
        (Query(hosts=("10.0.0.1",), ports=(104,)), ["tcp"]),
        (Query(vlans=(7,)), ["vlan", "qinq"]),
        (Query(vlans=(100,)), ["qinq"]),
        (Query(macs=("02:00:00:00:00:03",)), ["udp"]),
        (Query(protocols=("tcp",)), ["tcp"]),
        (Query(protocols=("udp",), hosts=("10.0.0.2",)), ["udp", "fragment"]),
        (Query(protocols=("ptp", "arp")), ["arp", "ptp"]),
        (Query(protocols=("0x86dd",)), ["v6", "v6 options"]),
        (Query(protocols=("17",), vlans=(7,)), ["vlan", "qinq"]),
        (Query(protocols=("llc",)), ["llc"]),
        (Query(hosts=("10.9.9.9",)), []),
        (Query(since_utc_ns=START + 10**9, until_utc_ns=START + 2 * 10**9), ["udp", "options"]),
        (Query(since_utc_ns=START + 10**9, until_utc_ns=START), []),
        (Query(until_utc_ns=-5), []),
        (Query(since_utc_ns=-5, until_utc_ns=START), ["tcp"]),
    ],
)
def test_search_is_exact(query, expected):
    """AND between fields, OR inside one, both ends of a time included; every frame that matches and no other. (S2-107, S2-109)"""
    assert expected == found(DISK, query)


@pytest.mark.parametrize(
    ("query", "expression"),
    [
        (Query(hosts=("10.0.0.2",)), "host 10.0.0.2"),
        (Query(hosts=("10.0.0.8",)), "host 10.0.0.8"),
        (Query(hosts=("fe80::b",)), "host fe80::b"),
        (Query(ports=(47001,)), "port 47001"),
        (Query(macs=("02:00:00:00:00:03",)), "ether host 02:00:00:00:00:03"),
        (Query(protocols=("0x88f7",)), "ether proto 0x88f7"),
    ],
)
def test_search_agrees_with_libpcap(query, expression):
    """Where libpcap's filter asks the same, it finds the same; on frames without VLAN tags, which it does not look behind."""
    program = pcapy.compile(pcapy.DLT_EN10MB, 262144, expression, 1, 0)
    expected = [name for name, frame in FRAMES.items() if program.filter(frame)]

    assert expected == found(DISK, query)


def test_open_segment_is_searched_too():
    """What was heard a second ago is found, after everything sealed."""
    disk = stored(SimulatedDisk(), segments=3, seal_last=False)

    assert ["tcp"] * 3 == found(disk, Query(ports=(40000,)))
    assert [1, 2] == [int(name[-6:]) for name in Store(disk).names()]
    assert ["20261122T102500Z-000003"] == Store(disk).open_names()


def test_what_came_and_went():
    """Against what is known: the new ones in the order recorded, those that are gone, and nothing of open ones. (S2-094)"""
    disk = stored(SimulatedDisk(), segments=5, seal_last=False)
    store = Store(disk)
    names = store.names()

    assert (names, set()) == store.changes(set())
    assert ([], set()) == store.changes(set(names))
    disk.remove(f"segments/{names[1]}")
    assert (names[3:], {names[1], "20200101T000000Z-000001"}) == store.changes({*names[:3], "20200101T000000Z-000001"})


def test_every_hidden_segment_is_searched():
    """A power cut or a sick disk leaves one unfinished, and the next one is opened beside it; both hold frames. (S2-108)"""
    disk = stored(SimulatedDisk(), segments=3)
    for name in Store(disk).names()[1:]:
        disk.remove(f"segments/{name}/seal")
        disk.rename(f"segments/{name}", f"segments/.{name}")

    assert ["tcp"] * 3 == found(disk, Query(ports=(40000,)))
    assert [2, 3] == [int(name[-6:]) for name in Store(disk).open_names()]


def test_excluded_stretches_are_not_read():
    """The index answers "cannot contain" without reading the frames."""
    disk = stored(SimulatedDisk())
    reads: list[str] = []
    read = disk.read

    def counted(path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        reads.append(path)
        return read(path, offset=offset, size=size)

    disk.read = counted  # type: ignore[method-assign]
    found(disk, Query(hosts=("10.0.0.3",)))

    assert 1 == sum(path.endswith(".lz4") for path in reads)


def test_damaged_index_costs_time_not_answers():
    """With a broken index the frames themselves are searched."""
    disk = stored(SimulatedDisk())
    path = "segments/20261122T101500Z-000001/index"
    data = bytearray(disk.read(path))
    data[200] ^= 1
    disk.write(path, data)

    assert NAMES == found(disk, Query())
    disk.remove(path)
    assert NAMES == found(disk, Query())


def test_open_segment_without_index_is_searched():
    """Recovery that met a full disk while it wrote the index anew leaves the frames, which are searched (storm seed 597)."""
    disk = stored(SimulatedDisk(), seal_last=False)
    disk.remove("segments/.20261122T101500Z-000001/index")

    assert NAMES == found(disk, Query())


def test_segment_deleted_while_searching():
    """Retention may take a segment away between two steps of a search; the rest is still found."""
    disk = stored(SimulatedDisk(), segments=3)
    hits = Store(disk).search(Query(ports=(40000,)))
    first = next(hits)
    disk.remove("segments/20261122T102000Z-000002")

    assert [1, 3] == [int(hit.segment[-6:]) for hit in [first, *hits]]


def test_segment_sealed_while_searching():
    """The open segment may be sealed between listing and reading it."""
    disk = stored(SimulatedDisk(), segments=2, seal_last=False)
    hits = Store(disk).search(Query(ports=(40000,)))
    next(hits)
    recover(disk, "segments", "receipts", identity=IDENTITY, now=SimulatedClock().now())

    assert [2] == [int(hit.segment[-6:]) for hit in hits]


def shown_once_as(disk: SimulatedDisk, listed: Callable[[list[str]], list[str]]) -> SimulatedDisk:
    """The disk, its first look at the segments as `listed` has it: a directory is not read in one moment."""
    looked, look = list[str](), disk.list

    def changing(path: str) -> list[str]:
        names = look(path)
        if path == "segments" and not looked:
            looked.append(path)
            return listed(names)
        return names

    disk.list = changing  # type: ignore[method-assign]
    return disk


def found_in_turn(disk: SimulatedDisk, *, newest_first: bool) -> list[int]:
    """Sequences of the segments of which something was found, as often as it was."""
    walk = Store(disk).walk(Query(ports=(40000,)), newest_first=newest_first)
    return [int(step.segment[-6:]) for step in walk if isinstance(step, Hit)]


@pytest.mark.parametrize("newest_first", [False, True])
def test_segment_that_shows_both_its_names(newest_first: bool) -> None:
    """What is sealed while a large directory is read may show its hidden and its own name; its frames are found once. (S2-108)"""
    disk = shown_once_as(stored(SimulatedDisk(), segments=3), lambda names: [f".{max(names)}", *names])

    assert sorted([1, 2, 3], reverse=newest_first) == found_in_turn(disk, newest_first=newest_first)


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("shows_next", [False, True])
def test_segment_that_shows_neither_of_its_names(shows_next: bool, newest_first: bool) -> None:
    """Nor is it missing where it shows neither, whether the one opened after it is shown or not. (S2-108)"""
    disk = shown_once_as(
        stored(SimulatedDisk(), segments=4, seal_last=False),
        lambda names: [name for name in names if name[-1] != "3" and (shows_next or name[0] != ".")],
    )

    assert {1, 2, 3} == set(found_in_turn(disk, newest_first=newest_first)) - {4}


@pytest.mark.parametrize("query", [
    Query(hosts=("10.0.0",)), Query(hosts=("host",)), Query(macs=("02:00",)), Query(protocols=("carrier pigeon",)),
    Query(ports=(70_000,)), Query(vlans=(-1,)), Query(protocols=("0x8100",)), Query(protocols=("arp", "0x88a8")), Query(ports=tuple(range(300))),
])  # fmt: skip
def test_bad_query_is_refused_at_once(query):
    """A query that cannot be understood finds nothing by saying so, not by silence; and never repeats foreign words."""
    with pytest.raises(BadItem) as caught:
        Store(DISK).search(query)

    assert "pigeon" not in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=20),
    st.sampled_from(["10.0.0.1", "10.0.0.3", "fe80::b"]),
    st.sampled_from([None, 104, 2]),
)
def test_index_never_excludes_a_frame_that_matches(names, host, port):
    """A law: what a scan of everything finds, the index lets through."""
    from firmware.core._kernel import probe, scan
    from firmware.core.query import terms_of

    stretch = Stretch(1 << 20)
    rows = [HeardFrame(START, FRAMES[name], len(FRAMES[name])) for name in names]
    stretch.add(pack_block(rows, sequence=0), 0, 0, 0, 0)
    terms = terms_of(Query(hosts=(host,), ports=() if port is None else (port,)))
    _, count, *_ = scan(bytes(stretch), terms.packed, terms.since_ns, terms.until_ns)
    record = index.packed_record(record_of(stretch, offset=0, stored=1, raw=1))
    places, *_ = probe(record, terms.packed, terms.since_ns, terms.until_ns)

    assert count == 0 or places == [0]


# Verifying.


def whats(disk: SimulatedDisk, key: bytes | None = None) -> list[tuple[str, str]]:
    return [(row.what, row.segment) for row in verify(disk, "segments", key or IDENTITY.public_key()).findings]


def test_honest_store_verifies():
    """Sealed segments and an open one, nothing to complain about."""
    disk = stored(SimulatedDisk(), segments=3, seal_last=False)
    verdict = verify(disk, "segments", IDENTITY.public_key())

    assert (True, 2, 2 * len(FRAMES)) == (verdict.ok, verdict.segments, verdict.frames)
    assert ["open"] == [row.what for row in verdict.statements]


@pytest.mark.parametrize("left", [b"", bytes(100)])
def test_cut_off_when_it_had_just_been_opened_is_not_altered(left):
    """What a power cut leaves of a segment whose header was not synced accuses nobody. (S2-109)"""
    disk = stored(SimulatedDisk(), segments=3, seal_last=False)
    (name,) = Store(disk).open_names()
    for file in ("index", "frames.pcapng.lz4"):
        disk.write(f"segments/.{name}/{file}", left)
    verdict = verify(disk, "segments", IDENTITY.public_key())

    assert ([], ["open"]) == (verdict.findings, [row.what for row in verdict.statements])


def test_every_flipped_byte_is_named():
    """One changed bit anywhere in any file of the store is found, and its segment named."""
    disk = stored(SimulatedDisk(), segments=2)
    _delete(disk, "20261122T101500Z-000001")
    names = [f"segments/20261122T102000Z-000002/{file}" for file in ("frames.pcapng.lz4", "index", "seal")] + ["receipts/1"]
    missed = []
    for path in names:
        whole = disk.read(path)
        for position in range(len(whole)):
            changed = bytearray(whole)
            changed[position] ^= 1 << position % 8
            disk.write(path, changed)
            if verify(disk).ok or path.split("/")[1] not in {name for _, name in whats(disk)} | {"20261122T101500Z-000001"}:
                missed.append((path, position))
        disk.write(path, whole)

    assert [] == missed
    assert verify(disk).ok


def _delete(disk: SimulatedDisk, name: str, *, previous: bytes | None = None, file: str = "1") -> bytes:
    """As retention does: the receipt, then the segment."""
    sealed = disk.read(f"segments/{name}/seal")
    row = Receipt(name, seal.unpacked(sealed).sequence, seal.digest(sealed), "age", SimulatedClock().now().timestamp, previous)
    data = receipt.packed(row.signed(IDENTITY.sign(row.body())))
    disk.mkdir("receipts")
    disk.write(f"receipts/{file}", data)
    disk.remove(f"segments/{name}")
    return seal.digest(data)


def _cut(disk: SimulatedDisk, file: str) -> None:
    data = disk.read(f"segments/{file}")
    disk.write(f"segments/{file}", data[: len(data) * 2 // 3])


def _swap(disk: SimulatedDisk, file: str) -> None:
    """The first two segments exchange one file, each as its box wrote it."""
    one, two = (f"segments/{name}/{file}" for name in ("20261122T101500Z-000001", "20261122T102000Z-000002"))
    first, second = disk.read(one), disk.read(two)
    disk.write(one, second)
    disk.write(two, first)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda d: d.remove("segments/20261122T102000Z-000002"), ("missing", "20261122T102500Z-000003")),
        (lambda d: d.remove("segments/20261122T101500Z-000001"), ("missing", "20261122T102000Z-000002")),
        (lambda d: d.remove("segments/20261122T102000Z-000002/seal"), ("missing", "20261122T102000Z-000002")),
        (lambda d: d.remove("segments/20261122T102000Z-000002/index"), ("missing", "20261122T102000Z-000002")),
        (lambda d: d.write("segments/notes.txt", b"x"), ("foreign", "notes.txt")),
        (lambda d: d.write("segments/20261122T102000Z-000002/notes.txt", b"x"), ("foreign", "20261122T102000Z-000002")),
        (lambda d: d.rename("segments/20261122T102000Z-000002", "segments/20261122T102000Z-000009"), ("reordered", "20261122T102000Z-000009")),
        (lambda d: _cut(d, "20261122T102000Z-000002/frames.pcapng.lz4"), ("altered", "20261122T102000Z-000002")),
        (lambda d: _cut(d, "20261122T102000Z-000002/index"), ("altered", "20261122T102000Z-000002")),
        (lambda d: _cut(d, "20261122T102000Z-000002/seal"), ("altered", "20261122T102000Z-000002")),
        (lambda d: d.write("segments/20261122T102000Z-000002/frames.pcapng.lz4", b""), ("altered", "20261122T102000Z-000002")),
        (lambda d: _swap(d, "frames.pcapng.lz4"), ("altered", "20261122T101500Z-000001")),
        (lambda d: _swap(d, "index"), ("altered", "20261122T101500Z-000001")),
        (lambda d: _swap(d, "seal"), ("reordered", "20261122T101500Z-000001")),
        (lambda d: d.mkdir("segments/20261122T102000Z-2"), ("foreign", "20261122T102000Z-2")),
    ],
)  # fmt: skip
def test_tampering_is_named(damage: Callable[[SimulatedDisk], None], expected):
    """A segment that is missing, incomplete, cut short, renamed or foreign, or has another's files, is named. (S2-107)"""
    disk = stored(SimulatedDisk(), segments=3)
    damage(disk)

    assert expected in whats(disk)


def test_exchanged_segments_are_named():
    """Two segments that change places are found by their seals and by the chain."""
    disk = stored(SimulatedDisk(), segments=3)
    one, two = "20261122T101500Z-000001", "20261122T102000Z-000002"
    disk.rename(f"segments/{one}", "segments/x")
    disk.rename(f"segments/{two}", f"segments/{one}")
    disk.rename("segments/x", f"segments/{two}")

    assert {("reordered", one), ("reordered", two)} <= set(whats(disk))


def test_other_boxs_seal_is_named():
    """A segment sealed by another key is not this box's, however well it fits."""
    disk = stored(SimulatedDisk())

    assert [("unsigned", "20261122T101500Z-000001")] == whats(disk, SimulatedIdentity(seed=2).public_key())


def test_deletion_with_receipt_is_a_statement():
    """A segment deleted with a receipt leaves the chain whole; the box says so, and nothing is wrong. (S2-094)"""
    disk = stored(SimulatedDisk(), segments=4)
    previous = _delete(disk, "20261122T102000Z-000002", file="a")
    _delete(disk, "20261122T101500Z-000001", previous=previous, file="b")
    verdict = verify(disk, "segments", IDENTITY.public_key())

    assert [] == verdict.findings
    assert 2 == [row.what for row in verdict.statements].count("deleted")


def test_missing_receipt_is_named():
    """A receipt that is gone leaves its hole in the chain of segments and in that of receipts."""
    disk = stored(SimulatedDisk(), segments=4)
    previous = _delete(disk, "20261122T101500Z-000001", file="a")
    _delete(disk, "20261122T102000Z-000002", previous=previous, file="b")
    disk.remove("receipts/a")

    assert {("missing", "b"), ("missing", "20261122T102000Z-000002")} == set(whats(disk))


def test_receipt_and_segment_together_are_fine():
    """Between the receipt and the removal both are there: no error, for the power may go just then."""
    disk = stored(SimulatedDisk(), segments=2)
    kept = {file: disk.read(f"segments/20261122T101500Z-000001/{file}") for file in ("frames.pcapng.lz4", "index", "seal")}
    _delete(disk, "20261122T101500Z-000001")
    disk.mkdir("segments/20261122T101500Z-000001")
    for file, data in kept.items():
        disk.write(f"segments/20261122T101500Z-000001/{file}", data)

    assert [] == whats(disk)

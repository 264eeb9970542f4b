"""The tap on Linux, twice: the kernel's ring (the recorder's), and libpcap through pcapy-ng (portable, a Python call a frame).

The ring is a packet(7) socket of type SOCK_RAW that is only ever read. Order matters, for every frame between two steps would be
a frame that does not belong: the ring is mapped and the filter attached while the socket hears nothing (protocol 0), and only
then it is bound to its interface.
Source: Documentation/networking/packet_mmap.rst, linux/if_packet.h; measurements in research/capture.md and platform.md §4.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import re
import select
import socket
import struct
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pcapy

from drivers.errors import BadFilter, NotAllowed, TapFailed
from drivers.linux import early_ring
from drivers.linux.hardware_stamps import HardwareStamps, asked_of, refused
from drivers.linux.held_ring import HeldRing, held_ring, title_of
from drivers.tap import BLOCK_HEADER, STATUS_USER, Block, HeardFrame, TapCounters, TapRequest, pack_block

SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP, PACKET_RX_RING, PACKET_STATISTICS, PACKET_VERSION, PACKET_TIMESTAMP, PACKET_IGNORE_OUTGOING = (
    1,
    5,
    6,
    10,
    17,
    23,
)
PACKET_MR_PROMISC = 1
TPACKET_V3 = 2
ETH_P_ALL = 3
SO_TIMESTAMPNS, SO_ATTACH_FILTER, SO_GET_FILTER = 35, 26, 26
RAW_HARDWARE = 1 << 6  # SOF_TIMESTAMPING_RAW_HARDWARE: the card's stamp where a frame has one, else software's
ARPHRD_ETHER, ARPHRD_LOOPBACK = 1, 772
FRAME_BYTES = 2048  # Only divides a block; TPACKET_V3 packs frames of any size.
LINK_ETHERNET = 1
# The kernel's timer hands a block over when it finds the same one at two of its ticks: after up to twice the time, and some for a busy
# machine. Looked at so often meanwhile.
SETTLE_RETIRES, SETTLE_MS = 3, 5
DISPATCH_FRAMES = 256  # Frames of a portable block.
PORTABLE_BUFFER_MIN = 2 << 20  # libpcap's default; with less, its own ring has a single block and loses all but the first.
_BPF_RETURN, _BPF_JUMP, _BPF_LOAD, _BPF_IS_EQUAL = 0x06, 0x05, 0x20, 0x15
_TAG_WAS_TAKEN_OUT = 0xFFFFF000 + 48  # SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT
TAG_BYTES = 4
FILTER_ROWS_MAX = 4096  # BPF_MAXINSNS
SNAP_MAX = TapRequest("").snap_bytes  # Everything: no frame is longer.
_VLAN = re.compile(r"\bvlan\b")
NOTHING = struct.pack("=HBBI", _BPF_RETURN, 0, 0, 0)  # a filter that keeps no byte of any frame
SIOCGIFFLAGS, IFF_UP, IFF_RUNNING = 0x8913, 1, 0x40  # netdevice(7); running: up, and a carrier
_DOWN = "expected interface {0!r} to be up, it is down (`ip link set {0} up`)"
_GONE = (errno.ENETDOWN, errno.ENXIO, errno.ENODEV)


class RingTap:
    """One interface through the kernel's TPACKET_V3 ring. Raises TapFailed or BadFilter when it is opened.

    held: a ring that has been filling since before this process ran; its geometry goes before the request's.
    is_taken_over: it is one that an earlier life of this process read.
    """

    def __init__(self, request: TapRequest, held: HeldRing | None = None, *, is_taken_over: bool = False) -> None:
        if held is not None:
            request = replace(request, block_bytes=held.block_bytes, block_count=held.block_count, retire_ms=held.retire_ms)
        self._request = request
        self._is_taken_over = is_taken_over
        program = _compiled(request)
        self._counters = TapCounters(dropped={"ring_full": 0, "interface_errors": 0, "interface_missed": 0})
        self._handed: deque[int] = deque()  # the first of each run
        self._handed_count = 0  # blocks in them
        self._position = 0
        self._ring: mmap.mmap | None = None
        self._gone = 0  # the errno of an interface that went away
        self._stamps: HardwareStamps | None = None
        self._refused = 0
        try:
            if held is None:
                self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
            else:
                self._socket = socket.socket(fileno=held.descriptor)
        except OSError as problem:
            kind = NotAllowed if problem.errno in (errno.EPERM, errno.EACCES) else TapFailed
            raise kind(f"expected the right to listen (CAP_NET_RAW), {_name(problem)}") from None
        try:
            if held is None:
                self._open(program)
            else:
                self._adopt()
        except OSError as problem:
            self._abandon()
            raise TapFailed(f"expected interface {request.interface!r} and room for its ring, {_name(problem)}") from None
        except TapFailed:
            self._abandon()
            raise

    def _open(self, program: bytes) -> None:
        heard, request = self._socket, self._request
        self._index = index = socket.if_nametoindex(request.interface)
        heard.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V3)
        # Stamped where the stack first sees the frame, so that two rings on one interface stamp it alike.
        heard.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        size = request.block_bytes * request.block_count
        geometry = struct.pack(
            "=7I", request.block_bytes, request.block_count, FRAME_BYTES, size // FRAME_BYTES, request.retire_ms, 0, 0
        )
        heard.setsockopt(SOL_PACKET, PACKET_RX_RING, geometry)
        self._map(size)
        heard.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        rules = _for_tags(request) if _VLAN.search(request.filter or "") else program
        _attach(heard, _with_room_for_tags(rules, request.snap_bytes))
        heard.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, struct.pack("=iHH8x", index, PACKET_MR_PROMISC, 0))
        self._link = link_counters(request.interface) or LinkCounters()
        self._ask_for_stamps()
        heard.bind((request.interface, ETH_P_ALL))
        hardware = heard.getsockname()[3]
        if hardware not in (ARPHRD_ETHER, ARPHRD_LOOPBACK):
            raise TapFailed(f"expected an Ethernet interface, {request.interface!r} is of hardware type {hardware}")
        if not _flags(heard, request.interface) & IFF_UP:
            # It can be bound all the same, and would be "heard" and "gone" again with every attempt.
            raise TapFailed(_DOWN.format(request.interface))

    def _adopt(self) -> None:
        """A ring somebody else opened: bound, filling, and from now on ours. What comes next is its oldest block not yet released."""
        request = self._request
        bound = self._socket.getsockname()[0]
        if bound != request.interface:
            raise TapFailed(f"expected a ring on interface {request.interface!r}, its own was renamed or went away")
        self._index = socket.if_nametoindex(bound)
        self._map(request.block_bytes * request.block_count)
        headers = [BLOCK_HEADER.unpack_from(self._view, at * request.block_bytes) for at in range(request.block_count)]
        self._position = oldest([(header[2], header[6], header[5]) for header in headers])
        # The kernel tells what came since it was last asked, and who ended may have released some of it: of that only the losses are ours.
        _, dropped = self._asked()
        self._counters = replace(
            self._counters,
            received=sum(header[3] for header in headers),
            dropped={**self._counters.dropped, "ring_full": dropped},
        )
        self._link = link_counters(request.interface) or LinkCounters()
        self._ask_for_stamps()  # What is in the ring already has software's, and each frame says so.

    def _ask_for_stamps(self) -> None:
        self._stamps = asked_of(self._socket, self._request.interface) if self._request.hardware_stamps else None
        # Also where it is not to be: an earlier life may have had the card's clock to read.
        self._socket.setsockopt(SOL_PACKET, PACKET_TIMESTAMP, RAW_HARDWARE if self._stamps is not None else 0)

    def _abandon(self) -> None:
        """What a ring has that does not open: it is tried again every few seconds, for as long as its interface is down."""
        if self._stamps is not None:
            self._stamps.close()
        self._socket.close()

    def _map(self, size: int) -> None:
        self._ring = mmap.mmap(self._socket.fileno(), size, mmap.MAP_SHARED | mmap.MAP_POPULATE, mmap.PROT_READ | mmap.PROT_WRITE)
        self._view = memoryview(self._ring)
        # One aligned 32-bit word each: reading and writing it is one machine access, which the kernel relies on.
        self._status = [self._view[at + 8 : at + 12].cast("I") for at in range(0, size, self._request.block_bytes)]
        self._count = [self._view[at + 12 : at + 16].cast("I") for at in range(0, size, self._request.block_bytes)]
        self._used = [self._view[at + 20 : at + 24].cast("I") for at in range(0, size, self._request.block_bytes)]
        self._sequence = [self._view[at + 24 : at + 32].cast("Q") for at in range(0, size, self._request.block_bytes)]

    @property
    def request(self) -> TapRequest:
        return self._request

    @property
    def link_type(self) -> int:
        return LINK_ETHERNET

    @property
    def title(self) -> str:
        return title_of(self._request)

    @property
    def is_taken_over(self) -> bool:
        return self._is_taken_over

    @property
    def stamps_itself(self) -> bool:
        return self._stamps is not None

    def fileno(self) -> int:
        """Readable also as long as a block is handed out and not released: the kernel looks at the newest block's state only."""
        return self._socket.fileno()

    def next(self, most: int = 1) -> Block | None:
        first, size, blocks = self._position, self._request.block_bytes, self._request.block_count
        # Those handed out are not to be looked at: at the place behind the last of them may be the first, not released yet. And a run
        # ends where the ring does, for behind that its memory does not go on.
        end = first + min(most, blocks - self._handed_count, blocks - first)
        position = first
        while position < end and self._status[position][0] & STATUS_USER:
            position += 1
        if position == first:
            if self._handed_count < blocks:
                self._check()
            return None
        if self._stamps is not None or self._is_taken_over:
            self._translate(first, position)
        sequence, count = self._sequence[first][0], sum([self._count[at][0] for at in range(first, position)])
        self._handed.append(first)
        self._handed_count += position - first
        self._position = position if position < blocks else 0
        return Block(self._view[first * size : position * size], sequence, count, first, size if position - first > 1 else 0)

    def _translate(self, first: int, end: int) -> None:
        """The card's stamps in these blocks into UTC; where it does not stamp for us, an earlier life's are refused."""
        size = self._request.block_bytes
        for at in range(first * size, end * size, size):
            with self._view[at : at + size] as data:
                if self._stamps is not None:
                    self._stamps.translate(data)
                else:
                    self._refused += refused(data)

    def ready_count(self) -> int:
        count, most = 0, self._request.block_count - self._handed_count
        while count < most and self._status[(self._position + count) % self._request.block_count][0] & STATUS_USER:
            count += 1
        return count

    def release(self, block: Block) -> None:
        assert self._handed and self._handed[0] == block.handle, "blocks are released in the order handed out"
        self._handed.popleft()
        self._handed_count -= block.count
        for at in range(block.handle, block.handle + block.count):
            self._count[at][0] = 0  # so that `is_filling` is not told of frames that were read long ago
            self._used[at][0] = 0  # so that `oldest` tells it from the one the kernel has opened to fill next
            self._status[at][0] = 0  # TP_STATUS_KERNEL
        block.data.release()

    def counters(self) -> TapCounters:
        """PACKET_STATISTICS forgets what it has told, so it is added up here."""
        received, dropped = self._asked()
        before, was = self._counters, self._link
        name = _name_now(self._index, self._request.interface)
        self._link = link = link_counters(name) or was
        grown = {
            "ring_full": dropped,
            # A driver that starts anew counts from 0 again; what it had told stays told.
            "interface_errors": max(0, link.errors - was.errors),
            "interface_missed": max(0, link.missed - was.missed),
        }
        self._counters = TapCounters(
            before.received + received,
            {cause: before.dropped[cause] + count for cause, count in grown.items()},
            bool(_flags(self._socket, name) & IFF_RUNNING),
            self._refused + (self._stamps.refused if self._stamps is not None else 0),
        )
        return self._counters

    def _asked(self) -> tuple[int, int]:
        """Frames received and dropped since this was last asked, by whoever. The kernel's first figure includes the dropped."""
        received, dropped, _ = struct.unpack("=III", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 12))
        return received - dropped, dropped

    def catch_up(self) -> None:
        if self._ring is not None:
            self._settle()

    def finish(self) -> None:
        if self._ring is not None:
            _attach(self._socket, NOTHING)
            self._settle()

    def _settle(self) -> None:
        """Until the kernel has handed over the block it is filling: only then is every frame in it whole.

        By looking: as long as a block was handed over and not released, the socket is readable and rings for nothing.
        """
        blocks = self._request.block_count
        waiting = (at % blocks for at in range(self._position, self._position + blocks - self._handed_count))
        place = next((at for at in waiting if not self._status[at][0] & STATUS_USER), None)
        if place is None:
            return
        for _ in range(1 + SETTLE_RETIRES * self._request.retire_ms // SETTLE_MS):
            if self._status[place][0] & STATUS_USER or not self._count[place][0]:
                break
            _rest(SETTLE_MS)

    def close(self) -> None:
        if self._ring is None:
            return
        for word in (*self._status, *self._count, *self._used, *self._sequence):
            word.release()
        self._status, self._count, self._used, self._sequence = [], [], [], []
        self._view.release()
        try:
            self._ring.close()
        except BufferError:
            pass  # Somebody still holds a block; the mapping goes with it.
        self._ring = None
        if self._stamps is not None:
            self._stamps.close()
        self._socket.close()

    def _check(self) -> None:
        """The kernel reports an interface that went away as an error of the socket, once. What was heard before comes first."""
        problem = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if problem in _GONE:
            self._gone = problem
        if self._gone and not self.is_filling():
            raise TapFailed(f"expected interface {self._request.interface!r}, it went away ({errno.errorcode[self._gone]})")

    def is_filling(self) -> bool:
        return bool(self._count[self._position][0]) and not self._status[self._position][0] & STATUS_USER


def oldest(blocks: Sequence[tuple[int, int, int]]) -> int:
    """Where a new owner of a ring begins to read. blocks: (status, sequence, bytes used) of each, as in their headers.

    The oldest that was filled and not released. Where there is none, the one the kernel has opened, which has the highest sequence;
    released ones use 0 bytes (`RingTap.release`), an open one at least its header. Where all are released and none is open, because
    the kernel had found the ring full and has not looked again, the one after the last.
    """
    filled = [(sequence, at) for at, (status, sequence, _) in enumerate(blocks) if status & STATUS_USER]
    if filled:
        return min(filled)[1]
    _, at, used = max((sequence, at, used) for at, (_, sequence, used) in enumerate(blocks))
    return at if used else (at + 1) % len(blocks)


def ring_tap(request: TapRequest, kept: Mapping[str, int] | None = None) -> RingTap:
    """The ring an earlier life left with the keeper, else the one held since the start of the machine, else a new one.

    kept: what the keeper has (Supervisor.kept); asked only where the request is lasting. The holder keeps whole frames of everything, so who wants less (a filter, a snap length) has no use for its ring and leaves it
    alone: intake asks for its ports on the same interface, and the ring is the recorder's.
    """
    if request.lasting and kept:
        held = held_ring(request, kept)
        if held is not None:
            try:
                return RingTap(request, held, is_taken_over=True)
            except TapFailed:
                pass  # Its interface has gone since, and another has its name: a ring of our own is as good as it gets.
    is_whole = not request.filter and request.snap_bytes >= SNAP_MAX
    return RingTap(request, early_ring.taken(request.interface) if is_whole else None)


@dataclass(frozen=True, slots=True)
class LinkCounters:
    """What the interface itself counted. errors: frames that arrived damaged; missed: frames nobody had room for before the ring."""

    received: int = 0
    errors: int = 0
    missed: int = 0


def link_counters(interface: str) -> LinkCounters | None:
    """Of this interface in the namespace of the calling thread; None when there is none of this name.

    /proc/net/dev, and from sysfs, where it shows the same interface, what the card missed. The "drop" of /proc/net/dev is left
    alone: it also counts frames that the kernel had no other use for after the ring had them (310 of 2,000 hostile ones).
    rtnetlink would tell all of it, at the price of one more socket family for a process that needs no other.
    """
    with Path("/proc/thread-self/net/dev").open(encoding="ascii", errors="replace") as rows:
        for row in rows:
            name, _, figures = row.partition(":")
            if name.strip() == interface:
                received, errors, _, overrun = (int(figure) for figure in figures.split()[1:5])
                return LinkCounters(received, errors, overrun + _missed(interface))
    return None


def _missed(interface: str) -> int:
    place = Path("/sys/class/net") / interface
    try:
        if int((place / "ifindex").read_text()) != socket.if_nametoindex(interface):
            return 0  # sysfs of another namespace, with an interface of the same name
        return int((place / "statistics" / "rx_missed_errors").read_text())
    except (OSError, ValueError):
        return 0


class PortableTap:
    """One interface through libpcap, where there is no ring or no right to one. Raises TapFailed or BadFilter when it is opened.

    Costs a Python call a frame (a tenth of the ring's rate) and stamps in microseconds.
    """

    def __init__(self, request: TapRequest) -> None:
        self._request = request
        _compiled(request)
        self._control = socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        )  # asks for flags; a family that every unit allows
        try:
            self._open(request)
        except TapFailed:
            self._control.close()
            raise
        self._descriptor: int = self._reader.getfd()
        with socket.socket(fileno=os.dup(self._descriptor)) as heard:
            heard.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)  # As the ring does, and for the same reason.
        self._sequence = 0
        self._handed = 0
        self._received = 0
        self._closed = False

    def _open(self, request: TapRequest) -> None:
        try:
            self._index = socket.if_nametoindex(request.interface)
        except OSError:
            raise TapFailed(f"expected interface {request.interface!r}, there is none of this name") from None
        if not _flags(self._control, request.interface) & IFF_UP:
            raise TapFailed(_DOWN.format(request.interface))
        try:
            self._reader = pcapy.create(request.interface)
            self._reader.set_snaplen(request.snap_bytes)
            self._reader.set_promisc(1)
            self._reader.set_timeout(request.retire_ms)
            self._reader.set_buffer_size(max(PORTABLE_BUFFER_MIN, min(request.block_bytes * request.block_count, 1 << 30)))
            self._reader.activate()
            self._reader.setdirection(pcapy.PCAP_D_IN)
            if request.filter:
                self._reader.setfilter(request.filter)
            self._reader.setnonblock(1)
        except pcapy.PcapError as problem:
            raise TapFailed(f"expected interface {request.interface!r}: {problem}") from None
        if self._reader.datalink() != pcapy.DLT_EN10MB:
            raise TapFailed(f"expected an Ethernet interface, {request.interface!r} is of link type {self._reader.datalink()}")

    @property
    def request(self) -> TapRequest:
        return self._request

    @property
    def link_type(self) -> int:
        return LINK_ETHERNET

    @property
    def title(self) -> str:
        return ""

    @property
    def is_taken_over(self) -> bool:
        return False

    @property
    def stamps_itself(self) -> bool:
        """Never: libpcap is not asked for it."""
        return False

    def fileno(self) -> int:
        return self._descriptor

    def next(self, most: int = 1) -> Block | None:
        if self._handed == self._request.block_count:
            return None
        frames: list[HeardFrame] = []

        def take(header: "pcapy.Pkthdr", data: bytes) -> None:
            seconds, us = header.getts()
            frames.append(HeardFrame(seconds * 1_000_000_000 + us * 1000, data, header.getlen()))

        try:
            self._reader.dispatch(DISPATCH_FRAMES, take)
        except pcapy.PcapError as problem:
            raise TapFailed(f"expected interface {self._request.interface!r}: {problem}") from None
        if not frames:
            self._check()
            return None
        self._received += len(frames)
        block = Block(memoryview(pack_block(frames, sequence=self._sequence)), self._sequence, len(frames), self._sequence)
        self._sequence += 1
        self._handed += 1
        return block

    def is_filling(self) -> bool:
        """Of libpcap's own ring nobody knows."""
        return False

    def ready_count(self) -> int:
        return 0

    def release(self, block: Block) -> None:
        self._handed -= 1

    def counters(self) -> TapCounters:
        if self._closed:
            return TapCounters(self._received, {"ring_full": 0, "interface": 0})
        _, dropped, interface = self._reader.stats()
        running = bool(_flags(self._control, _name_now(self._index, self._request.interface)) & IFF_RUNNING)
        return TapCounters(self._received, {"ring_full": dropped, "interface": interface}, running)

    def catch_up(self) -> None:
        if not self._closed:
            self._settle()

    def finish(self) -> None:
        if not self._closed:
            self._settle()

    def _settle(self) -> None:
        """Of libpcap's own ring nobody knows how full its last block is: its time is waited for."""
        _rest(SETTLE_RETIRES * self._request.retire_ms)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._reader.close()
            self._control.close()

    def _check(self) -> None:
        waiting = select.poll()
        waiting.register(self._descriptor, 0)
        for _, event in waiting.poll(0):
            if event & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
                raise TapFailed(f"expected interface {self._request.interface!r}, it went away")


def _rest(ms: int) -> None:
    select.poll().poll(ms)


def _flags(control: socket.socket, interface: str) -> int:
    """IFF_* of this interface; 0 when there is none of this name."""
    try:
        answer = fcntl.ioctl(control, SIOCGIFFLAGS, struct.pack("=16sH22x", interface.encode()[:15], 0))
    except OSError:
        return 0
    return int(struct.unpack_from("=H", answer, 16)[0])


def _name_now(index: int, name: str) -> str:
    """What the interface is called now: it may have been renamed since, and another may have its name."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return name  # It went away; `next` says so.


class _Filter(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("count", ctypes.c_uint16), ("filters", ctypes.POINTER(_Filter)))


def _compiled(request: TapRequest) -> bytes:
    """The filter as classic BPF, `struct sock_filter` each; what it returns for a frame is how much of it is kept."""
    if not request.filter:
        return struct.pack("=HBBI", _BPF_RETURN, 0, 0, request.snap_bytes)
    try:
        program = pcapy.compile(pcapy.DLT_EN10MB, request.snap_bytes, request.filter, 1, 0xFFFFFFFF)
    except pcapy.PcapError as problem:
        raise BadFilter(f"expected a pcap-filter(7) expression: {problem}") from None
    return b"".join(struct.pack("=HBBI", *row) for row in program.get_bpf())


def _for_tags(request: TapRequest) -> bytes:
    """The filter as libpcap compiles it for this very interface, where `vlan` asks the kernel for the tag.

    The kernel has taken the outer tag out of a frame before any filter sees it: `_compiled`, which is for frames as they were on the
    wire, would look for it in vain. libpcap does not hand out what it makes for an interface, but the kernel does what it attached.
    """
    reader = pcapy.create(request.interface)
    try:
        reader.set_snaplen(request.snap_bytes)
        reader.set_timeout(request.retire_ms)
        reader.activate()
        reader.setfilter(request.filter)
        rows, count = (_Filter * FILTER_ROWS_MAX)(), ctypes.c_uint32(FILTER_ROWS_MAX)
        # Not socket.getsockopt: the length is counted in rows here, and it would take it for bytes.
        asked = ctypes.CDLL(None).getsockopt(reader.getfd(), socket.SOL_SOCKET, SO_GET_FILTER, rows, ctypes.byref(count))
    except pcapy.PcapError as problem:
        raise TapFailed(f"expected interface {request.interface!r}: {problem}") from None
    finally:
        reader.close()
    if asked or not count.value:
        raise BadFilter("expected a pcap-filter(7) expression that the kernel takes, it is too long")
    return bytes(rows)[: count.value * ctypes.sizeof(_Filter)]


def _with_room_for_tags(program: bytes, snap_bytes: int) -> bytes:
    """The same filter, which keeps less of a frame by the tag that the kernel has taken out of it, and that is put back when recorded.

    Each return of a kept frame becomes a jump behind the end, where it is asked whether there was one.
    """
    if snap_bytes >= SNAP_MAX:
        return program  # Where it is put back, what is then too long is cut.
    rows = list(struct.iter_unpack("=HBBI", program))
    rows = [
        (_BPF_JUMP, 0, 0, len(rows) - place - 1) if row[0] == _BPF_RETURN and row[3] else row for place, row in enumerate(rows)
    ]
    rows += [
        (_BPF_LOAD, 0, 0, _TAG_WAS_TAKEN_OUT),
        (_BPF_IS_EQUAL, 0, 1, 0),
        (_BPF_RETURN, 0, 0, snap_bytes),
        (_BPF_RETURN, 0, 0, snap_bytes - TAG_BYTES),
    ]
    return b"".join(struct.pack("=HBBI", *row) for row in rows)


def _attach(heard: socket.socket, program: bytes) -> None:
    rows = (_Filter * (len(program) // 8)).from_buffer_copy(program)
    heard.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, bytes(_Program(len(rows), rows)))


def _name(problem: OSError) -> str:
    if problem.errno is None:
        return "there is none of this name"  # if_nametoindex says so without a number
    return f"the kernel answered {errno.errorcode.get(problem.errno or 0, os.strerror(problem.errno or 0))}"

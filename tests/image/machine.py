"""A box of QEMU: the built disk on emulated firmware, its serial console as text, its mirror port as a socket.

Everything is emulated (TCG), so that no host needs a right for it: seconds here say nothing about a board, their order does.
"""

import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from drivers.linux.disk import LinuxDisk
from firmware.core import pcapng
from firmware.core.query import Query
from firmware.core.store import Store

FIRMWARE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
U_BOOT = Path(__file__).parents[2] / "build/image/arm64/u-boot.bin"
NUMBERED = 0x88B5  # IEEE 802 local experimental ethertype: our frames carry their number behind it
READ_BYTES = 65_536
BOOT_S = 900.0  # emulated, beside whatever else the machine does; a board takes ten
ANSWER_S = 20.0
BETWEEN_S = 8.0  # times the ring's 64 blocks: frames are kept for longer than an emulated box has nobody to read them
_WRITE = re.compile(r"virtio_blk_handle_write .*\bsector (\d+) ")
FROZEN_RAM, FROZEN_DISK, FROZEN_VARIABLES = "ram", "disk.qcow2", "variables.fd"  # of a machine that was put to sleep


class Missing(AssertionError):
    """The console did not show it in time; the text is what it showed instead."""


def numbers(store: Path) -> list[int]:
    """Of the numbered frames in a store, in the order recorded."""
    found = []
    for hit in Store(LinuxDisk(store)).search(Query(protocols=(hex(NUMBERED),))):
        for packet in pcapng.packets(pcapng.section_header() + pcapng.interface("x") + hit.blocks):
            found.append(int.from_bytes(packet.data[14:22], "big"))
    return found


def sectors(disk: Path, number: int) -> tuple[int, int]:
    """First sector and count of sectors of a partition, 512 bytes each. disk: an image as it is flashed."""
    rows = subprocess.run(["sgdisk", "-i", str(number), str(disk)], check=True, capture_output=True, text=True).stdout
    first, count = (re.search(rf"{label}: (\d+)", rows) for label in ("First sector", "Partition size"))
    assert first is not None and count is not None, rows
    return int(first[1]), int(count[1])


@dataclass
class Line:
    """A serial line as text. log: all that came so far, of every start.

    It is taken in all the time, whatever the test does: QEMU keeps what nobody takes for a few hundred characters, then its port stands
    still, and whoever in the box closes such a port waits thirty seconds for it (Linux, closing_wait), systemd among them.
    """

    place: Path
    log: bytes = field(default=b"", repr=False)
    _wire: socket.socket | None = None
    _seen: int = 0
    _came: threading.Condition = field(default_factory=threading.Condition, repr=False)
    _taker: threading.Thread | None = None
    _is_over: bool = False

    def open(self, path: Path) -> None:
        """Connect to it; what was not looked at before is past."""
        self._wire = _connected(path)
        self._seen, self._is_over = len(self.log), False
        self._taker = threading.Thread(target=self._take, args=(self._wire,), daemon=True)
        self._taker.start()

    def close(self) -> None:
        if self._wire is not None and self._taker is not None:
            with contextlib.suppress(OSError):  # QEMU has ended
                self._wire.shutdown(socket.SHUT_RDWR)
            self._taker.join()
            self._wire.close()
            self._wire = None

    def expect(self, pattern: str, *, within_s: float) -> "re.Match[str]":
        """Wait until it shows this (a regular expression), beyond what was matched before. Raises Missing."""
        end = time.monotonic() + within_s
        with self._came:
            while True:
                text = self.log[self._seen :].decode(errors="replace")
                found = re.search(pattern, text)
                if found:
                    self._seen += len(text[: found.end()].encode())
                    return found
                if self._is_over:
                    raise Missing(f"expected {pattern!r}, the machine ended; its last words:\n{text[-3000:]}")
                if not self._came.wait(max(0.0, end - time.monotonic())):
                    raise Missing(f"expected {pattern!r} within {within_s} s; the line's last words:\n{text[-3000:]}")

    def _take(self, wire: socket.socket) -> None:
        with self.place.open("ab") as file:
            while True:
                try:
                    data = wire.recv(READ_BYTES)
                except ConnectionResetError:
                    data = b""
                with self._came:
                    self.log += data
                    self._is_over = not data
                    self._came.notify_all()
                if not data:
                    return
                file.write(data)
                file.flush()

    def type(self, text: str) -> None:
        """With Enter."""
        assert self._wire is not None
        self._wire.sendall(text.encode() + b"\r")


@dataclass
class Machine:
    """One disk and what runs from it.

    disk: as it is flashed; it is read only, what the machine writes goes beside it. place: an empty directory for that, for sockets,
    and for the firmware's variables. frozen: a directory that `freeze` filled, to wake up from at the first start. has_watchdog: with
    the chipset's own and a card's, or an older chipset and none. arch: of the board.
    """

    disk: Path
    place: Path
    frozen: Path | None = None
    has_watchdog: bool = True
    arch: str = "amd64"
    console: Line = field(init=False)
    shell: Line = field(init=False)
    _process: "subprocess.Popen[bytes] | None" = None
    _monitor: "socket.socket | None" = None
    _sent: int = 0
    _wire: socket.socket | None = None

    def __post_init__(self) -> None:
        self.console, self.shell = Line(self.place / "console.log"), Line(self.place / "shell.log")
        backing = self.disk if self.frozen is None else self.frozen / FROZEN_DISK
        how = "raw" if self.frozen is None else "qcow2"
        if self.arch == "amd64":
            shutil.copy(VARIABLES if self.frozen is None else self.frozen / FROZEN_VARIABLES, self.place / "variables.fd")
        _run("qemu-img", "create", "-q", "-f", "qcow2", "-b", str(backing.resolve()), "-F", how, str(self._overlay))

    @property
    def _overlay(self) -> Path:
        return self.place / "disk.qcow2"

    @property
    def _writes(self) -> Path:
        """QEMU's own account of each write to the disk since the power came on."""
        return self.place / "writes.log"

    def _board(self) -> list[str]:
        """What of QEMU stands for the board, with what starts it."""
        if self.arch == "arm64":
            # Cores with atomic instructions and none of pointer authentication, which emulation makes slow.
            return ["qemu-system-aarch64", "-accel", "tcg,thread=multi", "-cpu", "cortex-a76", "-M", "virt", "-bios", str(U_BOOT)]
        return [
            # Without the string instructions that emulation makes slow: clearing a page takes eight times as long with them.
            "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max,-erms,-fsrm", "-M", "q35" if self.has_watchdog else "pc",
            "-global", "ICH9-LPC.noreboot=false",  # a strap of the chipset: its watchdog may restart it, as on a board
            "-drive", f"if=pflash,format=raw,readonly=on,file={FIRMWARE}",
            "-drive", f"if=pflash,format=raw,file={self.place / 'variables.fd'}",
        ]  # fmt: skip

    def _lines(self, console: Path, shell: Path) -> list[str]:
        """The arm64 board has one serial line; the other is a card's."""
        first, second = (f"unix:{path},server=on,wait=off" for path in (console, shell))
        if self.arch == "arm64":
            return [
                "-serial",
                first,
                "-chardev",
                f"socket,id=shell,path={shell},server=on,wait=off",
                "-device",
                "pci-serial,chardev=shell",
            ]
        return ["-serial", first, "-serial", second]

    def start(self, *, stick: Path | None = None) -> None:
        """Power on, or wake up. stick: the image of a USB stick that is plugged in."""
        ours, theirs = self.place / "host.sock", self.place / "box.sock"
        console, shell, monitor = (self.place / name for name in ("console.sock", "shell.sock", "monitor.sock"))
        for path in (ours, theirs, console, shell, monitor):
            path.unlink(missing_ok=True)
        self._wire = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._wire.bind(str(ours))
        self._wire.setblocking(False)
        frozen, self.frozen = self.frozen, None
        with (self.place / "qemu.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._board(), "-smp", "2", "-m", "1024", "-nodefaults", "-display", "none", "-S",
                    *self._lines(console, shell),
                    "-qmp", f"unix:{monitor},server=on,wait=off",
                    "-drive", f"file={self._overlay},if=none,id=disk,format=qcow2,cache=writeback",
                    "-device", "virtio-blk-pci,drive=disk,bootindex=0",
                    *(["-device", "i6300esb"] if self.has_watchdog else []), "-action", "watchdog=reset",
                    "-netdev", "user,id=uplink,restrict=on", "-device", "virtio-net-pci,netdev=uplink,romfile=",
                    "-netdev", f"dgram,id=mirror,local.type=unix,local.path={theirs},remote.type=unix,remote.path={ours}",
                    "-device", "virtio-net-pci,netdev=mirror,romfile=", "-device", "virtio-rng-pci", "-device", "qemu-xhci",
                    "-trace", "enable=virtio_blk_handle_write", "-D", str(self._writes),
                    *(["-incoming", f"exec:cat {frozen / FROZEN_RAM}"] if frozen is not None else []),
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, process_group=0,
            )  # fmt: skip
        self._monitor = _connected(monitor)
        self._order("qmp_capabilities")
        self.console.open(console)
        self.shell.open(shell)
        if frozen is not None:
            self._await_migration()
        if stick is not None:
            self.plug(stick)
        self._order("cont")

    def plug(self, stick: Path) -> None:
        """Put a USB stick into it."""
        words = f"if=none,id=stick,format=raw,readonly=on,file={stick}"
        self._order("human-monitor-command", {"command-line": f"drive_add 0 {words}"})
        self._order("device_add", {"driver": "usb-storage", "drive": "stick", "id": "usb-stick"})

    def freeze(self, into: Path) -> None:
        """Put it to sleep as it is, for others to wake up from."""
        assert self._process is not None
        self._order("stop")
        self._order("migrate-set-parameters", {"max-bandwidth": 1 << 32})
        self._order("migrate", {"uri": f"exec:cat > {into / FROZEN_RAM}"})
        self._await_migration()
        self._order("quit")
        self._process.wait(timeout=60)
        self.cut_power()
        self._overlay.rename(into / FROZEN_DISK)
        if self.arch == "amd64":
            shutil.copy(self.place / "variables.fd", into / FROZEN_VARIABLES)

    def expect(self, pattern: str, *, within_s: float) -> "re.Match[str]":
        """Wait until the console shows this. Raises Missing."""
        return self.console.expect(pattern, within_s=within_s)

    def ask(self, command: str, pattern: str, *, within_s: float) -> str:
        """Type it on the console until that shows what it should: a line that came while it was starting is nobody's."""
        end = time.monotonic() + within_s
        while True:
            self.console.type(command)
            try:
                return self.expect(pattern, within_s=ANSWER_S)[0]
            except Missing:
                if time.monotonic() > end:
                    raise
                self.console.type("q")  # of a page that waits

    def run(self, command: str, *, within_s: float = BOOT_S, status: int = 0) -> str:
        """What root's shell on the second serial line prints (there is one only where a test had it opened, conftest.py)."""
        self.shell.type(f'{command}; echo "@$?@" ')
        said = self.shell.expect(r"(?s)^.*?@(\d+)@", within_s=within_s)
        assert status == int(said[1]), said[0]
        return said[0].partition('@$?@"')[2].rpartition(f"@{said[1]}@")[0].replace("\r", "").strip()

    def await_run(self, command: str, pattern: str, *, within_s: float) -> str:
        """Run it again and again until it prints this, and return all it printed then."""
        end = time.monotonic() + within_s
        while True:
            said = self.run(f"{command} || true")
            if re.search(pattern, said):
                return said
            if time.monotonic() > end:
                raise Missing(f"expected {pattern!r} of {command}, it says: {said}")
            self.idle(1.0)

    def await_shell(self, *, version: str = "", passing: int = 0) -> None:
        """A plain one: no colours, no line editing. version: of the system that is to come; one that is about to end has a shell, too.
        passing: so often, while it is not there yet, ten numbered frames pass; while nobody reads the ring that may be no more than half
        its blocks."""
        for turn in range(int(2 * BOOT_S / BETWEEN_S)):
            self.send(10 if turn < passing else 0, every_s=0)
            self.shell.type(
                "exec env TERM=dumb PAGER=cat SYSTEMD_COLORS=0 PS1= sh"
            )  # no prompt: it may come after the next line was typed
            self.shell.type("trap exit TERM")  # or systemd waits a minute and a half for it at the end
            self.shell.type('echo "<$(cat /usr/lib/scrubjay/version)>"')
            try:
                if version in self.shell.expect(r"<([\w.+]+)>", within_s=BETWEEN_S)[1]:
                    self.idle(2.0)  # for what was typed before anybody read it
                    return
            except Missing:
                continue
            self.idle(BETWEEN_S)
        raise Missing(f"expected root's shell, of {version or 'any version'}")

    def pass_until(self, command: str, pattern: str) -> str:
        """Numbered frames pass until root's shell prints this for that. Ten at a time: at so low a rate each block of the ring is given
        back for a few frames."""
        for _ in range(int(2 * BOOT_S / BETWEEN_S)):
            self.send(10, every_s=0)
            said = self.run(f"{command} || true")
            if re.search(pattern, said):
                return said
            self.idle(BETWEEN_S)
        raise Missing(f"expected {pattern!r} of {command}, it says: {said}")

    def await_write(self, number: int, *, count: int = 1, from_byte: int = 0, within_s: float = BOOT_S) -> None:
        """Wait until it has begun so many writes to a partition, at or beyond that byte of it, since the power came on: the same moment
        on a quick host and on a slow one. Raises Missing."""
        first, size = sectors(self.disk, number)
        end = time.monotonic() + within_s
        with self._writes.open() as log:
            rest, seen = "", 0
            while seen < count:
                *lines, rest = (rest + log.read()).split("\n")
                places = [int(found[1]) for line in lines if (found := _WRITE.search(line))]
                seen += sum(first + from_byte // 512 <= place < first + size for place in places)
                if not places:
                    if time.monotonic() > end:
                        raise Missing(f"expected write {count} to partition {number} beyond {from_byte}, {seen} came")
                    self.idle(0.002)

    def await_sealed(self) -> None:
        """What was sent until now is in a sealed segment then, and lasts."""
        sealed = "ls /var/lib/scrubjay/segments | wc -l"
        count = int(self.run(sealed))
        self.await_run(f"test $({sealed}) -gt {count} && echo more", "more", within_s=BOOT_S)

    def idle(self, for_s: float) -> None:
        """Let it work."""
        select.select([], [], [], for_s)

    def send(self, count: int, *, every_s: float) -> None:
        """Numbered frames into the mirror port, going on where the last call ended."""
        assert self._wire is not None
        due = time.monotonic()
        for _ in range(count):
            frame = b"\xff" * 6 + b"\x02\0\0\0\0\1" + struct.pack("!HQ", NUMBERED, self._sent) + bytes(78)
            while True:
                try:
                    self._wire.sendto(frame, str(self.place / "box.sock"))
                    break
                except BlockingIOError:  # QEMU, on a host that has other work, did not come to take the ones before
                    self.idle(0.01)
            self._sent += 1
            due += every_s
            self.idle(max(0.0, due - time.monotonic()))

    def heard(self) -> list[bytes]:
        """Every frame the box has sent out of its mirror port so far. There should be none."""
        assert self._wire is not None
        frames = []
        while True:
            try:
                frames.append(self._wire.recv(READ_BYTES))
            except BlockingIOError:
                return frames

    @property
    def sent(self) -> int:
        """Numbered frames sent so far."""
        return self._sent

    def cut_power(self) -> None:
        """Now, in the middle of whatever it does."""
        if self._process is not None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self._process.wait()
            self._process = None
        self.console.close()
        self.shell.close()
        for wire in (self._wire, self._monitor):
            if wire is not None:
                wire.close()
        self._wire = self._monitor = None

    def partition(self, number: int, into: Path) -> Path:
        """A copy of it as it is now. The machine is off."""
        assert self._process is None
        raw = self.place / "raw.img"
        _run("qemu-img", "convert", "-q", "-O", "raw", str(self._overlay), str(raw))
        first, count = sectors(self.disk, number)
        part = [f"skip={first // 2048}", f"count={count // 2048}"]
        _run("dd", f"if={raw}", f"of={into}", "bs=1M", *part, "conv=sparse", "status=none")
        raw.unlink()
        return into

    def slots(self) -> dict[str, str]:
        """What the boot loader will go by."""
        name = "uboot.env" if self.arch == "arm64" else "grubenv"
        esp, file = self.partition(1, self.place / "esp.img"), self.place / name
        _run("mcopy", "-o", "-i", str(esp), f"::/{name}", str(file))
        data = file.read_bytes()
        # U-Boot's begins with a checksum of four bytes and ends with an empty name.
        rows = data[4:].split(b"\0\0")[0].split(b"\0") if self.arch == "arm64" else data.splitlines()
        return dict(row.decode().split("=", 1) for row in rows if b"=" in row and not row.startswith(b"#"))

    def store(self, into: Path) -> Path:
        """What lies on its data partition, copied out with nothing mounted. The machine is off."""
        data = self.partition(6, self.place / "data.img")
        subprocess.run(["e2fsck", "-fy", str(data)], check=False, capture_output=True)  # replays the journal, as the box would
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir()
        _run("debugfs", "-R", f"rdump /scrubjay {into}", str(data))
        data.unlink()
        return into / "scrubjay"

    def _order(self, verb: str, arguments: dict[str, object] | None = None) -> object:
        """QEMU's own monitor (QMP)."""
        assert self._monitor is not None
        self._monitor.sendall(json.dumps({"execute": verb, **({"arguments": arguments} if arguments else {})}).encode())
        answer = b""
        while True:
            answer += self._monitor.recv(READ_BYTES)
            for line in answer.splitlines():
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                if "error" in row:
                    raise RuntimeError(f"{verb}: {row['error']['desc']}")
                if "return" in row:
                    return row["return"]

    def _await_migration(self) -> None:
        while True:
            state = self._order("query-migrate")
            assert isinstance(state, dict)
            if state.get("status") == "completed":
                return
            assert state.get("status") != "failed", state
            self.idle(0.1)


def _connected(path: Path) -> socket.socket:
    """QEMU listens a moment after it was started."""
    wire = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    end = time.monotonic() + 60
    while True:
        try:
            wire.connect(str(path))
            return wire
        except OSError:
            if time.monotonic() > end:
                raise
            select.select([], [], [], 0.05)


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)

"""A box of QEMU: the built disk on emulated firmware, its serial console as text, its mirror port as a socket.

Everything is emulated (TCG), so that no host needs a right for it: seconds here say nothing about a board, their order does.
"""

import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from drivers.linux.disk import LinuxDisk
from firmware.core import pcapng
from firmware.core.query import Query
from firmware.core.store import Store

FIRMWARE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
NUMBERED = 0x88B5  # IEEE 802 local experimental ethertype: our frames carry their number behind it
READ_BYTES = 65_536
BOOT_S = 900.0  # emulated, beside whatever else the machine does; a board takes ten
ANSWER_S = 20.0


class Missing(AssertionError):
    """The console did not show it in time; the text is what it showed instead."""


def numbers(store: Path) -> list[int]:
    """Of the numbered frames in a store, in the order recorded."""
    found = []
    for hit in Store(LinuxDisk(store)).search(Query(protocols=(hex(NUMBERED),))):
        for packet in pcapng.packets(pcapng.section_header() + pcapng.interface("x") + hit.blocks):
            found.append(int.from_bytes(packet.data[14:22], "big"))
    return found


@dataclass
class Machine:
    """One disk and what runs from it. place: an empty directory for its sockets and its firmware's variables."""

    disk: Path
    place: Path
    log: bytes = field(default=b"", repr=False)
    _process: "subprocess.Popen[bytes] | None" = None
    _seen: int = 0
    _sent: int = 0
    _wire: socket.socket | None = None

    def start(self, *, stick: Path | None = None) -> None:
        """Power on. stick: the image of a USB stick that is plugged in."""
        variables = self.place / "variables.fd"
        if not variables.exists():
            shutil.copy(VARIABLES, variables)
        ours, theirs = self.place / "host.sock", self.place / "box.sock"
        for path in (ours, theirs):
            path.unlink(missing_ok=True)
        self._wire = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._wire.bind(str(ours))
        self._wire.setblocking(False)
        self._seen = len(self.log)
        drive = f"if=none,id=stick,format=raw,readonly=on,file={stick}"
        plugged = [] if stick is None else ["-device", "qemu-xhci", "-drive", drive, "-device", "usb-storage,drive=stick"]
        self._process = subprocess.Popen(
            [
                # Without the string instructions that emulation makes slow: clearing a page takes eight times as long with them.
                "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-smp", "2", "-cpu", "max,-erms,-fsrm", "-M", "q35", "-m", "1024",
                "-nodefaults", "-display", "none", "-serial", "stdio",
                "-drive", f"if=pflash,format=raw,readonly=on,file={FIRMWARE}", "-drive", f"if=pflash,format=raw,file={variables}",
                "-drive", f"file={self.disk},if=none,id=disk,format=raw,cache=writeback", "-device", "virtio-blk-pci,drive=disk,bootindex=0", "-device", "i6300esb", "-watchdog-action", "reset",
                "-netdev", "user,id=uplink,restrict=on", "-device", "virtio-net-pci,netdev=uplink,romfile=",
                "-netdev", f"dgram,id=mirror,local.type=unix,local.path={theirs},remote.type=unix,remote.path={ours}",
                "-device", "virtio-net-pci,netdev=mirror,romfile=", "-device", "virtio-rng-pci", *plugged,
            ],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, process_group=0,
        )  # fmt: skip

    def expect(self, pattern: str, *, within_s: float) -> "re.Match[str]":
        """Wait until the console shows this (a regular expression), beyond what was matched before. Raises Missing."""
        assert self._process is not None and self._process.stdout is not None
        end = time.monotonic() + within_s
        while True:
            text = self.log[self._seen :].decode(errors="replace")
            found = re.search(pattern, text)
            if found:
                self._seen += len(text[: found.end()].encode())
                return found
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise Missing(f"expected {pattern!r} within {within_s} s; the console's last words:\n{text[-3000:]}")
            data = os.read(self._process.stdout.fileno(), READ_BYTES)
            if not data:
                raise Missing(f"expected {pattern!r}, the machine ended; its last words:\n{text[-3000:]}")
            self.log += data
            with (self.place / "console.log").open("ab") as file:
                file.write(data)

    def type(self, text: str) -> None:
        """On the console, with Enter."""
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(text.encode() + b"\r")
        self._process.stdin.flush()

    def ask(self, command: str, pattern: str, *, within_s: float) -> str:
        """Type it until the console shows what it should: a line that came while it was starting is nobody's."""
        end = time.monotonic() + within_s
        while True:
            self.type(command)
            try:
                return self.expect(pattern, within_s=ANSWER_S)[0]
            except Missing:
                if time.monotonic() > end:
                    raise
                self.type("q")  # of a page that waits

    def send(self, count: int, *, every_s: float) -> None:
        """Numbered frames into the mirror port, going on where the last call ended."""
        assert self._wire is not None
        due = time.monotonic()
        for _ in range(count):
            frame = b"\xff" * 6 + b"\x02\0\0\0\0\1" + struct.pack("!HQ", NUMBERED, self._sent) + bytes(78)
            self._wire.sendto(frame, str(self.place / "box.sock"))
            self._sent += 1
            due += every_s
            select.select([], [], [], max(0.0, due - time.monotonic()))

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
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def partition(self, number: int) -> tuple[int, int]:
        """First sector and count of sectors, 512 bytes each."""
        rows = subprocess.run(["sgdisk", "-i", str(number), str(self.disk)], check=True, capture_output=True, text=True).stdout
        first, count = (re.search(rf"{label}: (\d+)", rows) for label in ("First sector", "Partition size"))
        assert first is not None and count is not None, rows
        return int(first[1]), int(count[1])

    def settings(self, text: str) -> None:
        """Lay settings onto its data partition before the first start, as a person may who has the card in hand."""
        (self.place / "scrubjay.toml").write_text(text)
        where = f"{self.disk}?offset={self.partition(6)[0] * 512}"
        for request in ("mkdir etc", f"write {self.place / 'scrubjay.toml'} etc/scrubjay.toml"):
            subprocess.run(["debugfs", "-w", "-R", request, where], check=True, capture_output=True)

    def slots(self) -> dict[str, str]:
        """What the boot loader will go by."""
        file = self.place / "grubenv"
        where = f"{self.disk}@@{self.partition(1)[0] * 512}"
        subprocess.run(["mcopy", "-o", "-i", where, "::/grubenv", str(file)], check=True, capture_output=True)
        return dict(line.split("=", 1) for line in file.read_text().splitlines() if "=" in line and not line.startswith("#"))

    def store(self, into: Path) -> Path:
        """What lies on its data partition, copied out with nothing mounted. The machine is off."""
        assert self._process is None
        first, count = self.partition(6)
        data = self.place / "data.img"
        subprocess.run(
            ["dd", f"if={self.disk}", f"of={data}", "bs=1M", f"skip={first // 2048}", f"count={count // 2048}", "conv=sparse", "status=none"], check=True
        )  # fmt: skip
        subprocess.run(["e2fsck", "-fy", str(data)], check=False, capture_output=True)  # replays the journal, as the box would
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir()
        subprocess.run(["debugfs", "-R", f"rdump /scrubjay {into}", str(data)], check=True, capture_output=True)
        data.unlink()
        return into / "scrubjay"

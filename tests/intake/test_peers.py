"""The doors with programs nobody here wrote on the other side: util-linux, OpenSSL, python-hl7, pyigtl."""

import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from drivers.linux.board import LinuxBoard
from firmware.core.message import Message, Priority, unpacked
from firmware.core.spool import Spool
from firmware.intake.settings import IntakeSettings
from firmware.intake.station import IntakeStation
from simulator.broker import free_port
from simulator.tap import SimulatedTap

WAIT_S = 60.0  # a busy machine starts an interpreter in seconds


class Box:
    """An intake with real sockets and a real disk; its mirror port is silent."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.board = LinuxBoard(root, root / "identity", open_tap=SimulatedTap)
        self.station = IntakeStation(self.board, IntakeSettings(listen_address="127.0.0.1", **settings))
        self.station.start(self.board.clock.now())
        self.step()

    def step(self) -> None:
        self.station.step(self.board.clock.now())

    def messages(self) -> list[Message]:
        inbox = Spool(self.board.disk, "inbox")
        return [row for name in inbox.names() for row in unpacked(inbox.peek(name) or b"")]

    def until(self, done: Callable[[], bool]) -> None:
        """Step as the loop would, until it is so."""
        start = self.board.clock.now().monotonic
        while not done():
            now = self.board.clock.now()
            assert now.monotonic.since(start) < WAIT_S * 1e9, f"expected it within {WAIT_S} s; {self.station.report.as_json()}"
            wish = self.station.step(now)
            left_s = 0.5 if wish is None else max(0.0, min(0.5, wish.since(now.monotonic) / 1e9))
            select.select([fd for fd in self.station.descriptors() if fd >= 0], [], [], left_s)


@pytest.fixture
def make_box(tmp_path: Path) -> Iterator[Callable[..., Box]]:
    boxes: list[Box] = []

    def make(**settings: Any) -> Box:
        boxes.append(Box(tmp_path, **settings))
        return boxes[-1]

    yield make
    for box in boxes:
        box.station.stop(box.board.clock.now())


@pytest.mark.skipif(shutil.which("logger") is None, reason="logger is not installed")
@pytest.mark.parametrize("way", [["--udp"], ["--tcp"], ["--tcp", "--octet-count"]])
@pytest.mark.parametrize("form", ["--rfc5424", "--rfc3164"])
def test_logger(make_box: Callable[..., Box], way: list[str], form: str) -> None:
    """util-linux's syslog sender, over UDP and TCP, with lines and with counted octets. (S2-033)"""
    port = free_port()
    box = make_box(syslog_udp_listen=port) if way == ["--udp"] else make_box(syslog_tcp_listen=port)
    said = subprocess.run(
        ["logger", form, *way, "-n", "127.0.0.1", "-P", str(port), "-p", "local0.err", "-t", "arm-3", "joint 2 stopped"],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert (0, "") == (said.returncode, said.stderr)
    box.until(lambda: bool(box.messages()))
    (message,) = box.messages()

    assert ("joint 2 stopped", "arm-3", Priority.P1, "127.0.0.1") == (
        message.text,
        message.process,
        message.priority,
        message.device,
    )


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl(make_box: Callable[..., Box], tmp_path: Path) -> None:
    """RFC 5425: two counted messages through OpenSSL's own client, which checks who answers. (S2-033)"""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "box.key", "-out", "box.pem",
         "-days", "2", "-subj", "/CN=box"], cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    port = free_port()
    box = make_box(syslog_tls_listen=port, tls_certificate=str(tmp_path / "box.pem"), tls_key=str(tmp_path / "box.key"))
    rows = [b"<11>1 - - arm - - - one", b"<12>1 - - arm - - - two"]
    with subprocess.Popen(
        ["openssl", "s_client", "-quiet", "-verify_return_error", "-CAfile", "box.pem", "-connect", f"127.0.0.1:{port}"],
        cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as peer:  # fmt: skip
        assert peer.stdin is not None
        peer.stdin.write(b"".join(b"%d %s" % (len(row), row) for row in rows))
        peer.stdin.flush()
        box.until(lambda: len(box.messages()) == 2)
        peer.terminate()

    assert ["one", "two"] == [message.text for message in box.messages()]


@pytest.mark.skipif(shutil.which("echoscu") is None, reason="dcmtk is not installed")
def test_dcmtk(make_box: Callable[..., Box]) -> None:
    """DCMTK's verification, as everybody tries a node first, ten times on one association; its storage is turned away. (S2-033)"""
    port = free_port()
    box = make_box(dicom_listen=port)
    for command, status in (
        (["echoscu", "--repeat", "10"], 0),
        (["echoscu", "--propose-pc", "4", "-aet", "CARM_7", "-aec", "BOX"], 0),
    ):
        with subprocess.Popen([*command, "127.0.0.1", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as peer:
            box.until(lambda peer=peer: peer.poll() is not None)  # type: ignore[misc]
        assert status == peer.returncode
    with subprocess.Popen(
        ["findscu", "-W", "-k", "0010,0010", "127.0.0.1", str(port)], stderr=subprocess.PIPE, text=True
    ) as peer:
        box.until(lambda: peer.poll() is not None)
        assert peer.stderr is not None
        assert "Rejected" in peer.stderr.read()
    assert {} == box.station.report.drops
    assert [] == box.messages()


HL7_SENDER = """
import sys
from hl7.client import MLLPClient
alert = ("MSH|^~\\\\&|MON|ICU|||20261122101500+0000||ORU^R40^ORU_R40|{}|P|2.6\\r"
         "OBX|1|CWE|196616^MDC_EVT_ALARM^MDC||196670^MDC_EVT_LO^MDC^^low|||PH||F\\r")
with MLLPClient("127.0.0.1", int(sys.argv[1])) as client:
    for number in range(3):
        print(client.send_message(alert.format(number)).decode().split("\\r")[1].strip())
"""


def test_python_hl7(make_box: Callable[..., Box]) -> None:
    """A client that waits for each answer before it goes on gets three."""
    port = free_port()
    box = make_box(hl7_listen=port)
    with subprocess.Popen([sys.executable, "-c", HL7_SENDER, str(port)], stdout=subprocess.PIPE, text=True) as peer:
        box.until(lambda: peer.poll() is not None)
        assert peer.stdout is not None
        answers = peer.stdout.read().split()

    assert ["MSA|AA|0", "MSA|AA|1", "MSA|AA|2"] == answers
    assert ["0", "1", "2"] == [message.fields["hl7/control_id"] for message in box.messages()]


IGTL_SENDER = """
import struct, sys
import pyigtl
class Status(pyigtl.messages.MessageBase):
    def __init__(self):
        super().__init__()
        self._message_type = "STATUS"
        self._valid_message = True
    def _pack_content(self):
        return struct.pack(">Hq20s", 3, 0, b"NDI") + b"emergency stop\\0"
status = Status()
status.header_version = int(sys.argv[2])
status.device_name = "Tracker"
client = pyigtl.OpenIGTLinkClient("127.0.0.1", int(sys.argv[1]))
client.start() if hasattr(client, "start") else None
import threading
while not client.is_connected():
    threading.Event().wait(0.05)
client.send_message(pyigtl.StringMessage("hello", device_name="Tracker"), wait=True)
client.send_message(status, wait=True)
threading.Event().wait(1)
client.stop()
"""


@pytest.mark.parametrize("version", ["1", "2"])
def test_pyigtl(make_box: Callable[..., Box], version: str) -> None:
    """A STATUS packed by somebody else's library in either form of the header, behind a message of another type. (S2-033)"""
    port = free_port()
    box = make_box(igtl_listen=port)
    with subprocess.Popen([sys.executable, "-c", IGTL_SENDER, str(port), version], stderr=subprocess.PIPE, text=True) as peer:
        box.until(lambda: bool(box.messages()) or peer.poll() is not None)
        peer.terminate()
    (message,) = box.messages()

    assert ("igtl/panic", Priority.P1, "emergency stop") == (message.event, message.priority, message.text)
    assert "Tracker" == message.fields["claimed_device"]


@pytest.mark.skipif(find_spec("sdc11073") is None, reason="sdc11073 is not installed")
def test_sdc11073(make_box: Callable[..., Box]) -> None:
    """The library's own provider is found, its alert escalates, and the alarm is in the inbox. (S2-033)"""
    identifier = uuid4()
    device = Path(__file__).parents[1] / "drivers" / "sdc_device.py"
    with subprocess.Popen(
        [sys.executable, str(device), "127.0.0.1", str(identifier)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as peer:  # fmt: skip
        assert peer.stdin is not None and peer.stdout is not None and "ready" == peer.stdout.readline().strip()
        box = make_box(sdc_address="127.0.0.1", sdc_devices=(identifier.urn,))
        for priority, wanted in (("Lo", Priority.P3), ("Hi", Priority.P1)):
            peer.stdin.write(f"alert {priority} 1\n")
            box.until(lambda wanted=wanted: any(row.event == "mdc/196670" and row.priority == wanted for row in box.messages()))
        peer.kill()

    assert ["start", "escalate"] == [row.fields["alert/phase"] for row in box.messages() if row.event == "mdc/196670"][:2]

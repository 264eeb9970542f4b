"""Who talks in the room: unmodified third-party programs, and our own publishers.

    clock    ptp4l, grandmaster            timea, timeb  ptp4l, slaves
    cart     mosquitto, the room's broker; robot arm answering the console
    console  robot commands 1 kHz; mosquitto_sub; ping; takes syslog
    vision   dcmtk: echoscu, storescu      pacs          dcmtk: storescp
    monitor  mosquitto_pub; logger (RFC 5424); published messages on the four priority ports

Time: ptp4l runs with software stamps and `free_running 1`, so that no clock of this machine is ever steered. Task devices have clocks
of their own (simulator/ptp): each starts off and drifts, most follow the grandmaster, and what they publish has their time.
A program that is not installed is left out and named in `missing`.
"""

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from simulator.namespaces import search_path
from simulator.network import BROADCAST, Network, Program
from simulator.ptp.linuxptp import ptp4l
from simulator.results import ending_on_signals
from simulator.room_patients import make_objects

# Host, character, offset µs, drift ppm. A cart nobody would notice, a vision system that only reports, a monitor nobody synchronised.
CLOCKS = (
    ("console", "synchronised", 5_000, 40.0),
    ("cart", "synchronised", -2_000, -12.5),
    ("vision", "unmonitored", 700, 25.0),
    ("monitor", "free", 180_000, 15.0),
)
BROKER_PORT = 1883
DICOM_PORT = 11112
PROGRAMS = (
    "ptp4l",
    "mosquitto",
    "mosquitto_pub",
    "mosquitto_sub",
    "storescp",
    "storescu",
    "echoscu",
    "dump2dcm",
    "logger",
    "ping",
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What goes on. robot_hz: frames a second each way. seconds: after which our publishers end by themselves.

    quiet: no alarms but the ones somebody asks for.
    """

    robot_hz: int = 1000
    seconds: int = 600
    quiet: bool = False


class Room:
    """The network and everybody in it, for as long as the `with` block lasts. Raises NoRoom with what is missing.

    directory: where programs keep their files and write their logs. mirror: the interface to listen to.
    """

    def __init__(self, directory: Path, scenario: Scenario, *, mirroring: str | None = None) -> None:
        self.scenario = scenario
        self.network = Network(directory, mirroring=mirroring)
        self.directory = directory
        self.missing = [name for name in PROGRAMS if shutil.which(name, path=search_path()) is None]
        self.programs: dict[str, Program] = {}

    def __enter__(self) -> "Room":
        """The network is there and nobody speaks yet: whoever wants to hear the first word listens now, then calls `start`."""
        self.network.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Everybody goes, and nothing is left. Twice is as good as once."""
        self.network.close()

    def fall_silent(self) -> None:
        """Every program ends; the network and its mirror port stay."""
        for program in reversed(self.programs.values()):
            program.end()

    def mirror_counts(self) -> tuple[int, int]:
        """(frames the mirror port delivered so far, frames anything sent on it)."""
        place = Path(f"/sys/class/net/{self.mirror}/statistics")
        received, sent = (int((place / name).read_text()) for name in ("rx_packets", "tx_packets"))
        return received, sent

    @property
    def mirror(self) -> str:
        return self.network.mirror

    def start(self) -> None:
        """Everybody at once; who needs a peer tries again until it is there, as in a real room."""
        self._start_ptp()
        self._start_clocks()
        self._start_broker()
        self._start_dicom()
        self._start_monitor()
        self._start_ours()

    def ended(self) -> list[str]:
        """Names of programs that are no longer running."""
        return [name for name, program in self.programs.items() if not program.running]

    def _start_ptp(self) -> None:
        if "ptp4l" in self.missing:
            return
        for host, priority1, slave in (("clock", 10, False), ("timea", 200, True), ("timeb", 200, True)):
            self._start(host, f"ptp4l-{host}", ptp4l(self.network, host, priority1=priority1, slave=slave))

    def _start_clocks(self) -> None:
        """Each task device has a clock of its own, and follows the grandmaster as well as its kind does."""
        for host, kind, offset_us, drift_ppm in CLOCKS:
            arguments = ["--number", str(self.network.hosts[host].number), "--character", kind]
            arguments += [f"--offset-us={offset_us}", f"--drift-ppm={drift_ppm}", "--truth", str(self.truth_file(host))]
            command = [sys.executable, "-m", "simulator.ptp.device", *arguments]
            self.programs[f"clock-{host}"] = self.network.start(host, f"clock-{host}", command)

    @property
    def ptp4l_socket(self) -> Path:
        """The control socket of the room's grandmaster."""
        return self.network.control / "ptp4l-clock"

    def truth_file(self, host: str) -> Path:
        """Where the truth about a task device's clock is written (simulator/ptp/virtual_clock.py)."""
        return self.network.directory / f"{host}.truth"

    def _start_broker(self) -> None:
        cart = self.network.hosts["cart"].address
        file = self.network.directory / "broker.conf"
        file.write_text(f"listener {BROKER_PORT} {cart}\nallow_anonymous true\npersistence false\n")
        self._start("cart", "mosquitto", ["mosquitto", "-c", str(file)])
        talk = ["-h", cart, "-p", str(BROKER_PORT), "-V", "5"]
        self._repeat("console", "mosquitto_sub", [["mosquitto_sub", *talk, "-v", "-q", "1", "-t", "room/#"]], pause_s=0.2)
        arguments = ["-q", "1", "-t", "room/arm/2/temperature", "-m", "36.4", "--repeat", "100000", "--repeat-delay", "0.25"]
        self._repeat("monitor", "mosquitto_pub", [["mosquitto_pub", *talk, *arguments]], pause_s=0.2)

    def _start_dicom(self) -> None:
        received = self.network.directory / "pacs"
        received.mkdir(exist_ok=True)
        self._start("pacs", "storescp", ["storescp", "-aet", "PACS", "-od", str(received), str(DICOM_PORT)])
        if "dump2dcm" in self.missing:
            return
        objects = [str(path) for path in make_objects(self.network)]
        peer = ["-aec", "PACS", self.network.hosts["pacs"].address, str(DICOM_PORT)]
        self._repeat("vision", "storescu", [["echoscu", *peer], ["storescu", *peer, *objects]], pause_s=2)

    def _start_monitor(self) -> None:
        console = self.network.hosts["console"].address
        self._start("console", "ping", ["ping", "-i", "0.5", self.network.hosts["cart"].address])
        say = ["logger", "--rfc5424", "-d", "-n", console, "-p", "local0.warning", "-t", "monitor"]
        # Once to a syslog server, and once to the third priority port: an unmodified syslog sender can be a publisher.
        words = ["SpO2 88 % for 10 s"]
        self._repeat("monitor", "logger", [[*say, "-P", "514", *words], [*say, "-P", "47003", *words]], pause_s=1)

    def _start_ours(self) -> None:
        console, cart = self.network.hosts["console"].address, self.network.hosts["cart"].address
        for host, peer, role in (("console", cart, "console"), ("cart", console, "arm")):
            arguments = ["robot", "--role", role, "--to", peer, "--hz", str(self.scenario.robot_hz)]
            self._start_traffic(host, f"robot-{role}", arguments)
        self._start_traffic("console", "syslog-sink", ["sink", "--port", "514", "--port", "47003"])
        quiet = ["--quiet"] if self.scenario.quiet else []
        for host in ("monitor", "cart"):
            arguments = ["publish", "--device", host, "--to", BROADCAST, "--clock", str(self.truth_file(host)), *quiet]
            self._start_traffic(host, f"publisher-{host}", arguments)

    def _start_traffic(self, host: str, name: str, arguments: Sequence[str]) -> None:
        command = [sys.executable, "-m", "simulator.room_traffic", *arguments, "--seconds", str(self.scenario.seconds)]
        self.programs[name] = self.network.start(host, name, command)

    def _repeat(self, host: str, name: str, commands: Sequence[Sequence[str]], *, pause_s: float) -> None:
        """These commands one after the other, again and again, by a shell on that host."""
        body = "; ".join(shlex.join(command) for command in commands if command[0] not in self.missing)
        if body:
            # A host name of its own, so that a program that says where it runs says the host's and not this machine's.
            script = f"echo {host} >/proc/sys/kernel/hostname; while :; do {body}; sleep {pause_s}; done"
            self.programs[name] = self.network.start(host, name, ["unshare", "--uts", "sh", "-c", script])

    def _start(self, host: str, name: str, command: Sequence[str]) -> None:
        if command[0] not in self.missing:
            self.programs[name] = self.network.start(host, name, command)


def versions(network: Network) -> dict[str, str]:
    """Each third-party program and what it says its version is, for the provenance of a recording."""
    asked = {
        "linuxptp (ptp4l)": ["ptp4l", "-v"],
        "mosquitto": ["sh", "-c", "mosquitto -h | head -1"],
        "dcmtk (storescu, storescp, echoscu, dump2dcm)": ["sh", "-c", "storescu --version | head -1"],
        "util-linux (logger)": ["logger", "--version"],
        "iputils (ping)": ["ping", "-V"],
    }
    return {name: " ".join(network.run("console", command).split()) for name, command in asked.items()}


def stay(say: Callable[[str], None]) -> int:
    """`scrubjay sim room`: a room to listen to, until Ctrl-C."""
    with (
        ending_on_signals(),
        tempfile.TemporaryDirectory(prefix="scrubjay-room-") as directory,
        Room(Path(directory), Scenario(seconds=86_400)) as room,
    ):
        say(f"a room of {len(room.network.hosts)} hosts, mirrored by {room.network.mirroring}")
        for name in room.missing:
            say(f"{name} is not installed and stays silent")
        say(f"listen on {room.mirror}, for example: scrubjay record {room.mirror} -o build/room")
        say("Ctrl-C ends it")
        # A pipe nobody writes: waits without polling, and the signal ends it.
        reader, writer = os.pipe()
        try:
            os.read(reader, 1)
        except KeyboardInterrupt:
            say("removing the room")
        finally:
            os.close(reader)
            os.close(writer)
    return 0

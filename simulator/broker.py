"""A real broker for tests, the demo and the bench: mosquitto on a free loopback port, with nothing left behind.

Without mosquitto, amqtt from PyPI takes its place where it is installed; it speaks MQTT 3.1.1 only to some clients and is slower,
and whoever starts it is told so by `kind`.
"""

import importlib.util
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from drivers.errors import Missing, Trouble

# Announced as Receive Maximum; mosquitto's 20 limits throughput at a round trip of 40 ms (fleet study §1).
IN_FLIGHT_MAX = 100
QUEUED_MAX = 10_000  # For each subscriber; the default 1000 drops in silence while a hub restarts.
START_S_MAX = 10.0
END_S_MAX = 5.0
_PLACES = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin", "/usr/bin")


@dataclass(frozen=True, slots=True)
class BrokerTls:
    """PEM files; with them the broker takes nobody without a certificate signed by `ca`."""

    ca: Path
    certificate: Path
    key: Path


class BrokerFailed(Trouble):
    """The broker did not come up. Its log, named in the message, says why."""


class RealBroker:
    """A broker process on 127.0.0.1. `start` again after `kill` listens on the same port.

    directory: where its configuration and log are kept. tls: speak TLS. port: 0 chooses a free one. embedded: amqtt
    even where mosquitto is installed.
    """

    def __init__(self, directory: Path, *, tls: BrokerTls | None = None, port: int = 0, embedded: bool = False) -> None:
        self._directory = directory
        self._tls = tls
        self.port = port or free_port()
        self._embedded = embedded
        self.kind = "mosquitto" if mosquitto() and not embedded else "amqtt"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """ "host:port", as settings take it."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """Its process, while it runs."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start it and return when it takes connections. Raises Missing (none installed) or BrokerFailed."""
        self._directory.mkdir(parents=True, exist_ok=True)
        command = self._command()
        log = self._directory / "broker.log"
        with log.open("ab") as output:
            # Its own session: a key pressed for the demo is not a signal to the broker before the box has ended.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        if not _listens(self.port, self._process):
            self.kill()
            raise BrokerFailed(f"expected a broker on port {self.port} within {START_S_MAX:.0f} s; see {log}")

    def stop(self) -> None:
        """Ask it to end, and wait for it."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(END_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _command(self) -> list[str]:
        binary = None if self._embedded else mosquitto()
        if binary is not None:
            configuration = self._directory / "mosquitto.conf"
            configuration.write_text(self._configuration(), "utf-8")
            return [binary, "-c", str(configuration)]
        if importlib.util.find_spec("amqtt") is not None and self._tls is None:
            configuration = self._directory / "amqtt.yaml"
            configuration.write_text(
                f"listeners:\n  default:\n    type: tcp\n    bind: 127.0.0.1:{self.port}\n"
                "plugins:\n  amqtt.plugins.authentication.AnonymousAuthPlugin:\n    allow_anonymous: true\n",
                "utf-8",
            )
            return [sys.executable, "-m", "amqtt.scripts.broker_script", "-c", str(configuration)]
        raise Missing("expected mosquitto (apt install mosquitto) or amqtt (pip install amqtt), found neither")

    def _configuration(self) -> str:
        lines = [
            f"listener {self.port} 127.0.0.1",
            "persistence false",
            f"max_inflight_messages {IN_FLIGHT_MAX}",
            f"max_queued_messages {QUEUED_MAX}",
            "set_tcp_nodelay true",
            "log_type error",
            "log_type warning",
            "log_type notice",
        ]
        if os.geteuid() == 0:
            lines.append("user root")  # It would become `mosquitto`, who cannot read a test's keys.
        if self._tls is not None:
            lines += [
                f"cafile {self._tls.ca}",
                f"certfile {self._tls.certificate}",
                f"keyfile {self._tls.key}",
                "require_certificate true",
                "use_identity_as_username true",
            ]
        else:
            lines.append("allow_anonymous true")
        return "\n".join(lines) + "\n"


def mosquitto() -> str | None:
    """Where mosquitto is, also where it is not on the path (Debian: /usr/sbin)."""
    return shutil.which("mosquitto", path=os.pathsep.join([os.environ.get("PATH", ""), *_PLACES]))


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Wait until it does, or has ended, or START_S_MAX is over. Waits on its process, not by the clock."""
    gone = os.pidfd_open(process.pid) if hasattr(os, "pidfd_open") else None
    try:
        for _ in range(int(START_S_MAX / 0.02)):
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1):
                    return process.poll() is None
            except OSError:
                # A refused connection says only "not yet": wait a little, or until the process has ended.
                if select.select([gone] if gone is not None else [], [], [], 0.02)[0]:
                    return False
        return False
    finally:
        if gone is not None:
            os.close(gone)

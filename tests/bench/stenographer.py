"""stenographer as a peer of find: set up in a directory of its own, asked by stenoread, its files looked at from outside.

Its settings, and why they are its best here:
    stenotype     one thread (one interface, one disk); --blocks=64, a ring as large as ours and tcpdump's; --aiops=16, as in recorder.py;
                  --seccomp=none, which its INSTALL advises for virtual machines. Files of a minute, as it makes them: with shorter ones
                  (--fileage_sec) there is still the slack. No --preallocate_file_mb: it may help writing, not reading.
    stenographer  as its package sets it, but for DiskFreePercentage, 1 and not 10, so that it deletes nothing here; as the user
                  `stenographer`, as its unit runs it; certificates on P-256, whose handshake is cheaper than that of the 4,096 bit RSA
                  keys its stenokeys.sh makes.
"""

import datetime
import ipaddress
import json
import os
import pwd
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from simulator.namespaces import search_path

USER = "stenographer"  # made by its package
SERVER = "127.0.0.1"
PORT = 1234  # the package's; there is nobody else in a namespace of our own
SLACK_NS = 60 * 10**9  # It picks files that begin up to a minute before or behind what is asked for.
SYNC_S = 16  # It looks for new files every 15 s (env.go, fileSyncFrequency).
FILES_S_MAX = 150  # Its DESIGN: a frame can be asked for after at most 120 s.


def why_not() -> str | None:
    """What is missing to run it, or None."""
    if os.geteuid() != 0:
        return "stenographer is run as a user of its own, which only root can do"
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return f"no user {USER}, whom the package stenographer makes; install it anew"
    return None


@dataclass(frozen=True, slots=True)
class Stenographer:
    """One server with its stenotype on one interface, everything of theirs below `place`."""

    place: Path
    interface: str
    ring_mb: int

    @property
    def packets(self) -> Path:
        return self.place / "packets"

    @property
    def index(self) -> Path:
        return self.place / "index"

    @property
    def temporary(self) -> Path:
        """Where it makes a directory for itself, and leaves it."""
        return self.place / "tmp"

    @property
    def configuration(self) -> Path:
        return self.place / "config"

    def prepare(self) -> None:
        """Directories, configuration, an authority and its certificates."""
        for directory in (self.place, self.packets, self.index, self.temporary):
            directory.mkdir()
        thread = {
            "PacketsDirectory": str(self.packets),
            "IndexDirectory": str(self.index),
            "MaxDirectoryFiles": 30_000,
            "DiskFreePercentage": 1,
        }
        configuration = {
            "Threads": [thread],
            "StenotypePath": shutil.which("stenotype", path=search_path()),
            "Interface": self.interface,
            "Port": PORT,
            "Host": SERVER,
            "Flags": [f"--blocks={self.ring_mb}", "--aiops=16", "--seccomp=none"],
            "CertPath": str(self.place),
        }
        self.configuration.write_text(json.dumps(configuration))
        authority = ec.generate_private_key(ec.SECP256R1())
        constraint = x509.BasicConstraints(ca=True, path_length=None)
        signed = _certificate("ca", authority).add_extension(constraint, critical=True).sign(authority, SHA256())
        (self.place / "ca_cert.pem").write_bytes(signed.public_bytes(Encoding.PEM))
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(SERVER))])
        for name, usage in (("server", ExtendedKeyUsageOID.SERVER_AUTH), ("client", ExtendedKeyUsageOID.CLIENT_AUTH)):
            key = ec.generate_private_key(ec.SECP256R1())
            builder = _certificate(name, key).add_extension(address, critical=False)
            signed = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False).sign(authority, SHA256())
            (self.place / f"{name}_cert.pem").write_bytes(signed.public_bytes(Encoding.PEM))
            (self.place / f"{name}_key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        for path in (self.place, *self.place.iterdir()):
            shutil.chown(path, USER, USER)

    def serve(self) -> list[str]:
        """The command of the server, which starts stenotype, and leaves it behind when it ends."""
        account = pwd.getpwnam(USER)
        become = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        return [*become, "stenographer", "-syslog=false", "-config", str(self.configuration)]

    def ask(self, host: str, port: int, since: int, until: int, into: Path) -> list[str]:
        """The command that asks for an interval (UTC ns) as it can be asked for: by seconds."""
        words = f"host {host} and port {port} and after {_second(since)} and before {_second(until)}"
        return ["env", f"PATH={search_path()}", f"STENOGRAPHER_CONFIG={self.configuration}", "stenoread", words, "-w", str(into)]

    def wait_until_known(self, until: int) -> None:
        """Until the files it will pick are closed, and it has looked for them."""
        for _ in range(FILES_S_MAX):
            names = [path.name for directory in (self.packets, self.index) for path in directory.iterdir()]
            open_names = [name[1:] for name in names if name.startswith(".")]  # microseconds since 1970
            if names and not any(int(name) * 1000 <= until + SLACK_NS for name in open_names if name.isdecimal()):
                threading.Event().wait(SYNC_S)
                return
            threading.Event().wait(1)
        raise SystemExit(f"stenotype did not close its files within {FILES_S_MAX} s")


def _certificate(name: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    """Of the authority, or by it."""
    now = datetime.datetime.now(datetime.UTC)

    def named(common: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])

    return (
        x509.CertificateBuilder().subject_name(named(name)).issuer_name(named("ca")).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )  # fmt: skip


def _second(utc_ns: int) -> str:
    return f"{datetime.datetime.fromtimestamp(utc_ns // 10**9, datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"

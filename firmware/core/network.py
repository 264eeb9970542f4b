"""What systemd-networkd is given: first the ports that listen, silent; then the files of the site's own. Pure.

Of the files that speak of a port networkd takes the first by name, and no other (systemd.network(5)). So the silent one is 10-…, a
site's are 15-site-… whatever they are called, and what the image itself brings for the uplink comes after both.
"""

import fnmatch
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SILENT = "10-scrubjay-capture.network"
SITE = "15-site-"
STATE, ADDRESSES = "state/network", "state/addresses"  # what was given; what the ports have, as `ip -brief address` says it
SITE_BYTES_MAX = 65_536
BYTES_MAX = 16_384  # of each of the two in state/
# No *.netdev: a VLAN above the uplink would be another port, and open to those to whom the uplink's is denied by its name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}\.network")
_PORT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")  # no pattern of several, no "not this one": both mean something in Name=
_MATCH = re.compile(r"^[ \t]*Name[ \t]*=(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Given:
    """files: by name, as networkd is to find them. said: lines for people: what is used, and what is not and why."""

    files: Mapping[str, str]
    said: tuple[str, ...]


def given(silent: str, settings: str, site: Mapping[str, bytes | None]) -> Given:
    """What networkd gets.

    silent: the image's file for ports that listen. settings: the text of scrubjay.toml. site: the site's files by name, SITE_BYTES_MAX + 1
    bytes of each at most; None of what is no file that can be read.
    """
    named, troubles = listening(settings)
    shipped = _MATCH.search(silent)
    assert shipped is not None, "the image's own file names ports"
    ports = tuple(dict.fromkeys((*shipped[1].split(), *named)))
    files = {SILENT: silent[: shipped.start()] + f"Name={' '.join(ports)}" + silent[shipped.end() :]}
    said = [f"{' '.join(ports)}: for listening, without an address, whatever a file says", *troubles]
    for name, data in sorted(site.items()):
        text, why = _read(name, data)
        if why:
            said.append(f"{name if name.isprintable() else repr(name)}: not used: {why}")
            continue
        files[SITE + name] = text
        spared = [port for port in ports if _speaks_of(text, port)]
        said.append(f"{name}: used" + (f", but not for {' '.join(spared)}" if spared else ""))
    return Given(files, tuple(said))


def listening(settings: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The ports that settings name for listening, and what is wrong with them, for people.

    Settings that would start no process are still read here as far as they go: a port must not speak because of a slip elsewhere.
    """
    try:
        table = tomllib.loads(settings)
    except (ValueError, RecursionError):
        return (), ("scrubjay.toml does not read: ports that it names for listening beside these are not known",)
    ports: list[str] = []
    troubles: list[str] = []
    for section in ("capture", "intake"):
        block = table.get(section)
        value = block.get("interface", "") if isinstance(block, dict) else ""
        names = [name.strip() for name in value.split(",")] if isinstance(value, str) else []
        ports += [name for name in names if _PORT.fullmatch(name)]
        if not isinstance(value, str) or any(name and not _PORT.fullmatch(name) for name in names):
            troubles.append(f"[{section}] interface in scrubjay.toml: expected names of ports, such as eth1")
    return tuple(dict.fromkeys(ports)), tuple(troubles)


def _read(name: str, data: bytes | None) -> tuple[str, str]:
    """Its text, and why it is not used: "" where it is."""
    if not _NAME.fullmatch(name):
        return "", "expected NAME.network"
    if data is None:
        return "", "expected a file that can be read"
    if len(data) > SITE_BYTES_MAX:
        return "", f"expected at most {SITE_BYTES_MAX} bytes"
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return "", "expected text in UTF-8"
    if "[Match]" not in [line.strip() for line in text.splitlines()]:
        return "", "expected a section [Match]"  # networkd passes over it without a word that anybody sees
    return text, ""


def _speaks_of(text: str, port: str) -> bool:
    """Whether its Name= fits. By other marks of a port (its address, its driver) it may fit, too: networkd knows, we do not."""
    patterns: Sequence[str] = [word for found in _MATCH.findall(_match_section(text)) for word in found.split()]
    return any(fnmatch.fnmatchcase(port, pattern) for pattern in patterns)


def _match_section(text: str) -> str:
    return "\n".join(re.findall(r"^[ \t]*\[Match\][ \t]*$(.*?)(?=^[ \t]*\[|\Z)", text, re.MULTILINE | re.DOTALL))

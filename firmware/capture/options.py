"""The options of `scrubjay record`, as a network engineer writes them, and what they mean for the settings."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from firmware.capture.stops import Stops
from firmware.core.errors import BadSettings
from firmware.core.settings import layer_from_assignments

_SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}  # fmt: skip
_TIMES = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
KEPT_BYTES_MIN = 8 << 20  # Less than a few segments of a MiB is no ring.
SEGMENTS_KEPT_MIN = 8  # What is deleted at once is a segment: an eighth of what is kept, at the most.
STREAM_STRETCH_MS = 200  # Whoever watches wants to see it now; costs some compression.
STREAM_KEPT_BYTES = 512 << 20  # Behind a reader that stands still, when nothing else is kept.


@dataclass(frozen=True, slots=True)
class Keep:
    """How much of the recording stays. size: bytes, 0 for no limit; days: 0 for no limit."""

    size: int = 0
    days: int = 0


def arguments(sub: argparse.ArgumentParser) -> None:
    """Declare them."""
    sub.add_argument("interface", nargs="*", help="one or several; `--list` shows what there is")
    sub.add_argument("-i", "--interface", dest="more", action="append", default=[], metavar="IFACE", help="the same")
    sub.add_argument("-l", "--list", action="store_true", help="interfaces with state, speed, addresses, driver and time stamps")
    sub.add_argument("-o", "--output", metavar="DIR", help="directory of the store; made if missing")
    sub.add_argument("-w", "--write", metavar="FILE", help="one plain pcapng as well; - for standard output, into Wireshark")
    sub.add_argument("-f", "--filter", help="pcap-filter expression; everything without it")
    sub.add_argument("-s", "--snap", type=int, metavar="BYTES", help="keep no more of a frame than this")
    sub.add_argument(
        "-t", "--duration", type=duration_s, metavar="TIME", help="stop after 90, 10m, 2h or 1d; otherwise at Ctrl-C"
    )
    sub.add_argument(
        "-c",
        "--frames",
        type=_count,
        metavar="N",
        help="stop when at least so many frames are recorded; a block of the ring is recorded whole",
    )
    sub.add_argument("--size", type=size_bytes, metavar="SIZE", help="stop when so much is on the disk: 500MB, 10GB")
    sub.add_argument(
        "--segment",
        action="append",
        default=[],
        metavar="TIME|SIZE",
        help="a new segment after 60s, 10m or 100MB; both may be given",
    )
    sub.add_argument(
        "--keep", action="append", default=[], metavar="SIZE|TIME",
        help="delete the oldest sealed segments beyond 10GB or 14d, each with a signed receipt",
    )  # fmt: skip
    sub.add_argument("--wait", action="store_true", help="begin also when an interface is not there yet, or is down")
    sub.add_argument("--fail-on-loss", action="store_true", help="exit 1 when a frame was lost or an interface was away")
    sub.add_argument("-q", "--quiet", action="store_true", help="no line a second; the summary comes all the same")
    sub.add_argument("--set", action="append", default=[], metavar="capture.KEY=VALUE", help="any other setting")
    sub.add_argument("--json", action="store_true", help="the summary, or the list, as JSON")


def layers(a: argparse.Namespace) -> list[tuple[str, str]]:
    """What they come to, as layers of settings; those given with --set win. Raises BadSettings."""
    names = [*a.interface, *a.more]
    if not names:
        raise BadSettings("expected an interface to record; `scrubjay record --list` shows what there is")
    if not a.output and not a.write:
        raise BadSettings("expected -o DIR for the recording, or -w FILE for a plain pcapng")
    if a.keep and not a.output:
        raise BadSettings("--keep: expected -o DIR with it; of a plain pcapng nothing is deleted")
    pairs = [f'capture.interface="{",".join(names)}"']
    if a.filter is not None:
        pairs.append(f"capture.filter={_quoted(a.filter)}")
    if a.snap is not None:
        pairs.append(f"capture.snap_bytes={a.snap}")
    if a.write == "-":
        pairs.append(f"capture.stretch_ms={STREAM_STRETCH_MS}")
    segment = _either(a.segment, "--segment")
    if segment.seconds:
        pairs.append(f"capture.segment_s={segment.seconds}")
    sizes = [size for size in (segment.size, kept_bytes(a) // SEGMENTS_KEPT_MIN) if size]
    if sizes:
        pairs.append(f"capture.segment_mb={max(1, min(sizes) >> 20)}")
    return [("options", layer_from_assignments(pairs)[1]), *([layer_from_assignments(a.set)] if a.set else [])]


def keep(a: argparse.Namespace) -> Keep | None:
    """What retention is to hold; None: everything stays. Raises BadSettings."""
    given = _either(a.keep, "--keep")
    if not a.output:
        return Keep(size=STREAM_KEPT_BYTES)
    if not a.keep:
        return None
    if given.size and given.size < KEPT_BYTES_MIN:
        raise BadSettings(f"--keep: expected at least {KEPT_BYTES_MIN >> 20} MiB, got {given.size} bytes")
    if given.seconds and given.seconds % 86_400:
        raise BadSettings(f"--keep: expected whole days, such as 14d, or a size such as 10GB, got {', '.join(a.keep)!r}")
    return Keep(given.size, given.seconds // 86_400)


def kept_bytes(a: argparse.Namespace) -> int:
    """0 when there is no limit."""
    kept = keep(a)
    return 0 if kept is None else kept.size


def stops(a: argparse.Namespace) -> Stops:
    """When it ends by itself."""
    return Stops(a.duration, a.frames, a.size)


def duration_s(text: str) -> float:
    """90, 1.5, 90s, 10m, 2h, 1d."""
    return _measured(text, _TIMES, "a time such as 90, 10m, 2h or 1d")


def size_bytes(text: str) -> int:
    """100MB, 1.5GB, 64MiB, or bytes."""
    return int(_measured(text, _SIZES, "a size such as 500MB or 10GB"))


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 1 << 62:
        raise argparse.ArgumentTypeError(f"expected a number of frames above 0, got {text!r}")
    return int(text)


@dataclass(frozen=True, slots=True)
class _Given:
    size: int = 0
    seconds: int = 0


def _either(texts: Sequence[str], option: str) -> _Given:
    """Sizes have B in their unit, times have not: 100MB, 60s. The last of each kind counts."""
    size = seconds = 0
    for text in texts:
        try:
            if text[-1:] in "bB":
                size = size_bytes(text)
            else:
                seconds = max(1, round(duration_s(text)))
        except argparse.ArgumentTypeError:
            time = "14d" if option == "--keep" else "60s"  # Kept are whole days.
            raise BadSettings(f"{option}: expected a time such as {time} or a size such as 100MB, got {text!r}") from None
    return _Given(size, seconds)


def _measured(text: str, units: dict[str, int], expected: str) -> float:
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    unit = text[len(digits) :].lower()
    try:
        value = float(digits) * units[unit]
    except (KeyError, ValueError):
        value = 0.0
    if not 0 < value < 1e18:
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return value


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Port(Protocol):
    """What the table shows of an interface; drivers/linux/interfaces.py finds it out."""

    @property
    def name(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def mac(self) -> str: ...
    @property
    def addresses(self) -> tuple[str, ...]: ...
    @property
    def driver(self) -> str: ...
    @property
    def speed_mbit_per_s(self) -> int | None: ...
    @property
    def stamps(self) -> str: ...
    @property
    def sends_for(self) -> tuple[str, ...]: ...
    @property
    def asks_by_ipv6(self) -> bool: ...
    @property
    def is_ethernet(self) -> bool: ...
    @property
    def is_silent(self) -> bool: ...


def table(ports: Sequence[Port]) -> list[str]:
    """Interfaces for people, a row each; last, whether this machine may be heard there itself."""
    rows = [("INTERFACE", "STATE", "SPEED", "STAMPS", "DRIVER", "MAC", "OURSELVES")]
    for port in ports:
        speed = "-" if port.speed_mbit_per_s is None else f"{port.speed_mbit_per_s / 1000:g} Gbit/s"
        rows.append(
            (
                port.name,
                port.state,
                speed,
                port.stamps,
                port.driver or "-",
                port.mac or "-",
                _own_words(port) if port.is_ethernet else "not Ethernet",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _own_words(port: Port) -> str:
    if port.is_silent:
        return "silent"
    said = [*port.addresses, *(f"sends for {name}" for name in port.sends_for)]
    return " ".join(said) or ("asks by IPv6" if port.asks_by_ipv6 else "answers ARP")

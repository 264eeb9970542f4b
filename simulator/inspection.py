"""Independent looks at what the chain made: frames counted by somebody else's reader, planted names searched in every file."""

import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pcapy

from firmware.core import envelope, message, release
from firmware.core.errors import BadItem
from simulator.namespaces import search_path

READER_S_MAX = 60


@dataclass(frozen=True, slots=True)
class Search:
    """What was looked through, and where something was found: (file, whose and how written)."""

    files: int
    size: int
    found: tuple[tuple[str, str], ...]


def search(roots: Iterable[Path], needles: Iterable[tuple[str, bytes]]) -> Search:
    """Look for each needle in every file below `roots`, as it lies and with what is compressed in it laid open."""
    wanted = list(needles)
    files = size = 0
    found = []
    for root in roots:
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            data = path.read_bytes()
            files += 1
            size += len(data)
            for layer in (data, *_inside(data)):
                found += [(str(path.relative_to(root.parent)), name) for name, needle in wanted if needle in layer]
    return Search(files, size, tuple(found))


def _inside(data: bytes) -> Iterator[bytes]:
    """The body of an envelope, decompressed; nothing for any other file."""
    try:
        yield envelope.content_of(envelope.unpacked(data))
    except BadItem:
        return


def tagged(groups: Path) -> Iterator[tuple[str, bytes]]:
    """What the box itself tagged as sensitive in the messages it keeps, as bytes to search for; for recordings of others.

    Words under eight bytes are left out: "surgeon" as somebody's name would be found in every text about surgeons.
    """
    for path in sorted(path for path in groups.rglob("p[1-4]-*") if path.is_file()):
        for said in message.unpacked(release.unpacked(path.read_bytes()).body):
            for tag in said.tags:
                value = said.text if tag.path == "text" else said.fields.get(tag.path.removeprefix("fields/"))
                if isinstance(value, str):
                    word = (value[tag.start : tag.end] if tag.end > tag.start else value).strip().encode()
                    if len(word) >= 8:
                        yield f"tagged {tag.why} in {tag.path.partition('/')[0]}", word


def counted(path: Path) -> tuple[int, str]:
    """(frames in a capture file, who counted them): capinfos where it is installed, else libpcap through pcapy."""
    capinfos = shutil.which("capinfos", path=search_path())
    if capinfos is not None:
        command = [capinfos, "-c", "-M", "-r", "-T", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=READER_S_MAX, check=False)
        number = done.stdout.strip().rpartition("\t")[2]
        return (int(number) if number.isdecimal() else 0), "capinfos"
    reader = pcapy.open_offline(str(path))
    count = 0
    while reader.next()[0] is not None:
        count += 1
    return count, "libpcap"

"""Invented patients of the simulated room, DICOM objects about them, and every way their names could be written down.

The names are planted so that they can be searched for: nothing of them may ever be found outside the box.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from simulator.network import Network

SIDE_PIXELS = 48  # 4.5 KiB an object: several frames of a TCP stream, and a recording that stays small


@dataclass(frozen=True, slots=True)
class Patient:
    """Somebody who does not exist. charset: DICOM's defined term (PS3.3 C.12.1.1.2) for how the name is written."""

    family: str
    given: str
    identity: str
    charset: str
    codec: str

    @property
    def spoken(self) -> str:
        """The name as a person would write it in a message."""
        return f"{self.family}{self.given}" if self.codec == "gb18030" else f"{self.given} {self.family}"


PATIENTS = (
    Patient("欧阳", "鸦鸣春", "SJ-0815-4711", "GB18030", "gb18030"),
    Patient("Krähenbühl", "Theodora", "SJ-1711-0042", "ISO_IR 192", "utf-8"),
)


def needles() -> Iterator[tuple[str, bytes]]:
    """(whose and how written, the bytes): every planted name and number in each encoding it could hide in.

    Each is at least six bytes long: shorter ones turn up in compressed data by chance.
    """
    for number, patient in enumerate(PATIENTS, start=1):
        for word in (patient.family, patient.given, patient.identity):
            ways = {"json": json.dumps(word)[1:-1].encode()}
            for codec in ("utf-8", "gb18030", "utf-16-le", "utf-16-be", "latin-1"):
                with suppress(UnicodeEncodeError):
                    ways[codec] = word.encode(codec)
            for data in {data for data in ways.values() if len(data) >= 6}:
                yield f"patient {number} as {next(way for way in ways if ways[way] == data)}", data


def make_objects(network: Network) -> list[Path]:
    """One MR image a patient, made on the vision cart by dcmtk's dump2dcm: its encoder, our pixels and names."""
    paths, directory = [], network.directory
    for number, patient in enumerate(PATIENTS, start=1):
        pixels = directory / f"object-{number}.raw"
        pixels.write_bytes(
            b"".join(((x * y + number) % 4096).to_bytes(2, "little") for y in range(SIDE_PIXELS) for x in range(SIDE_PIXELS))
        )
        text = directory / f"object-{number}.dump"
        # By their names alone: a path may have letters that the patient's character set has not, or has other bytes for.
        text.write_bytes(_dump(patient, number, pixels.name).encode(patient.codec))
        path = directory / f"object-{number}.dcm"
        network.run("vision", ["dump2dcm", "+te", text.name, path.name])
        paths.append(path)
    return paths


def _dump(patient: Patient, number: int, pixels: str) -> str:
    """An MR Image Storage object in the format of dcmdump(1). 2.25 roots are for invented identifiers (PS3.5 B.2)."""
    return f"""(0008,0005) CS [{patient.charset}]
(0008,0016) UI [1.2.840.10008.5.1.4.1.1.4]
(0008,0018) UI [2.25.5391077111790{number}1]
(0008,0020) DA [20261122]
(0008,0030) TM [101500]
(0008,0060) CS [MR]
(0008,0070) LO [Nobody]
(0008,1030) LO [Simulated room]
(0010,0010) PN [{patient.family}^{patient.given}]
(0010,0020) LO [{patient.identity}]
(0010,0030) DA [19620{number}14]
(0020,000d) UI [2.25.5391077111790{number}2]
(0020,000e) UI [2.25.5391077111790{number}3]
(0020,0013) IS [1]
(0028,0002) US 1
(0028,0004) CS [MONOCHROME2]
(0028,0010) US {SIDE_PIXELS}
(0028,0011) US {SIDE_PIXELS}
(0028,0100) US 16
(0028,0101) US 12
(0028,0102) US 11
(0028,0103) US 0
(7fe0,0010) OW ={pixels}
"""

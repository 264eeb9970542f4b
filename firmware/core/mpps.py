"""What a modality says of a procedure step (Modality Performed Procedure Step): that it began, that it is completed or discontinued. Pure.

Taken out are the step's state, the modality, its station and place; of study, order and step only pseudonyms; nothing of who the patient
is, and nothing else is kept.
Source: DICOM PS3.4 Annex F; PS3.3 C.4.13 to C.4.15; PS3.5 §7 for how data sets are written.
"""

import struct
from collections.abc import Callable, Iterator

from firmware.core.context import Kind, as_fields
from firmware.core.errors import BadItem
from firmware.core.message import Field, Priority, Severity, is_token
from firmware.core.said import Said
from firmware.core.upper_layer import CREATE, Request

ELEMENTS_MAX = 65_536  # Of each image four, where lengths are not said; a tenth of a second.
DEPTH_MAX = 8
_STATUS, _MODALITY, _STATION, _PLACE = 0x0040_0252, 0x0008_0060, 0x0040_0241, 0x0040_0243
_SCHEDULED, _STUDY, _ACCESSION = 0x0040_0270, 0x0020_000D, 0x0008_0050
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFE_E000, 0xFFFE_E00D, 0xFFFE_E0DD
_UNDEFINED = 0xFFFF_FFFF
_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
STATES = {"IN PROGRESS": "in-progress", "COMPLETED": "completed", "DISCONTINUED": "discontinued"}
# Where a value stands: alone, or in the item of a sequence. Everything else is passed over.
_WANTED = frozenset(
    ((_STATUS,), (_MODALITY,), (_STATION,), (_PLACE,), (_SCHEDULED, _STUDY), (_SCHEDULED, _ACCESSION))
)  # fmt: skip
_LAST = max(where[0] for where in _WANTED)


def decoded(request: Request, caller: str, *, pseudonym: Callable[[Kind, str], str] | None = None) -> Said:
    """An N-CREATE or N-SET as what it says. caller: the application entity that called. Raises BadItem.

    An N-SET that does not change the state says that it is under way still.
    """
    if not request.instance:
        raise BadItem("expected an instance of a procedure step")
    values = dict(_wanted(request.data, is_explicit=request.is_explicit))
    state = STATES.get(values.get((_STATUS,), "IN PROGRESS"))
    if state is None:
        raise BadItem("expected the state IN PROGRESS, COMPLETED or DISCONTINUED")
    numbers: dict[Kind, str] = {"step": request.instance}
    if study := values.get((_SCHEDULED, _STUDY)):
        numbers["study"] = study
    if accession := values.get((_SCHEDULED, _ACCESSION)):
        numbers["order"] = accession
    fields: dict[str, Field] = {"dicom/operation": "N-CREATE" if request.operation == CREATE else "N-SET"}
    for name, where in (("modality", _MODALITY), ("station", _STATION), ("location", _PLACE)):
        word = "-".join(values.get((where,), "").split())[:64]
        if is_token(word):
            fields[f"dicom/{name}"] = word
    if pseudonym is not None:
        fields |= as_fields({kind: pseudonym(kind, value) for kind, value in numbers.items()})
    return Said(
        "dicom", device=caller or None, process="mpps", kind="dicom", severity=Severity.INFORMATIONAL, priority=Priority.P4,
        event=f"mpps/{state}", fields=fields, is_unique=True,
    )  # fmt: skip


def _wanted(data: bytes, *, is_explicit: bool) -> Iterator[tuple[tuple[int, ...], str]]:
    """Values by where they stand; the first of each, as the first scheduled step is the one a modality shows."""
    seen: set[tuple[int, ...]] = set()
    for where, value in _Elements(data, is_explicit=is_explicit).all():
        if where in _WANTED and where not in seen and value:
            seen.add(where)
            yield where, value


class _Elements:
    """A walk over a data set, as far as anything of it is wanted. What it may cost is bounded by its size, its number of elements and its depth."""

    def __init__(self, data: bytes, *, is_explicit: bool) -> None:
        self._data = data
        self._is_explicit = is_explicit
        self._count = 0

    def all(self) -> Iterator[tuple[tuple[int, ...], str]]:
        """Where each stands, and its value as text."""
        _, rows = self._set(0, len(self._data), (), self._is_explicit)
        return iter(rows)

    def _set(self, at: int, end: int, where: tuple[int, ...], is_explicit: bool) -> tuple[int, list[tuple[tuple[int, ...], str]]]:
        """Elements up to `end` or to a delimiter; where the next begins."""
        if len(where) > DEPTH_MAX:
            raise BadItem(f"expected sequences of at most {DEPTH_MAX} levels")
        rows: list[tuple[tuple[int, ...], str]] = []
        while at < end and (where or not self._is_behind(at, end)):
            tag, kind, size, at = self._head(at, end, is_explicit)
            if tag in (_ITEM_END, _SEQUENCE_END):
                return at, rows
            if size == _UNDEFINED or kind == b"SQ" or (not kind and tag == _SCHEDULED):
                # Whoever does not know an element passes it on as UN, and what is inside as implicit (PS3.5 §6.2.2).
                at, more = self._sequence(
                    at, end if size == _UNDEFINED else at + size, (*where, tag), is_explicit and kind != b"UN"
                )
                rows += more
                continue
            if len(where) <= 1 and size <= 128:
                rows.append(((*where, tag), self._data[at : at + size].decode("latin-1").strip(" \0")))
            at += size
        return at, rows

    def _sequence(
        self, at: int, end: int, where: tuple[int, ...], is_explicit: bool
    ) -> tuple[int, list[tuple[tuple[int, ...], str]]]:
        rows: list[tuple[tuple[int, ...], str]] = []
        while at < end:
            tag, _, size, at = self._head(at, end, is_explicit)
            if tag == _SEQUENCE_END:
                return at, rows
            if tag != _ITEM:
                raise BadItem("expected items in a sequence")
            at, more = self._set(at, end if size == _UNDEFINED else at + size, where, is_explicit)
            rows += more
        return at, rows

    def _is_behind(self, at: int, end: int) -> bool:
        """Whether nothing from here on is wanted: elements ascend (PS3.5 §7.1). What follows are the images, and perhaps not all of them."""
        group, element = struct.unpack_from("<HH", self._data, at) if at + 4 <= end else (0, 0)
        return bool((group << 16 | element) > _LAST)

    def _head(self, at: int, end: int, is_explicit: bool) -> tuple[int, bytes, int, int]:
        """Tag, its kind where that is said, length, and where its value begins."""
        self._count += 1
        if self._count > ELEMENTS_MAX:
            raise BadItem(f"expected at most {ELEMENTS_MAX} elements")
        if at + 8 > end:
            raise BadItem("expected data elements of at least 8 bytes")
        group, element = struct.unpack_from("<HH", self._data, at)
        tag, kind = group << 16 | element, self._data[at + 4 : at + 6]
        if not is_explicit or group == 0xFFFE:
            size, begin, kind = struct.unpack_from("<I", self._data, at + 4)[0], at + 8, b""
        elif kind in _LONG:
            if at + 12 > end:
                raise BadItem("expected a data element of at least 12 bytes")
            size, begin = struct.unpack_from("<I", self._data, at + 8)[0], at + 12
        else:
            size, begin = struct.unpack_from("<H", self._data, at + 6)[0], at + 8
        if size != _UNDEFINED and size > end - begin:
            raise BadItem("expected data elements within their data set")
        return tag, kind, size, begin

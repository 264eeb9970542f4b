"""What a device said in one datagram, before the box adds who said it, when, and how soon it must leave."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from firmware.core.errors import BadItem
from firmware.core.message import FIELDS_MAX, TEXT_MAX, Field, Priority, Severity, Tag

Form = Literal["cbor", "json", "syslog", "hl7", "dicom", "igtl", "sdc", "text", "opaque"]

NESTED_MAX = 8  # Maps in maps; robots' telemetry has three.
_NAME_MAX = 256
_INT64 = 1 << 63
_PLAIN = frozenset({int, float, bool, str, type(None)})


@dataclass(frozen=True, slots=True)
class Said:
    """The contents of one datagram. Everything is the sender's claim.

    form: how it was written. time_utc_ns, time_tai_ns: origin time by the sender's clock, one of them or none.
    device: whom the sender claims to be. undecodable: bytes that made no sense were kept as attachment.
    tags: what its form knows to be sensitive, beside what is found by looking. is_unique: something in it names this message and no
    other, so that a copy is known by it though it came at another moment.
    """

    form: Form
    device: str | None = None
    process: str | None = None
    sequence: int | None = None
    severity: Severity | None = None
    priority: Priority | None = None
    kind: str | None = None
    event: str | None = None
    time_utc_ns: int | None = None
    time_tai_ns: int | None = None
    text: str | None = None
    fields: Mapping[str, Field] = field(default_factory=dict)
    attachment: tuple[str, bytes] | None = None
    undecodable: bool = False
    tags: tuple[Tag, ...] = ()
    is_unique: bool = False

    @property
    def heading(self) -> str:
        """What stood before the text of a syslog message: `Patient: Jane Doe` has a tag and a text to whoever parts it by RFC 3164."""
        return f"{self.device or ''} {self.process}: " if self.form == "syslog" and self.process else ""


def clean_text(value: str) -> str:
    """Text that can be stored: within the ceiling, and without halves of surrogate pairs, which JSON can carry and UTF-8 cannot."""
    if len(value) <= TEXT_MAX and value.isascii():
        return value
    return value[:TEXT_MAX].encode("utf-8", "replace").decode()


def flattened(value: Mapping[object, object]) -> dict[str, Field]:
    """Nested maps and lists as one map with `/` between the names: {"arm": {"t": [1, 2]}} is {"arm/t/0": 1, "arm/t/1": 2}.

    Bytes become hexadecimal. Raises BadItem above 1,024 values, 8 levels, or for a value that is none of the message's.
    """
    flat: dict[str, Field] = {}
    for name in value:
        if type(name) is not str or not 0 < len(name) <= _NAME_MAX or not name.isascii() or type(value[name]) not in _PLAIN:
            break
    else:  # What nearly every message has: one level, and nothing to mend.
        if len(value) <= FIELDS_MAX:
            return {str(name): _leaf(entry) for name, entry in value.items()}
    for visited, (name, entry) in enumerate(_leaves("", value, NESTED_MAX)):
        if visited >= FIELDS_MAX:
            raise BadItem(f"expected at most {FIELDS_MAX} fields")
        if name in flat:
            raise BadItem("expected each field once")
        flat[name] = entry
    return flat


def _leaves(above: str, value: object, levels: int) -> Iterator[tuple[str, Field]]:
    if isinstance(value, Mapping | list | tuple):
        if levels == 0:
            raise BadItem(f"expected fields nested at most {NESTED_MAX} deep")
        rows = value.items() if isinstance(value, Mapping) else enumerate(value)
        empty = True
        for key, entry in rows:
            empty = False
            if not isinstance(key, str | int):
                raise BadItem("expected names of fields to be texts")
            name = clean_text(str(key) if isinstance(key, str) or abs(key) < _INT64 else "?") or "?"
            yield from _leaves(f"{above}/{name}" if above else name, entry, levels - 1)
        if empty and above:
            yield _checked_name(above), None  # An empty map or list counts as a value, or a million of them would cost nothing.
        return
    yield _checked_name(above), _leaf(value)


def _checked_name(name: str) -> str:
    if len(name) > _NAME_MAX:
        raise BadItem(f"expected names of fields of at most {_NAME_MAX} characters")
    return name


def _leaf(value: object) -> Field:
    match value:
        case None | bool():
            return value
        case int():
            # Larger than a message's integers: the digits are kept, as far as they are a number a person would read.
            return value if abs(value) < _INT64 else (str(value) if abs(value) < 1 << 256 else "a very large integer")
        case float():
            return None if value != value else value  # not a number: many writers' word for "no value"
        case str():
            return clean_text(value)
        case bytes():
            return value.hex()
    raise BadItem("expected numbers, texts, true, false or null in fields")

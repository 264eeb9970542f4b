"""Settings: frozen dataclasses with defaults that record safely, overlaid by TOML layers. An unknown key is an error.

Each capability folder declares its section in `settings.py`:

    @dataclass(frozen=True, slots=True)
    class CaptureSettings:
        interface: str = setting("eth1", "Mirror port to listen to.")
        segment_s: int = setting(300, "Length of a segment by time stamp.", low=1, high=86_400)

Layers, later ones win: defaults, files in the order given, `--set section.key=value`.
"""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import Field, field, fields
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from firmware.core.errors import BadSettings

Section = TypeVar("Section")


def setting(
    default: Any,  # Any: a dataclass default is of its field's type, which only the class knows
    meaning: str,
    *,
    low: int | float | None = None,
    high: int | float | None = None,
    choices: Sequence[str] | None = None,
) -> Any:
    """One setting: its default, the sentence about it, and its range (inclusive) or choices. Lists are given and kept as tuples."""
    return field(default=default, metadata={"meaning": meaning, "low": low, "high": high, "choices": choices})


class Settings:
    """All sections of one role, and which layer each changed value came from."""

    def __init__(self, sections: Mapping[str, type], layers: Sequence[tuple[str, str]]) -> None:
        """sections: section name to its class. layers: (where it came from, TOML text). Raises BadSettings."""
        values: dict[str, dict[str, object]] = {name: {} for name in sections}
        self.origin: dict[str, str] = {}
        for where, text in layers:
            for name, table in _parsed(where, text).items():
                if name not in sections:
                    raise BadSettings(f"{where}: no section [{name}]{_nearest(name, sections)}")
                if not isinstance(table, dict):
                    raise BadSettings(f"{where}: expected a section [{name}], got a single value")
                for key, value in table.items():
                    values[name][key] = _checked(where, name, key, value, sections[name])
                    self.origin[f"{name}.{key}"] = where
        self._sections = {name: kind(**values[name]) for name, kind in sections.items()}

    def of(self, kind: type[Section]) -> Section:
        """The section of this class."""
        for section in self._sections.values():
            if type(section) is kind:
                return section
        raise BadSettings(f"this role has no {kind.__name__}")

    def rows(self) -> list[tuple[str, object, object, str, str]]:
        """(section.key, value, default, layer it came from or "", meaning) of every setting, in order."""
        return [
            (f"{name}.{f.name}", getattr(section, f.name), f.default, self.origin.get(f"{name}.{f.name}", ""), f.metadata.get("meaning", ""))
            for name, section in self._sections.items()
            for f in fields(section)
        ]  # fmt: skip

    def ranges(self) -> dict[str, str]:
        """What each section.key may be, as a refusal says it; only of those with a range or choices."""
        return {
            f"{name}.{f.name}": text for name, section in self._sections.items() for f in fields(section) if (text := _range(f))
        }


def layer_from_assignments(assignments: Sequence[str]) -> tuple[str, str]:
    """`--set section.key=value` arguments as a layer. A value that is not TOML is taken as text."""
    lines: dict[str, list[str]] = {}
    given: set[str] = set()
    for assignment in assignments:
        path, equals, value = assignment.partition("=")
        section, dot, key = path.strip().partition(".")
        if not (equals and dot):
            raise BadSettings(f"--set: expected section.key=value, got {assignment!r}")
        if path.strip() in given:
            raise BadSettings(f"--set: expected {path.strip()} once, got it again")
        given.add(path.strip())
        lines.setdefault(section, []).append(f"{key} = {_as_toml(value.strip())}")
    return "--set", "\n".join(f"[{section}]\n" + "\n".join(rows) for section, rows in lines.items())


def _as_toml(value: str) -> str:
    try:
        tomllib.loads(f"x = {value}")
    except (ValueError, RecursionError):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return value


def _parsed(where: str, text: str) -> dict[str, Any]:  # Any: TOML is anything until checked
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))  # An editor of Windows marks what is UTF-8 by it, and nobody sees it.
    except (
        ValueError,
        RecursionError,
    ) as problem:  # Not every one is a TOMLDecodeError: a number of five thousand digits is none.
        raise BadSettings(f"{where}: expected TOML: {problem}") from None


def _checked(where: str, section: str, key: str, value: Any, kind: type) -> object:  # Any: as above
    known: dict[str, Field[Any]] = {f.name: f for f in fields(kind)}
    if key not in known:
        raise BadSettings(f"{where}: [{section}] has no setting {key!r}{_nearest(key, known)}")
    wanted = get_type_hints(kind)[key]
    spot = f"{where}: [{section}] {key}"
    if get_origin(wanted) is tuple:
        member = get_args(wanted)[0]
        if not isinstance(value, list) or any(type(entry) is not member for entry in value):
            raise BadSettings(f"{spot}: expected a list of {member.__name__}, got {value!r}")
        value = tuple(value)
    elif wanted is float and type(value) is int:
        value = float(value)
    elif type(value) is not wanted:
        raise BadSettings(f"{spot}: expected {wanted.__name__}, got {value!r}")
    meta = known[key].metadata
    low, high, choices = meta.get("low"), meta.get("high"), meta.get("choices")
    for entry in value if isinstance(value, tuple) else (value,):
        # Asked this way round because "not a number" is neither below nor above anything.
        if not ((low is None or entry >= low) and (high is None or entry <= high)):
            raise BadSettings(f"{spot}: expected {_range(known[key])}, got {entry!r}")
        if choices is not None and entry not in choices:
            raise BadSettings(f"{spot}: expected {_range(known[key])}, got {entry!r}")
    return value


def _range(field: "Field[Any]") -> str:
    """In words; empty where anything of its type will do."""
    low, high, choices = (field.metadata.get(name) for name in ("low", "high", "choices"))
    if choices is not None:
        return f"one of {', '.join(choices)}"
    if low is None and high is None:
        return ""
    return f"{low if low is not None else '…'} to {high if high is not None else '…'}"


def _nearest(word: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"

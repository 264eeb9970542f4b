"""How much less is wanted, as an order says it. The parameters, all optional, all refused where they would mean nothing:

    reduce   "none": every frame that was asked for (the default)
             "filter": without acknowledgements, network services' requests, and messages that were reported anyway
             "sample": the same, and of the streams that a decoder knows only so many samples a second, or every n-th
             "change": the same, and only the samples that a straight line between their neighbours does not explain
    rates    samples a second, with sample: "motion=60,temperature=5,other=20,itp/console=100"; what is not named is as given here
    every    with sample, in place of rates: every n-th sample (int)
    error    largest error, with change: "1%" of a value's range, "0.5" in its unit, "1%+0.5" both together, or by name:
             "1%,temperature=0.1,itp/console=20"; "any" for a stream that no frame has to stay for but once a second

A name is a kind (motion, temperature, other) or a stream as its decoder calls it, without commas, each once; a stream's own entry goes first.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from firmware.core.errors import BadItem
from firmware.core.streams.decoders import DECODERS
from firmware.core.streams.sample import KINDS, NAME_MAX, Kind
from firmware.core.streams.samplers import Change, EveryNth, Rate, Sampler, Tolerance

Mode = Literal["none", "filter", "sample", "change"]
MODES: tuple[Mode, ...] = get_args(Mode)
NAMES = ("reduce", "rates", "every", "error")
# S2-098 to S2-100: motion at 60 Hz, temperature at 5 Hz, everything else at 20 Hz.
RATES_MHZ: Mapping[str, int] = {"motion": 60_000, "temperature": 5_000, "other": 20_000}
DEFAULT_ERROR = Tolerance(share=0.01)
ENTRIES_MAX = 64
_RATE_HZ_MAX = 1_000_000
_EVERY_MAX = 1_000_000
_ERROR_MAX = 1e12
_ANY = "any"


@dataclass(frozen=True, slots=True)
class Wish:
    """How much less. rates_mhz, errors: by kind or stream. every: None for rates. error: of what errors does not name."""

    mode: Mode = "none"
    rates_mhz: Mapping[str, int] = field(default_factory=dict)
    every: int | None = None
    error: Tolerance = DEFAULT_ERROR
    errors: Mapping[str, Tolerance] = field(default_factory=dict)

    @property
    def samples(self) -> bool:
        """Whether streams are looked into."""
        return self.mode in ("sample", "change")

    def sampler(self, stream: str, kind: Kind) -> Sampler:
        """A new sampler for a stream."""
        if self.mode == "change":
            return Change(self.errors.get(stream, self.errors.get(kind, self.error)))
        if self.every is not None:
            return EveryNth(self.every)
        return Rate(self.rates_mhz.get(stream, self.rates_mhz.get(kind, RATES_MHZ[kind])))


NOTHING_LESS = Wish()


def note(mode: object) -> str:
    """What a file of evidence says of itself, for whoever opens it; "" for one that has all. mode: of Wish, whatever else is not said."""
    if mode not in MODES or mode == "none":
        return ""
    return f"reduced on request ({mode}): frames were left out here; the record they come from has all of them"


def from_parameters(given: Mapping[str, int | str]) -> Wish:
    """The wish among an order's parameters. Raises BadItem naming the parameter and what was expected, never its value."""
    mode = next((known for known in MODES if known == given.get("reduce", "none")), None)
    if mode is None:
        raise BadItem(f"expected reduce as one of {', '.join(MODES)}")
    for name, of in (("rates", "sample"), ("every", "sample"), ("error", "change")):
        if name in given and mode != of:
            raise BadItem(f"expected {name} only where reduce is {of}")
    if "rates" in given and "every" in given:
        raise BadItem("expected rates or every, not both")
    rates: dict[str, int] = {}
    for name, word in _entries(given, "rates"):
        rate_mhz = round(_number(word, "rates", _RATE_HZ_MAX) * 1000)
        if not name or not rate_mhz:
            raise BadItem("expected rates as name=hertz, of at least 0.001 Hz")
        rates[name] = rate_mhz
    every = given.get("every")
    if every is not None and (isinstance(every, bool) or not isinstance(every, int) or not 0 < every <= _EVERY_MAX):
        raise BadItem(f"expected every as 1 to {_EVERY_MAX}")
    error, errors = DEFAULT_ERROR, dict[str, Tolerance]()
    for name, word in _entries(given, "error"):
        tolerance = _tolerance(word)
        if name:
            errors[name] = tolerance
        else:
            error = tolerance
    return Wish(mode, rates, every, error, errors)


def as_parameters(wish: Wish) -> dict[str, int | str]:
    """The parameters of an order that wishes this."""
    parameters: dict[str, int | str] = {}
    if wish.mode != "none":
        parameters["reduce"] = wish.mode
    if wish.rates_mhz:
        parameters["rates"] = ",".join(f"{name}={_decimal(rate / 1000)}" for name, rate in wish.rates_mhz.items())
    if wish.every is not None:
        parameters["every"] = wish.every
    errors = [_text(wish.error)] if wish.error != DEFAULT_ERROR else []
    errors += [f"{name}={_text(tolerance)}" for name, tolerance in wish.errors.items()]
    if errors:
        parameters["error"] = ",".join(errors)
    return parameters


def _entries(given: Mapping[str, int | str], name: str) -> list[tuple[str, str]]:
    """(name or "", word) of each entry; a stream's name may itself hold "="."""
    value = given.get(name)
    if value is None:
        return []
    if not isinstance(value, str):
        raise BadItem(f"expected {name} as a text")
    entries = [entry.strip() for entry in value.split(",")]
    if len(entries) > ENTRIES_MAX:
        raise BadItem(f"expected at most {ENTRIES_MAX} entries in {name}")
    found = []
    for entry in entries:
        key, equals, word = entry.rpartition("=")
        if (equals and not key.strip()) or len(key) > NAME_MAX or ("/" not in key and key and key not in KINDS):
            raise BadItem(f"expected names in {name} as a kind ({', '.join(KINDS)}) or a stream (itp/console)")
        if "/" in key and key.partition("/")[0].strip() not in DECODERS:
            raise BadItem(f"expected streams in {name} to begin with a decoder ({', '.join(DECODERS)})")
        found.append((key.strip(), word.strip()))
    if len({key for key, _ in found}) < len(found):
        raise BadItem(f"expected each name in {name} once, and at most one entry without a name")
    return found


def _tolerance(word: str) -> Tolerance:
    if word == _ANY:
        return Tolerance(plus=math.inf)
    share, percent, plus = word.rpartition("%")
    if not percent:
        return Tolerance(plus=_number(plus, "error", _ERROR_MAX))
    if plus and not plus.startswith("+"):
        raise BadItem('expected error as "1%", "0.5", or "1%+0.5"')
    return Tolerance(_number(share, "error", 100) / 100, _number(plus[1:], "error", _ERROR_MAX) if plus else 0.0)


def _number(word: str, name: str, high: float) -> float:
    try:
        value = float(word) if word.isascii() and len(word) <= 32 else math.nan
    except ValueError:
        value = math.nan
    if not 0 <= value <= high:
        raise BadItem(f"expected numbers of 0 to {high:g} in {name}")
    return value


def _text(tolerance: Tolerance) -> str:
    if tolerance.plus == math.inf:
        return _ANY
    if not tolerance.share:
        return _decimal(tolerance.plus)
    return f"{_decimal(tolerance.share * 100)}%" + (f"+{_decimal(tolerance.plus)}" if tolerance.plus else "")


def _decimal(value: float) -> str:
    return f"{value:.12g}"

"""What kind of clock a task device has. Most are good; an investigator's trouble are the others."""

from dataclasses import dataclass, replace

SECOND = 1_000_000_000
LONG_AGO_TAI_NS = 37 * SECOND  # the first seconds of 1970: a board whose battery is empty


@dataclass(frozen=True, slots=True)
class Character:
    """offset_ns: how far ahead it starts; drift_ppm: what its crystal gains, parts per million.

    follows: whether a servo steers it. claims_ns: the offset it reports of itself whatever it is, None for the truth as it sees it.
    jump_ns, jump_every_s: it is set by this much, again and again. silent_after_s: from then on it says and answers nothing.
    in_1970: it starts at the beginning of 1970 instead of near now. monitored: whether it answers NetSync Monitor requests.
    """

    offset_ns: int = 0
    drift_ppm: float = 0.0
    follows: bool = True
    claims_ns: int | None = None
    jump_ns: int = 0
    jump_every_s: float | None = None
    silent_after_s: float | None = None
    in_1970: bool = False
    monitored: bool = True


# Names as on the command line.
CHARACTERS = {
    "synchronised": Character(),
    "free": Character(follows=False),
    "lying": Character(follows=False, claims_ns=40),
    "jumping": Character(jump_ns=7_000_000, jump_every_s=10),
    "silent": Character(silent_after_s=10),
    "1970": Character(follows=False, in_1970=True),
    "unmonitored": Character(monitored=False),  # what most PTP devices are: self-reports at best
}


def character(name: str, *, offset_ns: int, drift_ppm: float) -> Character:
    """One of CHARACTERS, with this clock."""
    return replace(CHARACTERS[name], offset_ns=offset_ns, drift_ppm=drift_ppm)

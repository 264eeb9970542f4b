"""What a message is about, without saying it: visit, order, appointment, study and procedure step as pseudonyms, made with a key no one else has. Pure.

    fields/context/order   "bgklpaocdmfnhiej"     the same for the same accession number, whether HL7 or DICOM names it

One box makes them with one key, so that what belongs together on it can be told; of two boxes they are different, and nobody can try
numbers until one fits. Of a patient there is none: it would join what is not one procedure.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Literal

from firmware.core.message import Field

Kind = Literal["visit", "order", "appointment", "study", "step"]
KINDS: tuple[Kind, ...] = ("visit", "order", "appointment", "study", "step")
KEY_BYTES = 32
PREFIX = "context/"
_LETTERS = str.maketrans("0123456789abcdef", "abcdefghijklmnop")  # No digit: it must not look like the number it stands for.
_LENGTH = 16  # 64 bits: by chance two of a million procedures of a box are one in forty million.


def pseudonym(key: bytes, kind: Kind, value: str) -> str:
    """16 letters a to p. Spaces around it and its case do not count: systems pad, and capitalise."""
    plain = f"{kind}\0{value.strip().upper()}".encode()
    return hmac.new(key, plain, hashlib.sha256).hexdigest()[:_LENGTH].translate(_LETTERS)


def is_pseudonym(text: object) -> bool:
    """Whether it has the form of one."""
    return isinstance(text, str) and len(text) == _LENGTH and set(text) <= set("abcdefghijklmnop")


def as_fields(context: Mapping[Kind, str]) -> dict[str, Field]:
    """As a message carries it."""
    return {f"{PREFIX}{kind}": value for kind, value in context.items()}


def context_of(fields: Mapping[str, Field]) -> dict[Kind, str]:
    """What a message carries of it; a publisher may write such fields, too, and is believed as little as in anything else."""
    return {kind: str(fields[PREFIX + kind]) for kind in KINDS if is_pseudonym(fields.get(PREFIX + kind))}


def is_same(one: Mapping[Kind, str], other: Mapping[Kind, str]) -> bool | None:
    """Whether both are about the same thing: any of those that both name agrees. None: they name none in common."""
    common = [kind for kind in KINDS if kind in one and kind in other]
    return any(one[kind] == other[kind] for kind in common) if common else None

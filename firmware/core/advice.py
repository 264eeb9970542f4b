"""Feedback: what a hub may say to a room, and how. Advisory, always: a few kinds of advice, whose sentences stand here and nowhere else.

Parameters of an order for it (envelope.cddl, order key 6), all but `advice` optional:

    advice   one of ADVICE
    device   whom it is about, a word
    about    the message it is about, 32 hexadecimal digits
    reason   a line for people, at most 200 characters

A command path to a robot would make this another product (S2-124; IEC 62304 class C). So there is no advice that is an order, no
free sentence, and in what the room gets no field that a machine could carry out. As published: feedback.cddl.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cbor2

from firmware.core.cbor import decoded_cbor
from firmware.core.envelope import Order, is_name
from firmware.core.errors import BadItem
from firmware.core.message import is_token

DEED = "feedback"
VERSION = 1
SIGNED_PREFIX = b"scrubjay feedback 1"
REASON_MAX = 200
FEEDBACK_BYTES_MAX = 1_400  # one datagram, unfragmented
BEGINS = "Advisory"
ADVICE: Mapping[str, str] = {
    "replace-tool": "a person should consider replacing the tool",
    "consider-stopping": "a person should consider whether to go on with the procedure, or with the use of this device",
    "check-arm": "a person should look at how the arm is set up",
    "check-settings": "a person should look at the settings",
    "service-told": "service staff have been told",
}
_MARKS = str.maketrans(dict.fromkeys('"“”„‟«»＂', "'"))


@dataclass(frozen=True, slots=True)
class Advice:
    """What is advised. device: about whom; about: about which message; reason: in somebody's words, shown as such."""

    advice: str
    device: str | None = None
    about: bytes | None = None
    reason: str | None = None

    def sentence(self) -> str:
        """For people. It begins with what it is, and what somebody wrote stands in quotation marks behind it, which it cannot end."""
        where = f" ({self.device})" if self.device else ""
        reason = f" Reason given: “{self.reason.translate(_MARKS)}”." if self.reason else ""
        return f"{BEGINS}{where}: {ADVICE[self.advice]}.{reason}"


@dataclass(frozen=True, slots=True)
class Advisory:
    """Advice as the room gets it."""

    identity: bytes
    box: str
    given_by: str
    advice: str
    sentence: str
    made_tai_ns: int
    expires_tai_ns: int
    device: str | None = None
    about: bytes | None = None


def as_parameters(advice: Advice) -> dict[str, int | str | None]:
    """The parameters of an order for it."""
    parameters: dict[str, int | str | None] = {"advice": advice.advice}
    for name, value in (("device", advice.device), ("about", advice.about and advice.about.hex()), ("reason", advice.reason)):
        if value:
            parameters[name] = value
    return parameters


def from_parameters(parameters: Mapping[str, int | str | None]) -> Advice:
    """Raises BadItem naming what was expected, never what came."""
    if not set(parameters) <= {"advice", "device", "about", "reason"}:
        raise BadItem("expected parameters among advice, device, about, reason")
    given = {name: value for name, value in parameters.items() if value is not None}
    advice, device, about, reason = (given.get(name) for name in ("advice", "device", "about", "reason"))
    if not isinstance(advice, str) or advice not in ADVICE:
        raise BadItem(f"expected advice as one of {', '.join(ADVICE)}")
    if device is not None and not is_token(device):
        raise BadItem("expected device as a word of 1 to 64 characters [A-Za-z0-9._:/-]")
    if reason is not None and not (isinstance(reason, str) and 0 < len(reason) <= REASON_MAX and reason.isprintable()):
        raise BadItem(f"expected reason as one line of at most {REASON_MAX} characters")
    identity = None
    if about is not None:
        if not (isinstance(about, str) and len(about) == 32 and set(about) <= set("0123456789abcdef")):
            raise BadItem("expected about as 32 hexadecimal digits")
        identity = bytes.fromhex(about)
    return Advice(advice, str(device) if device else None, identity, str(reason) if reason else None)


def advisory_of(order: Order, box: str) -> Advisory:
    """What the room is to get for an order. Raises BadItem."""
    advice = from_parameters(order.parameters)
    return Advisory(
        order.identity, box, order.signer, advice.advice, advice.sentence(), order.made_tai_ns, order.expires_tai_ns,
        advice.device, advice.about,
    )  # fmt: skip


def advisory_packed(advisory: Advisory) -> bytes:
    """The bytes to sign, and what lies in feedback/."""
    row: dict[int, object] = {
        0: advisory.identity, 1: advisory.box, 2: advisory.given_by, 3: advisory.advice, 4: advisory.sentence,
        5: [advisory.made_tai_ns, advisory.expires_tai_ns],
    }  # fmt: skip
    if advisory.device is not None:
        row[6] = advisory.device
    if advisory.about is not None:
        row[7] = advisory.about
    return cbor2.dumps(row, canonical=True)


def advisory_unpacked(data: bytes) -> Advisory:
    """Raises BadItem; a sentence that is not an advisory one is none."""
    if len(data) > FEEDBACK_BYTES_MAX:
        raise BadItem(f"expected an advisory of at most {FEEDBACK_BYTES_MAX} bytes")
    row = decoded_cbor(data)
    match row:
        case {0: bytes(identity), 1: str(box), 2: str(given_by), 3: str(advice), 4: str(sentence), 5: [int(made), int(expires)]} if (
            len(identity) == 16 and is_name(box) and is_name(given_by) and advice in ADVICE
            and sentence.startswith(BEGINS) and ADVICE[advice] in sentence and set(row) <= set(range(8))
        ):  # fmt: skip
            device, about = row.get(6), row.get(7)
            if (device is None or is_token(device)) and (about is None or (isinstance(about, bytes) and len(about) == 16)):
                return Advisory(identity, box, given_by, advice, sentence, made, expires, device, about)
    raise BadItem("expected an advisory (feedback.cddl)")


def feedback_packed(advisory: bytes, signature: bytes) -> bytes:
    """The datagram. advisory: as packed."""
    return cbor2.dumps({0: VERSION, 1: advisory, 2: signature}, canonical=True)


def feedback_unpacked(data: bytes) -> tuple[bytes, bytes]:
    """The advisory's bytes and their signature, for whoever knows the box's key. Raises BadItem."""
    if len(data) > FEEDBACK_BYTES_MAX:
        raise BadItem(f"expected feedback of at most {FEEDBACK_BYTES_MAX} bytes")
    match decoded_cbor(data):
        case {0: 1, 1: bytes(advisory), 2: bytes(signature)} if len(signature) == 64:
            return advisory, signature
    raise BadItem("expected feedback of version 1 (feedback.cddl)")

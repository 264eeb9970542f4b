"""What uplink and hub put on the wire beside envelopes, read by somebody else's CDDL reader."""

from pathlib import Path

import cbor2
import pytest
from pycddl import Schema, ValidationError

import firmware.core
from firmware.core.envelope import Ack, Chunk, Command, Order, ack_packed, chunk_packed, command_packed, order_packed
from firmware.core.presence import Presence, packed

CDDL = (Path(firmware.core.__path__[0]) / "envelope.cddl").read_text("utf-8")
WIRE = [
    ("presence", packed(Presence("online", bytes(8), -5))),
    ("ack", ack_packed(Ack())),
    ("ack", ack_packed(Ack((bytes(16),)))),  # Without offsets: this reader knows no map keys with a control operator.
    ("chunk", chunk_packed(Chunk(5, 10, bytes(32), b"12345"))),
    ("command", command_packed(Command(b"order", bytes(64)))),
    (
        "order",
        order_packed(Order(bytes(16), "hub-1", "box-1", "retrieval", 1, -1, 2, {"since": 1, "hosts": "::1", "until": None})),
    ),
]


@pytest.mark.parametrize(("rule", "data"), WIRE)
def test_it_follows_the_cddl(rule: str, data: bytes) -> None:
    """Each rule of envelope.cddl describes what is sent under it, and nothing with a key too many."""
    schema = Schema(f"root = {rule}\n{CDDL}")
    schema.validate_cbor(data)
    with pytest.raises(ValidationError):
        schema.validate_cbor(cbor2.dumps(cbor2.loads(data) | {99: 1}))

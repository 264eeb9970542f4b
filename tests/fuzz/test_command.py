"""Whatever bytes arrive as a command or an order: a value, or BadItem; and never one whose signature fits something else."""

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import example, given, settings
from hypothesis import strategies as st

from firmware.core.envelope import Command, Order, command_packed, command_unpacked, order_packed, order_unpacked
from firmware.core.errors import BadItem
from firmware.core.request import from_parameters
from firmware.core.signature import is_signed_by

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{2,10}", fullmatch=True)
PARAMETERS = st.dictionaries(st.text(max_size=10), st.none() | st.integers(-(2**62), 2**62) | st.text(max_size=30), max_size=5)
ORDERS = st.builds(
    Order, identity=st.binary(min_size=16, max_size=16), signer=NAMES, box=NAMES, deed=NAMES, counter=st.integers(0, 2**62),
    made_tai_ns=st.integers(-(2**62), 2**62), expires_tai_ns=st.integers(-(2**62), 2**62), parameters=PARAMETERS,
)  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=70)
MAPS = st.dictionaries(st.integers(0, 7), SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=3), SCALARS))


@given(data=st.binary(max_size=300) | MAPS.map(cbor2.dumps))
@example(data=b"")
@example(data=bytes(70_000))
@settings(max_examples=300, deadline=None)
def test_any_bytes(data: bytes) -> None:
    """Command and order alike: understood or refused."""
    for read in (command_unpacked, order_unpacked):
        try:
            read(data)
        except BadItem:
            continue


@given(order=ORDERS)
@settings(max_examples=100, deadline=None)
def test_an_order_comes_back(order: Order) -> None:
    """Packed and unpacked it is the same, within a command too, and the signature is over those very bytes."""
    data = order_packed(order)
    command = Command(data, KEY.sign(Command(data, b"").signed_bytes))
    again = command_unpacked(command_packed(command))

    assert order == order_unpacked(again.order)
    assert is_signed_by(PUBLIC, again.signature, again.signed_bytes)


@given(order=ORDERS, position=st.integers(0, 1 << 16), byte=st.integers(1, 255))
@settings(max_examples=200, deadline=None)
def test_one_byte_changed_is_not_signed(order: Order, position: int, byte: int) -> None:
    """No flipped byte of a command leaves it signed with another order."""
    data = order_packed(order)
    whole = bytearray(command_packed(Command(data, KEY.sign(Command(data, b"").signed_bytes))))
    whole[position % len(whole)] ^= byte
    try:
        command = command_unpacked(bytes(whole))
    except BadItem:
        return
    assert command.order == data or not is_signed_by(PUBLIC, command.signature, command.signed_bytes)


@given(data=st.binary(max_size=100))
@settings(max_examples=100, deadline=None)
def test_a_signature_over_anything_else_does_not_fit(data: bytes) -> None:
    """What this key signs elsewhere (a seal, a receipt) is not a signed command: the prefix keeps them apart."""
    assert not is_signed_by(PUBLIC, KEY.sign(data), Command(data, b"").signed_bytes)


@given(
    parameters=PARAMETERS
    | st.dictionaries(
        st.sampled_from(["since", "until", "hosts", "ports", "macs", "protocols", "vlans", "priority"]),
        st.none() | st.integers() | st.text(max_size=20),
    )
)
@settings(max_examples=300, deadline=None)
def test_parameters_of_a_retrieval(parameters: dict[str, int | str | None]) -> None:
    """Understood or refused with BadItem."""
    try:
        from_parameters(parameters)
    except BadItem:
        return

"""Orders to boxes: made, counted, signed, and put where the hub station publishes them from."""

import re
from collections.abc import Mapping

from drivers.board import Board
from firmware.core.envelope import Command, Order, command_packed, command_unpacked, order_packed, order_unpacked
from firmware.core.errors import BadItem, DiskFailed, Missing
from firmware.core.request import CANCEL, Request, as_parameters
from firmware.core.spool import Spool
from firmware.hub.outgoing import OUTGOING, TAKEN
from firmware.hub.repository import Repository, RepositoryFailed

IDENTITY_SIZE = 16
RETRIEVAL = "retrieval"
NOTHING: Mapping[bytes, str] = {}
_IDENTITY = re.compile(f"[0-9a-f]{{{2 * IDENTITY_SIZE}}}")


def request_evidence(
    board: Board,
    repository: Repository,
    *,
    box: str,
    request: Request,
    about: bytes | None,
    made_tai_ns: int,
    expires_tai_ns: int,
) -> Order:
    """Ask a box for the frames a request describes (S2-107). On return the order is durable, on its way and in the repository.

    about: identity of the message it is about, for people. Raises RepositoryFailed, DiskFull or DiskFailed.
    """
    return asked(
        board, repository, box=box, deed=RETRIEVAL, parameters=as_parameters(request), about=about, made_tai_ns=made_tai_ns,
        expires_tai_ns=expires_tai_ns,
    )  # fmt: skip


def cancel_evidence(
    board: Board, repository: Repository, *, box: str, ended: bytes, made_tai_ns: int, expires_tai_ns: int
) -> Order:
    """Ask a box to end such an order; what it has found until then is its last part. As durable as the order itself."""
    return asked(
        board, repository, box=box, deed=RETRIEVAL, parameters={CANCEL: ended.hex()}, about=None, made_tai_ns=made_tai_ns,
        expires_tai_ns=expires_tai_ns,
    )  # fmt: skip


def asked(
    board: Board,
    repository: Repository,
    *,
    box: str,
    deed: str,
    parameters: Mapping[str, int | str | None],
    about: bytes | None,
    made_tai_ns: int,
    expires_tai_ns: int,
) -> Order:
    """An order somebody asked for, in a transaction of its own. Raises as above: then it does not go out, and asking again is asking once."""
    order: Order | None = None
    try:
        with repository.transaction():
            order = made(
                board, repository, box=box, deed=deed, parameters=parameters, about=about, made_tai_ns=made_tai_ns,
                expires_tai_ns=expires_tai_ns,
            )  # fmt: skip
    except RepositoryFailed:
        if order is None or _taken_back(board, order):
            raise
        # It cannot be removed from where it is sent from, or is being sent already: it goes out, and outgoing.py writes it down.
    assert order is not None, "made raises, or returns it"
    return order


def made(
    board: Board,
    repository: Repository,
    *,
    box: str,
    deed: str,
    parameters: Mapping[str, int | str | None],
    about: bytes | None,
    made_tai_ns: int,
    expires_tai_ns: int,
    identity: bytes | None = None,
    again: Mapping[bytes, str] = NOTHING,
) -> Order:
    """An order of any deed, within the caller's transaction: durable and on its way when that is.

    identity: where it is made again after a transaction that failed behind it, so that both are one; None for a new one.
    again: with it, what lies there of such transactions.
    """
    signer = board.identity.name
    former = _former(board, again.get(identity)) if identity is not None else None
    if former is not None:
        # With a counter of its own a box takes the same order for a replay of another, and refuses it.
        repository.keep_counter(signer, former.counter)
        repository.add_command(former, about=about, now_tai_ns=made_tai_ns)
        return former
    order = Order(
        identity=identity or board.identity.entropy(IDENTITY_SIZE), signer=signer, box=box, deed=deed,
        counter=repository.next_counter(signer, made_tai_ns), made_tai_ns=made_tai_ns, expires_tai_ns=expires_tai_ns,
        parameters=parameters,
    )  # fmt: skip
    if identity is not None and repository.command_state(identity) is not None:
        return order  # It has been on its way, and its box has answered: there is nothing left to send.
    repository.add_command(order, about=about, now_tai_ns=made_tai_ns)
    # Within the transaction: a counter published and not remembered would be used twice, and the second order refused.
    publish(board, order)
    return order


def publish(board: Board, order: Order) -> None:
    """Sign it and put it into commands/outgoing/."""
    data = order_packed(order)
    signature = board.identity.sign(Command(data, b"").signed_bytes)
    try:
        Spool(board.disk, OUTGOING).publish(_name(order), command_packed(Command(data, signature)))
    except DiskFailed:
        _taken_back(board, order)  # It may have its name already, and only not for certain.
        raise


def lying(board: Board) -> dict[bytes, str]:
    """What lies in commands/outgoing/: names by the identities of the orders."""
    return {
        bytes.fromhex(digits): name
        for name in Spool(board.disk, OUTGOING).names()
        if _IDENTITY.fullmatch(digits := name.rpartition("-")[2])
    }


def _former(board: Board, name: str | None) -> Order | None:
    """The order of this name; None where it lies there no more, or nobody can read it."""
    data = Spool(board.disk, OUTGOING).peek(name) if name is not None else None
    try:
        return order_unpacked(command_unpacked(data).order) if data is not None else None
    except BadItem:
        return None


def _taken_back(board: Board, order: Order) -> bool:
    """Whether it is out of commands/outgoing/ again. The hub's process may have taken it meanwhile (outgoing.py): then it goes out."""
    try:
        board.disk.remove(f"{OUTGOING}/{_name(order)}")
    except Missing:
        return not board.disk.exists(f"{OUTGOING}/{_name(order)}{TAKEN}")
    except DiskFailed:
        return False
    return True


def _name(order: Order) -> str:
    return f"{order.counter:020d}-{order.identity.hex()}"

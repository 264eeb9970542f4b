"""Orders to boxes: made, counted, signed, and put where the hub station publishes them from."""

from collections.abc import Mapping

from drivers.board import Board
from firmware.core.envelope import Command, Order, command_packed, order_packed
from firmware.core.request import CANCEL, Request, as_parameters
from firmware.core.spool import Spool
from firmware.hub.outgoing import OUTGOING
from firmware.hub.repository import Repository

IDENTITY_SIZE = 16
RETRIEVAL = "retrieval"


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
    return _ordered(board, repository, box, as_parameters(request), about, made_tai_ns, expires_tai_ns)


def cancel_evidence(
    board: Board, repository: Repository, *, box: str, ended: bytes, made_tai_ns: int, expires_tai_ns: int
) -> Order:
    """Ask a box to end such an order; what it has found until then is its last part. As durable as the order itself."""
    return _ordered(board, repository, box, {CANCEL: ended.hex()}, None, made_tai_ns, expires_tai_ns)


def _ordered(
    board: Board,
    repository: Repository,
    box: str,
    parameters: Mapping[str, int | str | None],
    about: bytes | None,
    made_tai_ns: int,
    expires_tai_ns: int,
) -> Order:
    with repository.transaction():
        return made(
            board, repository, box=box, deed=RETRIEVAL, parameters=parameters, about=about, made_tai_ns=made_tai_ns,
            expires_tai_ns=expires_tai_ns,
        )  # fmt: skip


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
) -> Order:
    """An order of any deed, within the caller's transaction: durable and on its way when that is.

    identity: where it is made again after a transaction that failed behind it, so that both are one; None for a new one.
    """
    signer = board.identity.name
    order = Order(
        identity=identity or board.identity.entropy(IDENTITY_SIZE), signer=signer, box=box, deed=deed,
        counter=repository.next_counter(signer, made_tai_ns), made_tai_ns=made_tai_ns, expires_tai_ns=expires_tai_ns,
        parameters=parameters,
    )  # fmt: skip
    repository.add_command(order, about=about, now_tai_ns=made_tai_ns)
    # Within the transaction: a counter published and not remembered would be used twice, and the second order refused.
    publish(board, order)
    return order


def publish(board: Board, order: Order) -> None:
    """Sign it and put it into commands/outgoing/."""
    data = order_packed(order)
    signature = board.identity.sign(Command(data, b"").signed_bytes)
    name = f"{order.counter:020d}-{order.identity.hex()}"
    Spool(board.disk, OUTGOING).publish(name, command_packed(Command(data, signature)))

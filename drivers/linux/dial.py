"""A TCP connection to whichever of a name's addresses answers first (RFC 8305)."""

import os
import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

# Between the first tries of two addresses of one name (RFC 8305 §5). A name may have a dozen, and a network without a way to IPv6 drops
# what goes to the first six in silence: 5 s for each would be more than an attempt has.
ADDRESS_S = 0.25
Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]  # As getaddrinfo has it.


def first_to_answer(addresses: Sequence[tuple[int, Address]], *, within_s: float) -> socket.socket:
    """A connection to whichever of these does, tried in this order. Raises OSError: what the last to answer said, or that time is over."""
    until, waiting = time.monotonic() + within_s, deque(addresses)
    between_s = min(ADDRESS_S, within_s / 2 / max(1, len(addresses)))
    trying: dict[int, socket.socket] = {}
    poll, next_at = select.poll(), 0.0
    trouble: OSError | None = None
    try:
        while (waiting or trying) and (now := time.monotonic()) < until:
            if waiting and (now >= next_at or not trying):
                family, address = waiting.popleft()
                next_at = now + between_s
                try:
                    wire = _begun(family, address)
                except OSError as failed:  # No such family here, no route.
                    trouble = trouble or failed  # What an address answered says more.
                    continue
                trying[wire.fileno()] = wire
                poll.register(wire.fileno(), select.POLLOUT)
                continue
            for descriptor, _ in poll.poll(max(0, (min(next_at, until) if waiting else until) - now) * 1000):
                poll.unregister(descriptor)
                wire = trying.pop(descriptor)
                if not (error := wire.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
                    return wire
                wire.close()
                # By its number Python chooses the kind: ConnectionRefusedError and the like.
                trouble = OSError(error, os.strerror(error))
    finally:
        for wire in trying.values():
            wire.close()
    raise trouble if trouble is not None and not trying and not waiting else TimeoutError


def _begun(family: int, address: Address) -> socket.socket:
    """A socket on its way to be connected. Raises OSError."""
    wire = socket.socket(family, socket.SOCK_STREAM)
    wire.setblocking(False)
    try:
        wire.connect(address)
    except BlockingIOError:
        pass
    except OSError:
        wire.close()
        raise
    return wire

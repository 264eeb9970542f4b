"""The world's troubles, named by consequence; each says what the caller should do.

A message states what was expected, what came and where, and never repeats foreign bytes.
"""


class Trouble(Exception):
    """Something outside us went wrong. Catch the narrow one where something can be done about it."""


class DiskFull(Trouble):
    """Nothing was written. Make room or drop; retrying at once will not help."""


class DiskFailed(Trouble):
    """The disk refused: read-only, an input/output error, gone. Nothing is known to be written; say so and go on without it."""


class Missing(Trouble):
    """There is no such file. Somebody else settled it, or it never was; go on with the next."""


class TapFailed(Trouble):
    """The interface went away or cannot be opened. Say so, and try again when told."""


class NotAllowed(TapFailed):
    """This process has no right to listen. No later attempt will do better: a person must give it."""


class BadFilter(Trouble):
    """The filter expression does not compile. The message is the compiler's; correct the expression."""


class NotConnected(Trouble):
    """The broker is away; nothing was sent. Keep the item and try after the next Connected."""


class Unreachable(NotConnected):
    """From here nothing can be sent to this address; nothing was. Others may be reached: go on with them."""


class TooLarge(Trouble):
    """The broker announced a smaller maximum packet; nothing was sent. Send smaller pieces."""


class OutletClosed(Trouble):
    """Whoever read along takes nothing more. is_reader: by its own wish, as a pipe's reader; otherwise the file failed."""

    def __init__(self, message: str, *, is_reader: bool) -> None:
        super().__init__(message)
        self.is_reader = is_reader


class ListenFailed(Trouble):
    """The port cannot be listened on: taken, forbidden, no such interface, no such certificate. Say so, and try again when told."""


class EgressFailed(Trouble):
    """The interface's queue could not be changed: no such interface, no privilege, no tc. Go on without; the pace of bulk holds."""


class VaultShut(Trouble):
    """The store's encryption cannot be opened. Nothing was changed; the message says what is missing."""

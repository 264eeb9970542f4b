"""How far a long envelope has come. The receiver's word is the only truth about what it has; pieces need not be aligned to anything.

A transfer begins with its first bytes, for nobody can have any of it yet. After a reconnect, and whenever the receiver has fallen
silent, it begins with a question: the first byte alone. The receiver appends it or has it already, and answers how much it has in
sequence; from there pieces follow, at most so many bytes beyond what it told.
"""

from dataclasses import dataclass, replace

from drivers.clock import Monotonic


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of an envelope to send next."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Transfer:
    """One long envelope. box: who made it. size: bytes of the whole. digest: SHA-256 of the whole.

    told: what the receiver said it has, in sequence. sent: first byte not yet on the wire. asking: the question is not answered yet.
    moved: when anything was last sent or told.
    """

    identity: bytes
    box: str
    size: int
    digest: bytes
    moved: Monotonic
    told: int = 0
    sent: int = 0
    asking: bool = False

    def next_piece(self, *, piece_bytes: int, ahead_bytes: int) -> Piece | None:
        """What to send now, or None while the receiver has to speak first or everything is on its way.

        piece_bytes: longest piece. ahead_bytes: what may be sent beyond the receiver's last word.
        """
        if self.asking:
            return Piece(0, 1) if self.sent == 0 else None
        size = min(piece_bytes, self.size - self.sent, self.told + ahead_bytes - self.sent)
        return Piece(self.sent, size) if size > 0 else None

    def sending(self, piece: Piece, now: Monotonic) -> "Transfer":
        """This piece is on the wire."""
        return replace(self, sent=piece.offset + piece.size, moved=now)

    def hearing(self, offset: int, now: Monotonic) -> "Transfer":
        """The receiver has this many bytes. An answer to the question is taken as it is; later ones only forward, for they may be late."""
        if offset > self.size:
            return self
        if self.asking:
            return replace(self, told=offset, sent=offset, asking=False, moved=now)
        if offset <= self.told:
            return self
        return replace(self, told=offset, sent=max(self.sent, offset), moved=now)

    def asking_again(self) -> "Transfer":
        """Nothing of what was sent is believed to have arrived."""
        return replace(self, told=0, sent=0, asking=True)

    @property
    def is_all_sent(self) -> bool:
        """Whether only the acknowledgement is missing."""
        return not self.asking and self.sent >= self.size

"""What people ask for in their own words, made into what the index can answer and what only a frame can. One for `find` and for orders.

devices, senders, receivers   names of devices, or addresses     ▶ index, and direction by the frame
kinds                         kinds.py                           ▶ ports where a kind has some, and the frame
message, event, process       of a published message             ▶ ports, and the message that the frame carries, or several together
contains, filter              a text or bytes, a pcap-filter(7)  ▶ the frame alone
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from firmware.core import kinds
from firmware.core.devices import Devices
from firmware.core.errors import BadFilter, BadItem
from firmware.core.message import Message, is_token
from firmware.core.pcapng import Packet
from firmware.core.pieces import Pieces
from firmware.core.query import Query
from firmware.core.sift import Accept, Question, Sift, address, pattern
from firmware.core.streams.unrelated import Unrelated

Spoken = Callable[[Packet], Message | None]  # the published message that a frame carries
CompileFilter = Callable[[str], Accept]  # raises BadFilter


@dataclass(frozen=True, slots=True)
class Wording:
    """All that ask must agree; several of one widen. message: an identity. event: the key that messages about one event share.

    process: by which a message was said.
    """

    devices: tuple[str, ...] = ()
    senders: tuple[str, ...] = ()
    receivers: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    message: bytes | None = None
    event: str | None = None
    contains: str = ""
    filter: str = ""
    process: str | None = None


NO_WORDS = Wording()


@dataclass(frozen=True, slots=True)
class Interpreter:
    """What a box knows that is needed to understand its people. Where it lacks something, who asks for it is told so."""

    devices: Devices = field(default_factory=lambda: Devices(()))
    unrelated: Unrelated = field(default_factory=Unrelated)
    spoken: Spoken | None = None
    compile_filter: CompileFilter | None = None

    def understood(self, query: Query, wording: Wording) -> tuple[Query, Sift]:
        """The query made narrower, and what is asked of each frame it finds. Raises BadItem."""
        senders, receivers = self._addresses(wording.senders), self._addresses(wording.receivers)
        parties = self._addresses(wording.devices)
        narrowed = kinds.narrowed(wording.kinds, self.unrelated)
        questions: list[Question] = []
        if wording.kinds:
            questions.append(kinds.asks(wording.kinds, self.unrelated))
        either_ports = narrowed.ports
        pieces: Pieces | None = None
        if wording.message is not None or wording.event is not None or wording.process is not None:
            carries = self._carries(wording.message, wording.event, wording.process)
            asked = replace(query, parties=parties, senders_or_receivers=senders or receivers)
            own = pieces = Pieces(asked, lambda rows: any(map(carries, rows)))
            questions.append(lambda packet: carries(packet) or own.holds(packet))
            # A message is a message whatever kinds were asked for as well; both must hold, so the narrower may stand.
            either_ports = either_ports or tuple(sorted(self.unrelated.message_ports))
        query = replace(
            query,
            parties=parties,
            senders_or_receivers=senders or receivers,
            either_ports=either_ports,
            either_protocols=narrowed.protocols,
        )
        sift = Sift(
            sources=tuple(map(address, senders)), destinations=tuple(map(address, receivers)),
            pattern=pattern(wording.contains) if wording.contains else b"",
            accept=self._compiled(wording.filter), questions=tuple(questions),
            complete=pieces.completed if pieces is not None else None,
        )  # fmt: skip
        return query, sift

    def _addresses(self, words: Sequence[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(entry for word in words for entry in self.devices.addresses(word)))

    def _carries(self, identity: bytes | None, event: str | None, process: str | None) -> Question:
        spoken = self.spoken
        if spoken is None:
            raise BadItem("expected no message's identity, event or process: nobody here knows how messages are published")
        if not all(word is None or is_token(word) for word in (event, process)):
            raise BadItem("expected event and process as words of 1 to 64 characters [A-Za-z0-9._:/-]")

        def question(packet: Packet) -> bool:
            message = spoken(packet)
            return (
                message is not None
                and identity in (None, message.identity)
                and event in (None, message.event)
                and process in (None, message.process)
            )

        return question

    def _compiled(self, expression: str) -> Accept | None:
        if not expression:
            return None
        if self.compile_filter is None:
            raise BadItem("expected no filter: there is no compiler for it here")
        try:
            return self.compile_filter(expression)
        except BadFilter:
            # The compiler's words repeat the expression, which may have come from far away.
            raise BadItem("expected filter as a pcap-filter(7) expression about what is in a frame") from None

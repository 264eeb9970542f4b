"""What is spoken at each door: how messages are framed, what they say, and how they are answered. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta, timezone

from drivers.listener import ListenRequest, Transport
from firmware.core import datagram, hl7, igtl, mpps
from firmware.core.context import PREFIX, Kind
from firmware.core.errors import BadItem, BadSettings
from firmware.core.framing import HL7_BYTES_MAX, Cut, DicomFraming, Framing, IgtlFraming, MllpFraming, SyslogFraming
from firmware.core.message import Field
from firmware.core.said import Said
from firmware.core.upper_layer import (
    CREATE,
    ECHO,
    FAILED,
    NO_SUCH_CLASS,
    NO_SUCH_OPERATION,
    SET,
    STEP,
    SUCCESS,
    Association,
    Request,
)
from firmware.intake.settings import IntakeSettings

STEPS_MAX = 1_024  # remembered; a scanner begins some thirty a day
Pseudonym = Callable[[Kind, str], str]
Answer = Callable[
    [str, int, str], bytes
]  # ("A", "E" or "R", UTC ns, a number of our own) to the bytes to send; none: he wants no answer


@dataclass(frozen=True, slots=True)
class Understood:
    """One message. said: None where there is nothing to keep. answer: None where nobody waits for one. wrong: why it is no good.

    reply: what the protocol wants said at once, before anything is durable: it promises nothing.
    """

    said: Said | None
    answer: Answer | None = None
    wrong: str | None = None
    reply: bytes = b""


Reader = Callable[[bytes], Understood]


@dataclass(frozen=True, slots=True)
class Door:
    """One port. reader: for each connection, and one for all datagrams, what reads its messages; it raises BadItem where a connection is
    worth nothing any more, and nothing else.
    """

    name: str
    request: ListenRequest
    framing: Callable[[], Framing] | None
    reader: Callable[[], Reader]


def doors_of(settings: IntakeSettings, pseudonym: Pseudonym | None = None) -> tuple[Door, ...]:
    """Those that are switched on. pseudonym: what stands for numbers of visits, orders, …. Raises BadSettings."""
    zone = _zone(settings.hl7_utc_offset)

    def read_hl7(data: bytes) -> Understood:
        return _hl7(data, zone, pseudonym)

    def request(transport: Transport, port: int) -> ListenRequest:
        tls = (settings.tls_certificate or None, settings.tls_key or None, settings.tls_ca or None)
        return ListenRequest(
            transport, port, settings.listen_interface, settings.listen_address, settings.callers_max,
            *(tls if transport == "tls" else (None, None, None)),
        )  # fmt: skip

    found = []
    if settings.syslog_udp_listen:
        found.append(Door("syslog-udp", request("udp", settings.syslog_udp_listen), None, lambda: _syslog))
    if settings.syslog_tcp_listen:
        found.append(Door("syslog-tcp", request("tcp", settings.syslog_tcp_listen), SyslogFraming, lambda: _syslog))
    if settings.syslog_tls_listen:
        if not settings.tls_certificate:
            raise BadSettings("[intake] syslog_tls_listen: expected tls_certificate beside it")
        found.append(Door("syslog-tls", request("tls", settings.syslog_tls_listen), SyslogFraming, lambda: _syslog))
    if settings.hl7_listen:
        found.append(Door("hl7", request("tcp", settings.hl7_listen), MllpFraming, lambda: read_hl7))
    if settings.hl7_tls_listen:
        if not settings.tls_certificate:
            raise BadSettings("[intake] hl7_tls_listen: expected tls_certificate beside it")
        found.append(Door("hl7-tls", request("tls", settings.hl7_tls_listen), MllpFraming, lambda: read_hl7))
    if settings.igtl_listen:
        found.append(Door("igtl", request("tcp", settings.igtl_listen), IgtlFraming, lambda: _igtl))
    if settings.dicom_tls_listen and not settings.tls_certificate:
        raise BadSettings("[intake] dicom_tls_listen: expected tls_certificate beside it")
    services: tuple[tuple[str, Transport, int], ...] = (
        ("dicom", "tcp", settings.dicom_listen), ("dicom-tls", "tls", settings.dicom_tls_listen)
    )  # fmt: skip
    begun = _Begun()
    for name, transport, port in services:
        if port:
            found.append(Door(name, request(transport, port), DicomFraming, lambda: _Steps(pseudonym, begun).read))
    ports = [(door.request.transport == "udp", door.request.port) for door in found]
    if len(set(ports)) < len(ports):
        raise BadSettings("[intake] expected a port of its own for each listener")
    return tuple(found)


def _syslog(data: bytes) -> Understood:
    return Understood(datagram.decoded(data))


def _hl7(data: bytes, zone: timezone | None, pseudonym: Pseudonym | None) -> Understood:
    try:
        if isinstance(data, Cut):
            raise BadItem(f"expected MLLP blocks of at most {HL7_BYTES_MAX} bytes")
        document = hl7.decoded(data, zone=zone, pseudonym=pseudonym)
    except BadItem as trouble:
        header = hl7.header_of(data)
        return Understood(None, _answering(header, str(trouble)), "error" if header is not None else "rejected")
    return Understood(document.said, _answering(document.header, ""))


def _answering(header: hl7.Header | None, reason: str) -> Answer:
    def answer(code: str, utc_ns: int, number: str) -> bytes:
        body = hl7.acknowledgement(header, code, utc_ns=utc_ns, control_id=number, reason="" if code == "A" else reason)
        return b"\x0b" + body + b"\x1c\r" if body else b""

    return answer


def _igtl(data: bytes) -> Understood:
    try:
        return Understood(igtl.decoded(data))
    except BadItem:
        return Understood(None, wrong="error")


class _Begun:
    """Which study and order a step is of, as its beginning said it: its end, on another association, names the step alone (PS3.4 §F.7.2.2).

    Without it nobody could tell whose end that is. In memory, by pseudonym; beyond STEPS_MAX the one that began first is forgotten.
    """

    def __init__(self) -> None:
        self._about: dict[Field, dict[str, Field]] = {}

    def note(self, said: Said) -> None:
        """A step has begun."""
        about = {name: value for name, value in said.fields.items() if name.startswith(PREFIX)}
        self._about[about.get(f"{PREFIX}step")] = about
        if len(self._about) > STEPS_MAX:
            del self._about[next(iter(self._about))]

    def told(self, said: Said) -> Said:
        """What is said of a step, with what it is about."""
        about = self._about.get(said.fields.get(f"{PREFIX}step"), {})
        return replace(said, fields={**said.fields, **about})


class _Steps:
    """One association, on which a modality says how far a procedure step is."""

    def __init__(self, pseudonym: Pseudonym | None, begun: _Begun) -> None:
        self._association = Association()
        self._pseudonym = pseudonym
        self._begun = begun

    def read(self, pdu: bytes) -> Understood:
        heard = self._association.feed(pdu)
        request = heard.request
        if request is None:
            return Understood(None, reply=heard.reply)
        if request.operation == ECHO:
            return Understood(None, reply=self._association.answer(request, SUCCESS))
        if request.operation not in (CREATE, SET):
            return Understood(None, reply=self._association.answer(request, NO_SUCH_OPERATION))
        if self._association.class_of(request) != STEP:
            return Understood(None, reply=self._association.answer(request, NO_SUCH_CLASS))
        answer = self._answering(request)
        try:
            said = mpps.decoded(request, self._association.caller, pseudonym=self._pseudonym)
        except BadItem:
            return Understood(None, answer, "error")
        if request.operation == CREATE:
            self._begun.note(said)
        return Understood(self._begun.told(said), answer)

    def _answering(self, request: Request) -> Answer:
        return lambda code, utc_ns, number: self._association.answer(request, SUCCESS if code == "A" else FAILED)


def _zone(text: str) -> timezone | None:
    if not text:
        return None
    sign, hours, colon, minutes = text[:1], text[1:3], text[3:4], text[4:]
    if (
        sign not in "+-"
        or colon != ":"
        or not (hours + minutes).isdecimal()
        or len(text) != 6
        or int(hours) > 14
        or int(minutes) > 59
    ):
        raise BadSettings(f'[intake] hl7_utc_offset: expected an offset such as "+08:00", got {text!r}')
    return timezone(timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if sign == "-" else 1))

"""What is spoken at each door: how messages are framed, what they say, and how they are answered. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta, timezone

from drivers.listener import ListenRequest, Transport
from firmware.core import datagram, hl7, igtl
from firmware.core.context import Kind
from firmware.core.errors import BadItem, BadSettings
from firmware.core.framing import Framing, IgtlFraming, MllpFraming, SyslogFraming
from firmware.core.said import Said
from firmware.intake.settings import IntakeSettings

Pseudonym = Callable[[Kind, str], str]
Answer = Callable[[str, int, str], bytes]  # ("A", "E" or "R", UTC ns, a number of our own) to the bytes to send


@dataclass(frozen=True, slots=True)
class Understood:
    """One message. said: None where there is nothing to keep. answer: None where nobody waits for one. wrong: why it is no good."""

    said: Said | None
    answer: Answer | None = None
    wrong: str | None = None


@dataclass(frozen=True, slots=True)
class Door:
    """One port. read: what a whole message, or a datagram, says; never raises."""

    name: str
    request: ListenRequest
    framing: Callable[[], Framing] | None
    read: Callable[[bytes], Understood]


def doors_of(settings: IntakeSettings, pseudonym: Pseudonym | None = None) -> tuple[Door, ...]:
    """Those that are switched on. pseudonym: what stands for numbers of visits, orders, …. Raises BadSettings."""
    zone = _zone(settings.hl7_utc_offset)

    def request(transport: Transport, port: int) -> ListenRequest:
        tls = (settings.tls_certificate or None, settings.tls_key or None, settings.tls_ca or None)
        return ListenRequest(
            transport, port, settings.listen_interface, settings.listen_address, settings.callers_max,
            *(tls if transport == "tls" else (None, None, None)),
        )  # fmt: skip

    found = []
    if settings.syslog_udp_listen:
        found.append(Door("syslog-udp", request("udp", settings.syslog_udp_listen), None, _syslog))
    if settings.syslog_tcp_listen:
        found.append(Door("syslog-tcp", request("tcp", settings.syslog_tcp_listen), SyslogFraming, _syslog))
    if settings.syslog_tls_listen:
        if not settings.tls_certificate:
            raise BadSettings("[intake] syslog_tls_listen: expected tls_certificate beside it")
        found.append(Door("syslog-tls", request("tls", settings.syslog_tls_listen), SyslogFraming, _syslog))
    if settings.hl7_listen:
        found.append(Door("hl7", request("tcp", settings.hl7_listen), MllpFraming, lambda data: _hl7(data, zone, pseudonym)))
    if settings.hl7_tls_listen:
        if not settings.tls_certificate:
            raise BadSettings("[intake] hl7_tls_listen: expected tls_certificate beside it")
        found.append(
            Door("hl7-tls", request("tls", settings.hl7_tls_listen), MllpFraming, lambda data: _hl7(data, zone, pseudonym))
        )
    if settings.igtl_listen:
        found.append(Door("igtl", request("tcp", settings.igtl_listen), IgtlFraming, _igtl))
    ports = [(door.request.transport == "udp", door.request.port) for door in found]
    if len(set(ports)) < len(ports):
        raise BadSettings("[intake] expected a port of its own for each listener")
    return tuple(found)


def _syslog(data: bytes) -> Understood:
    return Understood(datagram.decoded(data))


def _hl7(data: bytes, zone: timezone | None, pseudonym: Pseudonym | None) -> Understood:
    try:
        document = hl7.decoded(data, zone=zone, pseudonym=pseudonym)
    except BadItem as trouble:
        header = hl7.header_of(data)
        return Understood(None, _answering(header, str(trouble)), "error" if header is not None else "rejected")
    return Understood(document.said, _answering(document.header, ""))


def _answering(header: hl7.Header | None, reason: str) -> Answer:
    def answer(code: str, utc_ns: int, number: str) -> bytes:
        body = hl7.acknowledgement(header, code, utc_ns=utc_ns, control_id=number, reason="" if code == "A" else reason)
        return b"\x0b" + body + b"\x1c\r"

    return answer


def _igtl(data: bytes) -> Understood:
    try:
        return Understood(igtl.decoded(data))
    except BadItem:
        return Understood(None, wrong="error")


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

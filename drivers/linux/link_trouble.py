"""Why there is no connection to a broker, in words of what a person can do something about."""

import socket
import ssl
import time
from pathlib import Path

from paho.mqtt.reasoncodes import ReasonCode

from drivers.link import CA_EXPIRED, OUR_CERTIFICATE_EXPIRED, THEIR_CERTIFICATE_EXPIRED, LinkRequest

# openssl/x509_vfy.h
X509_V_ERR_CERT_NOT_YET_VALID = 9
X509_V_ERR_CERT_HAS_EXPIRED = 10
X509_V_ERR_NOT_CERTIFIED = (18, 19, 20, 21)  # self-signed, itself or above it; nobody known above it; not its issuer's
# What OpenSSL calls an answer in another tongue: of a broker without TLS, a captive portal, another service.
NO_TLS = (
    "WRONG_VERSION_NUMBER",
    "UNKNOWN_PROTOCOL",
    "PACKET_LENGTH_TOO_LONG",
    "RECORD_LAYER_FAILURE",
    "UNEXPECTED_EOF_WHILE_READING",
)
# MQTT 5 §2.4: what a person can do something about, in words.
MEANINGS = {
    0x85: "it does not take our name",
    0x86: "it wants a user we are not",
    0x87: "it does not let us in",
    0x88: "it is not available now",
    0x89: "it is busy",
    0x8A: "it has banned us",
    0x8E: "another machine has connected under our name",
    0x9C: "another broker is to be used",
    0x9D: "it has moved",
}


def meaning_of(code: ReasonCode) -> str:
    """As 0x87, and what that is if it is known."""
    meaning = MEANINGS.get(code.value)
    return f"{code.value:#04x}, {meaning}" if meaning else f"{code.value:#04x}"


def named(trouble: Exception, request: LinkRequest) -> str:
    """Of an attempt that the system or TLS ended."""
    if isinstance(trouble, ssl.SSLCertVerificationError):
        return _not_verified(trouble, request)
    reason = getattr(trouble, "reason", None)
    if request.ca is not None and (isinstance(trouble, ConnectionResetError) or reason in NO_TLS):
        return f"no TLS is spoken there ({reason or 'reset'}): it may be the wrong port, or a portal answers in its place"
    if isinstance(trouble, ssl.SSLError):
        return f"TLS: {trouble.reason or trouble}"
    if isinstance(trouble, UnicodeError):
        return f"{request.broker.rpartition(':')[0]!r} is no host name"
    if type(trouble) in (OSError, socket.gaierror):  # Its kind says nothing: no route, no such name.
        return str(trouble.args[-1])
    return type(trouble).__name__


def _not_verified(trouble: ssl.SSLCertVerificationError, request: LinkRequest) -> str:
    """Whose certificate it is, and what a person should look at first; where it is about time, this may be our clock."""
    if trouble.verify_code == X509_V_ERR_CERT_HAS_EXPIRED:
        # OpenSSL does not tell Python which certificate of the chain it means.
        is_ca = (times := _times(request.ca)) is not None and times[1] < _clock_s()
        return f"{CA_EXPIRED if is_ca else THEIR_CERTIFICATE_EXPIRED}; our clock says {_today()}"
    if trouble.verify_code == X509_V_ERR_CERT_NOT_YET_VALID:
        return f"the broker's certificate is not valid yet; our clock says {_today()}"
    if trouble.verify_code in X509_V_ERR_NOT_CERTIFIED:
        return f"ca does not certify the broker, or it does not show what is between: {trouble.verify_message}"
    return f"the broker's certificate: {trouble.verify_message}"


def unusable(request: LinkRequest, trouble: Exception) -> str:
    """Which of the TLS files it is, as the settings call them, and what is wrong with it."""
    for name, path in (("ca", request.ca), ("certificate", request.certificate), ("key", request.key)):
        try:
            data = Path(path).read_bytes() if path is not None else b""
        except OSError as unreadable:
            return f"{name} cannot be read: {unreadable.strerror}"
        if name == "key" and b"ENCRYPTED" in data:
            return "key has a pass phrase; expected one without"
    return f"ca, certificate and key cannot be used: {getattr(trouble, 'reason', None) or trouble}"


def hung_up(request: LinkRequest) -> str:
    """An attempt ended, and nobody said why: what a person should look at first."""
    if request.ca is None:
        return "the broker hung up at once; it may want TLS"
    return f"the broker hung up after TLS; it may {'not take our certificate' if request.certificate else 'want a certificate'}"


def out_of_time(path: str | None) -> str:
    """What is wrong with the time of our certificate by our clock, "" if nothing is. Asked only when an attempt has failed."""
    if (times := _times(path)) is None or times[0] <= _clock_s() <= times[1]:
        return ""
    what = OUR_CERTIFICATE_EXPIRED if times[1] < _clock_s() else "our certificate is not valid yet"
    return f"{what}; our clock says {_today()}"


def _times(path: str | None) -> tuple[float, float] | None:
    """From when to when a certificate is valid, seconds of UTC; None where there is none, or it does not read. The library is 6 MiB."""
    if path is None:
        return None
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(Path(path).read_bytes())
    except (OSError, ValueError):
        return None  # The attempt has failed for that, and says so.
    return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()


def _clock_s() -> float:
    return time.clock_gettime(time.CLOCK_REALTIME)


def _today() -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(_clock_s()))

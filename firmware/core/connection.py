"""One link kept connected: which broker, when to try again, and when an attempt has failed. Shared by uplink and hub."""

from collections.abc import Callable, Sequence

from drivers.clock import Monotonic, Now
from drivers.identity import Identity
from drivers.link import Connected, Link, LinkRequest
from firmware.core.errors import BadSettings
from firmware.core.timestamp import SECOND

ATTEMPT_NS_MAX = 15 * SECOND  # An attempt without an answer by then has failed.
# A name server that says nothing holds up an attempt for longer than that (resolv.conf: 5 s for each of three, twice).
UNANSWERED = f"no answer within {ATTEMPT_NS_MAX // SECOND} s: are the name servers reached, and the broker?"
STEADY_NS = 30 * SECOND  # A connection that lived this long makes the next back-off begin small again.
SHORT_MIN = 5  # So many in a row that did not live so long are no accident.


def check_brokers(brokers: Sequence[str]) -> None:
    """Raises BadSettings unless each is host:port, and there is one."""
    if not brokers:
        raise BadSettings("brokers: expected at least one host:port")
    for broker in brokers:
        host, _, port = broker.rpartition(":")
        if not host or not (port.isascii() and port.isdecimal()) or not 0 < int(port) < 65_536:
            raise BadSettings(f"brokers: expected host:port with a port of 1 to 65535, got {broker!r}")


def check_files(section: str, *, ca: str, certificate: str, key: str) -> None:
    """Raises BadSettings for files of TLS that would not be used: without ca there is no TLS, and everything leaves in the clear."""
    if (certificate or key) and not ca:
        raise BadSettings(f"[{section}] ca: expected one beside certificate and key, for without it the connection has no TLS")


class Connection:
    """Tries the brokers in turn, for ever, with full jitter: random(0, min(backoff_s_max, 2^n)) s, so that a fleet does not come back
    in step. link: for everything but connecting.

    request: what to connect with, for one broker, asked anew for each attempt.
    """

    def __init__(
        self,
        link: Link,
        identity: Identity,
        brokers: Sequence[str],
        *,
        backoff_s_max: int,
        request: Callable[[str, Now], LinkRequest],
    ) -> None:
        check_brokers(brokers)
        self.link = link
        self.is_up = False
        self.receive_maximum = 0
        self.packet_bytes_max = 0
        self._identity = identity
        self._brokers = brokers
        self._backoff_s_max = backoff_s_max
        self._request = request
        self._broker = 0
        self._failures = 0
        self._short = 0  # connections in a row that were lost before they were steady
        self._attempted: Monotonic | None = None
        self._up_since: Monotonic | None = None
        self._again: Monotonic | None = Monotonic(0)

    @property
    def broker(self) -> str:
        """The broker connected to, or being tried."""
        return self._brokers[self._broker]

    def connect_when_due(self, now: Now) -> str:
        """Make an attempt if one is due; give one up that got no answer, and return that as the driver would have said it, else ""."""
        trouble = ""
        if self._attempted is not None and now.monotonic.since(self._attempted) >= ATTEMPT_NS_MAX:
            self.lost(now.monotonic)
            trouble = UNANSWERED
        if self._again is not None and now.monotonic >= self._again:
            self._again, self._attempted = None, now.monotonic
            self.link.connect(self._request(self.broker, now))
        return trouble

    def connected(self, event: Connected, now: Monotonic) -> None:
        """The broker said yes."""
        self._attempted, self._up_since, self.is_up = None, now, True
        self.receive_maximum, self.packet_bytes_max = event.receive_maximum, event.maximum_packet_bytes

    def unsteady(self, now: Monotonic) -> str:
        """For people: that connections come and go, and what that may be; "" when they do not.

        A broker that is given one name by two machines drops the first for the second, and mosquitto 2.0.11 without a word: each
        is connected half of the time, and would show no trouble then.
        """
        steady = self._up_since is not None and now.since(self._up_since) >= STEADY_NS
        if self._short < SHORT_MIN or steady:
            return ""
        return f"lost {self._short} times in a row soon after connecting; does another machine have this name?"

    def works(self) -> None:
        """Something was acknowledged end to end: this broker is worth trying at once when it is lost."""
        self._failures = 0

    def lost(self, now: Monotonic) -> None:
        """The connection or the attempt is over; plan the next, at the next broker of the list. Once: its end may be told twice."""
        if self._again is not None:
            return
        if self._up_since is not None and now.since(self._up_since) >= STEADY_NS:
            self._failures = self._short = 0
        elif self._up_since is not None:
            self._short += 1
        self.is_up, self._attempted, self._up_since = False, None, None
        self._broker = (self._broker + 1) % len(self._brokers)
        longest_ns = min(self._backoff_s_max, 2 ** min(self._failures, 20)) * SECOND
        self._failures += 1
        self._again = now.after(self.jitter(longest_ns))

    def begin_by(self, latest: Monotonic, now: Monotonic) -> None:
        """Begin anew with the first broker, former failures forgotten, somewhere between now and `latest`."""
        self._failures = self._broker = self._short = 0
        if self._again is not None:
            self._again = now.after(self.jitter(max(1, latest.since(now))))

    def jitter(self, longest_ns: int) -> int:
        """Somewhere from 0 to below `longest_ns`, unpredictably."""
        return longest_ns * int.from_bytes(self._identity.entropy(4), "big") >> 32

    def next_wish(self) -> Monotonic | None:
        """When `connect_when_due` has something to do; None while all is well."""
        if self._attempted is not None:
            return self._attempted.after(ATTEMPT_NS_MAX)
        return self._again

    def close(self) -> None:
        """Give the link up."""
        self.is_up = False
        self.link.close()

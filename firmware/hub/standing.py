"""Whether the hub takes in what boxes send, as its process says itself: a page that is served is no word about that."""

from drivers.clock import Monotonic
from drivers.disk import Disk
from firmware.core.durable import read_or_none
from firmware.core.state import SILENT_NS, STATE, STATE_BYTES_MAX, Heard, ProcessState, from_json
from firmware.core.timestamp import SECOND

PROCESS = "hub"  # and its station (firmware/roles.py)


class Standing:
    """How the hub's process stands, for who looks again and again.

    since: when looking began. brokers: of how many it is to hear.
    """

    def __init__(self, disk: Disk, *, brokers: int, since: Monotonic) -> None:
        self._disk = disk
        self._brokers = brokers
        self._since = since
        self._heard = Heard()

    def trouble(self, now: Monotonic, *, tai_ns: int) -> str:
        """Why nothing, or not everything, arrives: a clause for people; "" when all is well. Raises DiskFailed."""
        data = read_or_none(self._disk, f"{STATE}/{PROCESS}.json", size=STATE_BYTES_MAX)
        state = from_json(PROCESS, data) if data is not None else ProcessState(PROCESS)
        silent_ns = self._heard.age_ns(state, now, tai_ns=tai_ns) if state.at_tai_ns else now.since(self._since)
        if silent_ns > SILENT_NS:
            return f"its process has said nothing for {_long(silent_ns // SECOND)}"
        gauges = {
            name: value for station in state.stations if station.station == PROCESS for name, value in station.gauges.items()
        }
        if gauges.get("refused"):
            return f"it cannot keep what comes ({gauges['refused']})"
        brokers = gauges.get("brokers")
        if isinstance(brokers, int) and brokers < self._brokers:
            return "it reaches no broker" if not brokers else f"it reaches {brokers} of its {self._brokers} brokers"
        return ""


def _long(seconds: int) -> str:
    return f"{seconds // 60} min" if seconds >= 120 else f"{seconds // 10 * 10} s"  # Not every second another word.

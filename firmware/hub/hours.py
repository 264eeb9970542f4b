"""When a site may be sent versions: "SITE HH:MM-HH:MM", UTC. A site of which nothing is said may be at any time. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from drivers.clock import Now
from firmware.core.errors import BadSettings
from firmware.core.timestamp import SECOND

MINUTE_NS, DAY_MIN = 60 * SECOND, 1440
_ENTRY = re.compile(
    r"(?P<site>[a-z0-9][a-z0-9-]{2,62}) (?P<h1>[01][0-9]|2[0-3]):(?P<m1>[0-5][0-9])-(?P<h2>[01][0-9]|2[0-3]):(?P<m2>[0-5][0-9])"
)


@dataclass(frozen=True, slots=True)
class Hours:
    """by_site: minutes of the day, from and until; until below from passes midnight."""

    by_site: Mapping[str, tuple[int, int]]

    @classmethod
    def of(cls, entries: Sequence[str]) -> "Hours":
        """Raises BadSettings."""
        found = {}
        for entry in entries:
            match = _ENTRY.fullmatch(entry)
            if match is None:
                raise BadSettings(f'[hub] update_hours: expected "SITE HH:MM-HH:MM" (UTC), got {entry!r}')
            found[match["site"]] = (int(match["h1"]) * 60 + int(match["m1"]), int(match["h2"]) * 60 + int(match["m2"]))
        return cls(found)

    def left_ns(self, site: str, now: Now) -> int | None:
        """How long it may still be sent to; 0: not now; None: at any time."""
        hours = self.by_site.get(site)
        if hours is None or hours[0] == hours[1]:
            return None
        begin, end = hours
        length = (end - begin) % DAY_MIN
        since_ns = (now.utc_ns - begin * MINUTE_NS) % (DAY_MIN * MINUTE_NS)
        return max(0, length * MINUTE_NS - since_ns)

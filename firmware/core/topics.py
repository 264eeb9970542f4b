"""The MQTT topic tree, in this one place.

    scrubjay/v1/<site>/<box>/state            box → hub   retained; birth, and the last will        presence.py
    scrubjay/v1/<site>/<box>/p1 … p4          box → hub   envelopes with groups, by priority        envelope.cddl
    scrubjay/v1/<site>/<box>/bulk/<transfer>  box → hub   chunks of one long envelope               envelope.cddl
    scrubjay/v1/<site>/<box>/cmd              hub → box   a signed command                          envelope.cddl
    scrubjay/v1/<site>/<box>/ack              hub → box   what the hub has committed                envelope.cddl

Nothing may depend on a retained message: they are a convenience for a person with an MQTT browser.
"""

import re
from dataclasses import dataclass

ROOT = "scrubjay/v1"
_TOPIC = re.compile(
    r"scrubjay/v1/(?P<site>[a-z0-9][a-z0-9-]{2,62})/(?P<box>[a-z0-9][a-z0-9-]{2,62})/(?P<channel>state|p[1-4]|bulk|cmd|ack)(?:/(?P<transfer>[0-9a-f]{32}))?"
)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic taken apart. transfer: 32 hexadecimal digits, only under bulk."""

    site: str
    box: str
    channel: str
    transfer: str | None = None

    def __str__(self) -> str:
        tail = f"/{self.transfer}" if self.transfer else ""
        return f"{ROOT}/{self.site}/{self.box}/{self.channel}{tail}"


def parsed(topic: str) -> Topic | None:
    """A topic of ours, or None for anything else."""
    match = _TOPIC.fullmatch(topic)
    if match is None or (match["transfer"] is not None) != (match["channel"] == "bulk"):
        return None
    return Topic(match["site"], match["box"], match["channel"], match["transfer"])


HUB_SUBSCRIPTIONS = tuple(f"{ROOT}/+/+/{tail}" for tail in ("state", "p1", "p2", "p3", "p4", "bulk/+"))

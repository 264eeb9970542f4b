"""The MQTT topic tree, in this one place.

    scrubjay/v1/<site>/<box>/state            box → hub   retained; birth, and the last will        presence.py
    scrubjay/v1/<site>/<box>/p1 … p4          box → hub   envelopes with groups, by priority        envelope.cddl
    scrubjay/v1/<site>/<box>/bulk/<transfer>  box → hub   chunks of one long envelope               envelope.cddl
    scrubjay/v1/<site>/<box>/want             box → hub   a stretch of a file it is to have          download.py
    scrubjay/v1/<site>/<box>/piece            hub → box   a piece of it                              download.py
    scrubjay/v1/<site>/<box>/cmd              hub → box   a signed command                          envelope.cddl
    scrubjay/v1/<site>/<box>/ack              hub → box   what the hub has committed                envelope.cddl

    scrubjay/v1/<site>/<relay>/via/<box>/…    the same, through a relay of the same site

The third level is who speaks and is told apart by its certificate: a relay writes and reads below its own name only, and whose box
it speaks for stands below that. Nothing may depend on a retained message: they are a convenience for a person with an MQTT browser.
"""

import re
from dataclasses import dataclass

ROOT = "scrubjay/v1"
_NAME = "[a-z0-9][a-z0-9-]{2,62}"
_TOPIC = re.compile(
    rf"scrubjay/v1/(?P<site>{_NAME})/(?P<first>{_NAME})(?:/via/(?P<second>{_NAME}))?"
    r"/(?P<channel>state|p[1-4]|bulk|want|piece|cmd|ack)(?:/(?P<transfer>[0-9a-f]{32}))?"
)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic taken apart. transfer: 32 hexadecimal digits, only under bulk. relay: through whom; None: the box itself."""

    site: str
    box: str
    channel: str
    transfer: str | None = None
    relay: str | None = None

    def to(self, channel: str) -> "Topic":
        """Another channel of the same box, through the same relay."""
        return Topic(self.site, self.box, channel, relay=self.relay)

    def __str__(self) -> str:
        tail = f"/{self.transfer}" if self.transfer else ""
        who = f"{self.relay}/via/{self.box}" if self.relay else self.box
        return f"{ROOT}/{self.site}/{who}/{self.channel}{tail}"


def parsed(topic: str) -> Topic | None:
    """A topic of ours, or None for anything else."""
    match = _TOPIC.fullmatch(topic)
    if match is None or (match["transfer"] is not None) != (match["channel"] == "bulk"):
        return None
    relay, box = (match["first"], match["second"]) if match["second"] else (None, match["first"])
    return Topic(match["site"], box, match["channel"], match["transfer"], relay)


def via_subscriptions(site: str, relay: str) -> tuple[str, ...]:
    """What a relay hears from the hub for those it speaks for."""
    return (f"{ROOT}/{site}/{relay}/via/+/ack", f"{ROOT}/{site}/{relay}/via/+/cmd")


_FROM_BOXES = ("state", "p1", "p2", "p3", "p4", "bulk/+", "want")
RELAY_SUBSCRIPTIONS = tuple(f"{ROOT}/+/+/{tail}" for tail in _FROM_BOXES)
HUB_SUBSCRIPTIONS = (*RELAY_SUBSCRIPTIONS, *(f"{ROOT}/+/+/via/+/{tail}" for tail in _FROM_BOXES))

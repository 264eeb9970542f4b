"""Publish a message to the box, from any Python program. This one file, and `cbor2`, is all it takes; FORMAT.md is the description.

import socket
from publisher import Publisher

udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
robot = Publisher(udp.sendto, host="239.1.1.1", process="arm-3")
robot.publish(1, "joint 2 stopped", severity="error", event="tool-failure", fields={"torque_nm": 4.2})
robot.publish(4, "cycle", fields={"load": 0.4}, detail={"trace": "…"})

How much is published is the environment's to say, not the program's: SCRUBJAY_PUBLISH=debug in the laboratory, =execution in the
operating room. Levels: debug (everything; also when it is not set), execution (neither priority 4 nor detail), warnings (priorities
1 and 2), alarms (priority 1). One process by name: "execution,arm-3=debug". Priority 1 is always published.
"""

import os
from collections.abc import Callable, Mapping, Sequence

import cbor2

VERSION = 1
PORTS = (47001, 47002, 47003, 47004)  # of priority 1, 2, 3, 4
DATAGRAM_BYTES_MAX = 65_507  # UDP over IPv4
VARIABLE = "SCRUBJAY_PUBLISH"
LEVELS = {"debug": 4, "execution": 3, "warnings": 2, "alarms": 1}  # the last priority that is published

Value = int | float | bool | str | None


def datagram(
    text: str | None = None,
    *,
    process: str | None = None,
    sequence: int | None = None,
    severity: int | str | None = None,
    priority: int | None = None,
    kind: str | None = None,
    event: str | None = None,
    time_utc_ns: int | None = None,
    time_tai_ns: int | None = None,
    clock: str | None = None,
    fields: Mapping[str, Value] | None = None,
    attachment: tuple[str, bytes] | None = None,
) -> bytes:
    """The bytes to send. Names and units as in FORMAT.md; what is None is left out. Raises ValueError above 65,507 bytes."""
    row: dict[str, object] = {
        "version": VERSION, "process": process, "sequence": sequence, "severity": severity, "priority": priority, "kind": kind,
        "event": event, "time_utc_ns": time_utc_ns, "time_tai_ns": time_tai_ns, "clock": clock, "text": text,
        "fields": dict(fields) if fields else None, "attachment": list(attachment) if attachment else None,
    }  # fmt: skip
    data = cbor2.dumps({name: value for name, value in row.items() if value is not None})
    if len(data) > DATAGRAM_BYTES_MAX:
        raise ValueError(f"expected a message of at most {DATAGRAM_BYTES_MAX} bytes, got {len(data)}")
    return data


def level_of(process: str, variable: str) -> int:
    """The last priority this process publishes, 1 to 4, by the environment variable's value.

    What is not understood counts as "debug": a misspelled level must not silence a robot.
    """
    level = LEVELS["debug"]
    for entry in variable.split(","):
        name, equals, word = entry.strip().rpartition("=")
        if not equals or name == process:
            level = LEVELS.get(word, LEVELS["debug"])
            if equals:
                break
    return level


class Publisher:
    """One process of a device, publishing.

    send: takes (bytes, (host, port)), as `socket.sendto`. host: the box's network's broadcast or multicast address, or any host on the
    mirrored network. clock_utc_ns: the device's clock, None where it has none worth telling; clock: what it follows ("ptp", "ntp").
    """

    def __init__(
        self,
        send: Callable[[bytes, tuple[str, int]], object],
        *,
        host: str,
        process: str,
        clock_utc_ns: Callable[[], int] | None = None,
        clock: str | None = None,
        ports: Sequence[int] = PORTS,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        if len(ports) != 4:
            raise ValueError(f"expected four ports, one for each priority, got {len(ports)}")
        self._send = send
        self._host = host
        self._process = process
        self._clock_utc_ns = clock_utc_ns
        self._clock = clock
        self._ports = tuple(ports)
        self._level = level_of(process, environment.get(VARIABLE, "debug"))
        self.sequence = 0
        self.reduced = 0  # messages the environment did not want; their numbers are not used, so that a missing number is a loss

    def publish(
        self,
        priority: int,
        text: str | None = None,
        *,
        severity: int | str | None = None,
        kind: str | None = None,
        event: str | None = None,
        fields: Mapping[str, Value] | None = None,
        detail: Mapping[str, Value] | None = None,
        attachment: tuple[str, bytes] | None = None,
    ) -> bytes:
        """Send one message to the port of its priority (1 to 4); returns the bytes sent, none where the environment wants less.

        detail: further fields for the laboratory only.
        """
        if priority not in (1, 2, 3, 4):
            raise ValueError(f"expected a priority of 1 to 4, got {priority}")
        if priority > max(1, self._level):
            self.reduced += 1
            return b""
        if detail and self._level >= LEVELS["debug"]:
            fields = {**(fields or {}), **detail}
        data = datagram(
            text, process=self._process, sequence=self.sequence, severity=severity, kind=kind, event=event,
            time_utc_ns=self._clock_utc_ns() if self._clock_utc_ns is not None else None, clock=self._clock,
            fields=fields, attachment=attachment,
        )  # fmt: skip
        self.sequence += 1
        self._send(data, (self._host, self._ports[priority - 1]))
        return data

"""Alerts of SDC devices as messages: when one begins, escalates, changes and ends, and when nobody can know any more."""

from drivers.alerts import Alert, AlertEvent, AlertRequest, Alerts, Ended, Joined, Left
from drivers.board import Board
from drivers.clock import Monotonic, Now
from firmware.core.entrance import Rules, message_from
from firmware.core.errors import ListenFailed
from firmware.core.message import Field, Priority, is_token
from firmware.core.priority import BY_ALERT, SEVERITY_OF
from firmware.core.report import Report
from firmware.core.said import Said, clean_text
from firmware.core.timestamp import SECOND
from firmware.intake.settings import IntakeSettings
from firmware.intake.taking import Moments, Taking

PROCESS = "sdc"
AGAIN_NS = 5 * SECOND  # A consumer that ends is a process that starts; a room's devices are found again within some seconds.
CONDITIONS_MAX = 4_096  # remembered, to tell an escalation from a beginning; a ventilator has some hundred


class Alerting:
    """One consumer, opened again when it ends. Nothing of it waits."""

    def __init__(self, board: Board, settings: IntakeSettings, rules: Rules, report: Report, taking: Taking) -> None:
        self._board = board
        self._rules = rules
        self._report = report
        self._taking = taking
        self._moments = Moments()
        self._request = AlertRequest(
            settings.sdc_address, settings.sdc_devices, settings.tls_certificate or None, settings.tls_key or None, settings.tls_ca or None
        )  # fmt: skip
        self._alerts: Alerts | None = None
        self._again = Monotonic(0)
        self._before: dict[tuple[str, str], Alert] = {}
        self._devices: dict[str, str] = {}  # those heard now, with their addresses

    def hear(self, now: Now) -> bool:
        """What the devices say; whether there may be more."""
        if not self._request.address:
            return False
        if self._alerts is None and now.monotonic >= self._again:
            self._open(now)
        if self._alerts is None:
            return False
        events = self._alerts.events()
        for event in events:
            self._take(event, now)
        self._report.gauge("sdc_devices", len(self._devices))
        return bool(events)

    def next_due(self) -> Monotonic | None:
        """When a consumer is opened again."""
        return self._again if self._request.address and self._alerts is None else None

    def descriptors(self) -> list[int]:
        return [] if self._alerts is None else [self._alerts.fileno()]

    def close(self) -> None:
        """Subscriptions end."""
        if self._alerts is not None:
            self._alerts.close()
            self._alerts = None

    def _open(self, now: Now) -> None:
        self._again = now.monotonic.after(AGAIN_NS)
        try:
            self._alerts = self._board.alerts(self._request)
            self._report.gauge("sdc", "open")
        except ListenFailed as trouble:
            self._report.drop("listen_failed")
            self._report.gauge("sdc", str(trouble))

    def _take(self, event: AlertEvent, now: Now) -> None:
        match event:
            case Alert():
                self._say_alert(event, now)
            case Joined(device, address):
                self._devices[device] = address
                self._say(device, address, Priority.P3, "sdc/joined", "its alerts are heard from now on", {}, now)
            case Left(device, address, reason):
                if device in self._devices or not address:
                    self._lose(device, reason, now)
            case Ended(reason):
                self._report.drop("sdc_ended")
                self._report.gauge("sdc", reason)
                for device in list(self._devices):
                    self._lose(device, "the consumer ended", now)
                self.close()
                self._again = now.monotonic.after(AGAIN_NS)

    def _lose(self, device: str, reason: str, now: Now) -> None:
        """Its alerts are unknown from now on, which is worth a warning; when it is back, those that are present begin anew."""
        for key in [key for key in self._before if key[0] == device]:
            del self._before[key]
        address = self._devices.pop(device, None)
        if address is None:
            self._report.count("sdc_not_joined")  # It was found and could not be heard: the next search tries it again.
            return
        self._say(device, address, Priority.P2, "sdc/left", f"its alerts are not heard any more: {clean_text(reason)}", {}, now)

    def _say_alert(self, alert: Alert, now: Now) -> None:
        key = alert.device, alert.handle
        before = self._before.pop(key, None)
        phase = _phase(before, alert)
        if alert.present:
            self._before[key] = alert
            if len(self._before) > CONDITIONS_MAX:
                del self._before[next(iter(self._before))]
        ranked = BY_ALERT.get(alert.priority, Priority.P2)  # A word nobody has defined is taken for a warning.
        # That a condition is over is worth knowing and nothing to be woken for.
        priority = ranked if alert.present else max(ranked, Priority.P3)
        code = f"mdc/{alert.code}"
        self._say(
            alert.device, alert.address, priority, code if alert.code and is_token(code) else "mdc/unknown", alert.text,
            {
                "alert/phase": phase, "alert/priority": alert.priority, "alert/kind": alert.kind, "alert/present": alert.present,
                "alert/on": alert.is_on, "sdc/handle": clean_text(alert.handle),
            },
            now, since_utc_ns=alert.since_utc_ns if phase == "start" else None,
        )  # fmt: skip

    def _say(
        self, device: str, address: str, priority: Priority, event: str, text: str, fields: dict[str, Field], now: Now, *,
        since_utc_ns: int | None = None,
    ) -> None:  # fmt: skip
        said = Said(
            "sdc", device=clean_text(device), process=PROCESS, kind="alert", severity=SEVERITY_OF[priority], priority=priority, event=event,
            time_utc_ns=since_utc_ns, text=clean_text(text), fields=fields,
        )  # fmt: skip
        message = message_from(
            said,
            address=address,
            port=None,
            stamp_utc_ns=self._moments.next(now),
            now=now,
            rules=self._rules,
            count=self._report.count,
        )
        self._taking.take(message, now.monotonic)


def _phase(before: Alert | None, alert: Alert) -> str:
    """In the words of IHE PCD-04, as an HL7 alert has them."""
    if not alert.present:
        return "end"
    if before is None:
        return "start"
    old, new = BY_ALERT.get(before.priority, Priority.P2), BY_ALERT.get(alert.priority, Priority.P2)
    return "update" if old == new else "escalate" if new < old else "de-escalate"

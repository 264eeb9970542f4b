"""A simulated SDC consumer: devices and their alerts are the world's to make."""

from drivers.alerts import Alert, AlertEvent, AlertRequest, Ended, Joined, Left


class SimulatedAlerts:
    """`join`, `alert`, `leave` and `break_off` are the world's."""

    def __init__(self, request: AlertRequest) -> None:
        self.request = request
        self._events: list[AlertEvent] = []
        self._addresses: dict[str, str] = {}
        self._closed = False

    # The world's side.

    def join(self, device: str, address: str) -> None:
        self._addresses[device] = address
        self._events.append(Joined(device, address))

    def alert(
        self, device: str, handle: str, *, priority: str = "Me", present: bool = True, is_on: bool = True, code: str = "196670",
        text: str = "airway pressure low", since_utc_ns: int | None = None,
    ) -> None:  # fmt: skip
        """A condition of this device is so now."""
        self._events.append(
            Alert(device, self._addresses[device], handle, code, text, priority, "Phy", present, is_on, since_utc_ns)
        )

    def leave(self, device: str) -> None:
        self._events.append(Left(device, self._addresses.pop(device), "connection lost"))

    def break_off(self) -> None:
        """The consumer itself ends."""
        self._events.append(Ended("it ended"))

    # The contract.

    def fileno(self) -> int:
        return -1

    def events(self) -> list[AlertEvent]:
        events, self._events = self._events, []
        return [] if self._closed else events

    def close(self) -> None:
        self._closed = True

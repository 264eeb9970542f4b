"""The consumer itself: a process of its own around the sdc11073 library, writing one JSON line for each event to standard output.

Why a process: the library brings threads, an HTTP server and an XML parser that meet foreign bytes. What goes wrong in it ends it,
and nothing else; drivers/linux/alerts.py starts another. It ends when its standard input does, which is when its parent goes.

    python -m drivers.linux.sdc '{"address": "10.0.0.1", "devices": []}'
"""

import http.client
import ipaddress
import json
import logging
import os
import queue
import select
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lxml import etree
from sdc11073 import observableproperties
from sdc11073.certloader import SSLContextContainer, mk_ssl_contexts
from sdc11073.consumer.consumerimpl import SdcConsumer
from sdc11073.definitions_sdc import SdcV1Definitions
from sdc11073.exceptions import ApiUsageError, HTTPRequestHandlingError
from sdc11073.mdib import ConsumerMdib
from sdc11073.pysoap.soapclient import HTTPReturnCodeError
from sdc11073.wsdiscovery import WSDiscovery
from sdc11073.wsdiscovery.service import Service
from sdc11073.xml_types.actions import Actions

from drivers.alerts import TEXT_MAX

SEARCH_S = 2  # how long one search for devices waits for answers
PAUSE_S = 3.0  # between two; a device that says hello is met by the next
EVENTS_MAX = (
    10_000  # waiting for the parent; beyond it this process ends and is started anew, which says all that is present again
)
DEVICES_MAX = 64
# Alerts, and changes of what alerts there are; nothing else is asked for: waveforms alone would be a hundred times as much.
WANTED = (Actions.EpisodicAlertReport, Actions.DescriptionModificationReport)
NOT_WANTED = tuple(
    action.value for action in Actions if action not in WANTED and (action.name.endswith("Report") or action is Actions.Waveform)
)
# What the library raises when a device is wrong, slow or gone. Anything else is a mistake, and ends the process.
DEVICE_TROUBLES = (
    OSError, ValueError, KeyError, AttributeError, RuntimeError, TypeError, http.client.HTTPException, etree.LxmlError, ApiUsageError,
    HTTPRequestHandlingError, HTTPReturnCodeError,
)  # fmt: skip


class Device:
    """One device being heard."""

    def __init__(
        self, consumer: SdcConsumer, mdib: ConsumerMdib, name: str, address: str, said: "queue.Queue[dict[str, object]]"
    ) -> None:
        self.consumer = consumer
        self.name = name
        self.address = address
        self._mdib = mdib
        self._said = said
        self._before: dict[str, tuple[object, ...]] = {}
        # The library keeps weak references to what it calls: a lambda would be gone before the first alert (research/medical.md, D1).
        self._callback = self.look
        observableproperties.bind(mdib, alert_by_handle=self._callback)
        with mdib.mdib_lock:
            self.look({state.DescriptorHandle: state for state in mdib.states.objects})

    def look(self, states: dict[str, Any]) -> None:
        """Say which of these alert conditions have changed. A condition that was never present is no news."""
        for handle, state in states.items():
            descriptor = self._mdib.descriptions.handle.get_one(handle, allow_none=True)
            if descriptor is None or not getattr(descriptor, "is_alert_condition_descriptor", False):
                continue
            priority = state.ActualPriority or descriptor.Priority
            present, is_on = bool(state.Presence), str(getattr(state.ActivationState, "value", state.ActivationState)) == "On"
            now = (str(getattr(priority, "value", priority)), present, is_on)
            if self._before.get(handle, (now[0], False, is_on)) == now:
                self._before[handle] = now
                continue
            self._before[handle] = now
            self._said.put_nowait(
                {
                    "event": "alert", "device": self.name, "address": self.address, "handle": str(handle)[:TEXT_MAX],
                    "code": _code(descriptor.Type), "text": _text(descriptor), "priority": now[0],
                    "kind": str(getattr(descriptor.Kind, "value", descriptor.Kind)), "present": present, "is_on": is_on,
                    "since_utc_ns": int(state.DeterminationTime * 1e9) if state.DeterminationTime else None,
                }
            )  # fmt: skip


def main() -> int:
    """Until standard input ends."""
    logging.disable(logging.CRITICAL)  # Its log would say foreign words; what is worth knowing comes as an event.
    request = json.loads(sys.argv[1])
    tls = _tls(request)
    said: queue.Queue[dict[str, object]] = queue.Queue(EVENTS_MAX)
    threading.Thread(target=_write, args=(said,), daemon=True).start()
    devices: dict[str, Device] = {}
    wanted = set(request.get("devices", ()))
    with WSDiscovery(request["address"]) as discovery:
        while True:
            for service in discovery.search_services(types=SdcV1Definitions.MedicalDeviceTypesFilter, timeout=SEARCH_S):
                if service.epr not in devices and (not wanted or service.epr in wanted) and len(devices) < DEVICES_MAX:
                    _join(service, tls, devices, said)
            for name, device in list(devices.items()):
                if not device.consumer.is_connected:
                    del devices[name]
                    discovery.clear_remote_services()  # What it remembers of the lost one; the next search finds the others again.
                    said.put_nowait({"event": "left", "device": name, "address": device.address, "reason": "connection lost"})
                    _stop(device.consumer)
            if select.select([0], [], [], PAUSE_S)[0] and not os.read(0, 4_096):
                break
        for device in devices.values():
            _stop(device.consumer)
    return 0


def _join(
    service: Service, tls: SSLContextContainer | None, devices: dict[str, Device], said: "queue.Queue[dict[str, object]]"
) -> None:
    name = str(service.epr)[:TEXT_MAX]
    consumer = None
    try:
        address = _address(service.x_addrs[0])
        if tls is not None and urlsplit(service.x_addrs[0]).scheme != "https":
            # Who announces itself could be anybody; the library would go on without TLS, and believe him.
            said.put_nowait({"event": "left", "device": name, "address": "", "reason": "it offers no TLS"})
            return
        consumer = SdcConsumer.from_wsd_service(service, ssl_context_container=tls)
        consumer.start_all(not_subscribed_actions=NOT_WANTED)
        mdib = ConsumerMdib(consumer)
        mdib.init_mdib()
        said.put_nowait({"event": "joined", "device": name, "address": address})
        devices[service.epr] = Device(consumer, mdib, name, address, said)
    except DEVICE_TROUBLES as trouble:
        if consumer is not None:
            _stop(consumer)
        said.put_nowait({"event": "left", "device": name, "address": "", "reason": type(trouble).__name__})


def _stop(consumer: SdcConsumer) -> None:
    try:
        consumer.stop_all(unsubscribe=consumer.is_connected)
    except DEVICE_TROUBLES:
        pass  # It is gone; its subscriptions run out by themselves.


def _write(said: "queue.Queue[dict[str, object]]") -> None:
    while True:
        row = json.dumps(said.get(), ensure_ascii=True)
        sys.stdout.write(f"{row}\n")
        sys.stdout.flush()


def _tls(request: dict[str, Any]) -> SSLContextContainer | None:
    if not request.get("certificate"):
        return None
    certificate = Path(request["certificate"])
    return mk_ssl_contexts(
        Path(request.get("key") or certificate), certificate, Path(request["ca"]) if request.get("ca") else None
    )


def _address(url: str) -> str:
    return str(ipaddress.ip_address(urlsplit(url).hostname or ""))


def _code(kind: Any) -> str:  # Any: a coded value of the library
    return str(getattr(kind, "Code", "") or "")[:64]


def _text(descriptor: Any) -> str:
    for words in getattr(descriptor.Type, "ConceptDescription", None) or ():
        if words.text:
            return str(words.text).strip()[:TEXT_MAX]
    return str(descriptor.Handle)[:TEXT_MAX]


if __name__ == "__main__":
    sys.exit(main())

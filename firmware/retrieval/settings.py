"""The section [retrieval] of scrubjay.toml."""

from dataclasses import dataclass

from firmware.core.settings import setting


@dataclass(frozen=True, slots=True)
class RetrievalSettings:
    """How much may be asked for, and how soon the answer travels."""

    priority: int = setting(2, "Priority of evidence when the order names none.", low=1, high=4)
    evidence_bytes_max: int = setting(
        512 << 20, "Evidence sent for one order; the rest is cut off, and it says so.", low=1 << 16, high=1 << 40
    )
    span_s_max: int = setting(86_400, "Longest time one order may ask for.", low=1, high=31_536_000)
    wait_s_max: int = setting(3600, "How far in the future an order's end may lie; it waits until then.", low=0, high=86_400)
    # A frame waits at most 0.1 s in the tap's block and, at low rate, a second for its stretch to fill. A recorder that was killed before
    # its stretch was written begins anew within two seconds, and has the frames from the ring once more (storm seed 2026).
    settle_ms: int = setting(
        4000,
        "After the end asked for, this long for the recorder's last stretch to reach the disk.",
        low=0,
        high=600_000,
    )
    searches_max: int = setting(
        4,
        "Orders worked on at once, the most urgent first, equals in turn; one more for priority 1. Each holds up to 12 MB, twice that while it reduces.",
        low=1,
        high=64,
    )
    orders_per_day_max: int = setting(
        1000, "Orders taken in one day, UTC; further ones are refused, and it says so.", low=1, high=1_000_000
    )
    evidence_bytes_per_day_max: int = setting(
        64 << 30, "Evidence of one day, UTC; what is above is cut off, then refused.", low=1 << 16, high=1 << 44
    )
    # 16 parts of 4 MiB: enough that the uplink never waits for us, little enough that evidence never fills the disk.
    parts_waiting_max: int = setting(16, "Parts as urgent or more in release/ beyond which a search pauses.", low=1, high=1000)
    message_ports: tuple[int, ...] = setting(
        (47001, 47002, 47003, 47004, 514),
        "UDP ports whose messages are reported anyway: left out of evidence that may be reduced.", low=1, high=65_535,
    )  # fmt: skip
    # Names, addresses, time and neighbours: DNS, DHCP, NTP, NetBIOS, SSDP, mDNS, LLMNR. Not WS-Discovery, with which SDC begins.
    request_ports: tuple[int, ...] = setting(
        (53, 67, 68, 123, 137, 138, 546, 547, 1900, 5353, 5355),
        "UDP and TCP ports of network services: left out of evidence that may be reduced.", low=1, high=65_535,
    )  # fmt: skip
    request_ethertypes: tuple[int, ...] = setting(
        (0x0806, 0x88CC), "The same for what is not IP: ARP and LLDP.", low=0x600, high=0xFFFF
    )

"""Section [deidentify] of scrubjay.toml."""

from dataclasses import dataclass

from firmware.core.sensitive_names import FIELD_NAMES
from firmware.core.settings import setting


@dataclass(frozen=True, slots=True)
class DeidentifySettings:
    """What may leave besides what is always allowed. Everything here is a list of exceptions; empty is safest."""

    sensitive_fields: tuple[str, ...] = setting(FIELD_NAMES, "Names of fields whose values never leave, in any spelling.")
    release_attachment_types: tuple[str, ...] = setting((), 'Media types of attachments that may leave: "image/png".')
    message_ports: tuple[int, ...] = setting(
        (47001, 47002, 47003, 47004, 514),
        "UDP ports whose recorded payload may leave where it is a message with nothing sensitive in it.", low=1, high=65_535,
    )  # fmt: skip
    release_payload_ports: tuple[int, ...] = setting((), "UDP and TCP ports whose recorded payload may leave as it is.", low=1, high=65_535)  # fmt: skip
    release_payload_ethertypes: tuple[int, ...] = setting(
        (), "Ethertypes whose recorded payload may leave as it is (0x88CC LLDP names devices and ports).", low=0x600, high=0xFFFF
    )
    compress_to_percent: int = setting(
        0,
        "Long items shrink to this share of their size where that can be done; 0: whatever takes the least time.",
        low=0,
        high=100,
    )
    compress_to_bytes: int = setting(
        0, "Long items shrink to this size where that can be done; 0: likewise.", low=0, high=1 << 40
    )
    compress_core_percent: int = setting(25, "How much of a core compressing may take from the recorder.", low=1, high=100)

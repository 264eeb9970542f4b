"""The section [command] of scrubjay.toml."""

from dataclasses import dataclass

from firmware.core.settings import setting


@dataclass(frozen=True, slots=True)
class CommandSettings:
    """How fresh an order must be, and how much is kept of the refused ones."""

    # A day: a box behind a connection window of 20 minutes in 30, or one night without a broker, still gets what was asked of it.
    max_age_s: int = setting(
        86_400, "An order made longer ago than this is refused, whatever it says of itself.", low=10, high=31_536_000
    )
    clock_tolerance_s: int = setting(
        300, "How far the hub's clock may be from ours, beyond our own uncertainty.", low=0, high=86_400
    )
    refused_items_max: int = setting(200, "Refused orders kept with their reasons; older ones are removed.", low=1, high=100_000)
    notices_per_minute: int = setting(
        30, "Results reported to the hub; a flood of forged orders is counted beyond this.", low=1, high=6000
    )

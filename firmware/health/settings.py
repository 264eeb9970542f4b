"""The section [health] of scrubjay.toml."""

from dataclasses import dataclass

from firmware.core.settings import setting


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """How often the box speaks of itself."""

    health_s: int = setting(60, "How often figures are sent to the hub.", low=1, high=86_400)
    look_s: int = setting(5, "How often losses are looked for; a loss is reported at most this late.", low=1, high=3600)
    quiet_s: int = setting(60, "A loss is over when none was counted for this long.", low=1, high=86_400)
    errors_per_minute: int = setting(12, "Reports of losses beginning and ending; beyond it they wait.", low=1, high=600)

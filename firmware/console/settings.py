"""The section [console] of scrubjay.toml."""

from dataclasses import dataclass

from firmware.core.settings import setting


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """Which line, and how it behaves."""

    device: str = setting("", 'Serial line, e.g. "/dev/ttyS0"; empty: no console.')
    idle_s: int = setting(600, "Without a key for this long, the session ends.", low=10, high=86_400)
    export: str = setting(
        "deidentified",
        'What a person here may carry away on a stick: "off", "deidentified" (as evidence leaves for the hub), or "raw" as well.',
        choices=("off", "deidentified", "raw"),
    )
    page_rows: int = setting(24, "Rows of the terminal; longer answers stop at each page. 0: never stop.", low=0, high=1000)

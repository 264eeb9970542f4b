"""Types of turnstile.c; what the functions mean is said there and in turnstile.py."""

from typing_extensions import Buffer

class Turnstile:
    """Plain messages, from a block to their bytes."""

    def __new__(
        cls,
        ports: dict[int, int],
        events: tuple[tuple[bytes, int], ...],
        refused: tuple[bytes, ...],
        event_words: tuple[bytes, ...] | None,
        free_tail: bytes,
        locked_tail: bytes,
        device_uncertainty_ns: int,
        is_everybody: bool,
        has_scales: bool,
        is_ascii: bool,
        /,
    ) -> Turnstile: ...
    def hear(
        self, block: Buffer, frames: int, offset_ns: int, received_tail: bytes, arrival_tail: bytes, /
    ) -> tuple[list[tuple[str | None, int, bytes, bytes, int]], list[tuple[str, int, int]], bool]: ...
    def learn_field(self, name: bytes, /) -> None: ...
    def learn_name(self, name: bytes, /) -> None: ...
    def learn_process(self, address: bytes, process: bytes, /) -> None: ...
    def learn_source(
        self, address: bytes, text: str, device: str, measured: bool, low_ns: int, high_ns: int, at_tai_ns: int, /
    ) -> None: ...
    def forget_sources(self) -> None: ...

"""A pcap-filter(7) expression as a question to one frame; for searches on a laptop, never on the hot path."""

from collections.abc import Callable

import pcapy

from drivers.errors import BadFilter


def frame_filter(expression: str, *, link_type: int = pcapy.DLT_EN10MB) -> Callable[[bytes], bool]:
    """Whether a whole frame matches. Raises BadFilter with the compiler's words."""
    try:
        program = pcapy.compile(link_type, 262_144, expression, 1, 0xFFFFFFFF)
    except pcapy.PcapError as problem:
        raise BadFilter(f"expected a pcap-filter(7) expression: {problem}") from None
    return lambda data: bool(program.filter(data))

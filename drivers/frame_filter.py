"""A pcap-filter(7) expression as a question to one frame; for searches, never on the hot path. libpcap itself, on every board."""

import ctypes
from collections.abc import Callable

import pcapy

from drivers.errors import BadFilter

_ABSOLUTE_LOADS = frozenset({0x20, 0x28, 0x30})  # BPF_LD of BPF_ABS, of four, two bytes and one
_BESIDE_THE_FRAME = 0xFFFFF000  # SKF_AD_OFF: what the kernel knows of a frame while it comes, such as whether it was sent
_LENGTH_LOADS = frozenset({0x80, 0x81})  # BPF_LD and BPF_LDX of BPF_W | BPF_LEN: what `greater`, `less` and `len` become


class _Row(ctypes.Structure):
    """struct bpf_insn."""

    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


def frame_filter(expression: str, *, link_type: int = pcapy.DLT_EN10MB) -> Callable[[bytes, int], bool]:
    """Whether a frame matches, given what was kept of it and its bytes on the wire. Raises BadFilter with the compiler's words."""
    program = compiled(expression, link_type=link_type)
    rows = program.get_bpf()
    if any(code in _ABSOLUTE_LOADS and k >= _BESIDE_THE_FRAME for code, _, _, k in rows):
        # libpcap compiles it, as if an interface were listening; what it then reads is in no frame, and no frame would match.
        raise BadFilter(
            "expected a filter about what is in a frame; whether it came in or went out (inbound, outbound) is not recorded:"
            " ask for addresses, as in src host 10.0.0.5"
        )
    if not any(code in _LENGTH_LOADS for code, *_ in rows):
        return lambda data, wire_bytes: bool(program.filter(data))
    # pcapy passes off what was kept of a frame as all of it, so that one cut at 96 bytes would never be `greater 1000`.
    run = ctypes.CDLL(pcapy.__file__).bpf_filter
    run.argtypes = (ctypes.POINTER(_Row), ctypes.c_char_p, ctypes.c_uint, ctypes.c_uint)
    packed = (_Row * len(rows))(*rows)
    return lambda data, wire_bytes: bool(run(packed, data, wire_bytes, len(data)))


def compiled(expression: str, *, link_type: int = pcapy.DLT_EN10MB) -> "pcapy.BPFProgram":
    """What libpcap makes of it; a filter for an interface may ask for more than one for a search. Raises BadFilter with its words."""
    try:
        return pcapy.compile(link_type, 262_144, expression, 1, 0xFFFFFFFF)
    except pcapy.PcapError as problem:
        raise BadFilter(f"expected a pcap-filter(7) expression: {problem}") from None

"""state/system is written by a script, in part with the words of bundles: whatever stands there, what is read from it is bounded and plain."""

from hypothesis import given
from hypothesis import strategies as st

from firmware.core import system
from firmware.core.versions import is_version

TOKENS = st.sampled_from(
    ["slot A", "slot B", " runs ", " holds ", "1.0", "0.1.0+20261126.081500.1a2b3c4", ", confirmed", ", on trial", "\n", "\r", "\x1b[2J", " is ",
     "kept", "given up", "refused", ": ", "2026-11-26T08:00:00Z ", "../", "\xff", "x" * 400]
)  # fmt: skip


@given(st.one_of(st.binary(max_size=20_000), st.lists(TOKENS, max_size=60).map(lambda words: "".join(words).encode("latin-1"))))
def test_any_bytes(data):
    """None, or a system with a version that is one, words that print, and a history whose lines are lines. (S1-15)"""
    found = system.unpacked(data)
    if found is None:
        return
    assert is_version(found.version)
    assert found.slot in ("A", "B")
    assert found.other.isprintable() and len(found.other) <= 200
    assert len(found.history) <= system.LINES_MAX
    for line in found.history:
        assert system.words_of(line).isprintable() and 0 < len(system.words_of(line)) <= 300
        fate = system.fate_of(line)
        assert fate is None or is_version(fate[0])


def test_what_the_keeper_writes_is_read():
    """Its two lines and its history, with every fate. (S1-15)"""
    lines = [
        "slot B runs 1.1, on trial", "slot A holds 1.0, confirmed", "2026-11-26T08:00:00Z slot B: 1.1 is kept: every promise was seen kept",
        "2026-11-26T08:00:01Z slot B: 1.2 is refused: update from stick sda1: no", "2026-11-26T08:00:02Z slot B: 1.3 is given up: it hung",
        "2026-11-26T08:00:03Z slot B: changing to slot A while the kernel goes on",
    ]  # fmt: skip
    found = system.unpacked("\n".join(lines).encode())

    assert system.System("B", "1.1", False, "1.0, confirmed", tuple(lines[2:])) == found
    assert [("1.1", "kept"), ("1.2", "refused"), ("1.3", "given up"), None] == [system.fate_of(line) for line in lines[2:]]

"""The library given to robot vendors: one file, and what it sends is what FORMAT.md says."""

import ast
from pathlib import Path

import pytest

from firmware.core.datagram import decoded
from firmware.core.message import Severity
from firmware.intake import publisher
from firmware.intake.publisher import Publisher


def test_needs_nothing_but_cbor2() -> None:
    """It can be copied into any program."""
    tree = ast.parse(Path(publisher.__file__).read_text())
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    assert {"cbor2", "collections.abc"} == modules


def test_goes_to_the_port_of_its_priority() -> None:
    """One port a priority, one count a process. (S2-020, S2-029)"""
    sent: list[tuple[bytes, tuple[str, int]]] = []
    robot = Publisher(
        lambda data, to: sent.append((data, to)), host="239.1.1.1", process="arm-3", clock_utc_ns=lambda: 5, clock="ptp"
    )
    for priority in (1, 4):
        robot.publish(priority, "stopped", severity="error", event="tool-failure", fields={"joint": 2})
    said = decoded(sent[1][0])

    assert [("239.1.1.1", 47001), ("239.1.1.1", 47004)] == [to for _, to in sent]
    assert ("arm-3", 1, Severity.ERROR, "tool-failure", "stopped", 5) == (
        said.process, said.sequence, said.severity, said.event, said.text, said.time_utc_ns,
    )  # fmt: skip
    assert {"joint": 2, "claimed_clock": "ptp"} == said.fields


def test_says_what_it_expects() -> None:
    """Priorities beyond 4, too few ports, and messages no datagram holds."""
    robot = Publisher(lambda data, to: None, host="h", process="p")
    with pytest.raises(ValueError, match="1 to 4, got 5"):
        robot.publish(5, "x")
    with pytest.raises(ValueError, match="four ports"):
        Publisher(lambda data, to: None, host="h", process="p", ports=(1,))
    with pytest.raises(ValueError, match="65507"):
        robot.publish(1, "x" * 70_000)

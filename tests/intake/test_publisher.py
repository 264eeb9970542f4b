"""The library given to robot vendors: one file, and what it sends is what FORMAT.md says."""

import ast
import shutil
import socket
import subprocess
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

    assert {"cbor2", "collections.abc", "os"} == modules


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


@pytest.mark.parametrize(
    ("variable", "published"),
    [
        (None, [1, 2, 3, 4]), ("debug", [1, 2, 3, 4]), ("execution", [1, 2, 3]), ("warnings", [1, 2]), ("alarms", [1]), ("alarms,arm-3=debug", [1, 2, 3, 4]),
        ("debug,arm-3=alarms", [1]), ("execution, arm-4=alarms", [1, 2, 3]), ("silence", [1, 2, 3, 4]), ("", [1, 2, 3, 4]), ("arm-3=warnings,alarms", [1, 2]),
    ],
)  # fmt: skip
def test_the_environment_says_how_much(variable: str | None, published: list[int]) -> None:
    """More in the laboratory, less in the operating room, alarms always; a word nobody knows silences nobody. (S2-032)"""
    sent: list[tuple[bytes, tuple[str, int]]] = []
    environment = {} if variable is None else {"SCRUBJAY_PUBLISH": variable}
    robot = Publisher(lambda data, to: sent.append((data, to)), host="h", process="arm-3", environment=environment)
    for priority in (1, 2, 3, 4):
        robot.publish(priority, "x", fields={"load": 0.5}, detail={"trace": 7})

    assert published == [port - 47_000 for _, (_, port) in sent]
    assert list(range(len(published))) == [decoded(data).sequence for data, _ in sent]
    assert (4 - len(published), 4 in published) == (robot.reduced, "trace" in decoded(sent[0][0]).fields)


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_a_publisher_in_c(tmp_path: Path) -> None:
    """Forty lines without a library, compiled here, are understood: FORMAT.md is enough to write one. (S2-020, S2-023)"""
    source = Path(publisher.__file__).with_name("publish.c")
    subprocess.run(["cc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-o", str(tmp_path / "publish"), str(source)], check=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as box:
        box.bind(("127.0.0.1", 0))
        box.settimeout(10)
        port = str(box.getsockname()[1])
        words = "joint 2 stopped: " + "x" * 300
        subprocess.run([tmp_path / "publish", "127.0.0.1", port, "arm-3", "70000", "3", "tool-failure", words], check=True)
        said = decoded(box.recv(65_535))

    assert ("cbor", "arm-3", 70_000, Severity.ERROR, "tool-failure", words, {}) == (
        said.form, said.process, said.sequence, said.severity, said.event, said.text, said.fields,
    )  # fmt: skip

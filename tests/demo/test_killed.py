"""`kill -9` of every process of the box, one after the other, of the hub and of the broker, while messages are published."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic_ns

import pytest

from firmware.intake.publisher import Publisher
from simulator.chain import Chain
from simulator.hub_view import HubView

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]
PROCESSES = ("capture", "gate", "uplink", "steward", "clock")  # every one that is not the ear of the messages themselves
ARRIVE_S_MAX = 40.0


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    hears_loopback = {
        "capture": {"interface": "lo"},
        "intake": {"interface": "lo"},
        "group": {"p2_interval_s": 1, "lateness_ms": 100},
    }
    with Chain(tmp_path, box_settings=hears_loopback) as chain:
        chain.wait_until_it_hears()
        yield chain


def pid_of(parent: int, process: str) -> int | None:
    """The child of a role's keeper that runs this process."""
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        if b"--process" in words and words[words.index(b"--process") + 1] == process.encode():
            return int(child)
    return None


def kill(chain: Chain, role: str, process: str) -> None:
    """SIGKILL it, and wait until its keeper has started another."""
    keeper = chain.pid(role)
    victim = pid_of(keeper, process)
    assert victim is not None
    os.kill(victim, signal.SIGKILL)
    chain.wait(f"another {process}", lambda: pid_of(keeper, process) not in (None, victim), timeout_s=20)


def test_nothing_heard_is_lost(chain: Chain) -> None:
    """Whatever is killed, each message that was heard is at the hub exactly once, and the store verifies with its gaps stated."""
    view = HubView(chain.database)
    said: list[str] = []
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as wire:
        publisher = Publisher(wire.sendto, host="127.0.0.1", process="victim")

        def publish(about: str) -> None:
            for priority in (1, 2):
                said.append(f"{about} {priority}")
                publisher.publish(priority, said[-1], severity="error")

        for process in PROCESSES:
            publish(f"before {process}")
            kill(chain, "box", process)
            publish(f"after {process}")
        publish("before hub")
        kill(chain, "hub", "hub")
        publish("after hub")
        chain.broker.kill()
        publish("without broker")
        chain.broker.start()
        publish("with broker")

        def texts() -> list[str]:
            return [message.text for message in view.messages(kind="published") if message.process == "victim"]

        chain.wait("every message at the hub", lambda: set(said) <= set(texts()), timeout_s=ARRIVE_S_MAX)
        kill(chain, "box", "roomside")
        # A datagram sent while nobody listens is in the recording only; the new ear is met when one of these arrives.
        chain.wait("another ear", lambda: speak_again(publish) and any(text.startswith("ear ") for text in texts()), timeout_s=20)

    assert sorted(set(texts())) == sorted(texts())
    assert 0 == view.quarantined()
    assert 0 == chain.stop_box()
    verdict = chain.call("verify", str(chain.box_root))
    assert 0 == verdict.returncode, verdict.stdout
    assert "interrupted" in verdict.stdout


def speak_again(publish: Callable[[str], None]) -> bool:
    """Publish once more, under a name of its own."""
    publish(f"ear {monotonic_ns()}")
    return True

"""A procedure with an injury in it, on the real chain: broker, hub and box as processes, datagrams on loopback."""

import json
import os
import select
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from drivers.linux.clock import LinuxClock
from firmware.core.advice import SIGNED_PREFIX, advisory_unpacked, feedback_unpacked
from firmware.core.pcapng import packets
from firmware.core.signature import is_signed_by
from firmware.intake.publisher import Publisher
from simulator.chain import BOX, Chain

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to hear an interface (root)")


@pytest.mark.timeout(240)
def test_a_procedure_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    """Published events open and close a session; an injury brings the frames around it without anybody asking; the session's end
    sends what would have waited ten minutes, and the hub knows that it has all of it; advice given there is heard in the room, signed
    by the box. (S2-106, S2-124, S2-130, S2-131)"""
    with ExitStack() as stack:
        ear, wire, *ours = (stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(6))
        ear.bind(("127.0.0.1", 0))
        for each in ours:  # Ports of its own: what other tests publish on this machine is of no session here.
            each.bind(("127.0.0.1", 0))
        ports = [each.getsockname()[1] for each in ours]
        heard = {f"p{priority}_ports": [port] for priority, port in enumerate(ports, start=1)}
        settings: dict[str, dict[str, object]] = {
            "capture": {"interface": "lo", "stretch_ms": 100}, "intake": {"interface": "lo", **heard}, "live": {"interface": "lo"},
            "clock": {"ptp4l": "", "chronyd": ""}, "slice": {"around_s": 1},
            "feedback": {"publish": True, "interface": "lo", "address": "127.0.0.1", "port": ear.getsockname()[1]},
        }  # fmt: skip
        with Chain(tmp_path, box_settings=settings) as chain:
            chain.wait_until_it_hears()
            clock = LinuxClock()
            robot = Publisher(
                wire.sendto, host="127.0.0.1", process="arm-3", clock_utc_ns=lambda: clock.now().utc_ns, ports=ports
            )

            def sessions() -> list[dict[str, object]]:
                found: list[dict[str, object]] = json.loads(chain.get("/api/sessions"))["sessions"]
                return found

            def slices() -> list[dict[str, object]]:
                rows = json.loads(chain.get("/api/evidence"))["evidence"]
                return [row for row in rows if row["complete"]]

            robot.publish(3, "the procedure begins", event="procedure-started")
            chain.wait("the session at the hub", lambda: [row["state"] for row in sessions()] == ["open"], timeout_s=30)
            for number in range(20):
                robot.publish(4, f"cycle {number}")
            robot.publish(1, "instrument beyond its limit", event="patient-injury")
            chain.wait("the evidence", lambda: len(slices()) == 1, timeout_s=60)
            robot.publish(3, "the procedure ends", event="procedure-ended")
            chain.wait("the whole session", lambda: [row["state"] for row in sessions()] == ["complete"], timeout_s=60)

            frames = list(packets(chain.get(str(slices()[0]["download"]))))
            assert frames
            assert max(frame.stamp_ns for frame in frames) - min(frame.stamp_ns for frame in frames) <= 2_200_000_000
            (session,) = sessions()
            summary = session["summary"]
            assert isinstance(summary, dict)
            assert (23, {"procedure-started": 1, "patient-injury": 1, "procedure-ended": 1}) == (
                session["messages"],
                summary["events"],
            )
            assert "told of an injury" in chain.call("fleet", "calls", f"--hub={chain.page}").stdout

            given = chain.call("fleet", "advise", f"--hub={chain.page}", f"--box={BOX}", "--advice=replace-tool", "--reason=worn")
            assert given.returncode == 0, given.stderr
            assert select.select([ear], [], [], 30)[0], "nothing was heard in the room"
            signed, signature = feedback_unpacked(ear.recv(2048))
            key = bytes.fromhex((chain.box_root / "identity" / "key.pub").read_text().strip())
            assert is_signed_by(key, signature, SIGNED_PREFIX + signed)
            assert (
                "Advisory: a person should consider replacing the tool. Reason given: “worn”."
                == advisory_unpacked(signed).sentence
            )
            chain.wait(
                "the answer",
                lambda: "shown: box and room" in chain.call("fleet", "advise", f"--hub={chain.page}").stdout,
                timeout_s=30,
            )
        status = chain.call("session", "show", f"--root={chain.box_root}")
        assert (1, True) == (status.returncode, "last: procedure" in status.stdout)

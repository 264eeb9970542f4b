"""The room's network: comes up, mirrors, and leaves nothing behind."""

import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.namespaces import CONTROL, NETNS, NoRoom, leftovers, sweep
from simulator.network import MIRRORINGS, Network

pytestmark = pytest.mark.lab
ETH_P_ALL = 3


def machine() -> set[str]:
    """Namespaces and interfaces of this process's machine, but not other rooms that happen to be open."""
    namespaces = {f"netns {entry.name}" for entry in NETNS.iterdir()} if NETNS.is_dir() else set()
    mine = f"sj{os.getpid():x}"
    return {name for name in namespaces | {f"link {name}" for _, name in socket.if_nameindex()} if f" {mine}" in name}


def listen(interface: str) -> socket.socket:
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    wire.bind((interface, ETH_P_ALL))
    return wire


def heard(wire: socket.socket, *, wait_s: float = 1.0) -> list[bytes]:
    """Frames until it is silent for `wait_s`, at most a thousand."""
    frames = []
    while len(frames) < 1000 and select.select([wire], [], [], wait_s)[0]:
        frames.append(wire.recv(65_535))
    return frames


@pytest.mark.parametrize("mirroring", MIRRORINGS)
def test_mirror_port_hears_each_frame_once(tmp_path: Path, mirroring: str) -> None:
    """Three pings between two hosts are six ICMP frames on the mirror port, whichever way it mirrors."""
    try:
        with Network(tmp_path, mirroring=mirroring) as network, listen(network.mirror) as wire:
            network.run("console", ["ping", "-q", "-c", "3", "-i", "0.01", network.hosts["cart"].address])
            frames = heard(wire)
    except NoRoom as problem:
        if mirroring == MIRRORINGS[0] and "mirred" in str(problem):
            pytest.skip(str(problem))
        raise

    assert 6 == sum(frame[12:14] == b"\x08\x00" and frame[23] == 1 for frame in frames)


def test_nothing_sends_on_the_mirror_port(tmp_path: Path) -> None:
    """The port that listens transmits no frame: no address, no IPv6, no ARP, and a real machine's broadcasts stay out of it."""
    with Network(tmp_path) as network:
        network.run("console", ["ping", "-q", "-c", "5", "-i", "0.01", network.hosts["cart"].address])
        statistics = Path(f"/sys/class/net/{network.mirror}/statistics")
        sent, received = (int((statistics / name).read_text()) for name in ("tx_packets", "rx_packets"))

    assert 0 == sent
    assert received >= 10


def test_room_leaves_nothing(tmp_path: Path) -> None:
    """After the room no namespace, no interface and no process of it is there; also after an error inside."""
    before = machine()
    with pytest.raises(ZeroDivisionError), Network(tmp_path) as network:
        program = network.start("monitor", "child", ["sh", "-c", "sleep 300 & sleep 300"])
        during = machine() - before
        raise ZeroDivisionError

    assert 10 == len(during)  # eight hosts, the switch, the mirror port
    assert before == machine()
    assert not program.running


def test_next_room_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    """SIGKILL leaves namespaces and control sockets; the next run clears them, programs included, and touches no living room."""
    script = (
        "import sys; from pathlib import Path; from simulator.network import Network\n"
        "network = Network(Path(sys.argv[1])).__enter__(); network.start('cart', 'orphan', ['sleep', '300'])\n"
        "print(network.mirror, flush=True); sys.stdin.read()"
    )
    victim = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert victim.stdout is not None
    mirror = victim.stdout.readline().strip()
    with Network(tmp_path) as living:
        assert mirror in dict(map(reversed, socket.if_nameindex()))
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
        left = [name for name in leftovers() if name.startswith(mirror[:-1])]
        sweep()

        assert 9 == len(left)
        assert not (CONTROL / mirror[:-1]).exists()
        assert mirror not in dict(map(reversed, socket.if_nameindex()))
        assert living.mirror in dict(map(reversed, socket.if_nameindex()))

"""Record the simulated room: `python -m simulator.recordings.make [SECONDS]` writes room.pcapng and PROVENANCE.md here.

tcpdump writes the file, so that nothing of it has passed through our own recorder. The robot runs at 100 Hz instead of 1 kHz,
to keep the file small enough to live in a repository.
"""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from time import CLOCK_REALTIME, clock_gettime, gmtime, strftime

from simulator.recordings import ROOM
from simulator.room import Room, Scenario, versions

SECONDS = 20
BYTES_MAX = 1_500_000
SCENARIO = Scenario(robot_hz=100)


def main() -> int:
    """Record, check the size, write the provenance."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    with tempfile.TemporaryDirectory(prefix="scrubjay-record-") as directory, Room(Path(directory), SCENARIO) as room:
        if room.missing:
            raise SystemExit(f"the recording would miss {', '.join(room.missing)}: run tools/setup.sh first")
        room.start()
        raw = Path(directory) / "room.pcap"
        # tcpdump and editcap, because dumpcap writes the processor and the kernel it ran on into the file.
        tcpdump = ["tcpdump", "--nano", "-Z", "root", "-i", room.mirror, "-w", str(raw)]
        process = subprocess.Popen(tcpdump, stderr=subprocess.PIPE, text=True)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.terminate()
        said = process.communicate()[1]
        subprocess.run(["editcap", "-F", "pcapng", str(raw), str(ROOM)], check=True, capture_output=True)
        ROOM.with_name("PROVENANCE.md").write_text(_provenance(room, seconds, said))
    size = ROOM.stat().st_size
    sys.stderr.write(f"{ROOM}: {size} bytes\n")
    return 0 if size <= BYTES_MAX else 1


def _provenance(room: Room, seconds: int, said: str) -> str:
    rows = "".join(f"| {name} | {version} |\n" for name, version in sorted(versions(room.network).items()))
    hosts = "".join(f"| {host.name} | {host.address} | {host.mac} | {host.what} |\n" for host in room.network.hosts.values())
    counts = [line.strip() for line in said.splitlines() if " packets " in line]
    return f"""# room.pcapng

{seconds} s of the simulated room (`simulator/room.py`), recorded on {strftime("%Y-%m-%d", gmtime(clock_gettime(CLOCK_REALTIME)))} by
`python -m simulator.recordings.make` with tcpdump on the room's mirror port, mirrored by {room.network.mirroring}.
tcpdump: {"; ".join(counts) or "no word about drops"}.

Ours, under the project's own licence. Nothing in it was copied from anywhere: third-party programs sent the frames, the scenario,
the images (a computed pattern) and the patients (two people who do not exist, see `simulator/room_patients.py`) are invented here.

| program | version |
| --- | --- |
{rows}
| host | IPv4 | MAC | is |
| --- | --- | --- | --- |
{hosts}
The robot's frames come at {SCENARIO.robot_hz} Hz each way instead of 1 kHz, to keep the file small; stamps are the kernel's (software), in nanoseconds.
Link-local IPv6 noise at the beginning is the hosts' own.
"""


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    raise SystemExit(main())

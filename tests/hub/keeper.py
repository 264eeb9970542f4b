"""Who keeps a process that runs in a thread of a test: it knows when it is ready, and asks it to end."""

import threading

from drivers.linux.supervisor import LinuxSupervisor


class Keeper(LinuxSupervisor):
    """stop: set by the test. started: set by the process. status: what it said then."""

    def __init__(self) -> None:
        super().__init__({})
        self.stop = False
        self.started = threading.Event()
        self.status = ""

    def stop_requested(self) -> bool:
        return self.stop

    def ready(self, status: str) -> None:
        self.status = status
        self.started.set()

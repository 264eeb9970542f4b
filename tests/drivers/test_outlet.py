"""What every outlet promises, on the simulated one and on a real pipe; and what only a file or a real pipe shows."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drivers.errors import OutletClosed
from drivers.linux.outlet import LinuxOutlet
from drivers.outlet import Outlet
from simulator.outlet import SimulatedOutlet


class Pipe:
    """A real one; the test reads."""

    def __init__(self) -> None:
        self.reads, writes = os.pipe()
        os.set_blocking(self.reads, False)
        self.outlet: Outlet = LinuxOutlet(writes)
        self.took = bytearray()

    def read(self) -> None:
        while True:
            try:
                data = os.read(self.reads, 1 << 20)
            except BlockingIOError:
                return
            if not data:
                return
            self.took += data

    def go_away(self) -> None:
        os.close(self.reads)
        self.reads = -1


class Simulated:
    """The same, simulated."""

    def __init__(self) -> None:
        self.outlet = self._real = SimulatedOutlet(room=1 << 20)

    @property
    def took(self) -> bytearray:
        return self._real.took

    def read(self) -> None:
        self._real.read()

    def go_away(self) -> None:
        self._real.go_away()


@pytest.fixture(params=[Pipe, Simulated])
def end(request: pytest.FixtureRequest) -> Iterator[Pipe | Simulated]:
    make: Callable[[], Pipe | Simulated] = request.param
    made = make()
    yield made
    made.outlet.close()
    made.outlet.close()
    if isinstance(made, Pipe) and made.reads >= 0:
        os.close(made.reads)


def test_what_is_written_is_read(end):
    """In order, and no byte more."""
    assert 5 == end.outlet.write(b"first")
    assert 6 == end.outlet.write(b"second")
    end.read()

    assert b"firstsecond" == bytes(end.took)


def test_a_reader_that_stands_still_is_not_waited_for(end):
    """It takes what it has room for, then nothing, at once; after it has read it takes more."""
    data = bytes(range(256)) * 16_384
    taken = end.outlet.write(data)
    assert 0 < taken < len(data)
    assert 0 == end.outlet.write(data[taken:])
    end.read()
    taken += end.outlet.write(data[taken:])
    end.read()

    assert data[:taken] == bytes(end.took)
    assert taken > 1 << 20


@pytest.mark.parametrize("data", [b"", b"more"])
def test_a_reader_that_went_away(end, data):
    """Said at the next write, also of nothing, and that it was the reader's wish."""
    end.outlet.write(b"first")
    assert 0 == end.outlet.write(b"")
    end.go_away()
    with pytest.raises(OutletClosed) as told:
        end.outlet.write(data)

    assert told.value.is_reader


def test_patience_has_an_end():
    """A reader that takes nothing is waited for so long and no longer; one that reads meanwhile gets all of it."""
    pipe = Pipe()
    data = bytes(3 << 20)
    taken = pipe.outlet.write(data, patience_s=0.02)

    assert 0 < taken < len(data)
    pipe.outlet.close()


def test_a_file_takes_everything(tmp_path: Path):
    """A file never says later; it has nothing to ring with."""
    path = tmp_path / "x"
    outlet = LinuxOutlet(os.open(path, os.O_WRONLY | os.O_CREAT))
    data = bytes(range(256)) * 16_384

    assert (len(data), -1) == (outlet.write(data), outlet.fileno())
    outlet.close()
    assert data == path.read_bytes()


def test_a_full_disk_is_no_reader():
    """A file that takes nothing more is a failure, and says the system's reason."""
    outlet = LinuxOutlet(os.open("/dev/full", os.O_WRONLY))
    with pytest.raises(OutletClosed, match="No space left") as told:
        outlet.write(b"x")

    assert not told.value.is_reader
    outlet.close()

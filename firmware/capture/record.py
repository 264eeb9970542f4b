"""`scrubjay record`: the capture station alone, in this process, until it is asked to end or its time is over."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from drivers.board import Board
from drivers.clock import Monotonic, Now
from drivers.supervisor import Supervisor
from firmware.capture.settings import CaptureSettings
from firmware.capture.station import CaptureStation
from firmware.core.report import Report
from firmware.core.station import run
from firmware.core.timestamp import SECOND


def record(
    board: Board,
    settings: CaptureSettings,
    *,
    filter: str | None = None,
    duration_s: float | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Mapping[str, int | str]:
    """Record into the board's disk; returns what was recorded and lost, by name.

    filter: pcap-filter(7), instead of the settings'. duration_s: from now; None: until the supervisor is asked to stop.
    progress: takes a line every two seconds. Raises BadFilter.
    """
    if filter is not None:
        settings = replace(settings, filter=filter)
    station = CaptureStation(board, settings, says=False)
    end = None if duration_s is None else board.clock.now().monotonic.after(int(duration_s * SECOND))
    timer = _Timer(end)
    run(
        [station, timer],
        clock=board.clock,
        bell=board.bell(),
        supervisor=_Until(board.supervisor, timer),
        publish_reports=lambda reports, now: progress(_line(reports[0])),
    )
    report = station.report
    return {
        "state": str(report.gauges.get("state", "")),
        "interface": str(report.gauges.get("interface", "")),
        "interface_trouble": str(report.gauges.get("interface_trouble", "")),
        **report.counts,
        **{f"lost_{cause}": n for cause, n in report.drops.items()},
    }


def _line(report: Report) -> str:
    counts = report.counts
    lost = "".join(f" lost_{cause}={count}" for cause, count in sorted(report.drops.items()))
    return (
        f"capture state={report.gauges.get('state', '-')} interface={report.gauges.get('interface', '-')}"
        f" segment={report.gauges.get('segment', '-')} frames={counts.get('frames', 0)}"
        f" megabytes={counts.get('bytes_wire', 0) / 1e6:.1f}{lost}"
    )


class _Timer:
    """A station that does nothing but be awake at the end."""

    name = "timer"

    def __init__(self, end: Monotonic | None) -> None:
        self.report = Report(self.name)
        self.over = False
        self._end = end

    def start(self, now: Now) -> None:
        return

    def step(self, now: Now) -> Monotonic | None:
        self.over = self._end is not None and now.monotonic >= self._end
        return self._end

    def directories(self) -> Sequence[str]:
        return ()

    def descriptors(self) -> Sequence[int]:
        return ()

    def stop(self, now: Now) -> None:
        return


class _Until:
    """The board's supervisor, which also asks to stop when the time is over."""

    def __init__(self, supervisor: Supervisor, timer: _Timer) -> None:
        self._supervisor = supervisor
        self._timer = timer

    def ready(self, status: str) -> None:
        self._supervisor.ready(status)

    def alive(self) -> None:
        self._supervisor.alive()

    def stopping(self) -> None:
        self._supervisor.stopping()

    def stop_requested(self) -> bool:
        return self._timer.over or self._supervisor.stop_requested()

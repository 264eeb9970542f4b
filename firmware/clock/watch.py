"""Whether the wall clock jumped between two looks, judged by the clock that cannot."""

from dataclasses import dataclass

from drivers.clock import Now


@dataclass(frozen=True, slots=True)
class Change:
    """What is different at this look. stepped_ns: 0 for no step, positive when the clock jumped forward."""

    stepped_ns: int
    state_changed: bool
    source_changed: bool
    tai_offset_changed: bool


def change(before: Now, now: Now, *, step_ns: int) -> Change:
    """The difference between two looks. A step is a jump of more than `step_ns` against monotonic time."""
    passed_ns = now.monotonic.since(before.monotonic)
    moved_ns = now.timestamp.tai_ns - before.timestamp.tai_ns
    jump_ns = moved_ns - passed_ns
    return Change(
        stepped_ns=jump_ns if abs(jump_ns) > step_ns else 0,
        state_changed=now.timestamp.state is not before.timestamp.state,
        source_changed=now.timestamp.source != before.timestamp.source,
        tai_offset_changed=now.tai_offset_s != before.tai_offset_s,
    )

"""Whether the wall clock jumped between two looks, judged by the clock that cannot."""

from drivers.clock import Now


def stepped_ns(before: Now, now: Now, *, step_ns: int) -> int:
    """By how much it jumped: 0 for no step, positive forward. A step is a jump of more than `step_ns` against monotonic time."""
    passed_ns = now.monotonic.since(before.monotonic)
    jump_ns = now.timestamp.tai_ns - before.timestamp.tai_ns - passed_ns
    return jump_ns if abs(jump_ns) > step_ns else 0

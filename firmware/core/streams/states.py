"""What is a state and no amount: a mode, flags, an error's code. No line is drawn from one state to the next, and no error allows for one.

A decoder shows each to its memory; where one is not as before, the frame is more than its samples say, and stays (`turned`, and not `whole`).
"""

from collections.abc import Hashable

STATES_MAX = 1_024


class States:
    """The last state of each of at most STATES_MAX; of further ones none is ever as before."""

    def __init__(self) -> None:
        self._last: dict[Hashable, bytes] = {}

    def as_before(self, key: Hashable, state: bytes) -> bool:
        """Whether it is what it was the last time. The first time there is nothing to miss: a stream's first sample stays."""
        before = self._last.get(key)
        if before is None and len(self._last) >= STATES_MAX:
            return False
        self._last[key] = state
        return before is None or before == state

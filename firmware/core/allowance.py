"""How often something may be said: so much at once, and no more than so much in a while. What is withheld is counted by the caller."""

from drivers.clock import Monotonic


class Allowance:
    """A bucket of permissions that fills evenly with monotonic time."""

    def __init__(self, *, at_once: int, every_ns: int) -> None:
        """at_once: permissions in a full bucket, at least 1. every_ns: one more is added this often."""
        self._at_once = at_once
        self._every_ns = every_ns
        self._left = at_once
        self._filled: Monotonic | None = None

    def take(self, now: Monotonic) -> bool:
        """One permission, when there is one."""
        if self._filled is None:
            self._filled = now
        gained = now.since(self._filled) // self._every_ns
        if gained:
            self._left = max(self._left, min(self._at_once, self._left + gained))
            self._filled = self._filled.after(gained * self._every_ns)
        if self._left == 0:
            return False
        self._left -= 1
        return True

    def earn(self, count: int) -> None:
        """So many more at once, in a full bucket too; of those earned earlier no more are left than it holds."""
        self._left = min(self._at_once, self._left) + count

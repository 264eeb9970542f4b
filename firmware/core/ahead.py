"""Work done ahead of whoever takes its results, by several threads: for what C does with Python's lock given back.

Results come in the order of the items, errors among them, so that nobody can tell from them how many hands there were.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

A = TypeVar("A")
R = TypeVar("R")

HANDS_MAX = 4  # The processors of a board. Each has a stretch in hand: some 10 MiB.


class Ahead:
    """So many hands. With one the work is done by the caller when it asks for the result, and there is no thread."""

    def __init__(self, hands: int = 1, *, items_min: int = 2) -> None:
        """hands: 1 to HANDS_MAX; more are as HANDS_MAX. items_min: of fewer at once the caller does all, until there are threads."""
        self._hands = min(hands, HANDS_MAX)
        self._items_min = items_min
        self._threads: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)

    def each(self, work: Callable[[A], R], items: Sequence[A]) -> Iterator[Callable[[], R]]:
        """For each item in turn, what returns `work` of it, or raises as that does.

        While the caller has one result, as many more are begun as there are hands, and none once it has left.
        """
        if self._hands < 2 or (self._threads is None and len(items) < self._items_min):
            yield from (partial(work, item) for item in items)
            return
        # Here: who has no use for it need not load it. It brings logging, 13 ms of a command's start.
        from concurrent.futures import ThreadPoolExecutor

        begun: deque[Future[R]] = deque()
        try:
            for item in items:
                if self._threads is None:
                    self._threads = ThreadPoolExecutor(self._hands, "ahead")
                begun.append(self._threads.submit(work, item))
                if len(begun) > self._hands:
                    yield begun.popleft().result
            while begun:
                yield begun.popleft().result
        finally:
            for future in begun:
                future.cancel()

"""Work done ahead of whoever takes its results, by several threads: for what C does with Python's lock given back.

Results come in the order of the items, errors among them, so that nobody can tell from them how many hands there were.
Why not concurrent.futures: it loads logging, a twentieth of the whole of a command that looks into some stretches.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Generic, NoReturn, Self, TypeVar

if TYPE_CHECKING:
    from queue import SimpleQueue

A = TypeVar("A")
R = TypeVar("R")

HANDS_MAX = 4  # The processors of a board. Each has a stretch in hand: some 10 MiB.


class Ahead:
    """So many hands. With one the work is done by the caller when it asks for the result, and there is no thread."""

    def __init__(self, hands: int = 1, *, items_min: int = 2) -> None:
        """hands: 1 to HANDS_MAX; more are as HANDS_MAX. items_min: of fewer at once the caller does all, until there are threads."""
        self._hands = min(hands, HANDS_MAX)
        self._items_min = items_min
        self._tasks: SimpleQueue[Callable[[], None] | None] | None = None
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for _ in self._threads:
            self._begin(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def each(self, work: Callable[[A], R], items: Sequence[A]) -> Iterator[Callable[[], R]]:
        """For each item in turn, what returns `work` of it, or raises as that does.

        While the caller has one result, as many more are begun as there are hands, and none once it has left.
        """
        is_alone = self._hands < 2 or (not self._threads and len(items) < self._items_min)
        if is_alone or not self._has_threads():
            yield from (partial(work, item) for item in items)
            return
        waiting: deque[_Task[R]] = deque()
        try:
            for item in items:
                task = _Task(partial(work, item))
                waiting.append(task)
                self._begin(task.done)
                if len(waiting) > self._hands:
                    yield waiting.popleft().result
            while waiting:
                yield waiting.popleft().result
        finally:
            for task in waiting:
                task.is_called_off = True

    def _has_threads(self) -> bool:
        """Whether there are some, at last. None is to be had where there are too many: then the caller does all."""
        if self._tasks is None:
            from queue import SimpleQueue

            self._tasks = SimpleQueue()
        while len(self._threads) < self._hands:
            thread = threading.Thread(target=_work, args=(self._tasks,), name="ahead", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                break
            self._threads.append(thread)
        return bool(self._threads)

    def _begin(self, task: Callable[[], None] | None) -> None:
        assert self._tasks is not None, "there are threads"
        self._tasks.put(task)


class _Task(Generic[R]):
    """One piece of work: done by a hand, waited for by the caller."""

    def __init__(self, work: Callable[[], R]) -> None:
        self._work = work
        self._is_done = threading.Event()
        self._result: Callable[[], R] | None = None
        self.is_called_off = False

    def done(self) -> None:
        """Do it."""
        try:
            if not self.is_called_off:
                value = self._work()
                self._result = lambda: value
        except BaseException as problem:  # noqa: BLE001  (whatever it is: `result` raises it)
            self._result = partial(_raised, problem)
        self._is_done.set()

    def result(self) -> R:
        """Of the work, once it is done. Raises what it raised."""
        self._is_done.wait()
        assert self._result is not None, "nobody waits for what he has called off"
        return self._result()


def _work(tasks: "SimpleQueue[Callable[[], None] | None]") -> None:
    while (task := tasks.get()) is not None:
        task()


def _raised(problem: BaseException) -> NoReturn:
    raise problem

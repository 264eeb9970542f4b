"""Several hands ahead of who takes the results: nothing can be told from the results, and nothing runs away."""

import threading
from collections.abc import Callable

import pytest

from firmware.core.ahead import HANDS_MAX, Ahead


@pytest.mark.parametrize("hands", [1, 2, HANDS_MAX + 1])
def test_results_and_errors_come_in_the_order_of_the_items(hands: int) -> None:
    """Whoever is ready first."""

    def work(item: int) -> int:
        if item % 3 == 0:
            raise KeyError(item)
        return item * item

    def said(result: Callable[[], int]) -> str:
        try:
            return str(result())
        except KeyError as problem:
            return f"KeyError {problem}"

    with Ahead(hands) as ahead:
        twice = [[said(result) for result in ahead.each(work, range(1, 20))] for _ in range(2)]
        assert [] == list(ahead.each(work, []))
    assert [[f"KeyError {n}" if n % 3 == 0 else str(n * n) for n in range(1, 20)]] * 2 == twice


def test_no_more_is_begun_than_there_are_hands() -> None:
    """Who takes one result and goes leaves the rest undone; memory is that of the hands, however long the list."""
    begun: list[int] = []
    with Ahead(2) as ahead:
        results = ahead.each(begun.append, range(1000))
        next(results)()
        next(results)()
        results.close()
    assert 2 <= len(begun) <= 2 + 2
    assert list(range(len(begun))) == sorted(begun)


def test_hands_work_at_once() -> None:
    """Three that wait for each other all come to their end."""
    meeting = threading.Barrier(3)
    with Ahead(3) as ahead:
        for result in ahead.each(lambda _: meeting.wait(timeout=60), range(3)):
            result()


def test_one_hand_is_the_callers_own() -> None:
    """Nothing is done before it is asked for, and by no other thread: a station's steps stay its own."""
    threads: list[threading.Thread] = []
    with Ahead() as ahead:
        results = list(ahead.each(lambda _: threads.append(threading.current_thread()), range(3)))
        assert [] == threads
        results[0]()
    assert [threading.current_thread()] == threads


def test_where_no_thread_is_to_be_had_the_caller_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """TasksMax, or memory: slower, and nothing is missing."""

    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with Ahead(2) as ahead:
        assert [0, 1, 4] == [result() for result in ahead.each(lambda n: n * n, range(3))]


def test_what_was_called_off_holds_nobody_up() -> None:
    """Results that nobody took are no reason to wait, nor to work: the next list gets the same hands."""
    with Ahead(2) as ahead:
        for _ in range(3):
            results = ahead.each(lambda n: n, range(100))
            assert 0 == next(results)()
            results.close()
        assert list(range(10)) == [result() for result in ahead.each(lambda n: n, range(10))]


def test_for_a_few_no_thread_is_begun() -> None:
    """A command that looks into three stretches is done before threads would have been of use; from then on they work for two, too."""
    threads: list[threading.Thread] = []

    def work(_: int) -> None:
        threads.append(threading.current_thread())

    with Ahead(2, items_min=4) as ahead:
        for result in ahead.each(work, range(3)):
            result()
        assert {threading.current_thread()} == set(threads)
        for items in (range(4), range(2)):
            threads.clear()
            for result in ahead.each(work, items):
                result()
            assert threading.current_thread() not in threads

"""What the store holds, oldest first, with what a round asks again and again: pure, and quick with a hundred thousand segments."""

from bisect import bisect_left, insort
from collections.abc import Iterable

from drivers.clock import ClockState
from firmware.retention.ages import Candidate, dates


class Holdings:
    """Sealed segments by sequence. Dates are judged anew when something was added; what goes mostly leaves the others' as they were."""

    def __init__(self) -> None:
        self._rows: list[Candidate] = []
        self._by_name: dict[str, Candidate] = {}
        self._dates: list[int | None] | None = None
        self.size = 0

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    @property
    def rows(self) -> list[Candidate]:
        """All of them, oldest first."""
        return self._rows

    @property
    def dates(self) -> list[int | None]:
        """When each of `rows` was made at the latest (ages.py)."""
        if self._dates is None:
            self._dates = dates(self._rows)
        return self._dates

    def put(self, candidate: Candidate) -> None:
        """One more, or one that is of another size since."""
        self.drop(candidate.name)
        insort(self._rows, candidate, key=_sequence)
        self._by_name[candidate.name] = candidate
        self._dates = None
        self.size += candidate.size

    def drop(self, name: str) -> None:
        """This one went, or is looked at anew."""
        candidate = self._by_name.pop(name, None)
        if candidate is None:
            return
        place = bisect_left(self._rows, candidate.sequence, key=_sequence)
        while self._rows[place].name != name:  # Two of one sequence are nothing we make, but somebody may.
            place += 1
        del self._rows[place]
        if self._dates is not None and (place == 0 or _is_dated(self._rows[place - 1])):
            del self._dates[place]
        else:
            self._dates = None  # The one before may have been dated by the one that went.
        self.size -= candidate.size

    def bytes_of(self, names: Iterable[str]) -> int:
        """Bytes of those among these that are here."""
        return sum(self._by_name[name].size for name in names if name in self._by_name)


def _is_dated(candidate: Candidate) -> bool:
    return candidate.made is not None and candidate.made.state is not ClockState.FREE


def _sequence(candidate: Candidate) -> int:
    return candidate.sequence

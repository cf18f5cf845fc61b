"""Ordered sets, as the sorted sets of Redis are: small reads from the front cost the same however many they hold."""

from bisect import bisect_left, insort
from itertools import islice


class Agenda:
    """Names in the order of their times, then of the names."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}
        self._order: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._order)

    @property
    def first_ms(self) -> int | None:
        """The earliest time; None when it is empty."""
        return self._order[0][0] if self._order else None

    def has(self, by_ms: int) -> bool:
        """Whether anything has a time up to `by_ms`."""
        return bool(self._order) and self._order[0][0] <= by_ms

    def at(self, name: str) -> int | None:
        """Return the time of a name."""
        return self._times.get(name)

    def put(self, name: str, time_ms: int) -> None:
        """Enter a name, or move it to another time."""
        self.drop(name)
        self._times[name] = time_ms
        insort(self._order, (time_ms, name))

    def drop(self, name: str) -> None:
        """Take a name out; nothing happens when it is not there."""
        time_ms = self._times.pop(name, None)
        if time_ms is not None:
            del self._order[bisect_left(self._order, (time_ms, name))]

    def before(self, time_ms: int) -> int:
        """Count the names whose times are earlier."""
        return bisect_left(self._order, (time_ms, ""))

    def between(self, from_ms: int, by_ms: int, limit: int) -> list[str]:
        """Return the first `limit` names whose times are from `from_ms` to `by_ms`."""
        first = self.before(from_ms)
        return [name for _, name in self._order[first : min(self.before(by_ms + 1), first + limit)]]

    def until(self, by_ms: int, limit: int) -> list[str]:
        """Return the first `limit` names whose times are at most `by_ms`."""
        return [name for time_ms, name in islice(self._order, limit) if time_ms <= by_ms]


class Listing:
    """Ids in the order of their times of creation, whatever their partitions."""

    def __init__(self) -> None:
        self._order: list[tuple[str, str]] = []

    def add(self, task_id: str) -> None:
        """Enter an id that is not there yet."""
        insort(self._order, (task_id[3:], task_id))

    def drop(self, task_id: str) -> bool:
        """Take an id out; False when it is not there."""
        entry = task_id[3:], task_id
        place = bisect_left(self._order, entry)
        if self._order[place : place + 1] != [entry]:
            return False
        del self._order[place]
        return True

    def newest(self, before: str, count: int) -> list[str]:
        """Return up to `count` ids, newest first, that sort before the id `before` (empty for all)."""
        end = bisect_left(self._order, (before[3:], "")) if before else len(self._order)
        return [task_id for _, task_id in reversed(self._order[max(end - count, 0) : end])]

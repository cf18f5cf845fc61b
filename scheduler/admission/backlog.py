"""How much waits, by tenant and level: what was counted at the last look, and what was accepted here since.

A look takes a while, and calls go on meanwhile. What was recorded before a look began is in its counts for certain;
what was recorded later, or is being recorded, may be or may not be. All of that is added to the counts until the next
look: so what is said here is never too low by anything of our own, only by what others accepted since.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from itertools import islice, product
from typing import Final, NamedTuple

ALL_TENANTS: Final = ""
ALL_LEVELS: Final = 0

Scope = tuple[str, int]
"""A tenant, or "" for all, and the number of a level, or 0 for all."""

_LOOKS: Final = 5
"""Looks that are remembered, to tell how fast lines drain: those of about a second."""


class Waiting(NamedTuple):
    """Tasks, and their expected work in milliseconds of one runner."""

    tasks: int = 0
    work_ms: float = 0.0


NONE: Final = Waiting()


class Draining(NamedTuple):
    """What stops waiting per second, because it starts or ends."""

    tasks: float = 0.0
    work_ms: float = 0.0


STANDSTILL: Final = Draining()


class Taken(NamedTuple):
    """Tasks of one call that were let in and are being recorded, by level."""

    tenant: str
    levels: Mapping[int, Waiting]
    moved: bool = False
    """Whether they waited before, on other levels: then they add to these levels, and to nothing else."""


class _Look(NamedTuple):
    """A look that came to an end."""

    began_s: float
    seen: Mapping[Scope, Waiting]
    recorded: Mapping[Scope, Waiting]
    """What was recorded here between the look before and this one."""


class Backlog:
    """Knows how much waits. Bounded by the tenants that have something waiting or under way."""

    def __init__(self) -> None:
        self._total: dict[Scope, Waiting] = {}
        self._looks: deque[_Look] = deque(maxlen=_LOOKS)
        """The last ones, newest last."""
        self._earlier: dict[Scope, Waiting] = {}
        """Recorded here before the present look began."""
        self._since: dict[Scope, Waiting] = {}
        """Recorded here after that."""
        self._open: dict[Scope, Waiting] = {}
        """Let in and not known to be recorded."""
        self._began_s = 0.0

    def waiting(self, tenant: str, level: int) -> Waiting:
        """Return how much waits of a tenant ("" for all) and a level (0 for all)."""
        return self._total.get((tenant, level), NONE)

    def draining(self, tenant: str, level: int) -> Draining:
        """Return how much stops waiting per second, at least; nothing until two looks were taken.

        What was there and came in, and is not there any more, has gone. What others let in hides some of it.
        """
        if len(self._looks) < 2:
            return STANDSTILL
        first, last, scope = self._looks[0], self._looks[-1], (tenant, level)
        seconds = last.began_s - first.began_s
        if seconds <= 0:
            return STANDSTILL
        tasks, work_ms = first.seen.get(scope, NONE)
        for look in islice(self._looks, 1, None):
            came = look.recorded.get(scope, NONE)
            tasks += came.tasks
            work_ms += came.work_ms
        left = last.seen.get(scope, NONE)
        return Draining(max(0, tasks - left.tasks) / seconds, max(0.0, work_ms - left.work_ms) / seconds)

    def take(self, taken: Taken) -> None:
        """Count tasks that are let in, until `settle`."""
        _add(self._open, taken)
        _add(self._total, taken)

    def settle(self, taken: Taken, recorded: Taken) -> None:
        """Learn which of the tasks of a `take` were recorded. When nobody knows, all may have been."""
        _add(self._open, taken, -1)
        _add(self._total, taken, -1)
        _add(self._since, recorded)
        _add(self._total, recorded)

    def begin_look(self, now_s: float) -> None:
        """Note that counting begins. A look that failed is simply followed by another one."""
        self._began_s = now_s
        # Also what was recorded before a look that failed.
        _merge(self._earlier, self._since)
        self._since = {}

    def end_look(self, lines: Iterable[tuple[str, int, int, float]]) -> None:
        """Take in what was counted: (tenant, level, tasks, work in ms) as often as there are models and pools."""
        seen = _summed(lines)
        self._looks.append(_Look(self._began_s, seen, self._earlier))
        self._earlier = {}
        self._total = dict(seen)
        _merge(self._total, self._since)
        _merge(self._total, self._open)

    def forget(self) -> None:
        """Forget what was seen and recorded; what is under way goes on being counted."""
        self._looks.clear()
        self._earlier, self._since, self._total = {}, {}, dict(self._open)


def _summed(lines: Iterable[tuple[str, int, int, float]]) -> dict[Scope, Waiting]:
    """Add up lines: thousands of them, four times a second, on the event loop; so once for each, not four times."""
    sums: dict[Scope, list[float]] = {}
    for tenant, level, tasks, work_ms in lines:
        if tasks > 0:
            sum_ = sums.get((tenant, level))
            if sum_ is None:
                sums[tenant, level] = [tasks, work_ms]
            else:
                sum_[0] += tasks
                sum_[1] += work_ms
    totals: dict[Scope, list[float]] = {}
    counts: dict[Scope, Waiting] = {}
    for (tenant, level), (number, work_ms) in sums.items():
        counts[tenant, level] = Waiting(int(number), work_ms)
        for scope in ((tenant, ALL_LEVELS), (ALL_TENANTS, level), (ALL_TENANTS, ALL_LEVELS)):
            total = totals.get(scope)
            if total is None:
                totals[scope] = [number, work_ms]
            else:
                total[0] += number
                total[1] += work_ms
    for scope, (number, work_ms) in totals.items():
        counts[scope] = Waiting(int(number), work_ms)
    return counts


def _add(counts: dict[Scope, Waiting], taken: Taken, sign: int = 1) -> None:
    tenant = taken.tenant
    for level, (tasks, work_ms) in taken.levels.items():
        levels = (level,) if taken.moved else (level, ALL_LEVELS)
        for scope in product((tenant, ALL_TENANTS), levels):
            old = counts.get(scope, NONE)
            left = old.tasks + sign * tasks
            if left > 0:
                counts[scope] = Waiting(left, max(0.0, old.work_ms + sign * work_ms))
            else:
                counts.pop(scope, None)


def _merge(counts: dict[Scope, Waiting], others: Mapping[Scope, Waiting]) -> None:
    for scope, (tasks, work_ms) in others.items():
        old = counts.get(scope, NONE)
        counts[scope] = Waiting(old.tasks + tasks, old.work_ms + work_ms)

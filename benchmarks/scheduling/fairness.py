"""How evenly service was shared while everybody wanted some.

Jain's index (Jain, Chiu and Hawe, "A Quantitative Measure of Fairness and Discrimination for Resource Allocation in
Shared Computer Systems", DEC TR-301, 1984), and the largest difference of service between two in any interval in which
both wait (as in Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024). Service counts when a task
begins, all of it.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from benchmarks.scheduling.jobs import End, Job
from benchmarks.scheduling.simulator import Run


class Service(NamedTuple):
    """What some received while all of them had tasks waiting."""

    work_ms: Mapping[str, float]
    largest_difference_ms: float
    """The most that one received beyond another in any interval in which both waited."""

    def share(self, who: str) -> float:
        """Return the part that one received."""
        return self.work_ms[who] / sum(self.work_ms.values())

    @property
    def jain(self) -> float:
        """1 when all received the same, 1/n when one received everything."""
        return jain(list(self.work_ms.values()))


def jain(received: Sequence[float]) -> float:
    """Return Jain's index of what several received; 1 where nobody received anything."""
    squares = sum(one * one for one in received)
    return sum(received) ** 2 / (len(received) * squares) if squares else 1.0


def tenant_of(job: Job) -> str:
    """Return whose a task is."""
    return job.arrival.tenant


def level_of(job: Job) -> str:
    """Return the name of a task's level."""
    return job.arrival.level.label


def service(
    run: Run, whose: Callable[[Job], str], queue: Callable[[Job], Hashable] = lambda job: job.arrival.model
) -> Service:
    """Return what each received of each queue while everybody waited in it; `queue` says who shares with whom."""
    slots = {runner.spec.id: runner.spec.slots for runner in run.runners}
    everybody = sorted({whose(job) for job in run.jobs if job.started})
    received = dict.fromkeys(everybody, 0.0)
    pairs: dict[tuple[Hashable, str, str], _Pair] = {}
    waiting: dict[Hashable, Counter[str]] = {}
    for job, starts in _moments(run.jobs):
        line, who = queue(job), whose(job)
        there = waiting.setdefault(line, Counter())
        if not starts:
            there[who] += 1
            continue
        work_ms = job.spent_ms / slots[job.runner]
        if all(there[one] for one in everybody):
            received[who] += work_ms
        for other in everybody:
            if other != who and there[other]:
                first, second = min(who, other), max(who, other)
                pair = pairs.setdefault((line, first, second), _Pair())
                pair.receives(work_ms if who == first else -work_ms)
        there[who] -= 1
        if not there[who]:
            for first, second in combinations(everybody, 2):
                if who in (first, second) and (line, first, second) in pairs:
                    pairs[line, first, second].begins_anew()
    return Service(received, max((pair.largest_ms for pair in pairs.values()), default=0.0))


@dataclass(slots=True)
class _Pair:
    """How far one of two is ahead of the other while both wait."""

    largest_ms: float = 0.0
    _ahead_ms: float = 0.0
    _least_ms: float = 0.0
    _most_ms: float = 0.0

    def receives(self, work_ms: float) -> None:
        """Count what the first receives, or the second, below 0."""
        self._ahead_ms += work_ms
        self._least_ms = min(self._least_ms, self._ahead_ms)
        self._most_ms = max(self._most_ms, self._ahead_ms)
        self.largest_ms = max(
            self.largest_ms, self._ahead_ms - self._least_ms, self._most_ms - self._ahead_ms
        )

    def begins_anew(self) -> None:
        """One of them waits no more."""
        self._ahead_ms = self._least_ms = self._most_ms = 0.0


def _moments(jobs: Sequence[Job]) -> Iterator[tuple[Job, bool]]:
    """Yield tasks when they arrive (False) and when they begin (True), by time, arrivals first. What was given up
    without a start is left out: it would seem to wait until the end.
    """
    moments = []
    for job in jobs:
        if job.started or job.end is End.NOT_YET:
            moments.append((job.arrival.time_ms, False, job.number, job))
        if job.started:
            moments.append((job.start_ms, True, job.number, job))
    for _, starts, _, job in sorted(moments, key=lambda one: one[:3]):
        yield job, starts

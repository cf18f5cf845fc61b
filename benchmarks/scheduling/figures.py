"""What a run shows: waits, shares, fairness, deadlines, utilisation.

Fairness by Jain's index (Jain, Chiu and Hawe, "A Quantitative Measure of Fairness and Discrimination for Resource
Allocation in Shared Computer Systems", DEC TR-301, 1984) and by the largest difference of service between two tenants
that both wait (as in Sheng et al., OSDI 2024).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from math import ceil
from typing import NamedTuple

from benchmarks.scheduling.fleet import End, Job
from benchmarks.scheduling.simulator import Run
from scheduler.states import Level


class Waits(NamedTuple):
    """How long tasks waited for their start, in milliseconds."""

    tasks: int
    mean_ms: float
    p99_ms: float


class Service(NamedTuple):
    """What some received while all of them had tasks waiting."""

    work_ms: Mapping[str, float]
    largest_difference_ms: float
    """The most that one was ahead of another at any moment."""

    def share(self, who: str) -> float:
        """Return the part that one received."""
        return self.work_ms[who] / sum(self.work_ms.values())

    @property
    def jain(self) -> float:
        """1 when all received the same, 1/n when one received everything."""
        return jain(list(self.work_ms.values()))


def waits(run: Run, jobs: Iterable[Job] | None = None) -> Waits:
    """Return the waits of some tasks, or of all. Those that still wait when the run was cut off count with what they
    have waited by then; those that ended without a start do not count.
    """
    found = sorted(
        run.ended_ms - job.arrival.time_ms if job.end is End.NOT_YET else job.wait_ms
        for job in (run.jobs if jobs is None else jobs)
        if job.wait_ms == job.wait_ms or (job.end is End.NOT_YET and job.arrival.time_ms <= run.ended_ms)
    )
    if not found:
        return Waits(0, 0.0, 0.0)
    return Waits(len(found), sum(found) / len(found), percentile(found, 0.99))


def percentile(ordered: Sequence[float], part: float) -> float:
    """Return the smallest value that this part of the values does not exceed; they are given in ascending order."""
    return ordered[max(0, ceil(part * len(ordered)) - 1)]


def by_level(run: Run) -> dict[Level, Waits]:
    """Return the waits of each level that had tasks."""
    jobs = sorted(run.jobs, key=lambda job: job.arrival.level)
    return {level: waits(run, found) for level, found in groupby(jobs, key=lambda job: job.arrival.level)}


def by_tenant(run: Run) -> dict[str, Waits]:
    """Return the waits of each tenant."""
    jobs = sorted(run.jobs, key=lambda job: job.arrival.tenant)
    return {tenant: waits(run, found) for tenant, found in groupby(jobs, key=lambda job: job.arrival.tenant)}


def in_time(run: Run) -> float:
    """Return which part of the tasks with a deadline met it; 1 when none has one."""
    bound = [job for job in run.jobs if job.arrival.deadline_ms]
    return sum(job.in_time for job in bound) / len(bound) if bound else 1.0


def jain(received: Sequence[float]) -> float:
    """Return Jain's index of what several received; 1 where nobody received anything."""
    squares = sum(one * one for one in received)
    return sum(received) ** 2 / (len(received) * squares) if squares else 1.0


def service(run: Run, whose: Callable[[Job], str]) -> Service:
    """Return what each received, counted at starts, from the moment when all had arrived until one had nothing waiting
    any more.
    """
    started = sorted(
        (job for job in run.jobs if job.end in (End.DONE, End.STOPPED)), key=lambda job: job.start_ms
    )
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    for job in started:
        who = whose(job)
        first[who] = min(first.get(who, job.arrival.time_ms), job.arrival.time_ms)
        last[who] = job.start_ms
    received = dict.fromkeys(sorted(first), 0.0)
    if not received:
        return Service(received, 0.0)
    from_ms, to_ms = max(first.values()), min(last.values())
    slots = {runner.spec.id: runner.spec.slots for runner in run.runners}
    largest_ms = 0.0
    for job in started:
        if from_ms <= job.start_ms < to_ms:
            received[whose(job)] += job.spent_ms / slots[job.runner]
            largest_ms = max(largest_ms, max(received.values()) - min(received.values()))
    return Service(received, largest_ms)


def tenant_of(job: Job) -> str:
    """Return whose a task is."""
    return job.arrival.tenant


def level_of(job: Job) -> str:
    """Return the name of a task's level."""
    return job.arrival.level.label

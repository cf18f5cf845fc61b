"""What a run shows: waits, shares, deadlines, utilisation. Fairness is in fairness.py."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from math import ceil
from typing import NamedTuple

from benchmarks.scheduling.jobs import End, Job
from benchmarks.scheduling.simulator import Run
from scheduler.states import Level


class Waits(NamedTuple):
    """How long tasks waited for their start, in milliseconds."""

    tasks: int
    mean_ms: float
    p99_ms: float


def waits(run: Run, jobs: Iterable[Job] | None = None) -> Waits:
    """Return the waits of some tasks, or of all. Those that still wait when the run was cut off count with what they
    have waited by then; those that ended without a start do not count.
    """
    found = sorted(
        job.wait_ms if job.started else run.ended_ms - job.arrival.time_ms
        for job in (run.jobs if jobs is None else jobs)
        if job.started or (job.end is End.NOT_YET and job.arrival.time_ms <= run.ended_ms)
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

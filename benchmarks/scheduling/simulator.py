"""Moves virtual time from event to event: arrivals, and ends of executions. Nothing here decides anything.

The event list is a heap by time (as in Law, "Simulation Modeling and Analysis", 2014); of events of one moment, ends go
before arrivals, and among equals the order in which they came about decides, so a run with the same input is the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import groupby
from typing import Protocol

from benchmarks.scheduling.fleet import End, Job, Runner, RunnerSpec
from benchmarks.scheduling.traces import Arrival
from scheduler.policies.policy import DEFAULT_POLICY, Policy


class Discipline(Protocol):
    """Decides which task goes to which runner when. Owned by one run."""

    def arrive(self, jobs: Sequence[Job], now_ms: float) -> None:
        """Take in tasks that arrive together."""
        ...

    def assign(self, now_ms: float) -> Sequence[tuple[Job, Runner]]:
        """Return what goes to whom now. It may end tasks that are too late (`Job.end`)."""
        ...

    def ended(self, job: Job, runner: Runner, now_ms: float) -> None:
        """Note that a task has left a runner."""
        ...


Make = Callable[[Sequence[Runner]], Discipline]


@dataclass(frozen=True, slots=True)
class Run:
    """What became of all tasks."""

    jobs: Sequence[Job]
    runners: Sequence[Runner]
    ended_ms: float
    """When the last one left."""

    @property
    def utilisation(self) -> float:
        """The part of all slots' time that was spent on executing."""
        slots = sum(runner.spec.slots for runner in self.runners)
        return (
            sum(runner.busy_ms for runner in self.runners) / (slots * self.ended_ms) if self.ended_ms else 0.0
        )


def simulate(
    arrivals: Sequence[Arrival],
    fleet: Sequence[RunnerSpec],
    make: Make,
    policy: Policy = DEFAULT_POLICY,
    *,
    until_ms: float = float("inf"),
) -> Run:
    """Run until every task has ended, or until `until_ms`. Arrivals are given by time; `policy` is that of the lines
    inside runners.
    """
    runners = [Runner(spec, policy) for spec in fleet]
    discipline = make(runners)
    jobs = [Job(number, arrival) for number, arrival in enumerate(arrivals)]
    groups = [(time_ms, list(group)) for time_ms, group in groupby(jobs, key=lambda job: job.arrival.time_ms)]
    groups.reverse()
    ends: list[tuple[float, int, Job, Runner]] = []
    by_id = {runner.spec.id: runner for runner in runners}
    count = 0
    now_ms = 0.0
    while groups or ends:
        arrives_ms = groups[-1][0] if groups else float("inf")
        if min(arrives_ms, ends[0][0] if ends else float("inf")) > until_ms:
            break
        if ends and ends[0][0] <= arrives_ms:
            now_ms, _, job, runner = heappop(ends)
            runner.leave(job)
            discipline.ended(job, runner, now_ms)
            changed = {runner.spec.id: runner}
        else:
            now_ms, group = groups.pop()
            discipline.arrive(group, now_ms)
            changed = {}
        for job, runner in discipline.assign(now_ms):
            runner.add((job,), now_ms)
            changed[runner.spec.id] = runner
        for id_ in sorted(changed):
            for job in changed[id_].begin(now_ms):
                count += 1
                heappush(ends, (job.end_ms, count, job, by_id[id_]))
    return Run(jobs, runners, now_ms)


def conserved(run: Run) -> bool:
    """Whether every task has ended, and in one way."""
    return all(job.end is not End.NOT_YET for job in run.jobs)

"""Moves virtual time from event to event: arrivals, ends of executions, messages that arrive. It decides nothing.

The event list is a heap by time (as in Law, "Simulation Modeling and Analysis", 2014); of events of one moment,
arrivals are the last, and among the others the order in which they came about decides, so a run with the same input is
the same.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from itertools import groupby
from typing import Protocol

from benchmarks.scheduling.fleet import Runner, RunnerSpec
from benchmarks.scheduling.jobs import End, Job
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
    hop_ms: float = 0.0,
) -> Run:
    """Run until every task has ended, or until `until_ms`. Arrivals are given by time; `policy` is that of the lines
    inside runners; a message between scheduler and runner takes `hop_ms`.
    """
    runners = [Runner(spec, policy) for spec in fleet]
    jobs = [Job(number, arrival) for number, arrival in enumerate(arrivals)]
    groups = [(time_ms, list(group)) for time_ms, group in groupby(jobs, key=lambda job: job.arrival.time_ms)]
    groups.reverse()
    events = _Events(make(runners), hop_ms)
    now_ms = 0.0
    while groups or events.list:
        arrives_ms = groups[-1][0] if groups else float("inf")
        next_ms = min(arrives_ms, events.list[0][0]) if events.list else arrives_ms
        if next_ms > until_ms:
            break
        if next_ms == arrives_ms and not (events.list and events.list[0][0] <= arrives_ms):
            events.arrive(groups.pop()[1], next_ms)
            now_ms = next_ms
        # A look at nothing, or the end of what was paused, is no event.
        elif events.happen():
            now_ms = next_ms
    return Run(jobs, runners, now_ms)


class _Events:
    """What will happen, and what it brings about."""

    def __init__(self, discipline: Discipline, hop_ms: float) -> None:
        self.list: list[tuple[float, int, Callable[[float], bool]]] = []
        """A heap; each says whether anything happened."""
        self._discipline = discipline
        self._hop_ms = hop_ms
        self._count = 0

    def happen(self) -> bool:
        """Let the next event happen, and return whether it was one."""
        time_ms, _, event = heappop(self.list)
        return event(time_ms)

    def arrive(self, jobs: Sequence[Job], now_ms: float) -> None:
        """Let tasks arrive."""
        self._discipline.arrive(jobs, now_ms)
        self._assign(now_ms)

    def _at(self, time_ms: float, event: Callable[[float], bool]) -> None:
        self._count += 1
        heappush(self.list, (time_ms, self._count, event))

    def _assign(self, now_ms: float, changed: Iterable[Runner] = ()) -> None:
        """Send what is assigned; what is there at once begins together with what else waits in `changed`."""
        sent: dict[Runner, list[Job]] = {runner: [] for runner in changed}
        for job, runner in self._discipline.assign(now_ms):
            sent.setdefault(runner, []).append(job)
        for runner in sorted(sent, key=lambda one: one.spec.id):
            if self._hop_ms and sent[runner]:
                self._at(now_ms + self._hop_ms, partial(self._receive, sent[runner], runner))
            else:
                self._receive(sent[runner], runner, now_ms, free=runner in changed)

    def _receive(self, jobs: Sequence[Job], runner: Runner, now_ms: float, *, free: bool = False) -> bool:
        runner.add(jobs, now_ms)
        looks_ms = now_ms if free else runner.looks_ms(now_ms)
        if looks_ms > now_ms:
            self._at(looks_ms, partial(self._look, runner))
        else:
            self._look(runner, now_ms)
        return True

    def _look(self, runner: Runner, now_ms: float) -> bool:
        begun = runner.begin(now_ms)
        for job in begun:
            self._at(job.end_ms, partial(self._end, job, runner, job.pauses))
        if runner.looks_again(now_ms):
            self._at(now_ms + runner.spec.step_ms, partial(self._look, runner))
        return bool(begun)

    def _end(self, job: Job, runner: Runner, pauses: int, now_ms: float) -> bool:
        if job.pauses != pauses:
            return False
        runner.leave(job)
        if self._hop_ms:
            self._look(runner, now_ms)
            self._at(now_ms + self._hop_ms, partial(self._tell, job, runner))
        else:
            self._discipline.ended(job, runner, now_ms)
            self._assign(now_ms, (runner,))
        return True

    def _tell(self, job: Job, runner: Runner, now_ms: float) -> bool:
        self._discipline.ended(job, runner, now_ms)
        self._assign(now_ms)
        return False


def conserved(run: Run) -> bool:
    """Whether every task has ended, and in one way."""
    return all(job.end is not End.NOT_YET for job in run.jobs)

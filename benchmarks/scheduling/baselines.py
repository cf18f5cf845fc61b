"""What the policies are compared with: one line of everything, kept in order by a key, and no tasks ahead in runners.

Two of them are told how long each task will really take: the clairvoyant shortest job first (for one server, the least
mean wait without preemption: Conway, Maxwell and Miller, "Theory of Scheduling", 1967), and the clairvoyant earliest
deadline first.
"""

from collections.abc import Callable, Sequence
from heapq import heappop, heappush

from benchmarks.scheduling.fleet import Runner
from benchmarks.scheduling.jobs import End, Job
from benchmarks.scheduling.simulator import Make

Key = Callable[[Job], tuple[float, ...]]


class Ordered:
    """Gives the first task of the line to the emptiest runner of its model."""

    def __init__(self, runners: Sequence[Runner], key: Key, *, skips_late: bool = False) -> None:
        self._runners: dict[str, list[Runner]] = {}
        for runner in runners:
            self._runners.setdefault(runner.spec.model, []).append(runner)
        self._key = key
        self._skips_late = skips_late
        self._lines: dict[str, list[tuple[tuple[float, ...], int, Job]]] = {}

    def arrive(self, jobs: Sequence[Job], now_ms: float) -> None:
        """Put tasks into the line of their model."""
        for job in jobs:
            line = self._lines.setdefault(job.arrival.model, [])
            heappush(line, (self._key(job), job.number, job))

    def assign(self, now_ms: float) -> Sequence[tuple[Job, Runner]]:
        """Fill slots; a runner never has more than it executes."""
        given: list[tuple[Job, Runner]] = []
        for model, line in self._lines.items():
            room = {runner: runner.spec.slots - runner.inside for runner in self._runners.get(model, ())}
            while line and any(room.values()):
                job = heappop(line)[2]
                if self._skips_late and self._too_late(job, now_ms):
                    job.end = End.CANNOT_FINISH
                    continue
                runner = max(room, key=lambda one: (room[one], one.spec.id))
                room[runner] -= 1
                given.append((job, runner))
        return given

    def ended(self, job: Job, runner: Runner, now_ms: float) -> None:
        """Do nothing: it knew before."""

    @staticmethod
    def _too_late(job: Job, now_ms: float) -> bool:
        row = job.arrival
        return bool(row.deadline_ms) and now_ms + row.execute_ms > row.deadline_ms


def fifo(runners: Sequence[Runner]) -> Ordered:
    """First in, first out."""
    return Ordered(runners, lambda job: (job.arrival.time_ms,))


def strict_priority(runners: Sequence[Runner]) -> Ordered:
    """Levels before anything else, first in first out inside them; low ones may starve."""
    return Ordered(runners, lambda job: (job.arrival.level, job.arrival.time_ms))


def clairvoyant_shortest(runners: Sequence[Runner]) -> Ordered:
    """The shortest first, by what nobody can know."""
    return Ordered(runners, lambda job: (job.arrival.execute_ms,))


def clairvoyant_deadline(runners: Sequence[Runner]) -> Ordered:
    """The earliest deadline first, without those that cannot meet theirs any more."""
    return Ordered(runners, lambda job: (job.arrival.deadline_ms or float("inf"),), skips_late=True)


BASELINES: dict[str, Make] = {
    "FIFO": fifo,
    "strict priority": strict_priority,
    "clairvoyant shortest": clairvoyant_shortest,
    "clairvoyant deadline": clairvoyant_deadline,
}

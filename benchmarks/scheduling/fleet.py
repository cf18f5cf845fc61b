"""Runners that execute tasks in virtual time. What waits inside one is ordered by the real queue of a runner."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from math import nan

from benchmarks.scheduling.traces import Arrival
from inference.runner.admission import AdmissionQueue
from inference.runner.held import Cost, Fate, Held
from scheduler.policies.level_modes import levels_for
from scheduler.policies.policy import Policy


class End(Enum):
    """How a task ended, or that it did not."""

    NOT_YET = "not yet"
    DONE = "done"
    EXPIRED = "expired"
    """Its deadline had passed before it began."""
    CANNOT_FINISH = "cannot finish"
    """It was not begun because it would not have been done in time."""
    STOPPED = "stopped"
    """Its deadline passed while it was executed."""


@dataclass(slots=True, eq=False)
class Job:
    """One task on its way. Times are virtual milliseconds."""

    number: int
    arrival: Arrival
    start_ms: float = nan
    end_ms: float = nan
    spent_ms: float = 0.0
    """How long it was executed."""
    runner: str = ""
    end: End = End.NOT_YET

    @property
    def id(self) -> str:
        """Its name in this run."""
        return f"task-{self.number:09d}"

    @property
    def wait_ms(self) -> float:
        """From arrival to start."""
        return self.start_ms - self.arrival.time_ms

    @property
    def in_time(self) -> bool:
        """Whether it was done, by its deadline if it has one."""
        return self.end is End.DONE


@dataclass(frozen=True, slots=True)
class RunnerSpec:
    """A runner as it attaches."""

    id: str
    model: str = "model"
    slots: int = 1
    """Tasks that it executes at the same time, each at its own pace."""
    ahead: int = 0
    """Tasks that it takes beyond those that it executes."""
    reserve: int = 0
    """Credit of its own that is kept for CRITICAL tasks."""
    speed: float = 1.0
    weight: int = 100
    zone: str = ""

    @property
    def credit(self) -> int:
        """Tasks that it has at most."""
        return self.slots + self.ahead + self.reserve


class _Nobody:
    """Takes the place of a scheduler in a runner's tasks: the simulator itself tells of ends."""

    def settle(
        self, task_id: str, attempt: int, fate: Fate, cost: Cost | None = None, *, failed: bool = False
    ) -> None:
        raise AssertionError("ends of tasks are events of the simulator")


_NOBODY = _Nobody()


class Runner:
    """One runner: a line of tasks, and slots that execute them."""

    def __init__(self, spec: RunnerSpec, policy: Policy) -> None:
        self.spec = spec
        self.busy_ms = 0.0
        """Sum over its slots."""
        self.inside = 0
        """Tasks that it executes."""
        self._line = AdmissionQueue(levels_for(policy))
        self._line.follow(policy)
        self._jobs: dict[str, Job] = {}

    @property
    def free(self) -> int:
        """How many more tasks it takes."""
        return self.spec.credit - self.inside - len(self._jobs)

    def add(self, jobs: Iterable[Job], now_ms: float) -> None:
        """Let tasks wait here."""
        held = []
        for job in jobs:
            row = job.arrival
            self._jobs[job.id] = job
            held.append(
                Held(
                    *(job.id, job.id, 1, row.level, _NOBODY, round(row.time_ms), round(now_ms), ""),
                    received_s=now_ms / 1000,
                    deadline_ms=round(row.deadline_ms),
                )
            )
        self._line.add(held)

    def begin(self, now_ms: float) -> list[Job]:
        """Move tasks into free slots and return them, with their ends; what is too late by now has ended already."""
        begun: list[Job] = []
        while (room := self.spec.slots - self.inside) > 0:
            taken = self._line.take(room, occupied=self.inside > 0, now_s=now_ms / 1000)
            if not taken:
                break
            for held in taken:
                job = self._jobs.pop(held.key)
                self._start(job, now_ms)
                begun.append(job)
        return begun

    def leave(self, job: Job) -> None:
        """Free the slot of a task that has ended."""
        self.inside -= 1
        self.busy_ms += job.spent_ms

    def _start(self, job: Job, now_ms: float) -> None:
        deadline_ms = job.arrival.deadline_ms
        job.runner = self.spec.id
        job.start_ms = now_ms
        self.inside += 1
        took_ms = job.arrival.execute_ms / self.spec.speed
        job.end = End.DONE
        if deadline_ms and now_ms + took_ms > deadline_ms:
            job.end = End.STOPPED if now_ms < deadline_ms else End.EXPIRED
            took_ms = max(0.0, deadline_ms - now_ms)
        job.spent_ms = took_ms
        job.end_ms = now_ms + took_ms

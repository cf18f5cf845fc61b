"""Runners that execute tasks in virtual time. What waits inside one is ordered by the real queue of a runner, and who
gives way to whom is chosen by the real rule of the generation engine (inference/generate/preemption.py).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, inf

from benchmarks.scheduling.jobs import End, Job
from inference.generate.preemption import Candidate, choose_victim, gives_way, turn
from inference.runner.admission import AdmissionQueue
from inference.runner.held import Cost, Fate, Held
from inference.runner.job import Job as Waiting
from scheduler.policies.level_modes import levels_for
from scheduler.policies.policy import Policy
from scheduler.states import Level


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
    step_ms: float = 0.0
    """How long a step takes of an engine that pauses rows for CRITICAL ones between two steps, as the generation engine
    does; 0 for one that lets every task end, as the tensor engine does. What copying a row takes is not counted."""

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
    """One runner: a line of tasks, slots that execute them, and those that were paused."""

    def __init__(self, spec: RunnerSpec, policy: Policy) -> None:
        self.spec = spec
        self.busy_ms = 0.0
        """Sum over its slots."""
        self._line = AdmissionQueue(levels_for(policy))
        self._line.follow(policy)
        self._jobs: dict[str, Job] = {}
        """Those in the line."""
        self._seats: dict[Job, None] = {}
        """Those that are executed, in the order in which they began."""
        self._without: list[Job] = []
        """Those that the engine took in, or paused, and that have no slot."""
        self._order: dict[Job, int] = {}
        """Of what the engine took in: by this it came."""
        self._taken = 0
        self._first_step_ms = 0.0
        """When it last began to work after a rest: steps follow each other from then on."""

    @property
    def inside(self) -> int:
        """Tasks that the engine has, paused ones too."""
        return len(self._order)

    def add(self, jobs: Iterable[Job], now_ms: float) -> None:
        """Let tasks wait here."""
        held = []
        for job in jobs:
            row = job.arrival
            self._jobs[job.id] = job
            held.append(
                Held(
                    job.id,
                    row.level,
                    now_ms / 1000,
                    job.id,
                    1,
                    _NOBODY,
                    round(row.time_ms),
                    round(now_ms),
                    due_s=row.deadline_ms / 1000 if row.deadline_ms else inf,
                )
            )
        self._line.add(held)

    def looks_ms(self, now_ms: float) -> float:
        """Return when it next looks at what waits: at once, or where rows can be paused, after the step that runs."""
        step_ms = self.spec.step_ms
        if not step_ms or not self._seats:
            return now_ms
        return self._first_step_ms + step_ms * ceil((now_ms - self._first_step_ms) / step_ms)

    def looks_again(self, now_ms: float) -> bool:
        """Whether a CRITICAL task waits that a running one could make room for after the next step."""
        return bool(self.spec.step_ms) and self._line.critical and self._preemptable(now_ms) > 0

    def begin(self, now_ms: float) -> list[Job]:
        """Give slots to what waits and return what begins or goes on, with its end; what is too late has ended."""
        if not self._seats:
            self._first_step_ms = now_ms
        room = self.spec.slots - self.inside
        taken: list[Waiting] = []
        if room > 0:
            taken = self._line.take(room, occupied=self.inside > 0, now_s=now_ms / 1000)
        elif self.spec.step_ms and self._line.critical:
            taken = self._line.take_critical(self._preemptable(now_ms), now_s=now_ms / 1000)
        for held in taken:
            job = self._jobs.pop(held.key)
            self._order[job] = self._taken = self._taken + 1
            self._without.append(job)
        return self._seat(now_ms) if self._without else []

    def leave(self, job: Job) -> None:
        """Free the slot of a task that has ended."""
        del self._seats[job], self._order[job]
        self.busy_ms += job.spent_ms

    def _seat(self, now_ms: float) -> list[Job]:
        """Give slots to those that have none, as far as there are any, or as CRITICAL ones take them."""
        seated: list[Job] = []
        self._without.sort(key=lambda job: turn(job.arrival.level, self._order[job]))
        while self._without:
            job = self._without[0]
            if len(self._seats) == self.spec.slots and not (
                job.arrival.level is Level.CRITICAL and self._pause_one(now_ms)
            ):
                break
            self._without.remove(job)
            self._execute(job, now_ms)
            seated.append(job)
        return seated

    def _execute(self, job: Job, now_ms: float) -> None:
        job.runner = self.spec.id
        if not job.started:
            job.start_ms = now_ms
        self._seats[job] = None
        deadline_ms = job.arrival.deadline_ms
        left_ms = job.arrival.execute_ms / self.spec.speed - job.spent_ms
        job.end = End.DONE
        if deadline_ms and now_ms + left_ms > deadline_ms:
            job.end = End.STOPPED if job.pauses or now_ms < deadline_ms else End.EXPIRED
            left_ms = max(0.0, deadline_ms - now_ms)
        job.spent_ms += left_ms
        job.end_ms = now_ms + left_ms

    def _pause_one(self, now_ms: float) -> bool:
        """Free the slot of the row that is worth least; False when there is none."""
        seated = self._stays(now_ms)
        victim = choose_victim([self._candidate(job, now_ms) for job in seated], Level.CRITICAL)
        if victim is None:
            return False
        job = seated[victim.index]
        del self._seats[job]
        job.spent_ms -= job.end_ms - now_ms
        job.pauses += 1
        job.end = End.NOT_YET
        self._without.append(job)
        self._without.sort(key=lambda one: turn(one.arrival.level, self._order[one]))
        return True

    def _preemptable(self, now_ms: float) -> int:
        asked = sum(job.arrival.level is Level.CRITICAL for job in self._without)
        rows = [self._candidate(job, now_ms) for job in self._stays(now_ms)]
        return max(0, sum(gives_way(row, Level.CRITICAL) for row in rows) - asked)

    def _stays(self, now_ms: float) -> list[Job]:
        """Return those that are executed and do not end at this moment."""
        return [job for job in self._seats if job.end_ms > now_ms]

    def _candidate(self, job: Job, now_ms: float) -> Candidate:
        """Say of a row what decides whether it gives way: one step is one token of it."""
        left_ms = job.end_ms - now_ms
        generated = int((job.spent_ms - left_ms) / self.spec.step_ms)
        left = ceil(left_ms / self.spec.step_ms)
        return Candidate(job.arrival.level, generated, generated, left, self._order[job])

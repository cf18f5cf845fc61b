"""Stands in for a runner's engine thread: executes what prompts say, on the virtual clock.

A prompt is a kind, the seconds that a step takes, and for some kinds in how many first attempts it shows:
`ok 0.1`, `refuse 0.1`, `fail 0.1 2`, `hint 0.1 1`, `poison 0.2 99`, `hang 5`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from inference.engine import Choice, Chunk, Done, Failed, Finish, GenerateOutput, GenerateRequest, Update
from inference.runner.admission import AdmissionQueue
from inference.runner.held import Held
from scheduler.errors import DeadlinePassed, InvalidInput, ModelFailed
from scheduler.policies.levels import WeightedLevels
from tests.simulation.processes import Process

STEPS: Final = 3


class Owner(Protocol):
    """What the engine tells what it brings: the workload."""

    def updated(self, updates: Sequence[Update]) -> None:
        """Take updates."""
        ...

    def returned(self, keys: Sequence[str]) -> None:
        """Take what the engine never saw."""
        ...


@dataclass(eq=False)
class _Inside:
    held: Held
    kind: str
    step_s: float
    shows: bool
    """Whether this attempt is one of those that go wrong."""
    words: list[str] = field(default_factory=list)


class SimulatedExecutor:
    """Executes up to `capacity` tasks at once. `began` hears of each, before anything of it is done."""

    def __init__(
        self,
        process: Process,
        capacity: int,
        began: Callable[[Held, list[Held]], None],
        poisoned: Callable[[], None],
    ) -> None:
        self._process = process
        self.capacity = capacity
        """Tasks that it executes at the same time."""
        self._began = began
        self._poisoned = poisoned
        self._queue = AdmissionQueue(WeightedLevels())
        self._waiting: dict[str, Held] = {}
        self._inside: dict[str, _Inside] = {}
        self._filling = False
        self.owner: Owner

    def executing(self) -> list[Held]:
        """Return what is in the engine."""
        return [inside.held for inside in self._inside.values()]

    def waiting(self) -> list[Held]:
        """Return what waits for the engine."""
        return list(self._waiting.values())

    # Executor.

    def admit(self, tasks: Sequence[Held]) -> None:
        for held in tasks:
            self._waiting[held.key] = held
        self._queue.add(tasks)
        self._fill_soon()

    def cancel(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._waiting.pop(key, None)
            if not self._queue.remove(key):
                self._inside.pop(key, None)
        self._fill_soon()

    def hand_back(self) -> None:
        self._waiting.clear()
        self._process.soon(self.owner.returned, [task.key for task in self._queue.clear()])

    def _fill_soon(self) -> None:
        if not self._filling:
            self._filling = True
            self._process.soon(self._fill)

    def _fill(self) -> None:
        self._filling = False
        now_s = self._process.loop.time()
        while room := self.capacity - len(self._inside):
            tasks = self._queue.take(room, occupied=bool(self._inside))
            if not tasks:
                return
            for held in tasks:
                self._waiting.pop(held.key, None)
                if held.due_s <= now_s:
                    passed = DeadlinePassed("the deadline passed while it waited in its runner")
                    self.owner.updated([Failed(held.key, passed)])
                    continue
                held.admitted_s = now_s
                assert isinstance(held, Held), "worlds have leased tasks only"
                self._enter(held)

    def _enter(self, held: Held) -> None:
        assert isinstance(held.request, GenerateRequest), "worlds only generate"
        kind, step_s, *times = (held.request.prompt or "").split()
        inside = _Inside(held, kind, float(step_s), held.attempt <= int(times[0]) if times else True)
        self._began(held, self.executing())
        self._inside[held.key] = inside
        self._process.loop.call_later(inside.step_s, self._step, inside)

    def _step(self, inside: _Inside) -> None:
        key = inside.held.key
        if self._inside.get(key) is not inside:
            return
        if inside.shows and inside.kind == "poison":
            self._poisoned()
            return
        inside.words.append(f"{inside.held.attempt}.")
        if len(inside.words) < STEPS and not (inside.shows and inside.kind in ("fail", "hint", "refuse")):
            self._process.loop.call_later(inside.step_s, self._step, inside)
            self.owner.updated([Chunk(key, inside.words[-1], [1])])
            return
        held = inside.held
        held.execute_s = self._process.loop.time() - held.admitted_s
        held.work_s = held.execute_s / self.capacity
        del self._inside[key]
        self._fill_soon()
        self.owner.updated([self._outcome(inside)])

    def _outcome(self, inside: _Inside) -> Update:
        key = inside.held.key
        if inside.shows and inside.kind == "refuse":
            return Failed(key, InvalidInput.of("generate.prompt", "refused"))
        if inside.shows and inside.kind in ("fail", "hint"):
            error = ModelFailed("no luck")
            if inside.kind == "hint":
                error.retry_after_s = 0.7  # type: ignore[attr-defined]  # a hint that a failure may give
            return Failed(key, error)
        choice = Choice("".join(inside.words), [1] * STEPS, Finish.LENGTH)
        tail = Chunk(key, inside.words[-1], [1], finish=Finish.LENGTH)
        return Done(key, GenerateOutput([choice], 3, inside.step_s), tail)

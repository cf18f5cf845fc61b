"""What waits for the models of one pool and may start: a queue for each model (policies/model_queue.py)."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final, Generic, Protocol, TypeVar

from scheduler.policies.level_queue import LevelQueue
from scheduler.policies.model_queue import ModelQueue
from scheduler.policies.ordering import Rankable, Ranked, ranked
from scheduler.policies.policy import Policy
from scheduler.policies.sharing_out import share_out
from scheduler.states import Level

IDLE_MODELS: Final = 64
"""Models with nothing waiting of which is remembered who had how much."""


class Startable(Rankable, Protocol):
    """A waiting task, as far as it matters whose it is and what it needs."""

    @property
    def model(self) -> str:
        """The model that it is for."""
        ...

    @property
    def tenant(self) -> str:
        """Whose it is."""
        ...


StartableT = TypeVar("StartableT", bound=Startable)


class Backlog(Generic[StartableT]):
    """Waiting tasks by model."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._models: dict[str, ModelQueue[StartableT]] = {}

    def extend(self, level: Level, tasks: Sequence[StartableT]) -> None:
        """Let tasks of one level wait."""
        groups: dict[tuple[str, str], list[Ranked[StartableT]]] = {}
        model = tenant = None
        for entry in ranked(self._policy, tasks):
            task = entry[2]
            # Neighbours mostly are of one tenant and model.
            if task.model != model or task.tenant != tenant:
                model, tenant = task.model, task.tenant
                group = groups.setdefault((model, tenant), [])
            group.append(entry)
        for (model, tenant), group in groups.items():
            queue = self._models.get(model)
            if queue is None:
                queue = self._new_model(model)
            queue.extend(level, tenant, group)

    def take(self, credits: Mapping[str, int], limit: int, now_ms: int) -> list[StartableT]:
        """Remove and return up to `limit` tasks, next first, at most `credits[model]` of each model. `now_ms` is wall
        clock time.
        """
        models = self._models
        parts = {
            model: min(credit, models[model].count)
            for model, credit in credits.items()
            if credit > 0 and model in models and models[model].count
        }
        if sum(parts.values()) > limit:
            # An equal part for each: a model of which all is urgent must not keep the others' credit idle.
            first = sorted(parts, key=lambda model: models[model].head_key())
            parts = share_out(limit, {model: parts[model] for model in first})
        taken: list[StartableT] = []
        for model, part in parts.items():
            taken += models[model].take(part, now_ms)
        return taken

    def take_level(self, level: Level, limits: Mapping[str, int], limit: int) -> list[StartableT]:
        """Remove and return up to `limit` tasks of one level, at most `limits[model]` of each model."""
        taken: list[StartableT] = []
        for model, most in limits.items():
            room = min(most, limit - len(taken))
            if room > 0 and model in self._models:
                taken += self._models[model].take_level(level, room)
        return taken

    def correct(self, level: Level, tenant: str, model: str, work_ms: float) -> None:
        """Charge a level and a tenant, for a model, what a task took beyond what was expected of it."""
        queue = self._models.get(model)
        if queue is not None:
            queue.correct(level, tenant, work_ms)

    def part(
        self, leaves: Callable[[StartableT], bool], models: Collection[str] | None = None
    ) -> list[StartableT]:
        """Remove and return the tasks, of these models or of all, of which `leaves` says so, in any order."""
        chosen = self._models if models is None else self._models.keys() & models
        gone: list[StartableT] = []
        for model in chosen:
            gone += self._models[model].part(leaves)
        return gone

    def follow(self, policy: Policy) -> None:
        """Order by another policy from now on; nothing leaves."""
        self._policy = policy
        for queue in self._models.values():
            queue.follow(policy)

    def queues(
        self, models: Collection[str] | None = None
    ) -> Iterator[tuple[str, Level, LevelQueue[StartableT]]]:
        """Go through everything that waits for these models, or for all."""
        for model, queue in self._models.items():
            if models is None or model in models:
                for level, of_level in queue.queues():
                    yield model, level, of_level

    def models(self) -> set[str]:
        """Return the models that something waits for."""
        return {model for model, queue in self._models.items() if queue.count}

    def waiting_for(self, model: str) -> int:
        """Count what waits for a model."""
        return self._models[model].count if model in self._models else 0

    def _new_model(self, model: str) -> ModelQueue[StartableT]:
        idle = [known for known, queue in self._models.items() if not queue.count]
        # Models are names that clients make up: those that nothing waits for are not kept without bound.
        for known in idle[: max(0, len(idle) - IDLE_MODELS + 1)]:
            del self._models[known]
        queue = self._models[model] = ModelQueue(self._policy)
        return queue

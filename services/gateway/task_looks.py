"""What submits know of the result cache: which of their tasks it can answer. Where nothing is cached, none."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Protocol

from forebay.tasks.v1 import task_pb2
from forebay.tasks.v1.envelope_pb2 import CacheQuestion
from scheduler.errors import AnswerNotCached, ForebayError
from services.cached_tasks import KnownEnd

_OFF: Final = "there is no cache"


@dataclass(frozen=True, slots=True)
class TaskLooks:
    """What is known of the tasks of one call, by their place in it."""

    ends: Mapping[int, KnownEnd] = field(default_factory=lambda: MappingProxyType({}))
    """Of those whose answer is there."""
    questions: Mapping[int, CacheQuestion] = field(default_factory=lambda: MappingProxyType({}))
    """Of the others, where they may be answered from the cache later."""
    refused: Mapping[int, ForebayError] = field(default_factory=lambda: MappingProxyType({}))
    """Of those that want a cached answer or none, and there is none. It is no refusal of a task that exists: one with
    an idempotency key is looked up by that first."""


NOTHING_KNOWN: Final[TaskLooks] = TaskLooks()


class TaskCache(Protocol):
    """What submits use of the cache."""

    async def look_up(
        self, tenant: str, specs: Sequence[task_pb2.TaskSpec], refused: Collection[int] = ()
    ) -> TaskLooks:
        """Return what is known of the tasks of a call, but for those at the places that were `refused` before, for
        which nobody looks. Raises nothing for a cache that is away.
        """
        ...

    def recorded(
        self, tenant: str, specs: Sequence[task_pb2.TaskSpec], looks: TaskLooks, ended: Collection[int]
    ) -> None:
        """Learn at which places tasks were recorded as ended, of those whose answer `look_up` found. The others exist
        since earlier, or were refused.
        """
        ...


class UncachedTasks:
    """Where nothing is cached."""

    async def look_up(
        self, tenant: str, specs: Sequence[task_pb2.TaskSpec], refused: Collection[int] = ()
    ) -> TaskLooks:
        """Refuse tasks that want a cached answer or none."""
        only = task_pb2.CACHE_MODE_ONLY
        absent: dict[int, ForebayError] = {
            place: AnswerNotCached(spec.model, _OFF)
            for place, spec in enumerate(specs)
            if spec.cache == only and place not in refused
        }
        return TaskLooks(refused=absent) if absent else NOTHING_KNOWN

    def recorded(
        self, tenant: str, specs: Sequence[task_pb2.TaskSpec], looks: TaskLooks, ended: Collection[int]
    ) -> None:
        """Learn nothing: none is found."""

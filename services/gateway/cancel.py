"""CancelTasks and CancelMatchingTasks: named tasks, or all that match. Called by `task_service.py`; runners learn of it
from the store.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from forebay.tasks.v1 import inputs_pb2, task_pb2, task_service_pb2
from scheduler.errors import ServerUnavailable, TaskCancelled
from scheduler.ports.clock import Clock
from scheduler.ports.records import Cancelled, QueryStore
from scheduler.states import Level
from services.gateway import convert
from services.gateway.filtering import Filter
from services.gateway.listing import newest_first
from services.gateway.request_validation import MAX_IDS, check_matching, check_target
from services.status import to_status

_BATCH: Final = 500
_PROGRESS_S: Final = 1.0
_STATUS: Final = to_status(TaskCancelled("the task was cancelled"))
_ERROR: Final = _STATUS.SerializeToString()
_LAST_OUTPUT: Final = task_service_pb2.StreamOutputResponse(
    finish_reason=inputs_pb2.FINISH_REASON_ABORTED, state=task_pb2.TASK_STATE_CANCELLED, error=_STATUS
).SerializeToString()

_OUTCOMES: Final = {
    Cancelled.CANCELLED: task_service_pb2.CancelResult.OUTCOME_CANCELLED,
    Cancelled.ALREADY_TERMINAL: task_service_pb2.CancelResult.OUTCOME_ALREADY_TERMINAL,
    Cancelled.NOT_FOUND: task_service_pb2.CancelResult.OUTCOME_NOT_FOUND,
}


class _Step(NamedTuple):
    """One step through the tasks that match."""

    seen: int
    """Tasks looked at in this step."""
    outcomes: list[tuple[str, Cancelled]]
    """What became of those that matched."""


class CancelTasks:
    """The use cases. `finished` counts ends by state, level and number."""

    def __init__(self, store: QueryStore, finished: Callable[[str, str, int], None], clock: Clock) -> None:
        self._store = store
        self._finished = finished
        self._clock = clock

    async def __call__(
        self, tenant: str, request: task_service_pb2.CancelTasksRequest
    ) -> task_service_pb2.CancelTasksResponse:
        """Cancel and count. Raises InvalidInput, and RecordsUnavailable, which leaves open what was cancelled."""
        check_target(request)
        if request.WhichOneof("target") == "tasks":
            return await self._named(tenant, request.tasks.ids)
        return await self._matching(tenant, Filter(request.filter))

    async def _named(self, tenant: str, ids: Sequence[str]) -> task_service_pb2.CancelTasksResponse:
        unique = list(dict.fromkeys(ids))
        outcomes = dict(zip(unique, await self._cancel(tenant, unique), strict=True))
        response = _counted(Counter(outcomes.values()))
        for task_id in ids:
            response.results.add(id=task_id, outcome=_OUTCOMES[outcomes[task_id]])
        return response

    async def matching(
        self, tenant: str, request: task_service_pb2.CancelMatchingTasksRequest
    ) -> AsyncIterator[task_service_pb2.CancelMatchingTasksResponse]:
        """Cancel what matches, and tell about each second how far it is. Ending it leaves cancelled what is. Raises
        InvalidInput and RecordsUnavailable.
        """
        check_matching(request)
        progress = task_service_pb2.CancelMatchingTasksResponse()
        told = self._clock.monotonic()
        async for step in self._steps(tenant, Filter(request.filter)):
            progress.seen += step.seen
            progress.cancelled += sum(outcome is Cancelled.CANCELLED for _, outcome in step.outcomes)
            if self._clock.monotonic() - told >= _PROGRESS_S:
                told = self._clock.monotonic()
                yield progress
        progress.done = True
        yield progress

    async def _matching(self, tenant: str, wanted: Filter) -> task_service_pb2.CancelTasksResponse:
        verdicts: Counter[Cancelled] = Counter()
        cancelled: list[str] = []
        async for step in self._steps(tenant, wanted):
            verdicts.update(outcome for _, outcome in step.outcomes)
            ended = [task_id for task_id, outcome in step.outcomes if outcome is Cancelled.CANCELLED]
            cancelled += ended[: MAX_IDS - len(cancelled)]
        response = _counted(verdicts)
        for task_id in cancelled:
            response.results.add(id=task_id, outcome=task_service_pb2.CancelResult.OUTCOME_CANCELLED)
        return response

    async def _steps(self, tenant: str, wanted: Filter) -> AsyncIterator[_Step]:
        batch: list[str] = []
        seen = 0
        async for task_id, record in newest_first(self._store, tenant, "", None):
            seen += 1
            if record is not None and not record.state.terminal and wanted.matches(record):
                batch.append(task_id)
            if seen == _BATCH:
                yield _Step(seen, list(zip(batch, await self._cancel(tenant, batch), strict=True)))
                batch, seen = [], 0
        yield _Step(seen, list(zip(batch, await self._cancel(tenant, batch), strict=True)))

    async def _cancel(self, tenant: str, ids: Sequence[str]) -> list[Cancelled]:
        outcomes: list[Cancelled] = []
        for start in range(0, len(ids), _BATCH):
            batch = ids[start : start + _BATCH]
            verdicts = await self._store.cancel(batch, tenant, _ERROR, _LAST_OUTPUT)
            outcomes += verdicts
            pairs = zip(batch, verdicts, strict=True)
            await self._count([task_id for task_id, verdict in pairs if verdict is Cancelled.CANCELLED])
        return outcomes

    async def _count(self, cancelled: Sequence[str]) -> None:
        """Count by level. The tasks are cancelled whether or not they can be counted."""
        with suppress(ServerUnavailable):
            records = await self._store.get(cancelled, False) if cancelled else ()
            levels = Counter(Level(convert.spec_of(record).priority).label for record in records if record)
            for level, count in levels.items():
                self._finished("cancelled", level, count)


def _counted(counts: Counter[Cancelled]) -> task_service_pb2.CancelTasksResponse:
    return task_service_pb2.CancelTasksResponse(
        cancelled=counts[Cancelled.CANCELLED],
        already_terminal=counts[Cancelled.ALREADY_TERMINAL],
        not_found=counts[Cancelled.NOT_FOUND],
    )

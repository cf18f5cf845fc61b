"""CancelTasks: named tasks, or all that match. Called by `task_service.py`; runners learn of it from the store."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from forebay.tasks.v1 import inputs_pb2, task_pb2, task_service_pb2
from scheduler.errors import ServerUnavailable, TaskCancelled
from scheduler.ports.records import Cancelled, QueryStore
from scheduler.states import Level
from services.gateway import convert
from services.gateway.filtering import Filter
from services.gateway.listing import newest_first
from services.gateway.validation import MAX_IDS, check_cancel
from services.status import to_status

_BATCH: Final = 500
_SCAN_LIMIT: Final = 1_000_000
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


class CancelTasks:
    """The use case. `finished` counts ends by state, level and number."""

    def __init__(self, store: QueryStore, finished: Callable[[str, str, int], None]) -> None:
        self._store = store
        self._finished = finished

    async def __call__(
        self, tenant: str, request: task_service_pb2.CancelTasksRequest
    ) -> task_service_pb2.CancelTasksResponse:
        """Cancel and count. Raises InvalidInput, and RecordsUnavailable, which leaves open what was cancelled."""
        check_cancel(request)
        if request.WhichOneof("target") == "tasks":
            return await self._named(tenant, request.tasks.ids)
        return await self._matching(tenant, Filter(request.filter))

    async def _named(self, tenant: str, ids: Sequence[str]) -> task_service_pb2.CancelTasksResponse:
        unique = list(dict.fromkeys(ids))
        outcomes = dict(zip(unique, await self._cancel(tenant, unique), strict=True))
        response = _counted(list(outcomes.values()))
        for task_id in ids:
            response.results.add(id=task_id, outcome=_OUTCOMES[outcomes[task_id]])
        return response

    async def _matching(self, tenant: str, wanted: Filter) -> task_service_pb2.CancelTasksResponse:
        verdicts: list[Cancelled] = []
        cancelled: list[str] = []
        batch: list[str] = []

        async def settle() -> None:
            outcomes = await self._cancel(tenant, batch)
            verdicts.extend(outcomes)
            ended = [i for i, outcome in zip(batch, outcomes, strict=True) if outcome is Cancelled.CANCELLED]
            cancelled.extend(ended[: MAX_IDS - len(cancelled)])
            batch.clear()

        async for task_id, record in newest_first(self._store, tenant, "", _SCAN_LIMIT):
            if record is None or record.state.terminal or not wanted.matches(record):
                continue
            batch.append(task_id)
            if len(batch) == _BATCH:
                await settle()
        await settle()
        response = _counted(verdicts)
        for task_id in cancelled:
            response.results.add(id=task_id, outcome=task_service_pb2.CancelResult.OUTCOME_CANCELLED)
        return response

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


def _counted(outcomes: Sequence[Cancelled]) -> task_service_pb2.CancelTasksResponse:
    counts = Counter(outcomes)
    return task_service_pb2.CancelTasksResponse(
        cancelled=counts[Cancelled.CANCELLED],
        already_terminal=counts[Cancelled.ALREADY_TERMINAL],
        not_found=counts[Cancelled.NOT_FOUND],
    )

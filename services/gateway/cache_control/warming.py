"""Answers computed ahead of their use: behind everybody who waits, and few at a time."""

import asyncio
from typing import Final

from cache.key import CacheMode
from forebay.cache.v1 import cache_service_pb2 as contract
from forebay.tasks.v1.task_pb2 import TaskSpec
from scheduler.errors import AnswerNotCached, FieldFault, ForebayError, InvalidInput
from services.gateway.cache_control.requests import Requests
from services.gateway.cache_control.warming_queue import WarmingQueue
from services.gateway.direct import Calls
from services.gateway.validation import MAX_FAULTS
from services.status import to_status

MOST: Final = 64
"""Requests in one call."""


class Warming:
    """Warms the cache of one gateway."""

    def __init__(self, calls: Calls, requests: Requests, most: int) -> None:
        """`most`: how many answers are computed at one time, whoever asks for them."""
        self._calls = calls
        self._requests = requests
        self._queue = WarmingQueue(most)

    async def warm(self, request: contract.WarmCacheRequest, tenant: str) -> contract.WarmCacheResponse:
        """Have the answers of a tenant's requests computed. Raises InvalidInput, Overloaded; what becomes of
        each request is in the response. Cancelling it stops the work.
        """
        if not 1 <= len(request.requests) <= MOST:
            raise InvalidInput.of("requests", f"must be 1 to {MOST}, are {len(request.requests)}")
        with self._queue.taken(tenant, request.ByteSize()):
            async with asyncio.TaskGroup() as group:
                warmed = [
                    group.create_task(self._one(spec, tenant, refresh=request.refresh))
                    for spec in request.requests
                ]
        return contract.WarmCacheResponse(results=[task.result() for task in warmed])

    async def _one(self, spec: TaskSpec, tenant: str, *, refresh: bool) -> contract.Warmed:
        if faults := self._requests.faults(spec):
            invalid = InvalidInput([FieldFault(path, fault) for path, fault in faults[:MAX_FAULTS]])
            return _ended(contract.WARM_OUTCOME_FAILED, invalid)
        try:
            async with self._queue.seat(tenant):
                self._requests.cacheable(spec)
                wanted = self._requests.call(tenant, spec)
                wanted.cache = CacheMode.REFRESH if refresh else CacheMode.DEFAULT
                await self._calls.call(wanted)
        except AnswerNotCached as never:
            return _ended(contract.WARM_OUTCOME_UNCACHEABLE, never)
        except ForebayError as failure:
            return _ended(contract.WARM_OUTCOME_FAILED, failure)
        return _ended(contract.WARM_OUTCOME_PRESENT if wanted.cached else contract.WARM_OUTCOME_COMPUTED)


def _ended(outcome: contract.WarmOutcome.ValueType, error: ForebayError | None = None) -> contract.Warmed:
    return contract.Warmed(outcome=outcome, error=to_status(error) if error is not None else None)

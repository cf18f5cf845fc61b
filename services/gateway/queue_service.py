"""QueueService: counts from the records, exact; ages, rates and shares as the schedulers announce them; pauses."""

from collections.abc import Iterable
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError

from forebay.queues.v1 import queue_service_pb2, queue_service_pb2_grpc
from scheduler.errors import PauseNotFound
from scheduler.ports.membership import QUEUES_ROLE, Membership
from scheduler.ports.pauses import PauseStore
from scheduler.ports.records import QueryStore, QueueCount
from services.gateway import pausing
from services.gateway.request_validation import check_pool
from services.lifecycle import Service


class QueueServicer(queue_service_pb2_grpc.QueueServiceServicer):
    """Called by gRPC; errors that leave a method become statuses in `services/interceptor.py`."""

    def __init__(self, store: QueryStore, membership: Membership, pauses: PauseStore) -> None:
        self._store = store
        self._membership = membership
        self._pauses = pauses

    async def ListQueues(
        self, request: queue_service_pb2.ListQueuesRequest, context: Any
    ) -> queue_service_pb2.ListQueuesResponse:
        """See the contract."""
        check_pool(request.pool)
        counts = await self._store.queue_counts()
        cards = await self._membership.members(QUEUES_ROLE)
        queues = merged(counts, (card for _, card in cards))
        chosen = [queue for queue in queues if not request.pool or queue.pool == request.pool]
        standing = await self._pauses.pauses()
        for queue in chosen:
            queue.paused = any(pausing.holds_whole(one.pause, queue.pool, queue.priority) for one in standing)
        return queue_service_pb2.ListQueuesResponse(queues=chosen, pauses=map(pausing.shown, standing))

    async def PauseQueue(
        self, request: queue_service_pb2.PauseQueueRequest, context: Any
    ) -> queue_service_pb2.PauseQueueResponse:
        """See the contract."""
        pausing.check_reason(request.reason)
        standing = await self._pauses.pause(pausing.pause_of(request.selector), request.reason)
        return queue_service_pb2.PauseQueueResponse(pause=pausing.shown(standing))

    async def ResumeQueue(
        self, request: queue_service_pb2.ResumeQueueRequest, context: Any
    ) -> queue_service_pb2.ResumeQueueResponse:
        """See the contract."""
        pause = pausing.pause_of(request.selector)
        taken_back = await self._pauses.resume(pause)
        if taken_back is None:
            raise PauseNotFound(pausing.named(pause))
        return queue_service_pb2.ResumeQueueResponse(pause=pausing.shown(taken_back))


def merged(counts: Iterable[QueueCount], cards: Iterable[bytes]) -> list[queue_service_pb2.Queue]:
    """Join the counts and the schedulers' views: the oldest age, the sum of the rates, the largest share."""
    queues: dict[tuple[str, int], queue_service_pb2.Queue] = {}

    def of(pool: str, priority: int) -> queue_service_pb2.Queue:
        known = queues.get((pool, priority))
        if known is None:
            known = queues[pool, priority] = queue_service_pb2.Queue(pool=pool)
            known.priority = priority  # type: ignore[assignment]  # levels have the numbers of priorities
        return known

    for count in counts:
        queue = of(count.pool, count.level)
        queue.depth, queue.running, queue.waiting = count.queued, count.running, count.waiting
    for card in cards:
        for seen in _queues_of(card):
            queue = of(seen.pool, seen.priority)
            queue.finished_per_second += seen.finished_per_second
            queue.share = max(queue.share, seen.share)
            older = seen.oldest_age.ToNanoseconds() > queue.oldest_age.ToNanoseconds()
            # An age that was announced a moment ago says nothing about a queue that is empty now.
            if seen.HasField("oldest_age") and queue.depth and (older or not queue.HasField("oldest_age")):
                queue.oldest_age.CopyFrom(seen.oldest_age)
    return [queues[key] for key in sorted(queues)]


def _queues_of(card: bytes) -> Iterable[queue_service_pb2.Queue]:
    try:
        return queue_service_pb2.ListQueuesResponse.FromString(card).queues
    except DecodeError:
        return ()


def queue_service(servicer: QueueServicer) -> Service:
    """Return the service, ready to be served."""

    def register(server: grpc.aio.Server) -> None:
        queue_service_pb2_grpc.add_QueueServiceServicer_to_server(servicer, server)

    return Service(queue_service_pb2.DESCRIPTOR.services_by_name["QueueService"].full_name, register)

"""QueueService: queues (`queue_states.py`), pauses, the policy (`policy_service.py`)."""

import asyncio
from typing import Any

import grpc.aio

from forebay.queues.v1 import queue_service_pb2, queue_service_pb2_grpc
from scheduler.errors import PauseNotFound
from scheduler.ports.lines import LineStore
from scheduler.ports.membership import QUEUES_ROLE, VIEW_ROLE, Membership
from scheduler.ports.pauses import PauseStore
from services.gateway import pausing, queue_states
from services.gateway.caller import CallerOf
from services.gateway.fleet_view import FleetView
from services.gateway.policy_service import Policies
from services.gateway.request_validation import check_pool
from services.lifecycle import Service


class QueueServicer(queue_service_pb2_grpc.QueueServiceServicer):
    """Called by gRPC; errors that leave a method become statuses in `services/interceptor.py`."""

    def __init__(
        self,
        line_store: LineStore,
        membership: Membership,
        pauses: PauseStore,
        policies: Policies,
        caller_of: CallerOf,
        lanes: int,
    ) -> None:
        """`lanes` is how many lanes tenants share in each queue."""
        self._lines = line_store
        self._lanes = lanes
        self._membership = membership
        self._pauses = pauses
        self._policies = policies
        self._caller_of = caller_of

    async def ListQueues(
        self, request: queue_service_pb2.ListQueuesRequest, context: Any
    ) -> queue_service_pb2.ListQueuesResponse:
        """See the contract."""
        check_pool(request.pool)
        lines, cards, views, standing = await asyncio.gather(
            self._lines.lines(),
            self._membership.members(QUEUES_ROLE),
            self._membership.members(VIEW_ROLE),
            self._pauses.pauses(),
        )
        fleet = FleetView.of(card for _, card in views)
        queues = queue_states.merged(lines, (card for _, card in cards), fleet)
        queue_states.fill_tenants(queues, lines, fleet, self._caller_of(context))
        queue_states.fill_lanes(queues, fleet, self._lanes)
        chosen = [queue for queue in queues.values() if not request.pool or queue.pool == request.pool]
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

    async def GetPolicy(
        self, request: queue_service_pb2.GetPolicyRequest, context: Any
    ) -> queue_service_pb2.GetPolicyResponse:
        """See the contract."""
        return await self._policies.get(self._caller_of(context))

    async def UpdatePolicy(
        self, request: queue_service_pb2.UpdatePolicyRequest, context: Any
    ) -> queue_service_pb2.UpdatePolicyResponse:
        """See the contract."""
        return await self._policies.update(request, self._caller_of(context))


def queue_service(servicer: QueueServicer) -> Service:
    """Return the service, ready to be served."""

    def register(server: grpc.aio.Server) -> None:
        queue_service_pb2_grpc.add_QueueServiceServicer_to_server(servicer, server)

    return Service(queue_service_pb2.DESCRIPTOR.services_by_name["QueueService"].full_name, register)

"""Gateways: everything behind the gRPC server of the real one, over simulated clients of its ports."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import fields
from typing import Any, Final
from unittest import mock

from forebay.queues.v1 import queue_service_pb2
from forebay.tasks.v1 import schedule_service_pb2, task_pb2, task_service_pb2
from observability.metrics import GatewayMetrics, new_registry
from scheduler.policies.policy import DEFAULT_POLICY
from scheduler.states import Level
from services.connections import QueueSettings
from services.gateway import assembly
from services.gateway.assembly import Parts, Ports
from services.gateway.caller import single_tenant
from services.gateway.drafting import Drafter
from services.gateway.expected_work import ExpectedWork
from services.gateway.fingerprint import Fingerprints
from services.gateway.lanes import LaneChooser
from services.gateway.limits import InFlight
from services.gateway.publisher import bundle_publisher
from services.gateway.quotas import Quotas
from services.gateway.settings import GatewaySettings
from services.gateway.task_looks import UncachedTasks
from services.gateway.tickets import ticket_marker
from services.policy_following import PolicyFollower
from tests.simulation.network import LOG, RECORDS, Client, Network
from tests.simulation.processes import Process

TENANT: Final = "t"
_METRICS: Final = GatewayMetrics(new_registry())
_SERVICES: Final = (
    "task_service",
    "schedule_service",
    "queue_service",
)


class SimulatedGateway:
    """One life of a gateway. What clients ask of it runs in its process: `World.ask` sees to that."""

    def __init__(
        self,
        process: Process,
        network: Network,
        parts: Mapping[str, object],
        publisher: object,
        lanes_of_a_queue: int,
    ) -> None:
        self.process = process
        self.stop = asyncio.Event()
        self.ready = asyncio.Event()
        self._queues = QueueSettings(lanes=lanes_of_a_queue)
        self._ports: dict[str, Any] = {
            name: Client(network, process, RECORDS, part) for name, part in parts.items()
        }
        self._ports["log"] = Client(network, process, LOG, publisher)
        self._ports["clock"] = process.clock
        # Nobody watches: what processes hear of changes is what schedulers hear.
        self._ports["events"] = None
        self.tasks: Any = None
        self.schedules: Any = None
        self.queues: Any = None

    async def main(self) -> None:
        """Serve until `stop`, then wait for what is on its way."""
        ports = Ports(**{one.name: self._ports[one.name] for one in fields(Ports)})
        hub: Any = None
        async with AsyncExitStack() as stack:
            publisher = await stack.enter_async_context(bundle_publisher(ports.log))
            marker = await stack.enter_async_context(ticket_marker(ports.admissions, ports.clock))
            quotas = Quotas(ports.lines, ports.keys, ports.clock, ExpectedWork(ports.membership))
            follower = PolicyFollower(
                ports.policies, DEFAULT_POLICY, lambda policy, version: quotas.follow(policy), ports.clock
            )
            limits = InFlight(1000, 1 << 30)
            drafter = Drafter(self._queues.pools, Fingerprints(b""))
            lanes = LaneChooser(self._queues.lanes, ports.clock)
            caller_of = single_tenant(TENANT)
            # Calls that wait on the line leave nothing behind: there is none of them here.
            direct = mock.Mock()
            parts = Parts(
                publisher,
                marker,
                hub,
                limits,
                _METRICS,
                quotas,
                drafter,
                lanes,
                follower,
                caller_of,
                direct,
                direct,
                UncachedTasks(),
            )
            settings = GatewaySettings(tenant=TENANT)
            with ExitStack() as kept:
                # A service is its servicer here: there is no server to register it with.
                for name in _SERVICES:
                    kept.enter_context(mock.patch.object(assembly, name, lambda servicer: servicer))
                servicers: list[Any] = assembly.task_services(settings, self._queues, ports, parts)
            self.tasks, self.schedules, self.queues, *_ = servicers
            self.ready.set()
            await self.stop.wait()

    async def submit(self, specs: Sequence[task_pb2.TaskSpec]) -> list[str]:
        """Return the ids of the tasks, in order; empty for those that were refused."""
        response = await self.tasks.SubmitTasks(task_service_pb2.SubmitTasksRequest(tasks=specs), None)
        return [result.task.id for result in response.results]

    async def cancel(self, task_id: str) -> bool:
        """Return whether it was cancelled by this call."""
        request = task_service_pb2.CancelTasksRequest(tasks=task_service_pb2.TaskIds(ids=[task_id]))
        response = await self.tasks.CancelTasks(request, None)
        return bool(response.cancelled)

    async def cancel_color(self, color: str) -> list[str]:
        """Cancel all that carry a label; returns those that were cancelled."""
        request = task_service_pb2.CancelTasksRequest()
        request.filter.labels["color"] = color
        response = await self.tasks.CancelTasks(request, None)
        return [result.id for result in response.results]

    async def update(self, task_id: str, level: Level, not_before_ms: int, deadline_ms: int) -> None:
        """Change a task's level, or its times where some are given."""
        request = task_service_pb2.UpdateTasksRequest(tasks=task_service_pb2.TaskIds(ids=[task_id]))
        if not_before_ms:
            request.not_before.FromMilliseconds(not_before_ms)
        if deadline_ms:
            request.deadline.FromMilliseconds(deadline_ms)
        if not (not_before_ms or deadline_ms):
            request.priority = level  # type: ignore[assignment]  # levels have the numbers of priorities
        await self.tasks.UpdateTasks(request, None)

    async def pause(self, selector: queue_service_pb2.PauseSelector) -> None:
        await self.queues.PauseQueue(queue_service_pb2.PauseQueueRequest(selector=selector), None)

    async def resume(self, selector: queue_service_pb2.PauseSelector) -> None:
        await self.queues.ResumeQueue(queue_service_pb2.ResumeQueueRequest(selector=selector), None)

    async def schedule(self, name: str, spec: task_pb2.TaskSpec, interval_ms: int) -> int:
        """Make a recurring task; returns its first due time."""
        request = schedule_service_pb2.CreateScheduleRequest()
        request.schedule.name = name
        request.schedule.spec.CopyFrom(spec)
        request.schedule.interval.FromMilliseconds(interval_ms)
        response = await self.schedules.CreateSchedule(request, None)
        return int(response.schedule.next_time.ToMilliseconds())

    async def unschedule(self, name: str) -> None:
        await self.schedules.DeleteSchedule(schedule_service_pb2.DeleteScheduleRequest(name=name), None)

    async def replay(self, pick: float) -> None:
        """Submit one of the dead letters again."""
        listed = await self.tasks.ListDeadLetters(task_service_pb2.ListDeadLettersRequest(), None)
        letters = [letter.task.id for letter in listed.dead_letters]
        if letters:
            chosen = [letters[int(pick * len(letters))]]
            request = task_service_pb2.ReplayTasksRequest(tasks=task_service_pb2.TaskIds(ids=chosen))
            await self.tasks.ReplayTasks(request, None)


Use = Callable[[SimulatedGateway], Coroutine[Any, Any, Any]]
"""Something that a client has a gateway do."""

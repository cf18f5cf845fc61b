"""Schedulers: the real one, over simulated clients of its ports."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from random import Random
from typing import Any

from observability.metrics import SchedulerMetrics, new_registry
from scheduler.adapters.memory import MemoryStore
from scheduler.errors import RunnerLost
from scheduler.lanes import Lane
from scheduler.policies.policy import DEFAULT_POLICY
from scheduler.ports.log import Delivery
from scheduler.service.scheduler import Ports, Scheduler
from scheduler.service.settings import SchedulerSettings
from services.status import to_status
from tests.simulation.feeds import FeedClient
from tests.simulation.log import ConsumerClient, SimulatedLog
from tests.simulation.network import LOG, RECORDS, Client, Network
from tests.simulation.processes import Process
from tests.simulation.streams import Switchboard

_LOST = to_status(RunnerLost("every attempt ended with the loss of its lease")).SerializeToString()
_METRICS = SchedulerMetrics(new_registry())


class SimulatedScheduler:
    """One life of a scheduler."""

    def __init__(
        self,
        process: Process,
        network: Network,
        parts: Mapping[str, object],
        store: MemoryStore,
        log: SimulatedLog,
        switchboard: Switchboard,
        settings: SchedulerSettings,
        lanes: Sequence[Lane],
        lanes_of_a_queue: int,
        acknowledged: Callable[[Sequence[Delivery]], None],
    ) -> None:
        self.process = process
        self.stop = asyncio.Event()
        self.scheduler: Scheduler | None = None
        self._switchboard = switchboard
        self._settings = settings
        self._lanes_of_a_queue = lanes_of_a_queue
        self.connect = partial(ConsumerClient, network, process, log, lanes, acknowledged)
        self.consumer: ConsumerClient | None = None
        self._ports: dict[str, Any] = {
            name: Client(network, process, RECORDS, part) for name, part in parts.items()
        }
        self._ports["publisher"] = Client(network, process, LOG, log.publisher())
        self._ports["events"] = FeedClient(network, process, store.events)
        self._ports["clock"] = process.clock

    async def main(self) -> None:
        """Serve until `stop`, then drain."""
        self.consumer = self.connect()
        ports = Ports(
            **{one.name: self._ports[one.name] for one in fields(Ports) if one.name != "consumer"},
            consumer=self.consumer,
        )
        scheduler = self.scheduler = Scheduler(
            self.process.name,
            ports,
            self._settings,
            ["default"],
            DEFAULT_POLICY,
            self._lanes_of_a_queue,
            _LOST,
            _METRICS,
            Random(1),
        )
        address = f"{self.process.name}:1"
        self._switchboard.listen(address, self.process, scheduler)
        try:
            async with scheduler.running(address, lambda serving: None):
                await self.stop.wait()
        finally:
            self._switchboard.hang_up(address)
            await self.consumer.close()

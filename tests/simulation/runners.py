"""Runners: the real keeping of work, leases, credit and streams, around a simulated engine."""

import asyncio
from contextlib import suppress

from forebay.dispatch.v1.dispatch_service_pb2 import Hello
from inference.engine import EngineKind, ModelCard
from inference.runner.attachment import Attachment
from inference.runner.credit import CreditPool
from inference.runner.leases import LeaseKeeper
from inference.runner.schedulers import Schedulers
from inference.runner.tally import Tally
from inference.runner.telemetry import Telemetry
from inference.runner.workload import Workload
from observability.metrics import RunnerMetrics, new_registry
from tests.simulation.executor import SimulatedExecutor
from tests.simulation.network import RECORDS, Client, Network
from tests.simulation.processes import Process

MODEL = "m"
CARD = ModelCard(EngineKind.GENERATE, "00" * 32, "CPUExecutionProvider", context_length=64)
LAST_WORDS_S = 1.0
_METRICS = RunnerMetrics(new_registry())


class SimulatedRunner:
    """One life of a runner."""

    def __init__(
        self,
        process: Process,
        network: Network,
        records: object,
        membership: object,
        executor: SimulatedExecutor,
        *,
        credits: int,
        grace_s: float,
    ) -> None:
        self.process = process
        self.executor = executor
        self._network = network
        self._records = records
        self._membership = membership
        self._credits = credits
        self._grace_s = grace_s
        self.stop = asyncio.Event()
        self.workload: Workload | None = None

    async def main(self) -> None:
        """Work until `stop`, then drain: what inference/runner/runner.py does around its engine."""
        process, clock = self.process, self.process.clock
        records = Client(self._network, process, RECORDS, self._records)
        membership = Client(self._network, process, RECORDS, self._membership)
        telemetry = Telemetry(_METRICS, model=MODEL, provider=CARD.provider, runner=process.name)
        workload = self.workload = Workload(CARD, self.executor, records, clock, telemetry, Tally("m", 0))
        self.executor.owner = workload
        keeper = LeaseKeeper(records, clock, workload)
        credit = CreditPool(self._credits)
        hello = Hello(runner=process.name, model=MODEL, pool="default", slots=self.executor.capacity)
        schedulers = Schedulers(
            membership,
            clock,
            lambda address, listed: Attachment(address, hello, credit, workload, keeper, clock, listed),
        )
        async with asyncio.TaskGroup() as group:
            sides = [
                group.create_task(side) for side in (workload.outcomes.run(), keeper.run(), schedulers.run())
            ]
            await self.stop.wait()
            credit.close()
            workload.drain()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._grace_s):
                    await workload.emptied()
            workload.abandon()
            await schedulers.finish(LAST_WORDS_S)
            for side in sides:
                side.cancel()

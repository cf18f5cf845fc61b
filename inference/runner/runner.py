"""One runner's life: announce, load, attach, work, drain."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from forebay.models.v1 import model_service_pb2 as models
from forebay.runner.v1.runner_service_pb2 import Load
from forebay.runner.v1.runner_service_pb2_grpc import add_RunnerServiceServicer_to_server
from inference.engine import Engine, Follows, ReportsGeneration
from inference.journal import JournalWriter
from inference.runner.admission import AdmissionQueue
from inference.runner.announcing import Announcer
from inference.runner.attachment import Attachment
from inference.runner.credit import CreditPool
from inference.runner.direct.call_table import CallTable
from inference.runner.engine_thread import EngineThread
from inference.runner.leases import LeaseKeeper
from inference.runner.schedulers import Schedulers
from inference.runner.service import RunnerServicer
from inference.runner.settings import RunnerSettings
from inference.runner.status import StatusBoard, new_runner
from inference.runner.stuck import EngineHung, EngineStuck
from inference.runner.tally import Tally
from inference.runner.telemetry import Telemetry
from inference.runner.terms import Terms
from inference.runner.usual_cost import UsualCost
from inference.runner.ways import BothWays
from inference.runner.workload import Workload
from observability import names
from observability.metrics import RunnerMetrics
from scheduler.errors import ModelUnusable, RecordsUnavailable
from scheduler.policies.level_modes import levels_for
from scheduler.policies.policy import Policy
from scheduler.ports.clock import Clock
from scheduler.ports.membership import Membership
from scheduler.ports.policies import PolicyStore
from scheduler.ports.records import LeaseStore, OutcomeStore
from services.lifecycle import RunningServer, Service, grpc_server
from services.policy_following import PolicyFollower

LAST_WORDS_S: Final = 2.0
"""How long a runner that ends tries to tell the schedulers and the directory."""
GATEWAYS_LEAVE_S: Final = 1.0
"""How long it waits for gateways to leave: twice as long as they take to see in the directory that it goes."""

_log = logging.getLogger(__name__)

OpenEngine = Callable[[Callable[[str], None]], Engine]
"""Loads the model; gets a function that takes sentences about what is going on. Runs on the engine thread."""


@dataclass(frozen=True, slots=True)
class Stores:
    """What a runner keeps elsewhere."""

    leases: LeaseStore
    outcomes: OutcomeStore
    membership: Membership
    policies: PolicyStore


class Runner:
    """A runner of one model, put together but not started. `run` runs it once."""

    def __init__(
        self,
        settings: RunnerSettings,
        stores: Stores,
        clock: Clock,
        policy: Policy,
        metrics: RunnerMetrics,
        open_engine: OpenEngine,
        metrics_address: str = "",
        watchdog_s: float = 0.0,
    ) -> None:
        """`policy` is the one that the platform is started with. A step of the engine may last for `watchdog_s`; 0 for
        no limit.
        """
        self._settings = settings
        self._stores = stores
        self._clock = clock
        self._metrics = metrics
        self._open_engine = open_engine
        self._metrics_address = metrics_address
        self._policy = policy
        self._identity = new_runner(
            *(settings.id, settings.model, settings.pool, settings.version, settings.generation),
            zone=settings.zone,
            weight=settings.weight,
        )
        self._board = StatusBoard(self._identity, self._held)
        self._announcer = Announcer(self._board, stores.membership)
        self._journal = _open_journal(settings.journal)
        queue = AdmissionQueue(levels_for(policy))
        queue.follow(policy)
        self._thread = EngineThread(
            self._load,
            queue,
            lambda: self._ways,
            settings.output_flush_ms / 1000,
            partial(metrics.batch, names.HOP_EXECUTE),
            hard_kill_after_s=settings.hard_kill_after_s,
            watchdog_s=watchdog_s,
            journal=self._journal,
            generation=metrics.generation,
        )
        self._follower = PolicyFollower(
            stores.policies, policy, lambda followed, version: self._thread.follow(followed), clock
        )
        self._capacity = 0
        self._cache_tokens = 0
        self._tally = Tally(settings.model, settings.version)
        self._servicer = RunnerServicer(self._board, self._thread, self._tally)
        self._cost = UsualCost()
        self._workload: Workload
        self._calls: CallTable
        self._ways: BothWays

    async def run(self, stop: asyncio.Event) -> bool:
        """Work until `stop`, then drain: what runs gets the grace period, the rest is handed back.

        Returns False when the model cannot be loaded: that is logged then, and the directory shows it for a while.
        Raises what ends the engine, in a group: after EngineStuck everything is handed back, after EngineHung all but
        what hangs, and the process must end without waiting for its threads. Cancelling it ends everything at once;
        leases run out then.
        """
        service = Service(
            "forebay.runner.v1.RunnerService",
            lambda server: add_RunnerServiceServicer_to_server(self._servicer, server),
        )
        async with grpc_server(self._settings.listen, [service], grace_s=LAST_WORDS_S) as server:
            self._board.at(server.address, self._metrics_address)
            async with asyncio.TaskGroup() as group:
                sides = [group.create_task(self._announcer.run()), group.create_task(self._follower.run())]
                try:
                    engine = await self._opened(stop, group)
                    if engine is not None:
                        await self._serve(engine, server, stop)
                finally:
                    for side in sides:
                        side.cancel()
                    self._board.close()
        usable = self._board.state != models.RUNNER_STATE_FAILED
        if usable:
            await self._tell_directory(self._announcer.withdraw)
        return usable

    async def _opened(self, stop: asyncio.Event, group: asyncio.TaskGroup) -> Engine | None:
        """Load and warm the model; None when it cannot be, or when the runner must stop before it is."""
        self._board.enter(models.RUNNER_STATE_LOADING)
        opened = self._thread.opened
        self._thread.start()
        stopping = group.create_task(stop.wait())
        try:
            await asyncio.wait((opened, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        if not opened.done():
            return None
        try:
            return opened.result()
        except ModelUnusable as error:
            reason = str(error)
        except Exception as error:
            _log.exception("model not loaded")
            reason = f"{self._settings.path} cannot be loaded: {type(error).__name__}"
        self._board.failed(reason)
        await self._tell_directory(self._announcer.announce)
        return None

    async def _serve(self, engine: Engine, server: RunningServer, stop: asyncio.Event) -> None:
        """Take tasks until `stop`, then drain."""
        settings, stores, clock = self._settings, self._stores, self._clock
        card, self._capacity = engine.card, engine.capacity
        telemetry = Telemetry(
            self._metrics, model=settings.model, provider=card.provider, runner=self._identity.id
        )
        workload = self._workload = Workload(
            card, self._thread, stores.outcomes, clock, telemetry, self._tally, self._journal
        )
        calls = self._calls = CallTable(
            *(card.kind, settings.model, self._thread, telemetry, self._tally, self._weigh, self._journal),
            answers_digest=card.answers_digest,
        )
        self._ways = BothWays(workload, calls)
        keeper = LeaseKeeper(stores.leases, clock, workload)
        terms = Terms(engine, settings)
        workload.paced = calls.answering.paced = partial(_tell_all, (self._cost.ended, terms.ended))
        credit, hello = terms.credit, terms.hello(self._identity.id)
        schedulers = Schedulers(
            stores.membership,
            clock,
            lambda address, listed: Attachment(address, hello, credit, workload, keeper, clock, listed),
        )
        async with asyncio.TaskGroup() as group:
            # The group ends the runner when the engine does.
            sides = [
                group.create_task(side)
                for side in (
                    self._engine_ends(credit, schedulers),
                    workload.outcomes.run(),
                    keeper.run(),
                    schedulers.run(),
                )
            ]
            self._servicer.calls = calls
            self._board.ready(card, engine.capacity, self._cache_tokens)
            server.set_serving(True)
            await stop.wait()
            server.set_serving(False)
            self._board.draining()
            credit.close()
            # What they send before they know is executed: of a version that goes there is no other runner to refuse to.
            await calls.left(GATEWAYS_LEAVE_S)
            calls.drain()
            workload.drain()
            try:
                async with asyncio.timeout(settings.grace_s):
                    await workload.emptied()
                    await calls.emptied()
            except TimeoutError:
                _log.warning(
                    "grace is over, running tasks are handed back",
                    extra={"tasks": len(workload), "calls": len(calls)},
                )
                workload.abandon()
                calls.abandon()
            async with asyncio.TaskGroup() as last_words:
                last_words.create_task(schedulers.finish(LAST_WORDS_S))
                last_words.create_task(calls.finish(GATEWAYS_LEAVE_S))
            self._thread.stop()
            for side in sides:
                side.cancel()

    async def _engine_ends(self, credit: CreditPool, schedulers: Schedulers) -> None:
        """Wait for the engine's end. Before EngineStuck goes on, whatever else is held is handed back.

        What hangs is not: it is left to the agent, which charges it by the journal, or to the end of its lease.
        """
        try:
            await self._thread.ended()
        except EngineStuck as error:
            suspects = error.suspects if isinstance(error, EngineHung) else ()
            _log.error(
                "engine stuck, the runner ends", extra={"cause": str(error), "suspects": len(suspects)}
            )
            # Should it come back after all, it runs nothing more: the journal goes on naming what hung.
            self._thread.stop()
            credit.close()
            workload = self._workload
            workload.abandon(suspects)
            self._calls.abandon(suspects)
            await self._calls.finish(0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS_S):
                    await workload.emptied()
            await schedulers.finish(LAST_WORDS_S)
            raise

    def _load(self) -> Engine:
        """Load and warm the model, on the engine thread."""
        tell = self._thread.on_loop
        engine = self._open_engine(lambda sentence: tell(partial(self._board.doing, sentence)))
        if isinstance(engine, Follows):
            engine.follow(self._policy)
        tell(partial(self._board.enter, models.RUNNER_STATE_WARMING))
        engine.warm_up()
        if isinstance(engine, ReportsGeneration):
            self._cache_tokens = engine.stats().kv_capacity
        return engine

    def _weigh(self, load: Load) -> None:
        """Write what the runner has to do into a message."""
        load.held = held = len(self._workload) + len(self._calls)
        load.outstanding_us = int(held * self._cost.mean_s * 1e6)

    def _held(self) -> int:
        held = len(self._workload) + len(self._calls) if self._capacity else 0
        self._metrics.held(held, self._capacity)
        return held

    async def _tell_directory(self, tell: Callable[[], Awaitable[None]]) -> None:
        with contextlib.suppress(RecordsUnavailable, TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await tell()


def _tell_all(listeners: Sequence[Callable[[int, float], object]], ended: int, work_s: float) -> None:
    for listener in listeners:
        listener(ended, work_s)


def _open_journal(path: Path | None) -> JournalWriter | None:
    """Make the journal. A runner can do without one: after its death leases run out."""
    if path is None:
        return None
    try:
        return JournalWriter(path)
    except OSError as error:
        _log.warning("no journal is kept", extra={"path": str(path), "cause": error.strerror})
        return None

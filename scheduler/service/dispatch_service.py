"""The door for runners: translates `DispatchService.Attach` into calls on the roster and the bookkeeping of ends.

A write that is on its way cannot be broken off, and no status can be sent beside it: whatever ends a stream, what its
runner held rests at once, and the stream itself ends when that write is over. A frozen runner's connection ends by its
keepalive.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Final

import grpc

from forebay.dispatch.v1.dispatch_service_pb2 import AttachRequest, AttachResponse, Settled
from forebay.dispatch.v1.dispatch_service_pb2_grpc import DispatchServiceServicer
from scheduler.errors import InvalidInput, ServerUnavailable, ShuttingDown
from scheduler.ports.clock import Clock
from scheduler.ports.records import Hold
from scheduler.routing.breaker import WINDOW
from scheduler.service.caching import CachedTasks
from scheduler.service.entry import Waiting
from scheduler.service.learning import Learning
from scheduler.service.rates import Rates
from scheduler.service.republisher import Republisher
from scheduler.service.resting import Resting
from scheduler.service.runner_stream import RunnerStream
from scheduler.service.runners import Roster
from scheduler.service.settlement import Settlement
from scheduler.states import Level

log = logging.getLogger(__name__)


RETURNED: Final = Settled.FATE_RETURNED
TERMINAL: Final = Settled.FATE_TERMINAL
HELLO_S: Final = 10.0
"""How long a runner may take to say hello, in seconds."""


class DispatchServicer(DispatchServiceServicer):
    """Serves attached runners: one writer for each stream, one reader."""

    def __init__(
        self,
        roster: Roster,
        settlement: Settlement,
        resting: Resting,
        republisher: Republisher,
        rates: Rates,
        learning: Learning,
        credit: asyncio.Event,
        clock: Clock,
        cached: CachedTasks | None = None,
        *,
        lease_ms: int,
        correct: Callable[[str, Level, str, str, float], None],
    ) -> None:
        """`cached` hears which runs are over; None where nothing is cached. `correct` hears of which pool, level,
        tenant and model counters are off, by how many milliseconds of work.
        """
        self._roster = roster
        self._settlement = settlement
        self._resting = resting
        self._republisher = republisher
        self._rates = rates
        self._learning = learning
        self._credit = credit
        self._clock = clock
        self._cached = cached
        self._lease_ms = lease_ms
        self._correct = correct
        self.closing = asyncio.Event()
        """Set at shutdown: streams end, no new ones begin."""

    async def Attach(  # type: ignore[override]  # a coroutine that writes, which the stub cannot say
        self,
        request_iterator: AsyncIterator[AttachRequest],
        context: "grpc.aio.ServicerContext[AttachRequest, AttachResponse]",
    ) -> None:
        """Hold one runner's stream until it ends; what it still held then is looked at again later."""
        if self.closing.is_set():
            raise ShuttingDown("this scheduler is shutting down")
        first = None
        with suppress(TimeoutError):
            async with asyncio.timeout(HELLO_S):
                first = await anext(request_iterator, None)
        if first is None or not first.HasField("hello"):
            raise InvalidInput.of("hello", "the first message must say hello")
        stream = RunnerStream.of(first.hello)
        stream.send(AttachResponse(lease_ms=self._lease_ms))
        self._roster.add(stream)
        log.info("runner attached", extra={"runner": stream.id, "model": stream.model})
        self._heard_credit(stream, first.credits)
        error: Exception | None = None
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(_write(stream, context))
            reading = group.create_task(self._hear(stream, request_iterator))
            closing = group.create_task(self.closing.wait())
            giving_up = group.create_task(stream.given_up.wait())
            ends = (writing, reading, closing, giving_up)
            try:
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._detach(stream)
            if reading.done():
                error = reading.result()
            for task in (reading, closing, giving_up):
                task.cancel()
        if error is not None:
            raise error

    def _detach(self, stream: RunnerStream) -> None:
        held = self._roster.remove(stream)
        # Perhaps it goes on; but nobody would say when it is through.
        self._over([running.task for running in held])
        self._resting.rest([running.task for running in held])
        # The writer ends by this.
        stream.close()
        log.info("runner detached", extra={"runner": stream.id, "held": len(held)})

    async def _hear(self, stream: RunnerStream, requests: AsyncIterator[AttachRequest]) -> Exception | None:
        """Read until the runner has said all; return what is wrong with it.

        An error that was raised here would break off what is being written.
        """
        try:
            await self._read(stream, requests)
        except Exception as error:  # whatever it is: it is raised once the writer has ended
            return error
        return None

    async def _read(self, stream: RunnerStream, requests: AsyncIterator[AttachRequest]) -> None:
        async for request in requests:
            if stream.silent:
                stream.silent = False
                self._credit.set()
            # Before anything is put on the log again: what a runner gives back must not come to it once more.
            self._heard_credit(stream, request.credits)
            if request.leaving:
                stream.leaving = True
                stream.send(AttachResponse(no_more=True))
            if request.settled:
                await self._heard_settled(stream, request.settled)

    def _heard_credit(self, stream: RunnerStream, credits: int) -> None:
        stream.credits += credits
        if credits > 0:
            self._credit.set()

    async def _heard_settled(self, speaker: RunnerStream, settled: Sequence[Settled]) -> None:
        """Settle messages of tasks that need nothing any more; put handed-back ones on the log again first."""
        ended: list[Waiting] = []
        returned: list[tuple[Waiting, Hold]] = []
        # What is not found was assigned over a stream that broke: its message rests and will be found stale.
        for stream, report in self._roster.settled(speaker, settled).items():
            terminal: Counter[Level] = Counter()
            for task, item in report:
                fate = item.fate
                if fate == RETURNED:
                    returned.append((task, Hold(item.id, item.attempt)))
                    continue
                ended.append(task)
                if fate == TERMINAL:
                    terminal[task.lane.level] += 1
            for level, count in terminal.items():
                self._rates.ended(stream.pool, level, count)
            self._heard_report(stream, report)
        self._over(ended)
        self._settlement.settle(ended)
        if returned:
            self._over([task for task, _ in returned])
            await self._give_back(returned)

    def _heard_report(self, stream: RunnerStream, report: Sequence[tuple[Waiting, Settled]]) -> None:
        """Learn what tasks cost, and how their runner does."""
        learned = self._learning.settled(report)
        for share, delta_ms in learned.corrections.items():
            self._correct(*share, delta_ms)
        stream.showed(learned.spent_ms, learned.expected_ms)
        # One without a cost was not executed, and one that was broken off says nothing about its runner.
        telling = (
            item.failed
            for _, item in report
            if item.failed or (item.fate == TERMINAL and item.HasField("cost"))
        )
        # Without a failure, only as many as are looked back at.
        outcomes = telling if any(item.failed for _, item in report) else islice(telling, WINDOW)
        if self._roster.outcome(stream, outcomes, self._clock.monotonic()):
            self._credit.set()

    def _over(self, tasks: Sequence[Waiting]) -> None:
        """Tell those who wait for the runs of tasks that they are over."""
        if self._cached is not None:
            self._cached.over(tasks)

    async def _give_back(self, returned: Sequence[tuple[Waiting, Hold]]) -> None:
        done = False
        try:
            await self._republisher.give_back([hold for _, hold in returned])
            done = True
        except ServerUnavailable as error:
            log.warning("handing back was interrupted: %s", error, extra={"tasks": len(returned)})
        finally:
            tasks = [task for task, _ in returned]
            if done:
                self._settlement.settle(tasks)
            else:
                # Also when the stream broke: their leases run out, or the sweeper publishes them, and the old messages
                # are found stale then.
                self._resting.rest(tasks)


async def _write(stream: RunnerStream, context: Any) -> None:
    """Write what waits until the stream is closed: the one writer that a stream may have."""
    while (message := await stream.outbox.get()) is not None:
        try:
            await context.write(message)
        except grpc.aio.InternalError:  # the runner is gone
            return

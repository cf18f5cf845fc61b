"""Holds the stream to one scheduler: tasks come down it, credits and fates go up.

From here an assignment goes to `workload`. The stream is dialled again when it breaks, for as long as the scheduler
is in the directory; tasks that came before the break are executed and written all the same.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import grpc
import grpc.aio

from forebay.dispatch.v1.dispatch_service_pb2 import Assignment, AttachRequest, AttachResponse, Hello
from forebay.dispatch.v1.dispatch_service_pb2_grpc import DispatchServiceStub
from inference.runner.credit import CreditPool
from inference.runner.held import Source
from inference.runner.leases import LeaseKeeper
from inference.runner.session import Session
from scheduler.ports.clock import Clock
from services.lifecycle import CHANNEL_OPTIONS

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 0.5
WRITE_DEADLINE_S: Final = 30.0
"""Longest wait for the other side to take a message; a scheduler that takes none for so long is gone."""

_log = logging.getLogger(__name__)

Stream = grpc.aio.StreamStreamCall[AttachRequest, AttachResponse]


class AssignmentTaker(Protocol):
    """Takes what a scheduler sends."""

    def assigned(self, assignments: Sequence[Assignment], source: Source) -> None:
        """Take leased tasks."""
        ...

    def cancelled(self, ids: Sequence[str]) -> None:
        """Stop tasks that were cancelled."""
        ...


class Attachment:
    """The connection to one scheduler, over all its streams."""

    def __init__(
        self,
        address: str,
        hello: Hello,
        credit: CreditPool,
        taker: AssignmentTaker,
        keeper: LeaseKeeper,
        clock: Clock,
        listed: Callable[[], bool],
    ) -> None:
        self._address = address
        self._hello = hello
        self._credit = credit
        self._taker = taker
        self._keeper = keeper
        self._clock = clock
        self._listed = listed
        self._session: Session | None = None
        self._finishing = False

    async def run(self) -> None:
        """Keep a stream up until the scheduler is not in the directory any more. Cancelling it ends the stream."""
        pause_s = FIRST_PAUSE_S
        while self._listed() and not self._finishing:
            session = Session(self._hello)
            try:
                cause = await self._hold_stream(session)
            finally:
                session.close()
                self._credit.leave(session)
                self._session = None
            if session.answered:
                pause_s = FIRST_PAUSE_S
                _log.info("scheduler detached", extra={"address": self._address, "cause": cause})
            # Spread out, so that not all runners dial a scheduler that comes back in the same moment.
            await self._clock.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)

    async def finish(self, deadline_s: float) -> None:
        """Say what is left to say, within that time, and attach no more."""
        self._finishing = True
        if self._session is not None:
            self._session.finish()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(deadline_s):
                    await self._session.ended.wait()

    async def _hold_stream(self, session: Session) -> str:
        """Hold one stream until it ends; return why it did."""
        async with grpc.aio.insecure_channel(self._address, options=CHANNEL_OPTIONS) as channel:
            stream: Stream = DispatchServiceStub(channel).Attach()
            self._session = session
            try:
                async with asyncio.TaskGroup() as group:
                    writer = group.create_task(_write(stream, session))
                    while isinstance(response := await stream.read(), AttachResponse):
                        self._receive(response, session)
                    writer.cancel()
            except* (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError) as errors:
                cause = _cause(errors)
            else:
                cause = "closed by the scheduler"
            finally:
                stream.cancel()
            return cause

    def _receive(self, response: AttachResponse, session: Session) -> None:
        if not session.answered:
            # Not before: a scheduler that is listed but dead must not tie up a share of the credit.
            session.answered = True
            self._credit.join(session)
            _log.info("scheduler attached", extra={"address": self._address})
        if response.lease_ms:
            self._keeper.lease_lasts(response.lease_ms)
        if response.assignments:
            session.assigned(len(response.assignments))
            self._taker.assigned(response.assignments, session)
        if response.cancelled:
            self._taker.cancelled(response.cancelled)
        if response.no_more:
            session.last_came()


async def _write(stream: Stream, session: Session) -> None:
    """Write what the session collects: the one writer that a stream may have."""
    while (request := await session.next_request()) is not None:
        async with asyncio.timeout(WRITE_DEADLINE_S):
            await stream.write(request)
    # The scheduler ends the stream once it has read all of it.
    await stream.done_writing()


def _cause(errors: BaseExceptionGroup[BaseException]) -> str:
    error = errors.exceptions[0]
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return type(error).__name__

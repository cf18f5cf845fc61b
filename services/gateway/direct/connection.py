"""One stream to one runner: calls go out in batches, and answers come in.

Messages with calls are counted, and at most one is on its way that the runner has not taken in: the next one goes when
a response tells that it has. What arrives meanwhile goes together, so batches grow with the load by themselves, and a
runner that stops reading holds one message and no more. Since a runner that answers faster than clients ask would get a
message for each call, `gathering.py` decides when one goes; a CRITICAL call and one that must end soon wait for no
others.

A call that ends before it was sent is never sent; the id of one that was sent goes out at once, so that the runner
stops it. So does the new level of one that became more urgent.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol

import grpc
import grpc.aio

from forebay.runner.v1 import runner_service_pb2_grpc
from forebay.runner.v1.runner_service_pb2 import (
    Answer,
    ExecuteRequest,
    ExecuteResponse,
    ReadStatisticsRequest,
    ReadStatisticsResponse,
)
from scheduler.routing.breaker import Breaker
from services.gateway.direct.gathering import Gathering
from services.gateway.direct.lineup import Place
from services.gateway.direct.outgoing import Outgoing
from services.gateway.direct.pending import Pending
from services.gateway.direct.runner_load import RunnerLoad
from services.lifecycle import CHANNEL_OPTIONS

CONNECT_S: Final = 2.0
"""Longest wait for a connection."""
STATISTICS_S: Final = 2.0
"""Longest wait for what a runner has counted."""
HURRY_S: Final = 0.05
"""A call that has so little time left waits for no others."""

_LOG: Final = logging.getLogger(__name__)

Stream = grpc.aio.StreamStreamCall[ExecuteRequest, ExecuteResponse]


class Listener(Protocol):
    """Is told what comes of calls. Never blocks and never raises."""

    def answered(self, connection: "Connection", answers: Sequence[Answer]) -> None:
        """Take in answers."""
        ...

    def unfit(self, pending: Pending, error: Exception) -> None:
        """Take in that a call could not be written."""
        ...

    def sending(self, calls: int) -> None:
        """Take in that so many calls go out in one message."""
        ...

    def lost(self, connection: "Connection", cause: str) -> None:
        """Take in that the connection is at its end; the cause is empty where this gateway let go of it."""
        ...


class Connection:
    """Lives as long as `run` does. Nothing here waits but `run`."""

    def __init__(self, place: Place, listener: Listener, monotonic: Callable[[], float]) -> None:
        self.id: Final = place.id
        self.place = place
        """As announced last."""
        self.open = False
        """Whether the runner can be reached."""
        self.leaving = False
        """Whether the runner takes no more calls; those that it has go on."""
        self.gone_s: float | None = None
        """Since when nobody has announced the runner."""
        self.breaker: Final = Breaker()
        self.calls = 0
        """Of ours that wait here or that the runner has."""
        self.sent_s: float | None = None
        """When the message went that the runner has not taken in; None when it has taken in all."""
        self.unseen = 0
        """Calls in that message: the load does not tell of them."""
        self.answers_digest = ""
        """What the process at the other end runs, as its stream says; what is announced may be of one before it."""
        self._listener = listener
        self._load = RunnerLoad()
        self._outgoing = Outgoing()
        self._cancelled: list[int] = []
        self._raised: dict[int, int] = {}
        """Levels of calls that the runner has and that it is to be told of."""
        self._number = 0
        """Of the message with calls that went last."""
        self._gathering = Gathering(monotonic(), time.thread_time())
        self._work = asyncio.Event()
        """Set when a message is to go."""
        self._timer: asyncio.TimerHandle | None = None
        self._monotonic = monotonic
        self._stub: runner_service_pb2_grpc.RunnerServiceAsyncStub | None = None
        self._dialled = asyncio.Event()
        """Set once it is known whether the runner can be reached."""

    @property
    def waiting(self) -> int:
        """Return our calls that wait here."""
        return self._outgoing.count

    @property
    def load_ms(self) -> float:
        """Return the expected work that the runner has, as far as it told."""
        return self._load.work_ms(self._monotonic())

    @property
    def held(self) -> int:
        """Return the requests that it holds, as far as it told."""
        return self._load.held(self._monotonic(), self.place.held)

    @property
    def untold(self) -> int:
        """Return the calls that `load_ms` and `held` do not tell of."""
        return self.waiting + self.unseen

    def put(self, pending: Pending) -> None:
        """Send a call when it can be."""
        pending.connection = self
        self._outgoing.add(pending)
        self.calls += 1
        if self.sent_s is None:
            self._gather()

    def raise_level(self, pending: Pending, level: int) -> None:
        """Make a call more urgent: here while it waits here, and at the runner once it was sent."""
        if pending.sent:
            pending.wanted.priority = level
            self._raised[pending.id] = level
            self._work.set()
            return
        self._outgoing.raise_level(pending, level)
        if self.sent_s is None:
            self._gather()

    def drop(self, pending: Pending, *, ended: bool) -> None:
        """Let go of a call: it `ended` here, or nobody waits for it, and the runner shall stop it."""
        pending.connection = None
        self.calls -= 1
        if not pending.sent:
            self._outgoing.remove(pending)
            return
        self._raised.pop(pending.id, None)
        if not ended:
            self._cancelled.append(pending.id)
            self._work.set()

    async def statistics(self) -> ReadStatisticsResponse | None:
        """Return what the runner has counted; None when it cannot be reached, or does not answer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_S):
                await self._dialled.wait()
        if self._stub is None:
            return None
        try:
            return await self._stub.ReadStatistics(ReadStatisticsRequest(), timeout=STATISTICS_S)
        except grpc.aio.AioRpcError as error:
            _LOG.warning("statistics not read", extra={"runner": self.id, "cause": _told(error)})
            return None
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            return None

    async def run(self) -> None:
        """Connect, send and read until the stream ends or this is cancelled; then tell the listener."""
        cause = ""
        try:
            cause = await self._converse()
        except TimeoutError:
            cause = f"it could not be reached within {CONNECT_S:g} s"
        except ExceptionGroup as failed:
            cause = _told(failed.exceptions[0])
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            cause = "it cancelled the stream"
        finally:
            self.open = False
            self._stub = None
            self._dialled.set()
            if self._timer is not None:
                self._timer.cancel()
            self._listener.lost(self, cause)

    async def _converse(self) -> str:
        """Return how the stream ended."""
        async with grpc.aio.insecure_channel(self.place.address, options=CHANNEL_OPTIONS) as channel:
            async with asyncio.timeout(CONNECT_S):
                if not await _connected(channel):
                    return "nobody listens there"
            self._stub = runner_service_pb2_grpc.RunnerServiceStub(channel)
            stream: Stream = self._stub.Execute()
            self.open = True
            self._dialled.set()
            async with asyncio.TaskGroup() as group:
                writing = group.create_task(self._write(stream))
                try:
                    return await self._read(stream)
                finally:
                    writing.cancel()
                    stream.cancel()

    async def _write(self, stream: Stream) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            request = ExecuteRequest(cancelled=self._cancelled)
            self._cancelled.clear()
            for number, level in self._raised.items():
                request.raised.add(id=number, priority=level)
            self._raised.clear()
            if self.sent_s is None and self._outgoing.count:
                self._fill(request)
            if request.calls or request.cancelled or request.raised:
                await stream.write(request)

    async def _read(self, stream: Stream) -> str:
        while True:
            response = await stream.read()
            if not isinstance(response, ExecuteResponse):
                code = await stream.code()
                return f"{code.name}: {await stream.details()}"
            if response.taken == self._number:
                self.sent_s = None
                self.unseen = 0
            if response.answers_digest:
                self.answers_digest = response.answers_digest
            if response.HasField("load"):
                self._load.told(response.load, self._monotonic())
            if response.answers:
                self._listener.answered(self, response.answers)
            if self.sent_s is None and self._outgoing.count:
                self._gather()

    def _gather(self) -> None:
        """Have a message go now, or in a moment when more calls are likely to come."""
        outgoing = self._outgoing
        pause_s = self._gathering.pause_s(outgoing.count)
        if not pause_s or outgoing.critical or outgoing.due_s < self._monotonic() + HURRY_S:
            self._work.set()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(pause_s, self._gathered)

    def _gathered(self) -> None:
        self._timer = None
        self._work.set()

    def _fill(self, request: ExecuteRequest) -> None:
        """Move calls that wait into a message."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now_s = self._monotonic()
        self._gathering.sent(self.calls, now_s, time.thread_time())
        unfit = self._outgoing.write(request, now_s)
        if request.calls:
            self._number += 1
            request.number = self._number
            self.sent_s = now_s
            self.unseen = len(request.calls)
            self._listener.sending(self.unseen)
        elif self._outgoing.count:
            self._work.set()
        for pending, error in unfit:
            self._listener.unfit(pending, error)


async def _connected(channel: grpc.aio.Channel) -> bool:
    """Connect; False when that failed, which the channel would go on to try."""
    while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
        if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            return False
        await channel.wait_for_state_change(state)
    return True


def _is_cancelled() -> bool:
    """Whether a CancelledError is one: gRPC also raises it for a call that was cancelled at the other side, and for one
    whose channel was closed.
    """
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _told(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    if not isinstance(error, asyncio.InvalidStateError):
        # Not a fault of the connection but of this code: say where.
        _LOG.error("connection to a runner failed", exc_info=error)
    return type(error).__name__

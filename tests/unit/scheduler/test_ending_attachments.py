"""How the stream of a runner ends, whatever its other end does, on a real server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import grpc.aio
import pytest

from forebay.dispatch.v1.dispatch_service_pb2 import AttachRequest, AttachResponse, Hello
from forebay.dispatch.v1.dispatch_service_pb2_grpc import (
    DispatchServiceServicer,
    add_DispatchServiceServicer_to_server,
)
from forebay.tasks.v1.envelope_pb2 import Envelope
from scheduler.errors import InvalidInput
from scheduler.service.entry import OpenBundle, Waiting
from scheduler.service.runner_stream import OUTBOX, RunnerStream
from services.lifecycle import CHANNEL_OPTIONS, Service, grpc_server

from .test_dispatch_reports import EXPECTED, LANE, Bench

LONGEST_WAIT_S = 10.0
LARGE = AttachResponse(cancelled=["x" * (32 << 20)])
"""More than a stream takes that nobody reads."""


class Door(DispatchServiceServicer):
    """The scheduler's own door, seen from beside it."""

    def __init__(self, *, damages: bool = False) -> None:
        self.bench = Bench()
        self.damages = damages
        self.writing = asyncio.Event()
        """Set once the large message is being written."""
        self.detached = asyncio.Event()
        self.rested: list[str] = []
        self.bench.resting.rest = self._rest  # type: ignore[method-assign]

    async def Attach(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]
        writing = self.writing = asyncio.Event()

        async def write(message: AttachResponse) -> None:
            if self.damages or message.cancelled:
                writing.set()
            await context.write(message)

        async def requests() -> AsyncIterator[AttachRequest]:
            yield await anext(request_iterator)
            if self.damages:
                await writing.wait()
                raise InvalidInput.of("", "no message")
            async for request in request_iterator:
                yield request

        await self.bench.servicer.Attach(requests(), SimpleNamespace(write=write))  # type: ignore[arg-type]

    def _rest(self, tasks: Iterable[Waiting]) -> None:
        self.rested += [task.id for task in tasks]
        self.detached.set()


class DeafRunner:
    """A runner that reads only when it is told to; its stream carries bytes as they are."""

    def __init__(self, door: Door, stream: Any) -> None:
        self.door = door
        self.stream = stream

    @property
    def seen(self) -> RunnerStream:
        """What the scheduler has of it."""
        [stream] = self.door.bench.roster
        return stream

    async def end(self) -> grpc.StatusCode:
        """Read all there is; return the status that comes then."""
        while isinstance(await self.stream.read(), bytes):
            pass
        code: grpc.StatusCode = await self.stream.code()
        return code


HELLO = AttachRequest(hello=Hello(runner="r1", model="m", pool="default")).SerializeToString()


@asynccontextmanager
async def served(door: Door) -> AsyncIterator[Callable[[], Any]]:
    """Serve a door; give what begins a stream to it. All must end within `LONGEST_WAIT_S`."""
    service = Service(
        "forebay.dispatch.v1.DispatchService",
        lambda server: add_DispatchServiceServicer_to_server(door, server),
    )
    async with (
        asyncio.timeout(LONGEST_WAIT_S),
        grpc_server("127.0.0.1:0", [service], grace_s=0.0) as server,
        grpc.aio.insecure_channel(server.address, options=CHANNEL_OPTIONS) as channel,
    ):
        yield channel.stream_stream("/forebay.dispatch.v1.DispatchService/Attach")


@asynccontextmanager
async def deaf_runner() -> AsyncIterator[DeafRunner]:
    """Give one that holds a task and does not take what is being written to it."""
    door = Door()
    async with served(door) as attach:
        runner = DeafRunner(door, attach())
        await runner.stream.write(HELLO)
        assert isinstance(await runner.stream.read(), bytes)
        bundle = OpenBundle(SimpleNamespace(), 2)  # type: ignore[arg-type]  # never finished
        runner.seen.hold(Waiting("07-1", 1, "m", LANE, 0, Envelope(), bundle, expected=EXPECTED), 1)
        runner.seen.send(LARGE)
        await door.writing.wait()
        yield runner


async def test_a_message_that_is_none_ends_the_stream_also_while_the_first_answer_is_being_written() -> None:
    door = Door(damages=True)
    async with served(door) as attach:
        for _ in range(20):
            runner = DeafRunner(door, attach())
            await runner.stream.write(HELLO)
            with pytest.raises(grpc.aio.AioRpcError) as told:
                await runner.end()
            assert told.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_bytes_that_are_no_message_end_the_stream_of_a_runner_that_is_being_written_to() -> None:
    async with deaf_runner() as runner:
        await runner.stream.write(b"\xff\xff\xff")
        await runner.door.detached.wait()
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await runner.end()
        assert told.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_runner_that_takes_nothing_is_given_up_and_its_stream_ends_when_it_reads() -> None:
    async with deaf_runner() as runner:
        for _ in range(OUTBOX + 1):
            runner.seen.send(AttachResponse())
        await runner.door.detached.wait()
        assert await runner.end() is grpc.StatusCode.OK


async def test_what_a_deaf_runner_held_rests_before_its_stream_has_ended() -> None:
    async with deaf_runner() as runner:
        runner.door.bench.servicer.closing.set()
        await runner.door.detached.wait()
        assert runner.door.rested == ["07-1"]
        assert not list(runner.door.bench.roster)
        assert not runner.stream.done()
        assert await runner.end() is grpc.StatusCode.OK

"""`Attach` streams between runners and schedulers: what gRPC does, in messages of a simulated network.

A stream keeps its order. It breaks when either side dies, when a cut lasts too long, or when a seed says so; each side
learns of it a little later. A server that returns ends the stream; a client that goes makes the server's call end as
gRPC does it, by cancelling it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import grpc.aio

from forebay.dispatch.v1.dispatch_service_pb2 import AttachRequest, AttachResponse
from scheduler.service.scheduler import Scheduler
from tests.simulation.network import Network
from tests.simulation.processes import Process
from tests.simulation.virtual_time import BODY

UNREAD: Final = 16
"""Messages that may be on their way before a writer has to wait: flow control."""


class _Broken:
    """Comes in place of a message when the other side is gone."""


@dataclass(eq=False)
class _Pipe:
    """One direction."""

    network: Network
    inbox: deque[object] = field(default_factory=deque)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    room: asyncio.Event = field(default_factory=asyncio.Event)
    on_the_way: int = 0
    latest_s: float = 0.0

    async def write(self, message: object) -> None:
        while self.on_the_way + len(self.inbox) >= UNREAD:
            self.room.clear()
            await self.room.wait()
        self.send(message)

    def send(self, message: object) -> None:
        loop = self.network.loop
        self.latest_s = max(self.latest_s, loop.time() + self.network.delay_s())
        self.on_the_way += 1
        loop.at(self.latest_s - loop.time(), self._arrive, message)

    def _arrive(self, message: object) -> None:
        self.on_the_way -= 1
        self.inbox.append(message)
        self.arrived.set()

    async def read(self) -> object:
        while not self.inbox:
            self.arrived.clear()
            await self.arrived.wait()
        self.room.set()
        return self.inbox.popleft()


class Stream:
    """One call of Attach. The runner's side has the methods of a gRPC call, the scheduler's those of a context."""

    def __init__(self, network: Network, runner: Process) -> None:
        self.runner = runner
        self.scheduler: Process | None = None
        self.open = True
        self._network = network
        self._up = _Pipe(network)
        self._down = _Pipe(network)
        self._serving: asyncio.Task[Any] | None = None
        runner.at_death.append(self.reset)

    # The runner's side.

    async def read(self) -> object:
        message = await self._down.read()
        if isinstance(message, _Broken):
            self._down.inbox.appendleft(message)
            raise grpc.aio.AioRpcError(
                grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), details="reset"
            )
        return message

    async def write(self, message: AttachRequest) -> None:
        if not self.open:
            raise asyncio.InvalidStateError("the stream has ended")
        await self._up.write(message)

    async def done_writing(self) -> None:
        self._up.send(grpc.aio.EOF)

    def cancel(self) -> None:
        if not self.runner.dead:
            self.reset()

    # The scheduler's side.

    def serve(self, process: Process, scheduler: Scheduler) -> None:
        """Let a scheduler answer the call."""
        if not self.open:
            return
        self.scheduler = process
        process.at_death.append(self.reset)
        self._serving = process.spawn(self._serve(scheduler))

    async def _serve(self, scheduler: Scheduler) -> None:
        context: Any = _Context(self._down)
        try:
            await scheduler.servicer.Attach(self._requests(), context)
        except asyncio.CancelledError:
            raise
        except Exception:
            self._down.send(_Broken())
        else:
            self._down.send(grpc.aio.EOF)
        self.open = False

    async def _requests(self) -> AsyncIterator[AttachRequest]:
        while isinstance(message := await self._up.read(), AttachRequest):
            yield message
        if isinstance(message, _Broken):
            # The call is being cancelled.
            await self._network.loop.create_future()

    # The network.

    def reset(self) -> None:
        """Break the connection."""
        if not self.open:
            return
        self.open = False
        self._down.send(_Broken())
        self._up.room.set()
        self._up.send(_Broken())
        if self._serving is not None and self.scheduler is not None and not self.scheduler.dead:
            self._network.loop.at(self._network.delay_s(), self.scheduler.soon, self._serving.cancel)


@dataclass(frozen=True, slots=True)
class _Context:
    pipe: _Pipe

    async def write(self, message: AttachResponse) -> None:
        await self.pipe.write(message)


class Switchboard:
    """Who answers at which address. Stands in for gRPC in the runner's own code."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._servers: dict[str, tuple[Process, Scheduler]] = {}
        self.streams: list[Stream] = []

    def listen(self, address: str, process: Process, scheduler: Scheduler) -> None:
        """Let a scheduler answer at an address for as long as its process lives."""
        self._servers[address] = process, scheduler

    def hang_up(self, address: str) -> None:
        """Answer no more there."""
        self._servers.pop(address, None)

    def dial(self, address: str) -> Stream:
        """Call whoever is there; the answer, or its absence, comes over the stream."""
        runner = BODY.get()
        assert isinstance(runner, Process), "only processes dial"
        stream = Stream(self._network, runner)
        self.streams = [one for one in self.streams if one.open]
        self.streams.append(stream)
        self._network.loop.at(self._network.delay_s(), self._connect, address, stream)
        return stream

    def _connect(self, address: str, stream: Stream) -> None:
        process, scheduler = self._servers.get(address, (None, None))
        if process is None or scheduler is None or process.dead:
            stream.reset()
        else:
            stream.serve(process, scheduler)


@dataclass(frozen=True, slots=True)
class Channel:
    """Stands in for a gRPC channel."""

    address: str

    async def __aenter__(self) -> "Channel":
        return self

    async def __aexit__(self, *error: object) -> None:
        pass


def stub_of(switchboard: Switchboard) -> Callable[[Channel], Any]:
    """Return what stands in for the generated stub."""

    @dataclass(frozen=True, slots=True)
    class Stub:
        channel: Channel

        def Attach(self) -> Stream:  # the contract's name
            return switchboard.dial(self.channel.address)

    return Stub

"""Runners that do as a test says, over real gRPC on loopback, and the direct way in front of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import grpc.aio

from forebay.models.v1 import model_service_pb2
from forebay.runner.v1 import runner_service_pb2_grpc
from forebay.runner.v1.runner_service_pb2 import (
    Answer,
    Call,
    ExecuteRequest,
    ExecuteResponse,
    Load,
    ReadStatisticsResponse,
    WatchStatusResponse,
)
from forebay.tasks.v1 import inputs_pb2
from observability.metrics import GatewayMetrics, new_registry
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.memory import MemoryStore
from scheduler.errors import ForebayError
from scheduler.policies.policy import DEFAULT_POLICY, Policy
from scheduler.ports.membership import RUNNER_ROLE
from services.gateway.direct import Direct, DirectBounds, DirectCall, DirectCalls, direct_way
from services.gateway.expected_work import ExpectedWork
from services.gateway.quotas import Quotas, quotas_kept
from services.lifecycle import GRPC_OPTIONS
from services.status import to_status

READY = model_service_pb2.RUNNER_STATE_READY
Answering = Callable[[Call], Answer | None]
"""Answers a call at once, or leaves it unanswered."""


def echo(call: Call) -> Answer:
    """Answer with the inputs as outputs."""
    answer = Answer(id=call.id, started=True, execute_us=1000, batch=1)
    answer.tensors.tensors.extend(call.tensors.tensors)
    return answer


def never(call: Call) -> None:
    """Leave a call unanswered."""


def refusing(error: ForebayError, *, started: bool = False) -> Answering:
    """Make what answers every call with an error."""
    status = to_status(error)
    return lambda call: Answer(id=call.id, started=started, error=status)


@dataclass(eq=False)
class FakeRunner(runner_service_pb2_grpc.RunnerServiceServicer):
    """A runner; what it got is in `calls` and `cancelled`."""

    id: str
    answer: Answering = echo
    load_us: int = 0
    held: int = 0
    """Requests that it says it has."""
    model: str = "m"
    version: int = 0
    address: str = ""
    state: model_service_pb2.RunnerState.ValueType = READY
    pool: str = "default"
    zone: str = ""
    weight: int = 0
    card: model_service_pb2.Model | None = None
    answers_digest: str = ""
    """What it announces of its answers; empty for what is not to be cached."""
    runs: str = ""
    """What it says on its streams that it runs; empty for what it announces."""
    acknowledges: bool = True
    """Whether it answers a message with calls that it does not answer yet."""
    calls: list[Call] = field(default_factory=list)
    messages: list[int] = field(default_factory=list)
    """Calls in each message that had some."""
    cancelled: list[int] = field(default_factory=list)
    raised: list[tuple[int, int]] = field(default_factory=list)
    """Calls that became more urgent, with their new levels."""
    reads: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is not set, it reads nothing."""
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    streams: int = 0
    taken: int = 0
    """Number of the message with calls that it took in last."""
    _outs: list["asyncio.Queue[ExecuteResponse | None]"] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reads.set()

    async def WatchStatus(self, request: Any, context: Any) -> AsyncIterator[WatchStatusResponse]:
        yield self.status()

    async def ReadStatistics(self, request: Any, context: Any) -> ReadStatisticsResponse:
        return ReadStatisticsResponse(model=self.model, version=self.version, inferences=len(self.calls))

    async def Execute(self, requests: Any, context: Any) -> AsyncIterator[ExecuteResponse]:
        out: asyncio.Queue[ExecuteResponse | None] = asyncio.Queue()
        self._outs.append(out)
        self.streams += 1
        async with self.changed:
            self.changed.notify_all()
        reading = asyncio.ensure_future(self._read(requests, out))
        try:
            while (response := await out.get()) is not None:
                yield response
        finally:
            reading.cancel()
            self._outs.remove(out)

    async def _read(self, requests: Any, out: "asyncio.Queue[ExecuteResponse | None]") -> None:
        await self.reads.wait()
        async for request in requests:
            self._take(request, out)
            async with self.changed:
                self.changed.notify_all()
            await self.reads.wait()

    def _take(self, request: ExecuteRequest, out: "asyncio.Queue[ExecuteResponse | None]") -> None:
        self.calls.extend(request.calls)
        self.cancelled.extend(request.cancelled)
        self.raised.extend((one.id, one.priority) for one in request.raised)
        if request.calls:
            self.messages.append(len(request.calls))
            self.taken = request.number
            answers = [answer for call in request.calls if (answer := self.answer(call)) is not None]
            if answers or self.acknowledges:
                out.put_nowait(self._response(*answers))

    async def attached(self, streams: int) -> None:
        """Wait until so many streams were begun."""
        await self.until(lambda: self.streams >= streams)

    def send(self, *answers: Answer) -> None:
        """Answer over the newest stream."""
        self._outs[-1].put_nowait(self._response(*answers))

    def _response(self, *answers: Answer) -> ExecuteResponse:
        digest = self.runs or self.answers_digest
        return ExecuteResponse(answers=answers, load=self._load(), taken=self.taken, answers_digest=digest)

    def _load(self) -> Load:
        return Load(outstanding_us=self.load_us, held=self.held)

    def hang_up(self) -> None:
        """End the streams."""
        for out in self._outs:
            out.put_nowait(None)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what it got meets a condition."""
        async with self.changed, asyncio.timeout(10):
            await self.changed.wait_for(condition)

    def status(self) -> WatchStatusResponse:
        """Return its card."""
        model = self.card or model_service_pb2.Model(
            name=self.model, engine=model_service_pb2.ENGINE_KIND_TENSOR, version=self.version
        )
        runner = model_service_pb2.Runner(
            id=self.id,
            model=self.model,
            version=self.version,
            address=self.address,
            state=self.state,
            pool=self.pool,
            engine=model.engine,
            capacity=4,
            zone=self.zone,
            weight=self.weight,
            answers_digest=self.answers_digest if self.state == READY else "",
        )
        return WatchStatusResponse(runner=runner, model=model)


@asynccontextmanager
async def served(runner: FakeRunner, address: str = "127.0.0.1:0") -> AsyncIterator[grpc.aio.Server]:
    """Serve a runner while the block lasts; `stop(None)` on the server is its death."""
    server = grpc.aio.server(options=GRPC_OPTIONS)
    runner_service_pb2_grpc.add_RunnerServiceServicer_to_server(runner, server)
    port = server.add_insecure_port(address)
    await server.start()
    runner.address = f"127.0.0.1:{port}"
    try:
        yield server
    finally:
        await server.stop(None)


@dataclass
class Way:
    """The direct way, its runners, and the directory."""

    direct: Direct
    store: MemoryStore
    servers: dict[str, grpc.aio.Server]
    metrics: GatewayMetrics
    registry: Any
    quotas: Quotas

    @property
    def calls(self) -> DirectCalls:
        return self.direct.calls

    async def announce(self, *runners: FakeRunner) -> None:
        """Announce runners, and have the fleet look."""
        for runner in runners:
            card = runner.status().SerializeToString()
            await self.store.membership.announce(RUNNER_ROLE, runner.id, card, 60_000)
        await self.calls.fleet.look()

    async def withdraw(self, *runners: FakeRunner) -> None:
        """Take runners out of the directory, and have the fleet look."""
        for runner in runners:
            await self.store.membership.withdraw(RUNNER_ROLE, runner.id)
        await self.calls.fleet.look()


@asynccontextmanager
async def way_to(
    *runners: FakeRunner,
    policy: Policy = DEFAULT_POLICY,
    bounds: DirectBounds | None = None,
    zone: str = "",
) -> AsyncIterator[Way]:
    """Serve and announce runners, and run the direct way of a gateway of this zone in front of them."""
    clock = SystemClock()
    store = MemoryStore(clock)
    registry = new_registry()
    metrics = GatewayMetrics(registry)
    async with AsyncExitStack() as stack:
        servers = {}
        for runner in runners:
            servers[runner.id] = await stack.enter_async_context(served(runner))
        quotas = Quotas(store.lines, store.keys, clock, ExpectedWork(store.membership))
        quotas.follow(policy)
        await stack.enter_async_context(quotas_kept(quotas))
        direct = await stack.enter_async_context(
            direct_way(
                store.membership,
                clock,
                quotas,
                metrics,
                policy,
                bounds or DirectBounds(timeout_s=10.0),
                chance=Random(7),
                zone=zone,
            )
        )
        way = Way(direct, store, servers, metrics, registry, quotas)
        await way.announce(*runners)
        yield way


def tensor_call(model: str = "m", raw: bytes = b"\0" * 256, **fields: Any) -> DirectCall:
    """Make a call of one FP32 tensor."""

    def fill(call: Call) -> None:
        tensor = call.tensors.tensors.add(name="input", datatype="FP32", raw=raw)
        tensor.shape.extend((1, len(raw) // 4))

    fields.setdefault("size_bytes", len(raw))
    return DirectCall("tenant", model, fill, **fields)


def generate_call(**fields: Any) -> DirectCall:
    """Make a call of a prompt."""

    def fill(call: Call) -> None:
        call.generate.prompt = "hello"

    return DirectCall("tenant", "m", fill, **fields)


def chunk(call: Call, text: str) -> Answer:
    """Make a chunk of a generation."""
    return Answer(id=call.id, started=True, chunk=inputs_pb2.GenerateOutput(text=text))

"""Who waits with another caller is served as well as without a cache: whatever becomes of that caller, of its runner or
of its time; and it takes no more of the gateway.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from forebay.inference.v1 import inference_service_pb2 as contract
from forebay.inference.v1 import inference_service_pb2_grpc
from forebay.runner.v1.runner_service_pb2 import Call
from forebay.tasks.v1 import inputs_pb2
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.memory import MemoryStore
from scheduler.ports.membership import RUNNER_ROLE
from services.gateway.settings import GatewaySettings
from tests.direct_runners import FakeRunner, echo, never, served
from tests.integration.cached_gateway import ON, infer, language_runner, said, tensor_runner
from tests.integration.gateway import running


@asynccontextmanager
async def gateway(*runners: FakeRunner, **settings: Any) -> AsyncIterator[tuple[Any, list[grpc.aio.Server]]]:
    """Run a gateway with a cache, and its runners' servers, which a test may stop."""
    store = MemoryStore(SystemClock())
    chosen = GatewaySettings(
        listen="127.0.0.1:0", http_listen="127.0.0.1:0", grace_s=2.0, secret="s" * 32, **settings
    )
    async with AsyncExitStack() as stack:
        servers = []
        for runner in runners:
            servers.append(await stack.enter_async_context(served(runner)))
            card = runner.status().SerializeToString()
            await store.membership.announce(RUNNER_ROLE, runner.id, card, 60_000)
        system = await stack.enter_async_context(running(store, settings=chosen, cache=ON))
        yield inference_service_pb2_grpc.InferenceServiceStub(system.channel), servers


async def code_of(call: Any) -> str:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return str(error.code().name)
    return "OK"


def together(stub: Any, count: int, **options: Any) -> list[asyncio.Task[str]]:
    return [asyncio.ensure_future(code_of(stub.Infer(infer(), **options))) for _ in range(count)]


def taking(count: int) -> tuple[list[FakeRunner], asyncio.Queue[int]]:
    """Return runners that answer nothing, and where it is told which of them was given a call."""
    given: asyncio.Queue[int] = asyncio.Queue()

    def of(number: int) -> FakeRunner:
        return tensor_runner(answer=lambda call: given.put_nowait(number), id=f"r{number}")

    return [of(number) for number in range(count)], given


async def test_when_a_runner_dies_those_who_waited_for_it_are_answered_by_another() -> None:
    runners, given = taking(2)
    async with gateway(*runners) as (stub, servers), asyncio.timeout(15):
        calls = together(stub, 20, timeout=10)
        dead = await given.get()
        runners[1 - dead].answer = echo
        await servers[dead].stop(None)
        assert Counter(await asyncio.gather(*calls)) == {"OK": 19, "UNAVAILABLE": 1}
        assert [len(one.calls) for one in runners] == [1, 1]


async def test_what_kills_runners_kills_two_however_many_wait_for_it() -> None:
    runners, given = taking(4)
    async with gateway(*runners) as (stub, servers), asyncio.timeout(15):
        calls = together(stub, 20, timeout=10)
        for _ in range(2):
            await servers[await given.get()].stop(None)
        codes = Counter(await asyncio.gather(*calls))
        assert sum(len(one.calls) for one in runners) == 2
        assert codes == {"UNAVAILABLE": 2, "ABORTED": 18}


async def test_everybody_is_answered_whose_own_time_allows_it_however_little_the_first_one_had() -> None:
    runner = tensor_runner(answer=never)
    async with gateway(runner) as (stub, _), asyncio.timeout(15):
        late = together(stub, 1, timeout=0.2)
        await runner.until(lambda: len(runner.calls) == 1)
        late += together(stub, 1, timeout=0.4)
        served_in_time = together(stub, 5, timeout=10)
        assert await asyncio.gather(*late) == ["DEADLINE_EXCEEDED"] * 2
        runner.send(echo(runner.calls[0]))
        assert await asyncio.gather(*served_in_time) == ["OK"] * 5
        assert len(runner.calls) == 1


async def test_a_runner_is_told_to_stop_when_the_last_one_who_waited_has_left() -> None:
    runner = tensor_runner(answer=never)
    async with gateway(runner) as (stub, _), asyncio.timeout(15):
        late = together(stub, 3, timeout=0.3)
        assert await asyncio.gather(*late) == ["DEADLINE_EXCEEDED"] * 3
        await runner.until(lambda: runner.cancelled == [runner.calls[0].id])


async def test_those_who_wait_for_one_computation_take_room_like_any_calls() -> None:
    runner = tensor_runner(answer=never)
    assert runner.card is not None
    runner.card.inputs[0].shape[:] = [-1, -1]
    large = infer(bytes(1 << 20))
    large.tensors.tensors[0].shape[:] = [1, 1 << 18]
    async with gateway(runner, max_direct_bytes=8 << 20) as (stub, _), asyncio.timeout(15):
        calls = [asyncio.ensure_future(code_of(stub.Infer(large, timeout=10))) for _ in range(40)]
        refused = 0
        for done in asyncio.as_completed(calls):
            assert await done == "RESOURCE_EXHAUSTED"
            refused += 1
            if refused == 34:
                break
        runner.send(echo(runner.calls[0]))
        assert Counter(await asyncio.gather(*calls)) == {"RESOURCE_EXHAUSTED": 34, "OK": 6}


async def test_a_cached_stream_that_is_not_read_takes_room_until_its_client_leaves() -> None:
    def long(call: Call) -> None:
        runner.send(*said(call, *["x" * 1000] * 3000))

    runner = language_runner(long)
    ask = contract.GenerateRequest(model="m", generate=inputs_pb2.GenerateInput(prompt="hello"))
    async with gateway(runner, max_direct_calls=16) as (stub, _), asyncio.timeout(15):
        assert len([one async for one in stub.Generate(ask, timeout=10)]) == 3001
        unread = [stub.Generate(ask, timeout=10) for _ in range(12)]
        for one in unread:
            await one.read()
        with_room = stub.Generate(ask, timeout=10)
        assert await code_of(with_room.read()) == "RESOURCE_EXHAUSTED"
        for one in unread:
            one.cancel()
        while await code_of(stub.Generate(ask, timeout=10).read()) != "OK":
            pass
        assert len(runner.calls) == 1

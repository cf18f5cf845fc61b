"""Five hundred calls that ask the same at one moment, at three gateways that share a server: one run, and at most one
more when the gateway that leads is killed half-way.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import grpc.aio
import pytest

from forebay.inference.v1 import inference_service_pb2_grpc
from tests.direct_runners import FakeRunner, echo, never, served
from tests.fixtures.valkey import ValkeyServer
from tests.integration.cached_gateway import ON, RAW, Cached, cached, infer, tensor_runner
from tests.integration.gateway_process import gateway_process
from tests.integration.one_tier import seats_counted

CALLS = 500


async def asked_of(runners: Sequence[FakeRunner]) -> FakeRunner:
    """Return the runner that was asked first."""

    async def asked(runner: FakeRunner) -> None:
        await runner.until(lambda: len(runner.calls) > 0)

    waits = [asyncio.ensure_future(asked(runner)) for runner in runners]
    _, others = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for one in others:
        one.cancel()
    return next(runner for runner in runners if runner.calls)


def runs(runners: Sequence[FakeRunner]) -> int:
    return sum(len(runner.calls) for runner in runners)


@pytest.mark.timeout(60)
async def test_five_hundred_calls_by_two_doors_of_three_gateways_are_one_run(
    valkey_server: ValkeyServer,
) -> None:
    shared = replace(ON, redis_url=valkey_server.url, redis_timeout_s=5.0)
    runners = [tensor_runner(answer=never, id=f"r{number}") for number in range(3)]
    async with AsyncExitStack() as stack:
        seats = stack.enter_context(seats_counted())
        gateways = [await stack.enter_async_context(cached(one, cache=shared)) for one in runners]

        async def ask(number: int) -> tuple[bytes, bool]:
            gateway: Cached = gateways[number % 3]
            if number % 2:
                native = await gateway.infer(timeout=30)
                return native.tensors.tensors[0].raw, native.execution.cached
            answer = await gateway.kserve_infer()
            return answer.raw_output_contents[0], answer.parameters["cached"].bool_param

        asking = [asyncio.ensure_future(ask(number)) for number in range(CALLS)]
        leads = await asked_of(runners)
        await seats.until(CALLS)
        assert runs(runners) == 1
        leads.send(echo(leads.calls[0]))
        answers = await asyncio.gather(*asking)
    assert runs(runners) == 1
    assert {raw for raw, _ in answers} == {RAW}
    assert [known for _, known in answers].count(False) == 1


@pytest.mark.timeout(60)
async def test_when_the_gateway_that_leads_is_killed_half_way_all_others_are_answered_by_one_more_run(
    valkey_server: ValkeyServer, valkey_url: str
) -> None:
    shared = replace(ON, redis_url=valkey_server.url, redis_timeout_s=5.0)
    lost = tensor_runner(answer=never, id="lost")
    left = [tensor_runner(answer=never, id=f"r{number}") for number in range(2)]
    async with AsyncExitStack() as stack:
        seats = stack.enter_context(seats_counted())
        await stack.enter_async_context(served(lost))
        others = [await stack.enter_async_context(cached(one, cache=shared)) for one in left]
        leader = await stack.enter_async_context(gateway_process(valkey_url, valkey_server.url, lost))
        native: Any = inference_service_pb2_grpc.InferenceServiceStub(leader.channel)
        with_it = [asyncio.ensure_future(_code(native)) for _ in range(CALLS // 3)]
        await lost.until(lambda: len(lost.calls) == 1)
        asking = [
            asyncio.ensure_future(others[number % 2].infer(timeout=30))
            for number in range(CALLS - len(with_it))
        ]
        await seats.until(len(asking))
        assert runs([lost, *left]) == 1
        await leader.kill()
        leads = await asked_of(left)
        leads.send(echo(leads.calls[0]))
        answers = await asyncio.gather(*asking)
        assert set(await asyncio.gather(*with_it)) == {grpc.StatusCode.UNAVAILABLE}
    assert runs([lost, *left]) == 2
    assert {one.tensors.tensors[0].raw for one in answers} == {RAW}
    assert [one.execution.cached for one in answers].count(False) == 1


async def _code(native: Any) -> grpc.StatusCode:
    """Ask a gateway that will not answer; return how that ends."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await native.Infer(infer(), timeout=30)
    return raised.value.code()

"""API keys at the gateway's door: who is let in where, and as whom."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from forebay.client import AsyncClient, NotFound, PermissionDenied, RetryPolicy, Unauthenticated, task_spec
from forebay.models.v1 import model_service_pb2
from forebay.queues.v1 import queue_service_pb2
from forebay.tasks.v1 import schedule_service_pb2, task_service_pb2
from scheduler.policies.policy import Limit, Policy
from services.api_keys import line_of, new_key
from services.gateway.settings import GatewaySettings
from tests.integration.gateway import System, running

ACME, OTHER, OPERATOR = new_key(), new_key(), new_key()
ONCE = RetryPolicy(attempts=1)


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[System]:
    file = tmp_path / "keys"
    file.write_text(
        f"{line_of(ACME, 'acme')}\n{line_of(OTHER, 'other')}\n{line_of(OPERATOR, 'ops', operator=True)}\n"
    )
    settings = GatewaySettings(listen="127.0.0.1:0", http_listen="127.0.0.1:0", api_keys_file=file)
    limit = Limit(queued_tasks=20)
    async with running(settings=settings, policy=Policy(limits=(limit,))) as system:
        yield system


def client(system: System, key: str) -> AsyncClient:
    return AsyncClient(system.gateway.grpc.address, api_key=key, retry=ONCE)


def every_method() -> list[tuple[str, bool]]:
    files: list[Any] = [task_service_pb2, schedule_service_pb2, queue_service_pb2, model_service_pb2]
    return [
        (f"/{service.full_name}/{method.name}", method.server_streaming)
        for file in files
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    ]


@pytest.mark.parametrize(("method", "streaming"), every_method())
@pytest.mark.parametrize("key", ["", "wrong"])
async def test_no_method_answers_whoever_has_no_key(
    guarded: System, method: str, streaming: bool, key: str
) -> None:
    make: Any = guarded.channel.unary_stream if streaming else guarded.channel.unary_unary
    metadata = (("x-api-key", key),) if key else ()
    code, _ = await guarded.failure(make(method)(b"", timeout=5, metadata=metadata))
    assert code is grpc.StatusCode.UNAUTHENTICATED


async def test_health_is_open_to_all(guarded: System) -> None:
    stub: Any = health_pb2_grpc.HealthStub(guarded.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_key_makes_its_tenants_tasks_and_sees_no_others(guarded: System) -> None:
    async with client(guarded, ACME) as acme, client(guarded, OTHER) as other:
        task = await acme.submit("m", prompt="x")
        assert (await acme.get(task)).id == task.id
        with pytest.raises(NotFound):
            await other.get(task)
        assert [one async for one in other.list()] == []
        records = guarded.store.records
        assert await records.list_ids("acme", "", 10) == [task.id]


async def test_a_key_that_nobody_knows_is_told_so_and_not_why(guarded: System) -> None:
    async with client(guarded, "wrong") as stranger:
        with pytest.raises(Unauthenticated) as raised:
            await stranger.submit("m", prompt="x")
    assert raised.value.reason == "UNAUTHENTICATED"
    assert "wrong" not in raised.value.message


async def test_only_an_operator_pauses_queues(guarded: System) -> None:
    async with client(guarded, ACME) as acme, client(guarded, OPERATOR) as operator:
        with pytest.raises(PermissionDenied):
            await acme.pause(model="m")
        await operator.pause(model="m")
        with pytest.raises(PermissionDenied):
            await acme.resume(model="m")
        await operator.resume(model="m")


async def test_a_tenant_that_floods_does_not_use_up_the_limit_of_another(guarded: System) -> None:
    async with client(guarded, ACME) as acme, client(guarded, OTHER) as other:
        flood = [task_spec("m", prompt="x", priority="critical") for _ in range(500)]
        accepted = await acme.submit_specs(flood)
        assert sum(result.HasField("task") for result in accepted) == 20
        quiet = await other.submit_many([task_spec("m", prompt="x", priority="low") for _ in range(10)])
        assert len(quiet) == 10

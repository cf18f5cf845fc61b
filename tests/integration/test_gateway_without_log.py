"""A gateway that starts while the broker is away: on a real record store, with addresses where nobody listens."""

from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from forebay.tasks.v1 import task_service_pb2, task_service_pb2_grpc
from services.cli.up import ports
from services.connections import (
    BrokerSettings,
    QueueSettings,
    RedisSettings,
    RetentionSettings,
    TelemetrySettings,
)
from services.gateway import log_opening
from services.gateway.app import build
from services.gateway.settings import GatewaySettings
from tests.integration.gateway import prompt


@pytest.mark.parametrize("admin", [True, False], ids=["Apache Pulsar", "embedded"])
async def test_a_gateway_serves_while_the_broker_is_away_and_says_so_to_who_submits(
    admin: bool, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_opening, "START_S", 0.1)
    broker, web = ports.pick("127.0.0.1", 2)
    gateway = build(
        GatewaySettings(listen="127.0.0.1:0", http_listen="127.0.0.1:0", grace_s=1.0),
        redis=RedisSettings(url=valkey_url),
        broker=BrokerSettings(
            url=f"pulsar://127.0.0.1:{broker}",
            admin_url=f"http://127.0.0.1:{web}" if admin else "",
            send_timeout_s=0.5,
        ),
        queues=QueueSettings(),
        retention=RetentionSettings(),
        telemetry=TelemetrySettings(),
    )
    async with gateway as running, grpc.aio.insecure_channel(running.grpc.address) as channel:
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        tasks: Any = task_service_pb2_grpc.TaskServiceStub(channel)
        request = task_service_pb2.SubmitTasksRequest(tasks=[prompt(idempotency_key=f"without log {admin}")])
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await tasks.SubmitTasks(request, timeout=5)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert b"LOG_UNAVAILABLE" in dict(raised.value.trailing_metadata() or ())["grpc-status-details-bin"]
        # It is recorded, and can be read; the sweeper completes it. However often it is repeated, it is one task.
        with pytest.raises(grpc.aio.AioRpcError):
            await tasks.SubmitTasks(request, timeout=5)
        async with aiohttp.ClientSession() as session:
            page = await (await session.get(f"http://{running.http_address}/metrics")).text()
        assert 'forebay_tasks_submitted_total{level="normal"} 1.0' in page
        assert 'forebay_tasks_refused_total{reason="LOG_UNAVAILABLE"} 2.0' in page
        listed = await tasks.ListTasks(task_service_pb2.ListTasksRequest(), timeout=5)
        assert f"without log {admin}" in {task.spec.idempotency_key for task in listed.tasks}

"""A gateway over the ports in memory, with a client over gRPC: shared by the tests of its doors."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import status_pb2

from forebay.tasks.v1 import envelope_pb2, inputs_pb2, task_pb2, task_service_pb2, task_service_pb2_grpc
from observability.metrics import new_registry
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.memory import MemoryStore
from scheduler.adapters.memory.log import MemoryLog
from scheduler.errors import ModelFailed
from scheduler.lanes import Lane
from scheduler.policies.policy import DEFAULT_POLICY, Policy
from scheduler.ports.records import Ending, Lease, OutputChunk, Wanted, Written
from scheduler.states import Level, TaskState
from services.connections import QueueSettings
from services.gateway.app import Gateway, serve
from services.gateway.assembly import Ports
from services.gateway.caching import CacheSettings
from services.gateway.settings import GatewaySettings
from services.lifecycle import CHANNEL_OPTIONS
from services.status import to_status

SUCCEEDED = task_pb2.TASK_STATE_SUCCEEDED


@dataclass
class System:
    """A gateway, what stands behind it, and a client."""

    gateway: Gateway
    store: MemoryStore
    log: MemoryLog
    tasks: Any
    """A stub of TaskService."""
    channel: grpc.aio.Channel

    async def submit(self, *specs: task_pb2.TaskSpec) -> list[str]:
        request = task_service_pb2.SubmitTasksRequest(tasks=specs)
        response = await self.tasks.SubmitTasks(request, timeout=5)
        assert all(result.HasField("task") for result in response.results), response
        return [result.task.id for result in response.results]

    async def lease(self, *ids: str) -> None:
        replies = await self.store.records.lease([Wanted(task_id, 1) for task_id in ids], "runner-1", 60_000)
        assert all(reply.verdict is Lease.GRANTED for reply in replies)

    async def finish(
        self, *ids: str, state: TaskState = TaskState.SUCCEEDED, text: str = "", last: bytes = b""
    ) -> None:
        result = task_pb2.Result(generate=inputs_pb2.GenerateOutput(text=text)).SerializeToString()
        error = to_status(ModelFailed("it failed")).SerializeToString()
        endings = [
            Ending(task_id, 1, state, result=result, last_output=last)
            if state is TaskState.SUCCEEDED
            else Ending(task_id, 1, state, error=error, last_output=last)
            for task_id in ids
        ]
        assert set(await self.store.records.finish(endings)) == {Written.WRITTEN}

    async def write(self, task_id: str, *texts: str) -> None:
        records = self.store.records
        for text in texts:
            payload = task_service_pb2.StreamOutputResponse(text=text).SerializeToString()
            written = await records.output(task_id, 0, 10_000)
            after = written[-1][0] if written else 0
            assert all(await records.append_output([OutputChunk(task_id, 1, payload, after)]))

    async def failure(self, call: Any) -> tuple[grpc.StatusCode, list[Any]]:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            if isinstance(call, grpc.aio.UnaryStreamCall):
                while await call.read() is not grpc.aio.EOF:
                    pass
            else:
                await call
        raw = dict(raised.value.trailing_metadata() or ())["grpc-status-details-bin"]
        assert isinstance(raw, bytes)
        return raised.value.code(), list(status_pb2.Status.FromString(raw).details)


def ports_of(store: MemoryStore, log: MemoryLog) -> Ports:
    return Ports(
        admissions=store.records,
        queries=store.records,
        follow_ups=store.follow_ups,
        dead_letters=store.dead_letters,
        schedules=store.schedules,
        pauses=store.pauses,
        policies=store.policies,
        wanted_models=store.wanted_models,
        lines=store.lines,
        keys=store.keys,
        events=store.events,
        membership=store.membership,
        log=log.publisher(),
        time=store.time,
        clock=SystemClock(),
    )


@asynccontextmanager
async def running(
    store: MemoryStore | None = None,
    log: MemoryLog | None = None,
    settings: GatewaySettings | None = None,
    ports: Ports | None = None,
    policy: Policy = DEFAULT_POLICY,
    cache: CacheSettings | None = None,
) -> AsyncIterator[System]:
    store = store or MemoryStore(SystemClock())
    log = log or MemoryLog()
    ports = ports or ports_of(store, log)
    settings = settings or GatewaySettings(
        listen="127.0.0.1:0", http_listen="127.0.0.1:0", grace_s=2.0, secret="s" * 32
    )
    async with (
        serve(settings, QueueSettings(), ports, new_registry(), policy, cache or CacheSettings()) as gateway,
        grpc.aio.insecure_channel(gateway.grpc.address, options=CHANNEL_OPTIONS) as channel,
    ):
        stub: Any = task_service_pb2_grpc.TaskServiceStub(channel)
        yield System(gateway, store, log, stub, channel)


def prompt(text: str = "hello", **fields: Any) -> task_pb2.TaskSpec:
    return task_pb2.TaskSpec(model="smollm2", generate=inputs_pb2.GenerateInput(prompt=text), **fields)


def tensor(**fields: Any) -> task_pb2.TaskSpec:
    one = inputs_pb2.Tensor(name="x", datatype="FP32", shape=[1, 2], raw=bytes(8))
    return task_pb2.TaskSpec(model="add", tensors=inputs_pb2.TensorInput(tensors=[one]), **fields)


def watch(ids: Sequence[str], *, include_result: bool = False) -> task_service_pb2.WatchTasksRequest:
    return task_service_pb2.WatchTasksRequest(
        tasks=task_service_pb2.TaskIds(ids=ids), include_result=include_result
    )


async def everything(call: Any) -> list[task_pb2.Task]:
    found: list[task_pb2.Task] = []
    while (response := await call.read()) is not grpc.aio.EOF:
        found += response.tasks
    return found


def parked(log: MemoryLog, pool: str = "default") -> list[envelope_pb2.Publication]:
    return [
        publication
        for payload in log.parked.get(pool, ())
        for publication in envelope_pb2.Bundle.FromString(payload).publications
    ]


def published(log: MemoryLog) -> list[envelope_pb2.Publication]:
    found: list[envelope_pb2.Publication] = []
    for level in Level:
        for index in range(8):
            for message in log.partition(Lane("default", level, index)).waiting:
                assert message.properties["forebay-bundle"] == "1"
                found.extend(envelope_pb2.Bundle.FromString(message.payload).publications)
    return found


# --- submitting ----------------------------------------------------------------------------------------------------

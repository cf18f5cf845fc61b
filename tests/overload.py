"""Offers a system more than it can do, and measures what becomes of it: shared by the fault test and the benchmark.

The load is open: calls of one task each begin by the clock, whether or not earlier ones were answered, as those of many
clients do. Beside them an empty call (health) is made again and again: what it takes on this machine at this moment
is what any answer takes at least.
"""

import asyncio
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import grpc
import grpc.aio
import numpy as np
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from forebay.client import AsyncClient, task_spec
from forebay.client.errors import from_rpc, from_status
from forebay.tasks.v1.task_pb2 import TaskSpec
from forebay.tasks.v1.task_service_pb2 import SubmitTasksRequest
from forebay.tasks.v1.task_service_pb2_grpc import TaskServiceStub

LEVELS: Final = ("critical", "high", "normal", "low")
TICK_S: Final = 0.01
PROBE_S: Final = 0.02
SAMPLE_S: Final = 0.5
MEASURED_S: Final = 4.0
MOST_IN_FLIGHT: Final = 1000
"""Calls that wait for an answer; beyond them the load would measure the client."""


@dataclass(slots=True)
class Tally:
    """What was offered and seen."""

    offered: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LEVELS, 0))
    accepted: dict[str, list[str]] = field(default_factory=lambda: {level: [] for level in LEVELS})
    """Ids, in the order of their answers."""
    refused: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LEVELS, 0))
    refusals_s: list[float] = field(default_factory=list)
    """What each refusal took, from the call to the answer."""
    hints_s: list[float] = field(default_factory=list)
    """When refused tasks were told to come back."""
    empty_s: list[float] = field(default_factory=list)
    """What empty calls took in the same seconds."""
    depths: list[int] = field(default_factory=list)
    """Tasks that waited, twice a second."""
    rss_mb: list[float] = field(default_factory=list)
    """Memory of the gateway, twice a second."""
    unforeseen: list[str] = field(default_factory=list)
    """Answers that are neither."""

    def ids(self) -> list[str]:
        """Return the ids of everything that was accepted."""
        return [id_ for ids in self.accepted.values() for id_ in ids]

    def refused_share(self, level: str) -> float:
        """Return which part of what was offered of a level was refused."""
        return self.refused[level] / max(1, self.offered[level])


def percentile_ms(seconds: Sequence[float], share: float) -> float:
    """Return a percentile of durations in milliseconds."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else 0.0


def work(turns: int, level: str, number: int) -> TaskSpec:
    """Make a task of the model `countdown`, with a key of its own, as the client library makes them."""
    return task_spec(
        "countdown",
        tensors={"turns": np.array([turns + number % 7], np.int64)},
        priority=level,
        idempotency_key=f"auto-{secrets.token_urlsafe(16)}/0",
    )


async def capacity(address: str, gateway: psutil.Process, *, per_s: float, turns: int, line: int) -> float:
    """Return how many such tasks a second the system does, at most `line` of which may wait: where more is offered
    than it can do, it lets in what fills the line, and from then on as many as it does.
    """
    tally = await flood(address, gateway, per_s=per_s, seconds=MEASURED_S, turns=turns)
    assert sum(tally.refused.values()), f"{per_s:g} tasks a second are not too much for it"
    return max(1.0, (len(tally.ids()) - line) / MEASURED_S)


async def flood(address: str, gateway: psutil.Process, *, per_s: float, seconds: float, turns: int) -> Tally:
    """Offer so many tasks a second of all levels alike, and measure."""
    tally = Tally()
    async with (
        grpc.aio.insecure_channel(address) as channel,
        grpc.aio.insecure_channel(address) as other,
        AsyncClient(address) as client,
        asyncio.TaskGroup() as group,
    ):
        stub: Any = TaskServiceStub(channel)
        health: Any = health_pb2_grpc.HealthStub(other)
        await asyncio.gather(channel.channel_ready(), other.channel_ready())
        beside = [
            group.create_task(_probe(health, tally)),
            group.create_task(_sample(client, gateway, tally)),
        ]
        calls: set[asyncio.Task[None]] = set()
        numbers = count()
        began = time.perf_counter()
        while (passed := time.perf_counter() - began) < seconds:
            due = int(passed * per_s) - sum(tally.offered.values())
            for _ in range(min(due, MOST_IN_FLIGHT - len(calls))):
                number = next(numbers)
                level = LEVELS[number % len(LEVELS)]
                tally.offered[level] += 1
                call = group.create_task(_offer(stub, work(turns, level, number), level, tally))
                calls.add(call)
                call.add_done_callback(calls.discard)
            await asyncio.sleep(TICK_S)
        await asyncio.gather(*calls)
        for one in beside:
            one.cancel()
    return tally


async def _offer(stub: Any, spec: TaskSpec, level: str, tally: Tally) -> None:
    request = SubmitTasksRequest(tasks=[spec])
    began = time.perf_counter()
    try:
        answer = await stub.SubmitTasks(request, timeout=30)
    except grpc.aio.AioRpcError as error:
        took_s = time.perf_counter() - began
        known = from_rpc(error, "the gateway")
        if known.reason == "QUOTA_EXCEEDED" and known.violations and known.retry_after_s is not None:
            tally.refused[level] += 1
            tally.refusals_s.append(took_s)
            tally.hints_s.append(known.retry_after_s)
        else:
            tally.unforeseen.append(f"{known.reason or known.code.name}: {known.message}")
        return
    [result] = answer.results
    if result.HasField("task"):
        tally.accepted[level].append(result.task.id)
    else:
        tally.unforeseen.append(str(from_status(result.error)))


async def _probe(health: Any, tally: Tally) -> None:
    while True:
        with _timed(tally.empty_s):
            await health.Check(health_pb2.HealthCheckRequest(), timeout=30)
        await asyncio.sleep(PROBE_S)


async def _sample(client: AsyncClient, gateway: psutil.Process, tally: Tally) -> None:
    while True:
        tally.depths.append(sum(queue.depth for queue in await client.queues()))
        tally.rss_mb.append(gateway.memory_info().rss / 1e6)
        await asyncio.sleep(SAMPLE_S)


@contextmanager
def _timed(seconds: list[float]) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds.append(time.perf_counter() - began)

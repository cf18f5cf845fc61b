"""How long "why is it waiting?" takes anywhere in a long backlog: ExplainTask through client and gateway.

    python -m benchmarks.bench_explain [--tasks 1000000] [--calls 200] [--tenants 20] [--models 5]

Starts a record store of its own and fills it with QUEUED tasks of several tenants, models and levels, as gateways
record them; a gateway in this process answers, and a scheduler's view is announced as a scheduler would. Nothing runs
meanwhile. Also printed: ListQueues over the same backlog.
"""

import argparse
import asyncio
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import uvloop
from redis.asyncio import Redis

from benchmarks.machine import print_header
from forebay.client import AsyncClient
from forebay.dispatch.v1.scheduler_view_pb2 import SchedulerView
from forebay.tasks.v1 import task_pb2
from forebay.tasks.v1.envelope_pb2 import Envelope
from observability.metrics import new_registry
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.memory.log import MemoryLog
from scheduler.adapters.redis import (
    RedisAdmission,
    RedisDeadLetters,
    RedisEvents,
    RedisFollowUps,
    RedisKeys,
    RedisLines,
    RedisMembership,
    RedisPauses,
    RedisPolicies,
    RedisQueries,
    RedisSchedules,
    RedisStoreTime,
    RedisWantedModels,
    connect,
)
from scheduler.ids import PARTITIONS, new_ids
from scheduler.ports.membership import VIEW_ROLE
from scheduler.ports.records import NewTask
from scheduler.states import Level
from services.connections import QueueSettings
from services.embedded import valkey
from services.gateway.app import serve
from services.gateway.assembly import Ports
from services.gateway.settings import GatewaySettings

BATCH: Final = 500
AT_ONCE: Final = 4
ASKER: Final = "tenant-0"


async def fill(client: Redis, options: argparse.Namespace, draw: random.Random) -> list[str]:
    """Record the backlog; returns the ids of the asking tenant's tasks."""
    admission = RedisAdmission(client)
    asked: list[str] = []
    batches = iter(range(options.tasks // BATCH))

    async def write() -> None:
        for number in batches:
            tasks = [_task(task_id, options, draw) for task_id in _ids(number)]
            _, tickets = await admission.create(tasks)
            await admission.mark_published(tickets)
            asked.extend(task.id for task in tasks if task.tenant == ASKER)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(write())
    return asked


def _ids(number: int) -> list[str]:
    return new_ids(number % PARTITIONS, BATCH, time.time_ns() // 1_000_000)


def _task(task_id: str, options: argparse.Namespace, draw: random.Random) -> NewTask:
    tenant = f"tenant-{draw.randrange(options.tenants)}"
    model = f"model-{draw.randrange(options.models)}"
    level = draw.choice(list(Level))
    priority = task_pb2.Priority.ValueType(level)
    spec = task_pb2.TaskSpec(model=model, priority=priority, labels={"kind": "bench"})
    envelope = Envelope(
        id=task_id,
        tenant=tenant,
        spec=spec.SerializeToString(),
        model=model,
        priority=priority,
        pool="default",
        max_attempts=3,
    )
    return NewTask(task_id, tenant, "default", level, envelope.SerializeToString(), 3, model=model)


async def announce(client: Redis, options: argparse.Namespace) -> None:
    """Show a scheduler with two runners of each model, all full, and the costs of 256 contexts."""
    view = SchedulerView(member="s1", time_ms=1)
    pool = view.pools.add(pool="default")
    for number in range(options.models):
        model = pool.models.add(model=f"model-{number}", runners=2, slots=2, credit=64)
        for tenant in range(options.tenants):
            model.uses.add(priority=task_pb2.PRIORITY_NORMAL, tenant=f"tenant-{tenant}", tasks=3)
        for tenant in range(min(options.tenants, 250 // options.models)):
            pool.costs.add(
                model=f"model-{number}", tenant=f"tenant-{tenant}", work_ms=20, execute_ms=20, spread=1.5
            )
        pool.costs.add(model=f"model-{number}", work_ms=20, execute_ms=20, spread=1.5)
    card = view.SerializeToString()
    await RedisMembership(client).announce(VIEW_ROLE, "s1", card, 3_600_000)
    print(f"view: {len(card)} bytes")


async def timed(name: str, calls: Sequence[Callable[[], Awaitable[object]]]) -> None:
    """Make calls one after another and print how long they took."""
    taken_ms = []
    for call in calls:
        began = time.perf_counter()
        await call()
        taken_ms.append(1000 * (time.perf_counter() - began))
    taken_ms.sort()
    p50, p99 = taken_ms[len(taken_ms) // 2], taken_ms[min(len(taken_ms) - 1, int(len(taken_ms) * 0.99))]
    print(f"{name}: {len(calls)} calls, p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {taken_ms[-1]:.1f} ms")


async def measure(url: str, options: argparse.Namespace) -> None:
    """Fill, serve, ask."""
    draw = random.Random(options.seed)
    client = connect(url, timeout_s=10.0)
    began = time.perf_counter()
    asked = await fill(client, options, draw)
    memory = (await client.info("memory"))["used_memory"]
    print(
        f"{options.tasks:,} tasks in {time.perf_counter() - began:.0f} s, {memory / options.tasks:.0f} bytes each"
    )
    await announce(client, options)
    ports = Ports(
        admissions=RedisAdmission(client),
        queries=RedisQueries(client),
        follow_ups=RedisFollowUps(client),
        dead_letters=RedisDeadLetters(client),
        schedules=RedisSchedules(client),
        pauses=RedisPauses(client),
        policies=RedisPolicies(client),
        wanted_models=RedisWantedModels(client),
        lines=RedisLines(client),
        keys=RedisKeys(client),
        events=RedisEvents(client),
        membership=RedisMembership(client),
        log=MemoryLog().publisher(),
        time=RedisStoreTime(client),
        clock=SystemClock(),
    )
    settings = GatewaySettings(listen="127.0.0.1:0", http_listen="127.0.0.1:0", tenant=ASKER, grace_s=1.0)
    async with (
        serve(settings, QueueSettings(), ports, new_registry()) as gateway,
        AsyncClient(gateway.grpc.address) as sdk,
    ):
        chosen = [draw.choice(asked) for _ in range(options.calls)]
        found = await sdk.explain(chosen[0])
        print(found.summary)
        await timed("ExplainTask", [lambda one=one: sdk.explain(one) for one in chosen])  # type: ignore[misc]
        await timed("ListQueues", [sdk.queues] * (options.calls // 4))
    await client.aclose()


def main() -> None:
    """Start a record store, measure, take everything away."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--tenants", type=int, default=20)
    parser.add_argument("--models", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print_header("Why is it waiting?")
    folder = Path(tempfile.mkdtemp(prefix="forebay-"))
    socket = folder / "v.sock"
    server = subprocess.Popen(valkey.command(folder, socket), stdout=subprocess.DEVNULL)
    try:
        asyncio.run(valkey.wait_ready(socket, 10.0))
        uvloop.run(measure(valkey.address(socket), options))
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

"""Cost of the record store for each task: CPU of the server and of this client, script by script.

    python -m benchmarks.bench_records [--tasks 20000] [--followers 2] [--server-options name=value …]

Starts a server of its own. Every task has an envelope of 250 bytes and a result of 40 bytes, as a tiny tensor task
has; all tasks of a call are in one partition.
"""

import argparse
import asyncio
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import uvloop
from redis.asyncio import Redis

from scheduler.adapters.redis import (
    RedisAdmission,
    RedisEvents,
    RedisLeases,
    RedisOutcomes,
    RedisQueries,
    connect,
)
from scheduler.ids import PARTITIONS, new_ids
from scheduler.ports.records import Ending, Hold, NewTask, Wanted
from scheduler.states import Level, TaskState
from services.embedded import valkey


def client_cpu_s() -> float:
    """Return the CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Meter:
    """Measures steps: server CPU, client CPU and wall time for each task."""

    def __init__(self, pid: int) -> None:
        self._server = psutil.Process(pid)
        self.totals = [0.0, 0.0, 0.0]

    def _server_cpu_s(self) -> float:
        times = self._server.cpu_times()
        return float(times.user + times.system)

    async def step(
        self, name: str, tasks: int, batches: Sequence[Any], call: Callable[[Any], Awaitable[Any]]
    ) -> None:
        """Run a call for each batch, one after another, and print the cost of a task."""
        before = (self._server_cpu_s(), client_cpu_s(), time.perf_counter())
        for batch in batches:
            await call(batch)
        after = (self._server_cpu_s(), client_cpu_s(), time.perf_counter())
        figures = [(b - a) / tasks * 1e6 for a, b in zip(before, after, strict=True)]
        self.totals = [total + figure for total, figure in zip(self.totals, figures, strict=True)]
        print(f"  {name:<16} valkey {figures[0]:6.1f}  client {figures[1]:6.1f}  wall {figures[2]:6.1f}")


async def follow(client: Redis, ready: asyncio.Event) -> None:
    """Read every change, as a scheduler and a gateway do."""
    async for _ in RedisEvents(client).changes():
        ready.set()


async def measure(url: str, pid: int, tasks: int, size: int, followers: int) -> None:
    """Take tasks through their whole life in batches of a size, while others follow what happens."""
    client = connect(url, timeout_s=10.0)
    await client.flushall()
    async with asyncio.TaskGroup() as group:
        following = []
        for _ in range(followers):
            ready = asyncio.Event()
            following.append(group.create_task(follow(client, ready)))
            await ready.wait()
        await life(client, pid, tasks, size)
        for follower in following:
            follower.cancel()
    await client.aclose()


async def life(client: Redis, pid: int, tasks: int, size: int) -> None:
    """Create, lease, finish and read."""
    admission, leases, outcomes = RedisAdmission(client), RedisLeases(client), RedisOutcomes(client)
    queries = RedisQueries(client)
    envelope, result = os.urandom(250), os.urandom(40)
    now_ms = time.time_ns() // 1_000_000
    batches: list[list[NewTask]] = []
    for number in range(tasks // size):
        ids = new_ids(number % PARTITIONS, size, now_ms)
        batches.append([NewTask(i, "bench", "default", Level.NORMAL, envelope, 3, model="tiny") for i in ids])
    wanted = [[Wanted(task.id, 1) for task in batch] for batch in batches]
    holds = [[Hold(task.id, 1) for task in batch] for batch in batches]
    endings = [[Ending(task.id, 1, TaskState.SUCCEEDED, result) for task in batch] for batch in batches]
    ids_of = [[task.id for task in batch] for batch in batches]
    tickets: list[Any] = []

    async def create(batch: list[NewTask]) -> None:
        tickets.append((await admission.create(batch))[1])

    print(f"batches of {size}, µs for each task:")
    meter = Meter(pid)
    await meter.step("create", tasks, batches, create)
    await meter.step("lease", tasks, wanted, lambda batch: leases.lease(batch, "runner-1", 10_000))
    await meter.step("finish", tasks, endings, outcomes.finish)
    print("  {:<16} valkey {:6.1f}  client {:6.1f}  wall {:6.1f}".format("= the hot three", *meter.totals))
    await meter.step("mark_published", tasks, tickets, admission.mark_published)
    await meter.step("renew (refused)", tasks, holds, lambda batch: leases.renew(batch, 10_000))
    await meter.step("get with result", tasks, ids_of, lambda batch: queries.get(batch, True))
    memory = await client.info("memory")
    print(f"  memory for each task: {memory['used_memory'] / tasks:.0f} bytes")


def main() -> None:
    """Start a server, measure, take everything away."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--followers", type=int, default=0, help="readers of the event feed, in this process")
    parser.add_argument("--server-options", nargs="*", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    print(f"# {platform.platform()}, {os.cpu_count()} cores, python {platform.python_version()}")
    print(f"# {' '.join(sys.argv)}")
    folder = Path(tempfile.mkdtemp(prefix="forebay-"))
    socket = folder / "v.sock"
    more = [
        word for pair in options.server_options for word in ("--" + pair.split("=")[0], pair.split("=")[1])
    ]
    server = subprocess.Popen([*valkey.command(folder, socket), *more], stdout=subprocess.DEVNULL)
    try:
        asyncio.run(valkey.wait_ready(socket, 10.0))
        for size in (100, 10):
            uvloop.run(measure(valkey.address(socket), server.pid, options.tasks, size, options.followers))
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

"""The log, the records and the processes of a running system, reached past its front door.

What is sent twice and what is damaged in these tests goes through the adapters of the product.
"""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import psutil

from forebay.client import AsyncClient, DeadLetter, RetryPolicy, TaskInfo, TaskState, Unavailable
from forebay.tasks.v1.task_pb2 import TaskSpec
from scheduler.adapters.pulsar import PulsarPublisher, PulsarReader
from scheduler.adapters.redis import RedisQueries, connect
from scheduler.lanes import Lane, queue_lanes, tenant_lanes
from scheduler.ports.log import Kept
from scheduler.ports.records import Record
from scheduler.states import Level
from services.connections import BrokerSettings, QueueSettings
from services.embedded import valkey
from services.gateway.settings import GatewaySettings
from tests.fault.conftest import SCALE
from tests.fault.history import History
from tests.fault.kinds import add
from tests.system import System

ROUNDS: Final = range(SCALE)
"""How often each test is made, every time with another seed."""
NAMESPACE: Final = BrokerSettings().namespace
BACK_S: Final = 30.0
LOOK_S: Final = 0.02
BOTTOM: Final = b"\xff\xfe the last message"
"""A message that nobody can read: its burial tells that everything before it on its lane was taken in."""


def broker_url(system: System) -> str:
    """Return the address of the embedded broker."""
    return system.wait_line(r"^log +pulsar://", 1).split()[1]


def own_lanes(level: Level = Level.NORMAL) -> list[Lane]:
    """Return the lanes of a level that the gateway puts its tenant's tasks on."""
    indexes = tenant_lanes(GatewaySettings().tenant, QueueSettings().lanes)
    return [Lane("default", level, index) for index in indexes]


def every_lane() -> list[Lane]:
    """Return all lanes that there are."""
    return [lane for level in Level for lane in queue_lanes("default", level, QueueSettings().lanes)]


@asynccontextmanager
async def publisher(system: System) -> AsyncIterator[PulsarPublisher]:
    """Open a publisher of one's own."""
    opened = PulsarPublisher(broker_url(system), NAMESPACE, timeout_s=5.0)
    try:
        yield opened
    finally:
        await opened.close()


async def kept(system: System, lanes: Sequence[Lane]) -> list[tuple[Lane, Kept]]:
    """Return every message that these lanes keep, acknowledged or not."""
    reader = PulsarReader(broker_url(system), NAMESPACE, readers=False, timeout_s=5.0)
    try:
        return [(lane, message) for lane in lanes async for message in reader.lane(lane)]
    finally:
        await reader.close()


async def record_of(system: System, task_id: str) -> Record:
    """Return a task as the record store has it, its envelope included."""
    client = connect(valkey.address(system.data / "valkey.sock"), timeout_s=5.0)
    try:
        [record] = await RedisQueries(client).get([task_id], False)
    finally:
        await client.aclose()
    assert record is not None, f"there is no record of {task_id}"
    return record


async def only_recorded(system: System, client: AsyncClient, specs: Sequence[TaskSpec]) -> list[Record]:
    """Submit tasks with keys in a call that is cut off: they are recorded, and the log has nothing of them. Return the
    records in the order of the tasks.

    Gateway and broker die of it and are back. The sweeper must have been told to leave such tasks alone.
    """

    async def cut_off() -> None:
        async with AsyncClient(system.grpc, retry=RetryPolicy(attempts=1)) as hasty:
            with contextlib.suppress(Unavailable):
                await hasty.submit_many(specs)
                raise AssertionError("it was answered")

    keys = [spec.idempotency_key for spec in specs]
    lite = system.pid("pulsar-lite")
    with frozen(lite):
        async with asyncio.TaskGroup() as group:
            group.create_task(cut_off())
            found: dict[str, str] = {}
            async with asyncio.timeout(BACK_S):
                while not found.keys() >= set(keys):
                    listed = [info async for info in client.list()]
                    found = {info.spec.idempotency_key: info.id for info in listed if info.spec}
                    await asyncio.sleep(LOOK_S)
            printed = system.kill("gateway")
        os.kill(lite, signal.SIGKILL)
    await back(system, "pulsar-lite", printed)
    await back(system, "gateway", printed)
    return [await record_of(system, found[key]) for key in keys]


def stop(pid: int) -> None:
    """SIGSTOP a process; returns when none of its threads runs any more."""
    os.kill(pid, signal.SIGSTOP)
    process = psutil.Process(pid)
    while True:
        threads = [thread.id for thread in process.threads()] if psutil.LINUX else [pid]
        if all(psutil.Process(thread).status() == psutil.STATUS_STOPPED for thread in threads):
            return
        time.sleep(0.001)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a process for as long as the block lasts; one that was killed meanwhile stays dead."""
    stop(pid)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


async def killed(system: System, name: str) -> None:
    """SIGKILL a child of `up` and wait until it is ready again."""
    await back(system, name, system.kill(name))


async def back(system: System, name: str, printed: int) -> None:
    """Wait until a child of `up` is ready that was killed when so many lines had been printed."""
    await asyncio.to_thread(system.wait_line, rf"^{name} +ready after", BACK_S, after=printed)


async def until_seen(history: History, tasks: int) -> None:
    """Wait until that many tasks were seen in some state."""
    async with asyncio.timeout(BACK_S):
        while len(history.changes) < tasks:
            await history._next_change()


async def logged(system: System, name: str, event: str, times: int = 1) -> None:
    """Wait until a child of `up` has written an event, which begins so, that many times to its log."""
    path = system.data / "logs" / f"{name}.log"
    async with asyncio.timeout(BACK_S):
        while True:
            lines = path.read_text(errors="replace").splitlines()
            events = [json.loads(line)["event"] for line in lines if line.startswith("{")]
            if sum(one.startswith(event) for one in events) >= times:
                return
            await asyncio.sleep(LOOK_S)


async def letters(client: AsyncClient) -> list[DeadLetter]:
    """Return all dead letters, unreadable messages included."""
    return [letter async for letter in client.dead_letters.list()]


async def unreadable(client: AsyncClient) -> list[bytes]:
    """Return the bytes of all messages that nobody could read, but for those that `drained` made."""
    whole = [await client.dead_letters.get(letter.id) for letter in await letters(client) if letter.topic]
    return [letter.raw for letter in whole if not letter.raw.startswith(BOTTOM)]


async def drained(system: System, client: AsyncClient, lanes: Sequence[Lane], mark: str) -> None:
    """Wait until the scheduler has dealt with everything that is on these lanes by now; `mark` is used once."""
    bottom = BOTTOM + mark.encode()
    async with publisher(system) as log:
        for lane in lanes:
            await log.publish(lane, bottom, {})
    topics = {f"tasks.{lane.pool}.{lane.level.label}-partition-{lane.index}" for lane in lanes}
    async with asyncio.timeout(BACK_S):
        while topics:
            for letter in await letters(client):
                if letter.topic in topics and (await client.dead_letters.get(letter.id)).raw == bottom:
                    topics.remove(letter.topic)
            await asyncio.sleep(LOOK_S)
    # The window is first in, first out: what was taken in before has been leased or found stale when these end.
    levels = {lane.level.label for lane in lanes}
    last = [add(priority=level) for level in sorted(levels)]
    for info in await client.wait_many(await client.submit_many(last), BACK_S):
        assert info.state is TaskState.SUCCEEDED, info.error


def unmoved(before: TaskInfo, after: TaskInfo) -> bool:
    """Whether nothing about a task has changed that anybody can see."""

    def seen(info: TaskInfo) -> tuple[object, ...]:
        answer = {name: array.tolist() for name, array in info.tensors.items()} if info.result else None
        error = (info.error.reason, info.error.message) if info.error else None
        counts = info.attempt, info.publication, info.uncharged_attempts
        times = info.create_time, info.queue_time, info.start_time, info.end_time
        return info.state, counts, times, info.runner, info.events, answer, error

    return seen(before) == seen(after)

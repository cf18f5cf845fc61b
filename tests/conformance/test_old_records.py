"""Records whose queue has neither tenant nor model, as they were written before there were lines, go on and end."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from scheduler.adapters.redis import connect
from scheduler.adapters.redis.partitions import index_name
from scheduler.ports.lines import Line
from scheduler.ports.records import Ending, Hold, NewTask, Update, Updated, Wanted
from scheduler.states import Level, TaskState
from tests.conformance.line_truth import check_lines
from tests.conformance.stores import FAR_MS, PARTITION, Store, new_tasks, redis_store

PREFIX = f"fb:{{{PARTITION:02d}}}:"


@pytest.fixture
async def client(valkey_url: str) -> AsyncIterator[Redis]:
    client = connect(valkey_url, timeout_s=5.0)
    try:
        await client.flushall()
        yield client
    finally:
        await client.aclose()


async def write_old(client: Redis, tasks: list[NewTask]) -> None:
    """Write QUEUED records as they were."""
    now_ms = await redis_store(client).now_ms() - 1_000
    await client.hset(f"{PREFIX}tenants", "acme", index_name("acme"))
    for task in tasks:
        packed = f"3,0,1,0,0,{task.max_attempts},{task.deadline_ms},default.3;3{now_ms}"
        await client.hset(f"{PREFIX}t:{task.id}", mapping={"v": packed, "t": "acme", "e": task.envelope})
        await client.hincrby(f"{PREFIX}q", "default.3.queued", 1)
        if task.deadline_ms:
            await client.zadd(f"{PREFIX}deadlines", {task.id: task.deadline_ms})


def old_line(*numbers: int) -> Line:
    return Line("default", Level.NORMAL, "", "", *numbers)


async def test_they_are_counted_without_tenant_and_model(client: Redis) -> None:
    store = redis_store(client)
    await write_old(client, new_tasks(2))
    [new] = new_tasks(1)
    await store.add(new)
    assert list(await store.lines.lines()) == [
        old_line(2, 0, 0),
        Line("default", Level.NORMAL, "acme", "add", 1, 0, 0),
    ]
    [count] = await store.queries.queue_counts()
    assert (count.pool, count.level, count.queued) == ("default", Level.NORMAL, 3)


async def test_they_are_leased_given_back_changed_and_end(client: Redis) -> None:
    store = redis_store(client)
    tasks = new_tasks(4)
    await write_old(client, tasks)
    await store.leases.lease([Wanted(task.id, 1) for task in tasks[:2]], "runner-1", 60_000)
    await store.outcomes.finish([Ending(tasks[0].id, 1, TaskState.SUCCEEDED, b"result")])
    assert list(await store.lines.lines()) == [old_line(2, 1, 0)]
    await store.leases.give_back([await _hold(store, tasks[1])])
    change = Update(tasks[2].id, 1, Level.LOW, FAR_MS, 0, b"changed")
    assert (await store.queries.update([change], "acme"))[0] == [Updated.UPDATED]
    assert [(line.level, line.queued) for line in await store.lines.lines()] == [
        (Level.NORMAL, 2),
        (Level.LOW, 1),
    ]
    assert [item.id for item in (await store.sweeps.promote([PARTITION], FAR_MS, {}, 10))[0]] == [tasks[2].id]
    await store.queries.cancel([task.id for task in tasks], "acme", b"", b"")
    assert list(await store.lines.lines()) == []
    await check_lines(client, [task.id for task in tasks])


async def test_their_deadlines_end_them(client: Redis) -> None:
    store = redis_store(client)
    [task] = tasks = new_tasks(1, deadline_ms=1)
    await write_old(client, tasks)
    assert await store.sweeps.expire_deadlines([PARTITION], 10) == [task.id]
    assert list(await store.lines.lines()) == []


async def _hold(store: Store, task: NewTask) -> Hold:
    return Hold(task.id, (await store.read(task.id)).attempt)

"""What the Redis adapters do when the server forgets, dies, hangs and comes back."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from scheduler.adapters.redis import connect, events
from scheduler.errors import RecordsUnavailable
from scheduler.ports.events import TaskChange
from scheduler.ports.records import Admitted, Ending, Written
from scheduler.states import TaskState
from services.embedded import valkey as embedded
from tests.conformance.stores import Store, new_task, new_tasks, redis_store
from tests.fixtures.valkey import ValkeyServer


@pytest.fixture
async def client(valkey_server: ValkeyServer) -> AsyncIterator[Redis]:
    client = connect(valkey_server.url, timeout_s=2.0)
    yield client
    await client.aclose()


@pytest.fixture
def real(client: Redis) -> Store:
    return redis_store(client)


async def test_scripts_that_the_server_forgot_are_loaded_and_only_they_are_repeated(
    real: Store, client: Redis
) -> None:
    tasks = [new_task(partition=number) for number in range(3)]
    await client.script_flush()
    answers, tickets = await real.admission.create(tasks)
    assert [answer.verdict for answer in answers] == [Admitted.CREATED] * 3
    assert len(tickets) == 3
    await client.script_flush()
    assert await real.outcomes.finish([Ending(tasks[0].id, 1, TaskState.SUCCEEDED)]) == [Written.FENCED]
    assert await real.counts() == (3, 0)


async def test_a_dead_server_is_a_typed_error_and_everything_is_there_when_it_is_back(
    real: Store, valkey_server: ValkeyServer
) -> None:
    tasks = new_tasks(50)
    await real.add(*tasks)
    hold = await real.lease(tasks[0].id)
    valkey_server.kill()
    for _ in range(2):
        with pytest.raises(RecordsUnavailable):
            await real.admission.create(new_tasks(1))
    with pytest.raises(RecordsUnavailable):
        await real.membership.members("runner")
    valkey_server.start()
    await embedded.wait_ready(valkey_server.socket, 10.0)
    assert await real.counts() == (49, 1)
    assert await real.leases.renew([hold], 1_000) == [True]
    assert len(await real.queries.list_ids("acme", "", 100)) == 50


async def test_what_was_acknowledged_is_there_after_a_death_however_busy_the_disk_was(
    client: Redis, valkey_server: ValkeyServer
) -> None:
    # A server that syncs by itself does so every second, and holds back meanwhile what it acknowledges.
    number, until_s = 0, time.monotonic() + 1.3
    while time.monotonic() < until_s:
        number += 1
        await client.set("much", bytes(50_000))
        await client.set("last", number)
    valkey_server.kill()
    valkey_server.start()
    await embedded.wait_ready(valkey_server.socket, 10.0)
    assert await client.get("last") == str(number).encode()


async def test_a_feed_survives_the_death_of_the_server_and_says_so(
    real: Store, valkey_server: ValkeyServer
) -> None:
    feed, cancelled = real.events.changes(), real.events.cancellations()
    assert (await anext(feed), await anext(cancelled)) == ([], [])
    valkey_server.kill()
    valkey_server.start()
    await embedded.wait_ready(valkey_server.socket, 10.0)
    assert (await anext(feed), await anext(cancelled)) == ([], [])
    task = new_task()
    await real.start(task)
    await real.queries.cancel([task.id], "acme", b"", b"")
    states: list[str] = []
    while len(states) < 3:
        states += [change.state.name for change in await anext(feed)]
    assert states == ["QUEUED", "RUNNING", "CANCELLED"]
    assert await anext(cancelled) == [task.id]


async def test_a_follower_that_the_server_cut_off_is_told_so(real: Store, client: Redis) -> None:
    feed = real.events.changes()
    await anext(feed)
    await client.client_kill_filter(_type="pubsub")
    assert await anext(feed) == []
    await real.add(new_task())
    assert len(await anext(feed)) == 1


async def test_a_quiet_feed_asks_whether_the_server_is_there_and_loses_nothing(
    real: Store, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "QUIET_S", 0.01)
    feed = real.events.changes()
    await anext(feed)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(_next(feed))
        while [each["cmd"] for each in await client.client_list(_type="pubsub")] != ["ping"]:  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.01)
        task = new_task()
        await real.add(task)
    assert [change.id for change in waiting.result()] == [task.id]


async def test_a_feed_of_a_server_that_is_not_there_yet_begins_when_it_is(
    valkey_server: ValkeyServer,
) -> None:
    valkey_server.kill()
    client = connect(valkey_server.url, timeout_s=2.0)
    try:
        feed = redis_store(client).events.changes()
        async with asyncio.TaskGroup() as group:
            first = group.create_task(_next(feed))
            valkey_server.start()
        assert first.result() == []
    finally:
        await client.aclose()


async def _next(feed: AsyncIterator[list[TaskChange]]) -> list[TaskChange]:
    return await anext(feed)


async def test_a_cancelled_call_never_leaves_its_reply_to_another(real: Store) -> None:
    tasks = new_tasks(40)
    await real.add(*tasks)
    for number, task in enumerate(tasks):
        async with asyncio.TaskGroup() as group:
            call = group.create_task(real.queries.get([tasks[0].id] * 50, include_result=True))
            for _ in range(number % 8):
                await asyncio.sleep(0)
            call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
        assert (await real.read(task.id)).id == task.id


async def test_a_server_that_does_not_answer_is_given_up_in_time(tmp_path: Path) -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = connect(f"redis://127.0.0.1:{port}", timeout_s=0.2)
    store = redis_store(client)
    began = asyncio.get_running_loop().time()
    with pytest.raises(RecordsUnavailable):
        await store.queries.queue_counts()
    assert asyncio.get_running_loop().time() - began < 2.0
    await client.aclose()
    server.close()
    await server.wait_closed()


async def test_many_calls_at_once_share_a_bounded_number_of_connections(real: Store, client: Redis) -> None:
    tasks = new_tasks(200)
    async with asyncio.TaskGroup() as group:
        for task in tasks:
            group.create_task(real.add(task))
    assert await real.counts() == (200, 0)
    assert int((await client.info("clients"))["connected_clients"]) <= 33


async def test_a_call_whose_reply_was_lost_is_not_repeated_by_itself(valkey_server: ValkeyServer) -> None:
    passed: list[bytes] = []

    async def lose_replies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_unix_connection(str(valkey_server.socket))
        async with asyncio.TaskGroup() as group:
            group.create_task(_requests(reader, outer, passed))
            group.create_task(_replies(inner, writer, outer, passed))

    server = await asyncio.start_server(lose_replies, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = connect(f"redis://127.0.0.1:{port}", timeout_s=2.0)
    task = new_task()
    with pytest.raises(RecordsUnavailable):
        await redis_store(client).admission.create([task])
    await client.aclose()
    server.close()
    await server.wait_closed()
    assert sum(b"EVALSHA" in request for request in passed) == 1


async def _requests(reader: asyncio.StreamReader, outer: asyncio.StreamWriter, passed: list[bytes]) -> None:
    while request := await reader.read(1 << 16):
        passed.append(request)
        outer.write(request)
    outer.close()


async def _replies(
    inner: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    outer: asyncio.StreamWriter,
    passed: list[bytes],
) -> None:
    while reply := await inner.read(1 << 16):
        if any(b"EVALSHA" in request for request in passed):
            break
        writer.write(reply)
    writer.close()
    outer.close()


def test_the_servers_socket_is_for_its_owner_only(valkey_server: ValkeyServer) -> None:
    assert valkey_server.socket.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "refusal",
    [
        "BUSY Valkey is busy running a script",
        "CLUSTERDOWN The cluster is down",
        "LOADING the dataset is being loaded",
        "MASTERDOWN Link with MASTER is down",
        "MISCONF errors writing to the disk",
        "NOREPLICAS Not enough good replicas to write.",
        "OOM command not allowed when used memory > 'maxmemory'.",
        "READONLY You can't write against a read only replica.",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "UNKILLABLE the script has written",
    ],
)
async def test_a_server_that_refuses_for_its_own_state_is_unavailable(refusal: str) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            asked = b"EVALSHA" in data
            writer.write(f"-{refusal}\r\n".encode() if asked else b"+OK\r\n" * data.count(b"*"))
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        client = connect(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout_s=2.0)
        with pytest.raises(RecordsUnavailable, match=r"refuses writes|BusyLoading"):
            await redis_store(client).membership.members("runner")
        await client.aclose()

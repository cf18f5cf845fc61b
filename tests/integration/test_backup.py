"""Backup and restore on a real store."""

import asyncio
from pathlib import Path
from typing import cast

import pytest
from redis.asyncio import Redis

from scheduler.adapters.redis import RedisAdmission, RedisQueries, connect
from scheduler.ids import new_ids
from scheduler.ports.records import NewTask
from scheduler.states import Level, TaskState
from services.embedded import valkey as embedded
from services.recovery import copies
from services.recovery.archive import ArchiveUnusable
from services.recovery.snapshot import LARGE, StoreNotEmpty
from tests.fixtures.valkey import ValkeyServer

NOW_MS = 1_700_000_000_000


async def contents(client: Redis) -> dict[bytes, object]:
    """Return all keys with values, whatever their kinds."""
    found: dict[bytes, object] = {}
    # Decoding is off, which the types of the library cannot know.
    keys: list[bytes] = sorted(cast("list[bytes]", await client.keys("*")))
    for key in keys:
        kind = cast("bytes", await client.type(key)).decode()
        match kind:
            case "hash":
                found[key] = await client.hgetall(key)
            case "set":
                found[key] = await client.smembers(key)
            case "zset":
                found[key] = await client.zrange(key, 0, -1, withscores=True)
            case "stream":
                found[key] = await client.xrange(key)
            case _:
                found[key] = await client.get(key)
    return found


@pytest.fixture
def url(valkey_server: ValkeyServer) -> str:
    return embedded.address(valkey_server.socket)


async def test_a_restored_store_has_every_key_value_and_life(url: str, tmp_path: Path) -> None:
    client = connect(url, timeout_s=10.0)
    try:
        tasks = [
            NewTask(each, "acme", "default", Level.NORMAL, b"\x00envelope", 3, idempotency_key=f"k{index}")
            for index, each in enumerate(new_ids(7, 20, NOW_MS))
        ]
        await RedisAdmission(client).create(tasks)
        await RedisQueries(client).cancel([tasks[0].id], "acme", b"error", b"")
        await client.xadd("fb:{07}:s:x", {"p": b"\xff\x00"}, id="5-1")
        await client.xadd("fb:{07}:s:x", {"p": "2", "q": "3"}, id="5-2")
        await client.zadd("fb:{07}:ix:large", {f"member-{number}": 0 for number in range(LARGE * 3)})
        await client.zadd("fb:{07}:leases:x", {"a": 1_700_000_000_123.0})
        await client.sadd("fb:shelves", "one", "two")
        await client.set("not ours", "1")
        copied = await copies.backup(client, tmp_path / "backup")
        assert (tmp_path / "backup").stat().st_mode & 0o077 == 0
        await client.delete("not ours")
        before = await contents(client)
        assert copied.keys == len(before)
        lives = {key: await client.pttl(key) for key in before}
        await client.flushall()
        restored = await copies.restore(client, tmp_path / "backup")
        assert restored.keys == copied.keys
        assert await contents(client) == before
        for key, life in lives.items():
            now = await client.pttl(key)
            assert (now == -1) if life == -1 else abs(now - life) < 15_000
        record = (await RedisQueries(client).get([tasks[0].id], True))[0]
        assert record is not None
        assert record.state is TaskState.CANCELLED
    finally:
        await client.aclose()


async def test_a_store_that_has_records_is_refused_and_left_alone(url: str, tmp_path: Path) -> None:
    client = connect(url, timeout_s=10.0)
    try:
        await client.set("fb:x", "1")
        await copies.backup(client, tmp_path / "backup")
        with pytest.raises(StoreNotEmpty):
            await copies.restore(client, tmp_path / "backup")
        assert await contents(client) == {b"fb:x": b"1"}
    finally:
        await client.aclose()


async def test_a_damaged_file_writes_nothing(url: str, tmp_path: Path) -> None:
    client = connect(url, timeout_s=10.0)
    try:
        await client.set("fb:x", "1")
        await copies.backup(client, tmp_path / "backup")
        whole = (tmp_path / "backup").read_bytes()
        (tmp_path / "backup").write_bytes(whole[:-20])
        await client.flushall()
        with pytest.raises(ArchiveUnusable):
            await copies.restore(client, tmp_path / "backup")
        assert await contents(client) == {}
    finally:
        await client.aclose()


async def test_every_record_of_a_backup_is_whole_while_others_write(url: str, tmp_path: Path) -> None:
    client = connect(url, timeout_s=10.0)
    stop = asyncio.Event()

    async def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            await client.hset(f"fb:{{00}}:t:{number % 50}", mapping={"v": number, "e": number})

    try:
        await client.hset("fb:{00}:t:0", mapping={"v": 0, "e": 0})
        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            for _ in range(5):
                await copies.backup(client, tmp_path / "backup")
            stop.set()
        await client.flushall()
        await copies.restore(client, tmp_path / "backup")
        for record in (await contents(client)).values():
            assert isinstance(record, dict)
            assert record[b"v"] == record[b"e"]
    finally:
        await client.aclose()

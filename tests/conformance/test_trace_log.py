"""What every TraceLog must do."""

from collections.abc import AsyncIterator

import pytest

from cache.adapters.memory import MemoryTraces
from cache.adapters.redis import RedisTraces
from cache.adapters.redis.traces import TRACE
from cache.advice import TraceLog, TracesAway
from cache.advice.log import MOST_PARTS
from scheduler.adapters.redis import connect
from tests.fixtures.valkey import ValkeyServer


@pytest.fixture
async def log(store_url: str) -> AsyncIterator[TraceLog]:
    if not store_url:
        yield MemoryTraces()
        return
    client = connect(store_url, timeout_s=5.0)
    try:
        await client.flushall()
        yield RedisTraces(client)
    finally:
        await client.aclose()


async def test_parts_are_read_as_they_were_added_oldest_first(log: TraceLog) -> None:
    assert await log.read() == []
    parts = [b"", b"\0\xff\r\n", bytes(200_000)]
    for part in parts:
        await log.add(part)
    assert list(await log.read()) == parts


async def test_the_oldest_go_when_there_are_too_many(log: TraceLog) -> None:
    for number in range(MOST_PARTS + 5):
        await log.add(str(number).encode())
    found = await log.read()
    assert len(found) == MOST_PARTS
    assert (found[0], found[-1]) == (b"5", str(MOST_PARTS + 4).encode())


async def test_in_redis_they_are_gone_a_day_after_the_last(valkey_url: str) -> None:
    client = connect(valkey_url, timeout_s=5.0)
    try:
        await RedisTraces(client).add(b"part")
        assert 0 < await client.pttl(TRACE) <= 86_400_000
    finally:
        await client.aclose()


async def test_a_server_that_is_away_is_said_to_be(valkey_server: ValkeyServer) -> None:
    client = connect(valkey_server.url, timeout_s=1.0)
    valkey_server.kill()
    try:
        for call in (RedisTraces(client).add(b""), RedisTraces(client).read()):
            with pytest.raises(TracesAway):
                await call
    finally:
        await client.aclose()

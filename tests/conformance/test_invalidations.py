"""What every Invalidations must do."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from redis.asyncio import Redis

from cache.adapters.memory import MemoryInvalidations
from cache.adapters.redis import News, RedisInvalidations
from cache.adapters.redis.invalidations import INVALIDATIONS, MOST_PARTS
from cache.ports import Invalidation, Invalidations, InvalidationsAway, Key
from scheduler.adapters.redis import connect
from tests.conformance.cache_tiers import NOW, new_key


@pytest.fixture
async def client(valkey_url: str) -> AsyncIterator[Redis]:
    made = connect(valkey_url, timeout_s=5.0)
    await made.flushall()
    yield made
    await made.aclose()


@pytest.fixture
async def views(client: Redis) -> AsyncIterator[Callable[[], RedisInvalidations]]:
    """Makes one gateway's side after another."""
    news = News(client)
    listening = asyncio.ensure_future(news.run())
    yield lambda: RedisInvalidations(client, news)
    listening.cancel()
    await asyncio.wait([listening])


@pytest.fixture(params=["memory", "redis"])
def one(request: pytest.FixtureRequest) -> Invalidations:
    if request.param == "memory":
        return MemoryInvalidations()
    made: Invalidations = request.getfixturevalue("views")()
    return made


def some(*numbers: int) -> list[Invalidation]:
    return [Invalidation(Key(b"\0{:}" * 4, new_key(number).digest), NOW + number) for number in numbers]


async def test_what_is_told_is_heard_once_and_in_order(one: Invalidations) -> None:
    await one.tell(some(1, 2))
    await one.tell(some(3))
    heard = await one.heard()
    while len(heard) < 3:
        heard += await one.heard()
    assert heard == some(1, 2, 3)
    waiting = asyncio.ensure_future(one.heard())
    await asyncio.sleep(0)
    await one.tell(some(4))
    assert await waiting == some(4)


async def test_every_gateway_hears_it_and_one_that_comes_later_what_is_remembered(
    views: Callable[[], RedisInvalidations],
) -> None:
    here, there = views(), views()
    waiting = asyncio.ensure_future(there.heard())
    await here.tell(some(1))
    assert await waiting == await here.heard() == some(1)
    await here.tell(some(2))
    assert await views().heard() == some(1, 2)
    assert await there.heard() == some(2)


async def test_what_is_remembered_is_bounded(views: Callable[[], RedisInvalidations], client: Redis) -> None:
    here = views()
    for number in range(MOST_PARTS + 5):
        await here.tell(some(number))
    assert await client.xlen(INVALIDATIONS) == MOST_PARTS
    assert (await here.heard())[0] == some(5)[0]


async def test_a_server_that_refuses_is_away(views: Callable[[], RedisInvalidations], client: Redis) -> None:
    await client.set(INVALIDATIONS, "no stream")
    for call in (views().tell(some(1)), views().heard()):
        with pytest.raises(InvalidationsAway):
            await call

"""How feeds and round trips of Redis end when they are cancelled."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
from redis.asyncio import Redis

from scheduler.adapters.redis.connection import connect, round_trip
from scheduler.adapters.redis.events import RedisEvents

SUBSCRIBED = b"*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n"


async def agree(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer as a server to which a follower comes, and tell it nothing."""
    while words := await reader.read(1 << 16):
        writer.write(b"+OK\r\n" * words.count(b"SETINFO"))
        writer.write(SUBSCRIBED * words.count(b"SUBSCRIBE"))
    writer.close()


@pytest.fixture
async def client() -> AsyncIterator[Redis]:
    async with await asyncio.start_server(agree, "127.0.0.1", 0) as server:
        client = connect(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout_s=5.0)
        yield client
        await client.aclose()


def cancelled_when_sending(
    sending: int, work: Coroutine[Any, Any, object], monkeypatch: pytest.MonkeyPatch
) -> "asyncio.Task[object]":
    """Begin something that is cancelled just when it has sent so often; return it."""
    task = asyncio.ensure_future(work)
    sent = 0

    async def drain_and_cancel(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        sent += 1
        if sent == sending:
            asyncio.get_running_loop().call_soon(task.cancel)

    monkeypatch.setattr(asyncio.StreamWriter, "drain", drain_and_cancel)
    return task


@pytest.mark.parametrize("sending", [1, 2, 3])
async def test_a_feed_that_is_cancelled_just_when_something_is_sent_ends(
    sending: int, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    follows = asyncio.Event()

    async def follow() -> None:
        async for _ in RedisEvents(client).changes():
            follows.set()

    following = cancelled_when_sending(sending, follow(), monkeypatch)
    going_on = asyncio.create_task(follows.wait())
    await asyncio.wait((following, going_on), return_when=asyncio.FIRST_COMPLETED)
    assert following.cancelled(), "the feed goes on"
    going_on.cancel()


@pytest.mark.parametrize("sending", [1, 2, 3])
async def test_a_round_trip_that_is_cancelled_just_when_something_is_sent_ends(
    sending: int, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    trip = cancelled_when_sending(sending, round_trip(client, [("SUBSCRIBE", "x")]), monkeypatch)
    await asyncio.wait((trip,))
    assert trip.cancelled(), "it was answered"

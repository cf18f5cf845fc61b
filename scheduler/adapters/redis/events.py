"""Follows what the scripts tell of, on a connection of its own.

Changes travel by publish/subscribe, one message for each script call. On a connection that stands, the server
delivers every message in order; when it is lost, or closed by the server because a follower is too slow, the follower
is told that it missed something. So nothing has to be kept for followers, and being told costs the server only
the bytes. (One blocking XREAD over a stream for each of the 64 partitions was measured at 90 µs of the server for each
wake of each follower.)
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from scheduler.adapters.redis.connection import pack, timeout_of, unavailable
from scheduler.adapters.redis.partitions import CANCELLED, EVENTS, WAKES
from scheduler.errors import RecordsUnavailable
from scheduler.ports.events import TaskChange
from scheduler.states import TaskState

QUIET_S: Final = 5.0
"""After so long without a message the server is asked whether it is still there."""
FIRST_BACKOFF_S: Final = 0.05
LONGEST_BACKOFF_S: Final = 2.0

STATES: Final = {str(int(state)): state for state in TaskState}


class RedisEvents:
    """EventFeed on Redis. Does not own the client; takes its address, not its connections."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def changes(self) -> AsyncIterator[list[TaskChange]]:
        """Follow changes of all partitions; see EventFeed."""
        numbers: dict[str, int] = {}
        async with aclosing(_follow(self._client, EVENTS)) as messages:
            async for message in messages:
                if message is None:
                    numbers.clear()
                    yield []
                    continue
                head, body = message.decode().split(";", 1)
                partition, number = head[:2], int(head[3:])
                if numbers.get(partition, number - 1) != number - 1:
                    # Between the nodes of a cluster a message can be lost.
                    yield []
                numbers[partition] = number
                yield read_changes(body)

    async def cancellations(self) -> AsyncIterator[list[str]]:
        """Follow ids that were cancelled or expired while RUNNING; see EventFeed."""
        async with aclosing(_follow(self._client, CANCELLED)) as messages:
            async for message in messages:
                yield message.decode().split(",") if message else []

    async def wakes(self) -> AsyncIterator[list[int]]:
        """Follow partitions whose follow-ups should not wait; see EventFeed."""
        async with aclosing(_follow(self._client, WAKES)) as messages:
            async for message in messages:
                yield [int(message)] if message else []


def read_changes(body: str) -> list[TaskChange]:
    """Read groups `<state digit><attempt>[+]:<id>,<id>…` joined by ';' ('+' marks output)."""
    changes: list[TaskChange] = []
    for group in body.split(";"):
        head, ids = group.split(":")
        output = head[-1] == "+"
        state, attempt = STATES[head[0]], int(head[1:-1] if output else head[1:])
        changes += [TaskChange(task_id, state, attempt, output) for task_id in ids.split(",")]
    return changes


async def _follow(client: Redis, channel: str) -> AsyncGenerator[bytes | None, None]:
    """Yield the messages of a channel; None first, and whenever messages may have been missed."""
    backoff_s = FIRST_BACKOFF_S
    while True:
        connection = client.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py's own gap
        try:
            await _subscribe(client, connection, channel)
            backoff_s = FIRST_BACKOFF_S
            yield None
            while True:
                reply = await _message(client, connection)
                if reply[0] == b"message":
                    yield reply[2]
        except RecordsUnavailable:
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, LONGEST_BACKOFF_S)
        finally:
            await connection.disconnect(nowait=True)


async def _subscribe(client: Redis, connection: AbstractConnection, channel: str) -> None:
    with unavailable():
        async with asyncio.timeout(timeout_of(client)):
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's own gap
            await connection.send_packed_command(pack([("SUBSCRIBE", channel)]))
            try:
                await connection.read_response()
            except ResponseError as refusal:
                # Such as LOADING after a restart: the store is not there yet.
                raise RecordsUnavailable(f"the record store refuses to be read: {refusal}") from refusal


async def _message(client: Redis, connection: AbstractConnection) -> list[Any]:
    with unavailable():
        # redis-py returns None when its time-out passes, and loses nothing.
        reply: list[Any] | None = await connection.read_response(timeout=QUIET_S)
        if reply is None:
            await connection.send_packed_command(pack([("PING",)]))
            reply = await connection.read_response(timeout=timeout_of(client))
    if reply is None:
        raise RecordsUnavailable("the record store does not answer")
    return reply

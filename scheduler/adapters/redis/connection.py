"""Connections to Redis or Valkey, and the one way in which commands travel on them.

redis-py gives the connections (addresses, TLS, authentication, pool); commands are packed by hiredis and written
and read here in one piece, because redis-py's own pipeline costs several times as much for each call.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import hiredis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import TimeoutError as ReplyLate

from scheduler.errors import RecordsUnavailable

MAX_CONNECTIONS: Final = 32
_FAULTS: Final = ("MISCONF", "NOREPLICAS", "BUSY ", "UNKILLABLE")
"""How refusals begin that have no class of their own: a store that cannot write its file, because the disk is full,
that misses its replicas, or that is busy with a script.
"""
_STATES: Final = (BusyLoadingError, ClusterDownError, OutOfMemoryError, ReadOnlyError, TryAgainError)

Argument = str | bytes | int
Command = tuple[Argument, ...]


def connect(url: str, *, timeout_s: float) -> Redis:
    """Return a client for `redis://`, `rediss://` or `unix://` that connects when it is first used.

    It never repeats a command by itself: a reply that was lost may belong to a command that was done. A call that
    waits longer than `timeout_s` for a connection, or for its replies, fails. The caller closes it with `aclose`.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=MAX_CONNECTIONS,
        timeout=timeout_s,
        # `round_trip` bounds the whole trip. With a limit of its own redis-py sends through `asyncio.wait_for`, which
        # costs a task for each write, and in Python 3.11 loses a cancellation that comes just when the sending is done.
        socket_timeout=None,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        decode_responses=False,
    )
    return Redis.from_pool(pool)


def timeout_of(client: Redis) -> float:
    """Return the deadline in seconds that a client was made with."""
    pool = client.connection_pool
    assert isinstance(pool, BlockingConnectionPool), "made by `connect`"
    return float(pool.timeout or 5.0)


def pack(commands: Sequence[Command]) -> bytes:
    """Return commands as they go over the wire."""
    # hiredis declares the tuple as one of a single item, which is not what it takes.
    return b"".join([hiredis.pack_command(command) for command in commands])  # type: ignore[arg-type]


async def round_trip(client: Redis, commands: Sequence[Command]) -> list[Any]:
    """Send commands in one write and return their replies in order; a refusal is returned in its place.

    Raises RecordsUnavailable when the store cannot be reached or not everything was answered in time. Cancelling it
    closes the connection, so that no reply can reach another caller.
    """
    packed = pack(commands)
    pool = client.connection_pool
    with unavailable():
        async with asyncio.timeout(timeout_of(client)):
            connection = await pool.get_connection()  # type: ignore[no-untyped-call]  # redis-py's own gap
            try:
                await connection.send_packed_command(packed)
                replies = [await reply_of(connection) for _ in commands]
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
            finally:
                await pool.release(connection)
    for reply in replies:
        if isinstance(reply, ResponseError) and refuses_writes(reply):
            raise RecordsUnavailable(f"the record store refuses writes: {reply}")
    return replies


def refuses_writes(refusal: ResponseError) -> bool:
    """Tell whether it is the store's state that is at fault, and not the command."""
    return isinstance(refusal, _STATES) or str(refusal).startswith(_FAULTS)


async def reply_of(connection: AbstractConnection) -> Any:
    """Return the next reply; a refusal is returned, too."""
    try:
        return await connection.read_response()
    except ResponseError as refusal:
        return refusal


@contextmanager
def unavailable() -> Iterator[None]:
    """Turn what redis-py and asyncio raise about connections into RecordsUnavailable."""
    try:
        yield
    except (ConnectionLost, ReplyLate, OSError) as error:
        raise RecordsUnavailable(f"the record store does not answer ({type(error).__name__})") from error

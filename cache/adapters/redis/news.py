"""Tells those who wait that something changed: one subscription for each process, whatever it waits for.

A message carries no more than the name of what changed; whoever is woken reads the state itself. So a message that is
lost costs time and never truth: everybody also looks by himself every `POLL_S`, and whenever the connection was lost
or is there again.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from scheduler.adapters.redis.connection import pack, timeout_of, unavailable
from scheduler.errors import RecordsUnavailable

CHANNEL: Final = "fb:c:news"
POLL_S: Final = 0.5
QUIET_S: Final = 5.0
"""After so long without a message the server is asked whether it is still there."""
FIRST_BACKOFF_S: Final = 0.05
LONGEST_BACKOFF_S: Final = 1.0


class News:
    """Who waits for news of what. Does not own the client; takes its address, not its connections.

    `run` listens. Without it everything still works, at the pace of the polls.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._waiting: dict[bytes, set[asyncio.Event]] = {}

    @contextmanager
    def of(self, name: str) -> Iterator[asyncio.Event]:
        """Give an event that is set whenever there may be news of that name. Read the state after entering."""
        event = asyncio.Event()
        waiting = self._waiting.setdefault(name.encode(), set())
        waiting.add(event)
        try:
            yield event
        finally:
            waiting.discard(event)
            if not waiting:
                self._waiting.pop(name.encode(), None)

    async def run(self) -> None:
        """Listen until cancelled; a connection that is lost is made again."""
        backoff_s = FIRST_BACKOFF_S
        while True:
            connection = self._client.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py's own gap
            # With a limit of its own it sends through `asyncio.wait_for`, which in Python 3.11 loses a cancellation
            # that comes just when the sending is done.
            connection.socket_timeout = None
            try:
                await self._subscribe(connection)
                backoff_s = FIRST_BACKOFF_S
                self._wake_all()
                while True:
                    reply = await self._next(connection)
                    if reply[0] == b"message":
                        self._wake(reply[2])
            except RecordsUnavailable:
                self._wake_all()
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, LONGEST_BACKOFF_S)
            finally:
                await connection.disconnect(nowait=True)

    def _wake(self, name: bytes) -> None:
        for event in self._waiting.get(name, ()):
            event.set()

    def _wake_all(self) -> None:
        for name in self._waiting:
            self._wake(name)

    async def _subscribe(self, connection: AbstractConnection) -> None:
        with unavailable():
            async with asyncio.timeout(timeout_of(self._client)):
                await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's own gap
                await connection.send_packed_command(pack([("SUBSCRIBE", CHANNEL)]))
                try:
                    await connection.read_response()
                except ResponseError as refusal:
                    # Such as LOADING after a restart: the server is not there yet.
                    raise RecordsUnavailable(f"the cache refuses to be read: {refusal}") from refusal

    async def _next(self, connection: AbstractConnection) -> list[Any]:
        with unavailable():
            # redis-py returns None when its time-out passes, and loses nothing.
            reply: list[Any] | None = await connection.read_response(timeout=QUIET_S)
            if reply is None:
                await connection.send_packed_command(pack([("PING",)]))
                reply = await connection.read_response(timeout=timeout_of(self._client))
        if reply is None:
            raise RecordsUnavailable("the cache does not answer")
        return reply


async def until_set(event: asyncio.Event, seconds: float) -> None:
    """Return once the event is set, or after so long; clears it."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
    finally:
        event.clear()

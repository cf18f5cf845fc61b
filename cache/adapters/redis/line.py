"""A connection that is kept from one trip to the next: to take one from the pool costs as much as the trip itself."""

import asyncio
from collections.abc import Sequence

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError

from cache.adapters.redis.question import Question, Replies
from scheduler.adapters.redis.connection import Command, pack, reply_of, timeout_of, unavailable


class Line:
    """One connection of a client's pool. To be closed, which gives it back."""

    def __init__(self, client: Redis, connection: AbstractConnection) -> None:
        self._pool, self._connection = client.connection_pool, connection
        self._timeout_s = timeout_of(client)

    @classmethod
    async def open(cls, client: Redis) -> "Line":
        """Take a connection. Raises RecordsUnavailable."""
        with unavailable():
            async with asyncio.timeout(timeout_of(client)):
                connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]  # redis-py's own gap
        return cls(client, connection)

    async def carry(self, batch: Sequence[Question]) -> None:
        """Take questions to the server in one trip and tell the replies. A server that does not know a script is given
        it, and only the calls that failed for that are repeated.

        Raises RecordsUnavailable when not everything was answered in time. After that, or when cancelled, the
        connection is closed, so that no reply can reach another question.
        """
        commands = [command for question in batch for command in question.commands]
        with unavailable():
            async with asyncio.timeout(self._timeout_s):
                replies = await self._exchange(commands)
                missing = [place for place, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
                if missing:
                    scripts = {question.script for question in batch if question.script is not None}
                    loads: list[Command] = [("SCRIPT", "LOAD", script.text) for script in scripts]
                    repeated = await self._exchange([*loads, *(commands[place] for place in missing)])
                    for place, reply in zip(missing, repeated[len(loads) :], strict=True):
                        replies[place] = reply
        start = 0
        for question in batch:
            end = start + len(question.commands)
            question.tell(replies[start:end])
            start = end

    async def close(self) -> None:
        """Give the connection back."""
        await self._pool.release(self._connection)

    async def _exchange(self, commands: Sequence[Command]) -> Replies:
        connection = self._connection
        try:
            await connection.send_packed_command(pack(commands))
            return [await reply_of(connection) for _ in commands]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

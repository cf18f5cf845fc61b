"""What is asked of one server at about the same time goes in one round trip, whatever it is and whoever asks.

A trip leaves at the end of the loop's turn with what was asked in it, and while it is under way the next gathers: so
nothing waits for a batch to fill, and the more there is to do, the more goes at once. Most of what a trip costs is the
same for one question and for a hundred. Trips are tasks of their own: who is cancelled while it waits takes nobody
else's question along.

Namespaces have their turns (waiting.py), and what is large has lines of its own: neither fills all of what others use.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakValueDictionary

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from cache.adapters.redis.carrier import Carrier
from cache.adapters.redis.question import Question, Replies
from scheduler.adapters.redis.connection import Argument, Command, refuses_writes
from scheduler.adapters.redis.scripts import Script
from scheduler.errors import RecordsUnavailable

MUCH_BYTES: Final = 64 << 10
"""What carries so much, or is expected to bring it, goes by lines of its own, so that nobody's small question waits
behind it."""
LINES: Final = 4
LINES_WITH_MUCH: Final = 3
"""Those of what carries much, and as many of what brings much: who puts something large may look for something, too."""
_GRACE_TURNS: Final = 4
"""Turns of the loop that a late reply is given: it may be here already, and the loop was too busy to take it."""


@asynccontextmanager
async def carrying(client: Redis) -> AsyncIterator["Trips"]:
    """Carry what is asked by this client while the block lasts; what is under way or waits at its end fails."""
    trips = trips_of(client)
    async with asyncio.TaskGroup() as group:
        trips.begin(group)
        try:
            yield trips
        finally:
            trips.end()


class Trips:
    """The trips to one server, which are tasks of `carrying`. Does not own the client."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._carriers: tuple[Carrier, Carrier, Carrier] | None = None
        """Of what is small, carries much, brings much."""

    def begin(self, group: asyncio.TaskGroup) -> None:
        """Let trips be tasks of a group, until `end`."""
        self._carriers = (
            Carrier(self._client, group, LINES),
            Carrier(self._client, group, LINES_WITH_MUCH),
            Carrier(self._client, group, LINES_WITH_MUCH),
        )

    def end(self) -> None:
        """Break off what is under way, and let nothing more be asked. The group waits for it."""
        for carrier in self._carriers or ():
            carrier.end()
        self._carriers = None

    async def run(
        self,
        script: Script,
        calls: Sequence[tuple[str, Sequence[Argument]]],
        *,
        carries: int = 0,
        brings: int = 0,
        within_s: float | None = None,
    ) -> Replies:
        """Run a script once for each (key or prefix, arguments) and return the replies in order; `carries` is about how
        many bytes are sent, `brings` how many are expected to come. Raises as `run_script` does, and RecordsUnavailable
        after `within_s`. Cancelled, it may be done or not.
        """
        commands: list[Command] = [("EVALSHA", script.sha, 1, key, *arguments) for key, arguments in calls]
        size = max(carries, brings)
        kind = 0 if size < MUCH_BYTES else 1 if carries >= brings else 2
        return await self._ask(Question(script, commands, calls[0][0], size), kind, within_s)

    async def ask(self, commands: Sequence[Command]) -> Replies:
        """Return the replies to plain commands, of which the first names a key; as `run`."""
        return await self._ask(Question(None, commands, commands[0][1], 0), 0, None)

    async def _ask(self, question: Question, kind: int, within_s: float | None) -> Replies:
        if self._carriers is None:
            raise RecordsUnavailable("nothing is carried: the cache is closed")
        self._carriers[kind].take(question)
        if within_s is None:
            replies = await question.told
        else:
            timer = asyncio.get_running_loop().call_later(within_s, self._late, question, _GRACE_TURNS)
            try:
                replies = await question.told
            finally:
                timer.cancel()
        for reply in replies:
            if isinstance(reply, ResponseError):
                if refuses_writes(reply):
                    raise RecordsUnavailable(f"the cache refuses writes: {reply}")
                raise reply
        return replies

    def _late(self, question: Question, turns: int) -> None:
        if turns and not question.told.done():
            asyncio.get_running_loop().call_soon(self._late, question, turns - 1)
        else:
            question.fail("the cache did not answer in time")


_TRIPS: Final[WeakValueDictionary[Redis, Trips]] = WeakValueDictionary()


def trips_of(client: Redis) -> Trips:
    """Return the trips that all share who use this client."""
    trips = _TRIPS.get(client)
    if trips is None:
        trips = _TRIPS[client] = Trips(client)
    return trips

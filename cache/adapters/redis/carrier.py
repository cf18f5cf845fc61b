"""Carries questions to one server, a few trips at a time."""

import asyncio
from typing import Final

from redis.asyncio import Redis

from cache.adapters.redis.line import Line
from cache.adapters.redis.question import Question
from cache.adapters.redis.waiting import Waiting
from scheduler.adapters.redis.connection import timeout_of
from scheduler.errors import RecordsUnavailable

PATIENCE_S: Final = 0.02
"""While the latest trip has not been under way for longer no other leaves. Then perhaps it brings something large, and
who waits goes by another line."""
_TURNS: Final = 3
"""Turns of the loop in which those who were answered may ask on, to go with the next trip."""


class Carrier:
    """The trips of one kind to one server. Does not own the client."""

    def __init__(self, client: Redis, group: asyncio.TaskGroup, lines: int) -> None:
        """Trips are tasks of the group, at most so many as `lines` at a time."""
        self._client = client
        self._group = group
        self._lines = lines
        self._timeout_s = timeout_of(client)
        self._patience: asyncio.TimerHandle | None = None
        """Runs while something waits for the latest trip to be under way for long enough."""
        self._waiting = Waiting()
        self._under_way: set[asyncio.Task[None]] = set()
        self._leaving = False
        """Whether a trip has been set up that has not taken yet what waits."""
        self._left_s = 0.0
        """When the latest trip left."""

    def take(self, question: Question) -> None:
        """Take a question along, soon."""
        self._waiting.add(question)
        self._go()

    def end(self) -> None:
        """Break off what is under way and give up what waits; the group waits for it. Nothing more may be taken."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        for trip in self._under_way:
            trip.cancel()
        self._give_up()

    def _go(self) -> None:
        """See to it that a trip leaves for what waits: now, or when the latest has been under way for long enough."""
        if self._leaving or len(self._under_way) >= self._lines or not self._waiting.may_go():
            return
        loop = asyncio.get_running_loop()
        rest_s = self._left_s + PATIENCE_S - loop.time() if self._under_way else 0.0
        if rest_s <= 0:
            self._leave()
        elif self._patience is None:
            self._patience = loop.call_later(rest_s, self._out_of_patience)

    def _out_of_patience(self) -> None:
        self._patience = None
        self._go()

    def _leave(self) -> None:
        """Let a trip leave at the end of this turn of the loop."""
        self._leaving = True
        trip = self._group.create_task(self._carry())
        self._under_way.add(trip)
        trip.add_done_callback(self._arrived)

    def _arrived(self, trip: asyncio.Task[None]) -> None:
        self._under_way.discard(trip)
        if trip.cancelled():
            # Only the end of what carries does that; perhaps before it had begun.
            self._leaving = False
            self._give_up()
        elif not self._leaving and self._waiting.may_go():
            self._leave()

    def _give_up(self) -> None:
        """Fail what waits: nothing will be carried any more."""
        for question in self._waiting:
            question.fail("the cache is closed")
        self._waiting.clear()

    async def _carry(self) -> None:
        """Carry what has gathered, and what gathers meanwhile. Raises only CancelledError."""
        self._leaving = False
        line: Line | None = None
        loop = asyncio.get_running_loop()
        batch = self._waiting.take()
        try:
            while batch:
                self._left_s = loop.time()
                try:
                    if line is None:
                        line = await Line.open(self._client)
                    await line.carry(batch)
                except RecordsUnavailable as away:
                    late = isinstance(away.__cause__, TimeoutError)
                    since_s = loop.time() - self._timeout_s
                    for question in [*batch, *(self._waiting if late else ())]:
                        # Of those that were not sent: who has waited as long.
                        if question in batch or question.asked_s <= since_s:
                            question.fail(str(away))
                    return
                for _ in range(_TURNS):
                    await asyncio.sleep(0)
                self._waiting.over(batch)
                batch = self._waiting.take()
        except Exception as fault:
            for question in batch:
                question.fail(f"{type(fault).__name__}: {fault}")
        finally:
            self._waiting.over(batch)
            for question in batch:
                question.fail("the trip was broken off")
            if line is not None:
                await line.close()

"""Finds out of questions that are new here whether their answers are there, or somebody else computes them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from cache.ports import Following, Key, Landing, LandingKind, Leading
from forebay.cache.v1.stored_answer_pb2 import StoredAnswer
from scheduler.errors import AnswerNotCached
from scheduler.ports.answers import Answer
from scheduler.ports.clock import Clock
from scheduler.service.caching.answering import Answering, failure, success
from scheduler.service.caching.answers import Answers
from scheduler.service.caching.flights import Flight, FlightBoard, entry_key
from scheduler.service.caching.giving import Giving
from scheduler.service.caching.landing import STORED
from scheduler.service.caching.telling import ABSENT, HIT, Came
from scheduler.service.entry import PoolWindow, Waiting
from services.input_faults import inputs_fault
from services.status import to_status

LOOKED_MS: Final = 5_000
"""A look at submit is not repeated for so long: what was computed since then is remembered by its flight, which is kept
for twice as long."""

READ_AT_ONCE: Final = 16
"""Ends of the runs of others whose answers are read at one time: a bound on what is in memory."""


class Asking:
    """Asks tiers and flights, for many tasks at a time."""

    def __init__(
        self,
        answers: Answers,
        board: FlightBoard,
        windows: Mapping[str, PoolWindow],
        answering: Answering,
        giving: Giving,
        landed: Callable[[Flight, Answer | None], None],
        clock: Clock,
    ) -> None:
        """`landed` is told of flights that end here, with the answer for those who follow them."""
        self._answers = answers
        self._board = board
        self._windows = windows
        self._answering = answering
        self._giving = giving
        self._landed = landed
        self._clock = clock
        self._reading = asyncio.Semaphore(READ_AT_ONCE)
        self.group: asyncio.TaskGroup | None = None
        """Where waits for the runs of others are tasks; set before anything is asked."""

    async def ask(self, flights: Sequence[Flight]) -> set[Waiting]:
        """Find out of new flights whether their answers are there, or somebody else computes them. Returns the tasks
        that do not lead.
        """
        now_ms = self._clock.now_ms()
        apart = await self._look([flight for flight in flights if self._must_look(flight, now_ms)])
        # Those that ended are led by nobody any more.
        left = [flight for flight in flights if flight.leader is not None] if apart else flights
        turns = await self._answers.begin([(flight.key, _level(flight)) for flight in left])
        again: list[Flight] = []
        for flight, turn in zip(left, turns, strict=True):
            if isinstance(turn, Leading):
                flight.fence = turn.fence
                if turn.look_again and not flight.question.refresh:
                    again.append(flight)
            elif isinstance(turn, Following):
                leader = self._board.follow(flight)
                flight.began_ms = now_ms
                apart.add(leader)
                self._windows[leader.lane.pool].set_aside([leader])
                assert self.group is not None, "tasks are sorted out while it runs"
                self.group.create_task(self._follow(flight, turn.fence))
        return apart | await self._look(again)

    def _must_look(self, flight: Flight, now_ms: int) -> bool:
        question, leader = flight.question, flight.leader
        if question.refresh or leader is None:
            return False
        return not question.looked_up or now_ms - leader.envelope.create_time_ms > LOOKED_MS

    async def _look(self, flights: Sequence[Flight]) -> set[Waiting]:
        """End those of new flights whose answer is there; returns the tasks that were to lead them."""
        ended: set[Waiting] = set()
        if not flights:
            return ended
        async for found in self._answers.find(
            list(dict.fromkeys(entry_key(flight.question) for flight in flights))
        ):
            answered = [flight for flight in flights if entry_key(flight.question) in found]
            if answered:
                ended |= await self._found(answered, found)
        return ended

    async def _found(self, answered: Sequence[Flight], found: Mapping[Key, StoredAnswer]) -> set[Waiting]:
        """End new flights with these answers; returns the tasks that were to lead them."""
        await self.land_early(answered, STORED)
        leaders: set[Waiting] = set()
        for flight in answered:
            if flight.leader is not None:
                leader = self._board.follow(flight)
                leaders.add(leader)
                self._windows[leader.lane.pool].set_aside([leader])
            flight.found_in = self._answers.tier
            self._landed(flight, success(found[entry_key(flight.question)]))
        await self._answering.room()
        return leaders

    async def land_early(self, flights: Sequence[Flight], landing: Landing) -> None:
        """Tell others of the end of flights whose end is not looked at."""
        await self._answers.land(
            [(flight.key, flight.fence, landing) for flight in flights if flight.fence is not None]
        )

    async def answer_only(self, tasks: Sequence[Waiting]) -> None:
        """End tasks that want a cached answer or none."""
        asking: dict[Key, list[Waiting]] = {}
        for task in tasks:
            asking.setdefault(entry_key(task.envelope.cached_as), []).append(task)
        async for found in self._answers.find(list(asking)):
            for key, stored in found.items():
                answered = asking.pop(key)
                for task in answered:
                    self._windows[task.lane.pool].set_aside([task])
                self._giving.give(answered, success(stored), Came(HIT, self._answers.tier))
            await self._answering.room()
        for absent in asking.values():
            for task in absent:
                self.not_cached(task)

    def not_cached(self, task: Waiting) -> None:
        """End a task that wants a cached answer or none, and there is none."""
        self._answering.end([task], failure(to_status(AnswerNotCached(task.model))), Came(ABSENT))

    async def _follow(self, flight: Flight, fence: int) -> None:
        """Wait for the end of somebody else's run; without an answer of it, those who wait ask anew."""
        landing = await self._answers.sharing.ended(flight.key, fence)
        answer = None
        if landing is not None and landing.kind is LandingKind.STORED:
            # Where an answer was computed and not taken, an older one may be there: not for who wants none of those.
            since_ms = flight.began_ms if flight.question.refresh else 0
            flight.trace = landing.detail.decode(errors="replace")
            async with self._reading:
                await self._answering.room()
                async for found in self._answers.find([entry_key(flight.question)], since_ms, noted=False):
                    for stored in found.values():
                        answer = success(stored)
                if answer is not None:
                    self._landed(flight, answer)
                    return
        elif landing is not None and landing.kind is LandingKind.FAILED:
            fault = inputs_fault(landing.detail)
            answer = failure(fault) if fault is not None else None
        self._landed(flight, answer)


def _level(flight: Flight) -> int:
    return int(flight.leader.lane.level) if flight.leader is not None else 0

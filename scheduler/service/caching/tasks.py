"""What the dispatcher and the door for runners use: which tasks start, which wait for another's run, and which end.

sort_out ──▶ nothing to ask ───────────────────────────────────────▶ starts
├─▶ its key flies: follows, set aside in the window until it lands
└─▶ ask (sorting.py) ──▶ its answer is there ────────────────────────▶ ends
    └─▶ leads ──▶ leased ──▶ run ──▶ over ──▶ landing.py: followers end, or the next leads
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from observability.metrics import SchedulerMetrics
from scheduler.ports.answers import Answer, AnswerStore
from scheduler.ports.clock import Clock
from scheduler.ports.records import LeaseReply
from scheduler.service.caching.answering import Answering
from scheduler.service.caching.answers import Answers
from scheduler.service.caching.asking import Asking
from scheduler.service.caching.flights import Flight, FlightBoard, flight_key
from scheduler.service.caching.giving import Giving
from scheduler.service.caching.holdings import Holdings
from scheduler.service.caching.landing import ABANDONED, Landings
from scheduler.service.caching.renewing import renew_leads
from scheduler.service.caching.served import Served, served_by
from scheduler.service.caching.telling import FAILED, HIT, SHARED, Came, Telling
from scheduler.service.entry import PoolWindow, Waiting
from scheduler.service.intake import Intake
from scheduler.service.resting import Resting
from scheduler.service.runner_stream import RunnerStream
from scheduler.service.runners import Roster
from scheduler.service.settlement import Settlement
from scheduler.states import TaskState


class Sorted(NamedTuple):
    """What is known at once of some tasks; those that follow another, or end, are in none of these."""

    starting: list[Waiting]
    """Those that need not ask, or could not use what is said."""
    flights: list[Flight]
    """Those that tasks begin, of which `CachedTasks.ask` is to find out."""
    only: list[Waiting]
    """Tasks that want a cached answer or none: also for `ask`."""


class CachedTasks:
    """The tasks of one scheduler that may be answered without a run of their own."""

    def __init__(
        self,
        answers: Answers,
        store: AnswerStore,
        windows: Mapping[str, PoolWindow],
        intakes: Mapping[str, Intake],
        roster: Roster,
        settlement: Settlement,
        resting: Resting,
        wake: asyncio.Event,
        clock: Clock,
        metrics: SchedulerMetrics,
    ) -> None:
        """`wake` is set when tasks may start that had to wait."""
        self._answers = answers
        self._windows = windows
        self._intakes = intakes
        self._roster = roster
        self._wake = wake
        self._clock = clock
        self._board = FlightBoard()
        self._telling = Telling(metrics, clock)
        answers.observe(self._telling.looked)
        metrics.cache.holds(Holdings(answers, self._board))
        if answers.troubles is not None:
            metrics.cache.suffers(answers.troubles)
        self._answering = Answering(store, settlement, resting, metrics, self._telling, answers.budget)
        self._landings = Landings(store, answers, self._landed, self._telling)
        self._giving = Giving(answers.budget, self._answering, windows, intakes, wake, clock)
        self._asking = Asking(
            answers, self._board, windows, self._answering, self._giving, self._landed, clock
        )

    async def run(self) -> None:
        """Do for ever what has time: end tasks, look at ends of runs, renew leads, and wait for the runs of others."""
        async with asyncio.TaskGroup() as group:
            self._asking.group = group
            group.create_task(self._answering.run())
            group.create_task(self._giving.run())
            group.create_task(self._landings.run())
            group.create_task(renew_leads(self._board, self._answers, self._clock))

    async def abandon(self) -> None:
        """Let others lead what tasks of this process still do: it goes."""
        await self._asking.land_early(self._board.led(), ABANDONED)

    def sort_out(self, pool: str, tasks: Sequence[Waiting]) -> Sorted:
        """Tell what is known at once of tasks that were taken from a pool's window; those that follow a run of this
        process are set aside in it. Nothing here waits.
        """
        found = Sorted([], [], [])
        served: dict[str, Served | None] = {}
        for task in tasks:
            if not task.envelope.HasField("cached_as"):
                found.starting.append(task)
                continue
            question, model = task.envelope.cached_as, task.model
            if model not in served:
                served[model] = served_by(self._roster.of_model(pool, model))
            known = served[model]
            if question.only:
                # While one version takes over from another, what was asked for may still be there.
                if known is None or known.answers(question):
                    found.only.append(task)
                else:
                    self._asking.not_cached(task)
                continue
            if known is None or not known.answers(question):
                found.starting.append(task)
                continue
            key = flight_key(question)
            flight = self._board.of(key)
            if flight is None:
                flight = Flight(key, question, known, task, began_s=self._clock.monotonic())
                # At once: whoever asks the same from now on follows it, whatever is found out meanwhile.
                self._board.begin(flight)
                found.flights.append(flight)
                continue
            leader = flight.leader
            # The leader itself comes again when no runner took it: then its flight is about to end.
            if leader is not None and leader is not task and leader.id == task.id:
                if task.publication <= leader.publication:
                    # An old message of the task that leads: the record store knows.
                    found.starting.append(task)
                    continue
                if flight.attempt:
                    # A later one: that run was lost. Of one that was not leased yet the record store will say so.
                    self.over([leader])
            if leader is not task and flight.is_too_short_for(task, self._clock.now_ms()):
                # Not looked for: that was done when the other began.
                self._board.begin(Flight(key, question, known, task, began_s=self._clock.monotonic()))
                found.starting.append(task)
                continue
            flight.followers.append(task)
            self._windows[pool].set_aside([task])
        return found

    async def ask(self, flights: Sequence[Flight], only: Sequence[Waiting]) -> Sequence[Waiting]:
        """Find out what tiers and shared flights know of questions that are new here; returns the tasks that start, and
        sees to the others.

        Where the servers of the cache do not answer, it takes as long as their deadlines, and tasks start as without.
        """
        leaders = [flight.leader for flight in flights if flight.leader is not None]
        if only:
            await self._asking.answer_only(only)
        apart = await self._asking.ask(flights) if flights else ()
        return [task for task in leaders if task not in apart]

    def leased(self, stream: RunnerStream, granted: Iterable[tuple[Waiting, LeaseReply]]) -> None:
        """Take in which tasks a runner was given."""
        now_ms = self._clock.now_ms()
        uncached = 0
        for task, reply in granted:
            flight = self._board.led_by(task)
            if flight is None:
                uncached += task.envelope.HasField("cached_as")
                continue
            if stream.answers_digest in flight.served.digests:
                flight.attempt, flight.began_ms = reply.attempt, now_ms
                short = {one for one in flight.followers if flight.is_too_short_for(one, now_ms)}
                if short:
                    flight.followers = [one for one in flight.followers if one not in short]
                    self._giving.take_again(short)
                flight.early = len(flight.followers)
            else:
                # It came since the question was compared, and may answer something else.
                uncached += 1
                self.over([task])
        if uncached:
            self._telling.uncached(uncached)

    def over(self, tasks: Iterable[Waiting]) -> None:
        """Take in tasks that no runner executes any more, or none did after all."""
        if not self._board.any_led():
            return
        for task in tasks:
            flight = self._board.led_by(task)
            if flight is not None and not flight.over:
                flight.over = True
                self._landings.add(flight)

    def _landed(self, flight: Flight, answer: Answer | None) -> None:
        """End those who followed, or let them be taken again, in their places."""
        followers = self._board.end(flight)
        given = followers[: flight.given_to] if answer is not None else []
        if answer is not None and given:
            # Also those that a pause holds: nothing is executed for them.
            self._giving.give(given, answer, _came(flight, answer))
        self._giving.take_again(followers[len(given) :])


def _came(flight: Flight, answer: Answer) -> Came:
    """Return what came of those who followed a flight and are given this."""
    if flight.found_in:
        return Came(HIT, flight.found_in)
    return Came(FAILED if answer.state is TaskState.FAILED else SHARED, leader=flight.trace)

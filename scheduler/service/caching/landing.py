"""At the end of a run that others wait for: its answer is read, kept, and then told; who waited ends with it.

First kept, then told: whoever hears of the end finds the answer. A death in between costs one more run at most, for the
lease of the flight runs out, and the next that asks leads.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from google.rpc import status_pb2

from cache.ports import Landing, LandingKind
from forebay.cache.v1.stored_answer_pb2 import StoredAnswer
from scheduler.errors import RecordsUnavailable
from scheduler.ports.answers import Answer, AnswerStore, RunOutcome
from scheduler.ports.records import Hold
from scheduler.service.caching.answering import failure, success
from scheduler.service.caching.answers import Answers, Fill
from scheduler.service.caching.flights import Flight, entry_key
from scheduler.service.caching.telling import COMPUTED, FAILED, Came, Telling
from scheduler.service.entry import Waiting
from scheduler.states import TaskState
from services.cached_tasks import answer_of_run
from services.input_faults import inputs_fault

log = logging.getLogger(__name__)

ABANDONED: Final = Landing(LandingKind.ABANDONED)
STORED: Final = Landing(LandingKind.STORED)
MOST_AT_ONCE: Final = 256
_NOTHING: Final = RunOutcome(TaskState.QUEUED)

Landed = Callable[[Flight, Answer | None], None]


class Landings:
    """Looks at the ends of runs while `run` runs."""

    def __init__(self, store: AnswerStore, answers: Answers, landed: Landed, telling: Telling) -> None:
        """`landed` is told of each flight, with the answer for those who followed it; None: somebody else must run."""
        self._store = store
        self._answers = answers
        self._landed = landed
        self._telling = telling
        self._over: list[Flight] = []
        self._wake = asyncio.Event()

    def add(self, flight: Flight) -> None:
        """Take a flight whose run has ended, well or not, or was never begun."""
        self._over.append(flight)
        self._wake.set()

    async def run(self) -> None:
        """Look for ever. Cancelling it leaves flights to their leases."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._over:
                batch, self._over = self._over[:MOST_AT_ONCE], self._over[MOST_AT_ONCE:]
                await self._land(batch)

    async def _land(self, flights: Sequence[Flight]) -> None:
        waiting = [flight for flight in flights if flight.attempt and flight.leader is not None]
        await self._told([(flight, _NOTHING) for flight in flights if flight not in waiting])
        while waiting:
            found = await self._outcomes(waiting)
            pairs = list(zip(waiting, found, strict=True))
            waiting = [flight for flight, outcome in pairs if outcome is None]
            await self._told([(flight, outcome) for flight, outcome in pairs if outcome is not None])

    async def _outcomes(self, flights: Sequence[Flight]) -> Sequence[RunOutcome | None]:
        holds = [Hold(flight.leader.id, flight.attempt) for flight in flights if flight.leader is not None]
        try:
            return await self._store.outcomes(holds, self._answers.largest)
        except RecordsUnavailable as error:
            log.warning("answers not kept: %s", error, extra={"tasks": len(holds)})
            return [_NOTHING] * len(holds)

    async def _told(self, ended: Sequence[tuple[Flight, RunOutcome]]) -> None:
        fills: dict[Flight, Fill] = {}
        ends: list[tuple[Flight, Landing, StoredAnswer | status_pb2.Status | None]] = []
        for flight, outcome in ended:
            flight.trace = flight.leader.envelope.traceparent if flight.leader is not None else ""
            stored = _stored(flight, outcome)
            if stored is not None:
                fills[flight] = Fill(entry_key(flight.question), stored, flight.question, flight.began_ms)
                ends.append((flight, Landing(LandingKind.STORED, flight.trace.encode()), stored))
                continue
            fault = inputs_fault(outcome.body) if outcome.state is TaskState.FAILED else None
            landing = ABANDONED if fault is None else Landing(LandingKind.FAILED, outcome.body)
            ends.append((flight, landing, fault))
        kept = await self._answers.keep(list(fills.values()))
        await self._answers.land(
            [
                (flight.key, flight.fence, self._told_as(landing, fills.get(flight), kept))
                for flight, landing, _ in ends
                if flight.fence is not None
            ]
        )
        self._telling.ended(_came_of_leaders(ended))
        for flight, _, came in ends:
            answer = None
            # Most runs are followed by nobody: then there is nothing to be made.
            if flight.followers and came is not None:
                answer = success(came) if isinstance(came, StoredAnswer) else failure(came)
                if flight in fills and (flight.question.refresh or self._answers.dead(fills[flight])):
                    # Who came while it ran may have come after the purge, or wants what began after it came: the next
                    # of those runs.
                    flight.given_to = flight.early
            self._landed(flight, answer)

    def _told_as(self, landing: Landing, fill: Fill | None, kept: bool) -> Landing:
        """Return what others are told: that an answer is there only where they can find it."""
        return landing if fill is None or (kept and not self._answers.dead(fill)) else ABANDONED


def _came_of_leaders(ended: Sequence[tuple[Flight, RunOutcome]]) -> Iterator[tuple[Waiting, Came]]:
    """Yield what came of the tasks whose runs were their last."""
    words = {TaskState.SUCCEEDED: COMPUTED, TaskState.FAILED: FAILED}
    for flight, outcome in ended:
        if flight.leader is not None and outcome.state in words:
            yield flight.leader, Came(words[outcome.state])


def _stored(flight: Flight, outcome: RunOutcome) -> StoredAnswer | None:
    """Return what is to be kept of a run; None where nothing is."""
    if outcome.state is not TaskState.SUCCEEDED or not outcome.body or flight.leader is None:
        return None
    return answer_of_run(
        outcome.body,
        outcome.outputs,
        model=flight.leader.model.partition("@")[0],
        version=flight.served.version,
        sampled=flight.question.sampled,
    )

"""Ends tasks whose answer is known: many in one step of the record store, and not too much in one."""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from google.rpc import error_details_pb2, status_pb2

from forebay.cache.v1.stored_answer_pb2 import StoredAnswer
from observability.metrics import SchedulerMetrics
from scheduler.errors import ForebayError, RecordsUnavailable
from scheduler.ports.answers import CACHED, Answer, Answered, AnswerStore, Closed
from scheduler.service.caching.telling import Came, Telling
from scheduler.service.entry import Waiting
from scheduler.service.resting import Resting
from scheduler.service.settlement import Settlement
from scheduler.states import Level, TaskState
from services.answer_budget import AnswerBudget
from services.cached_tasks import VOID, end_of

log = logging.getLogger(__name__)

MOST_TASKS: Final = 512
MOST_BYTES: Final = 16 << 20
"""Bytes of results and streams that one step writes: more would keep the record store from others for too long."""
MOST_CHUNKS: Final = 4096
"""Chunks that one step writes."""


class _Ending(NamedTuple):
    """How a task is to end."""

    task: Waiting
    answer: Answer
    came: Came
    spent: bool
    """Whether its tenant's budget has paid for it."""


class Answering:
    """Ends tasks while `run` runs. Their messages are settled, or rest, here and nowhere else."""

    def __init__(
        self,
        store: AnswerStore,
        settlement: Settlement,
        resting: Resting,
        metrics: SchedulerMetrics,
        telling: Telling,
        budget: AnswerBudget,
    ) -> None:
        """What was spent of `budget` for tasks that did not end with their answer is given back to it."""
        self._store = store
        self._settlement = settlement
        self._resting = resting
        self._metrics = metrics
        self._telling = telling
        self._budget = budget
        self._waiting: deque[_Ending] = deque()
        self._waiting_bytes = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def end(self, tasks: Iterable[Waiting], answer: Answer, came: Came, *, spent: bool = False) -> None:
        """Let tasks end this way, soon; `came` is where from, and `spent` whether their tenants' budgets have paid for
        it. They are in no window.
        """
        for task in tasks:
            self._waiting.append(_Ending(task, answer, came, spent))
            self._waiting_bytes += size_of(answer)
        self._see_room()
        self._wake.set()

    async def room(self) -> None:
        """Wait until what waits to be written is no more than one step takes: before more answers are loaded."""
        await self._room.wait()

    async def run(self) -> None:
        """End tasks for ever. Cancelling it leaves them to their messages."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._step()

    async def _step(self) -> None:
        batch: list[_Ending] = []
        left_bytes, left_chunks = MOST_BYTES, MOST_CHUNKS
        while self._waiting and len(batch) < MOST_TASKS and left_bytes > 0 and left_chunks > 0:
            ending = self._waiting.popleft()
            left_bytes -= size_of(ending.answer)
            left_chunks -= len(ending.answer.outputs)
            batch.append(ending)
        self._waiting_bytes -= MOST_BYTES - left_bytes
        try:
            await self._write(batch)
        finally:
            self._see_room()

    def _see_room(self) -> None:
        if self._waiting_bytes <= MOST_BYTES:
            self._room.set()
        else:
            self._room.clear()

    async def _write(self, batch: Sequence[_Ending]) -> None:
        try:
            verdicts = await self._store.answer(
                [Answered(task.id, task.publication, answer) for task, answer, _, _ in batch]
            )
        except RecordsUnavailable as error:
            # Unknown which have ended: looking again later tells. What they may have written stays spent.
            log.warning("tasks not ended by a cached answer: %s", error, extra={"tasks": len(batch)})
            self._resting.rest(ending.task for ending in batch)
            return
        ended: Counter[tuple[TaskState, Level]] = Counter()
        told: list[tuple[Waiting, Came]] = []
        for (task, answer, came, spent), verdict in zip(batch, verdicts, strict=True):
            if spent and verdict is not Closed.ENDED:
                self._budget.give_back(task.tenant, size_of(answer))
            if verdict is Closed.HELD:
                self._resting.rest([task])
                continue
            self._settlement.settle([task])
            if verdict is Closed.ENDED:
                ended[answer.state, task.lane.level] += 1
                told.append((task, came))
            elif verdict is Closed.EXPIRED:
                ended[TaskState.EXPIRED, task.lane.level] += 1
        for (state, level), count in ended.items():
            self._metrics.finished(state.name.lower(), level.label, count)
        self._telling.ended(told)


def size_of(answer: Answer) -> int:
    """Return how many bytes each task that ends this way writes."""
    return len(answer.body) + sum(map(len, answer.outputs))


def success(stored: StoredAnswer) -> Answer:
    """Return how tasks end with a kept answer."""
    end = end_of(stored)
    return Answer(TaskState.SUCCEEDED, end.result, CACHED, end.outputs, VOID)


def failure(status: status_pb2.Status) -> Answer:
    """Return how tasks end with an error that is their input's, or that says that their answer is not cached."""
    info = error_details_pb2.ErrorInfo()
    told = (detail for detail in status.details if detail.Unpack(info))
    reason = info.reason if next(told, None) is not None else ForebayError.reason
    return Answer(TaskState.FAILED, status.SerializeToString(), reason)

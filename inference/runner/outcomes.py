"""Writes what executions bring: output of running generations, and the endings of tasks. A request comes here from
inference/runner/engine_thread.py and ends here: its record has the outcome, and who watches it is told.

One write is on its way at a time, and what comes meanwhile goes with the next one: batches grow with the load, and
nothing waits when there is none. A task's text is always written before its ending, or with it.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from inference.engine import Chunk, Done, Failed, GenerateOutput
from inference.runner import results
from inference.runner.held import Cost, Held
from inference.runner.results import LARGEST_RESULT_BYTES, PendingText
from scheduler.errors import ModelFailed, RecordsUnavailable
from scheduler.policies.failures import may_be_the_runners
from scheduler.ports.clock import Clock
from scheduler.ports.records import Ending, OutcomeStore, Written
from scheduler.states import TaskState

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 2.0
LARGEST_WRITE: Final = 512
"""Endings in one write: a bound on how long the record store is busy with it."""
LARGEST_WRITE_BYTES: Final = 16 << 20
"""Bytes of results from which on a write is closed: one that the store cannot take in time would be repeated for
ever.
"""

_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The ending of one task, and what it is told of it."""

    held: Held
    ending: Ending
    ended_s: float
    """Monotonic time at which the engine was through with it."""
    generated: GenerateOutput | None = None
    """What a generation brought; None for tensors and failures."""

    @property
    def retried(self) -> bool:
        """Whether another attempt follows for certain. The last one may be followed by another too, when the record
        knows of attempts that are not charged.
        """
        return self.ending.retry_in_ms >= 0 and self.held.attempt < self.held.max_attempts

    @property
    def blames_runner(self) -> bool:
        """Whether another runner could have done better."""
        ending = self.ending
        return ending.state is TaskState.FAILED and may_be_the_runners(ending.reason)

    @property
    def cost(self) -> Cost | None:
        """What the execution cost; None for one that the input ended, or that was none."""
        held = self.held
        if not held.execute_s or not (self.ending.state is TaskState.SUCCEEDED or self.blames_runner):
            return None
        tokens = 0 if self.generated is None else self.generated.output_tokens
        return Cost(held.execute_s, held.work_s, tokens)


class OutcomeListener(Protocol):
    """Hears what became of writes."""

    def finished(self, outcomes: Sequence[Outcome], written: Sequence[Written], write_s: float) -> None:
        """Take one batch of endings that the store has answered, and how long that took."""
        ...

    def fenced(self, tasks: Sequence[Held]) -> None:
        """Take tasks whose output was refused: they belong to somebody else, or to nobody any more."""
        ...


class OutcomeWriter:
    """Collects outputs and endings, and writes them while `run` runs. Credits bound what it collects."""

    def __init__(
        self,
        store: OutcomeStore,
        clock: Clock,
        listener: OutcomeListener,
        *,
        streams: bool = False,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`draw` gives numbers in [0, 1), which spread the rests between attempts."""
        self._store = store
        self._clock = clock
        self._listener = listener
        self._streams = streams
        """Whether the model writes streams, which failures must close."""
        self._draw = draw
        self._pending: dict[Held, PendingText] = {}
        self._outcomes: list[Outcome] = []
        self._ready = asyncio.Event()

    def chunk(self, held: Held, chunk: Chunk) -> None:
        """Take output of a running generation."""
        pending = self._pending.get(held)
        if pending is None:
            pending = self._pending[held] = PendingText()
            self._ready.set()
        pending.add(chunk)

    def done(self, held: Held, done: Done, now_s: float) -> None:
        """Take the output with which a task ended."""
        output = done.output
        pending = self._pending.pop(held, None) if self._pending else None
        streamed = held.streamed
        ending = None
        if (size := results.element_bytes(output)) <= LARGEST_RESULT_BYTES:
            ending = results.success(held, done, pending, now_s)
            size = len(ending.result)
        if ending is None or size > LARGEST_RESULT_BYTES:
            error = ModelFailed(f"the output has {size} bytes; {LARGEST_RESULT_BYTES} is the limit")
            held.streamed = streamed
            self.failed(held, Failed(held.key, error), now_s)
            return
        self._end(Outcome(held, ending, now_s, output if isinstance(output, GenerateOutput) else None))

    def failed(self, held: Held, failed: Failed, now_s: float) -> None:
        """Take the error with which a task ended."""
        pending = self._pending.pop(held, None)
        ending = results.failure(held, failed.error, pending, streams=self._streams, draw=self._draw())
        self._end(Outcome(held, ending, now_s))

    def forget(self, held: Held) -> None:
        """Drop output of a task that is not ours any more."""
        self._pending.pop(held, None)

    async def run(self) -> None:
        """Write for ever. Cancelling it leaves the outcome of the write on its way unknown."""
        while True:
            await self._ready.wait()
            self._ready.clear()
            if self._pending:
                await self._append()
            if self._outcomes:
                await self._finish()

    def _end(self, outcome: Outcome) -> None:
        outcome.held.ending = True
        self._outcomes.append(outcome)
        self._ready.set()

    async def _append(self) -> None:
        pending, self._pending = self._pending, {}
        chunks = [results.output_chunk(held, text) for held, text in pending.items()]
        sequences = await self._until_answered(lambda: self._store.append_output(chunks))
        for held, sequence in zip(pending, sequences, strict=True):
            held.sequence = sequence
        if not all(sequences):
            self._listener.fenced(
                [held for held, sequence in zip(pending, sequences, strict=True) if not sequence]
            )

    async def _finish(self) -> None:
        count = _fitting(self._outcomes[:LARGEST_WRITE])
        outcomes, self._outcomes = self._outcomes[:count], self._outcomes[count:]
        if self._outcomes:
            self._ready.set()
        endings = [outcome.ending for outcome in outcomes]
        began_s = time.perf_counter()
        written = await self._until_answered(lambda: self._store.finish(endings))
        self._listener.finished(outcomes, written, time.perf_counter() - began_s)

    async def _until_answered(self, write: Callable[[], Awaitable[T]]) -> T:
        """Repeat a write until the store answers it. Repeating is harmless, and only the store knows whose task
        it is by then: its answer is the fence.
        """
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                answer = await write()
            except RecordsUnavailable as error:
                if pause_s == FIRST_PAUSE_S:
                    _log.warning("records unavailable, outcomes wait", extra={"cause": str(error)})
                await self._clock.sleep(pause_s)
                pause_s = min(LONGEST_PAUSE_S, pause_s * 2)
            else:
                if pause_s > FIRST_PAUSE_S:
                    _log.info("records answer again, outcomes are written")
                return answer


def _fitting(outcomes: Sequence[Outcome]) -> int:
    """Count the first ones that fit in one write: at least one."""
    size = 0
    for count, outcome in enumerate(outcomes, start=1):
        size += len(outcome.ending.result)
        if size >= LARGEST_WRITE_BYTES:
            return count
    return len(outcomes)

"""Everything this runner holds. A request comes here from scheduler/service/dispatcher.py (`attachment.py` reads the
stream), waits and runs in inference/runner/engine_thread.py, and passes here again on its way to `outcomes.py`.

Each task leaves exactly once, with its fate for the scheduler that sent it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from forebay.dispatch.v1.dispatch_service_pb2 import Assignment
from inference.engine import Chunk, Done, EngineKind, Failed, ModelCard, Update
from inference.journal import JournalWriter
from inference.runner import work
from inference.runner.held import Cost, Fate, Held, Source
from inference.runner.outcomes import Outcome, OutcomeWriter
from inference.runner.tally import Tally
from inference.runner.telemetry import Telemetry
from observability.propagation import trace_id_of
from scheduler.errors import DeadlinePassed, ForebayError, InvalidInput
from scheduler.ports.clock import Clock
from scheduler.ports.records import OutcomeStore, Written

_log = logging.getLogger(__name__)


class Executor(Protocol):
    """Executes tasks: the engine thread."""

    def admit(self, tasks: Sequence[Held]) -> None:
        """Let tasks wait for the engine and run."""
        ...

    def cancel(self, keys: Sequence[str]) -> None:
        """Forget tasks, waiting or running."""
        ...

    def hand_back(self) -> None:
        """Give back everything that waits."""
        ...


class Workload:
    """The tasks of one runner. The event loop owns it; every method takes a batch."""

    def __init__(
        self,
        card: ModelCard,
        executor: Executor,
        store: OutcomeStore,
        clock: Clock,
        telemetry: Telemetry,
        tally: Tally,
        journal: JournalWriter | None = None,
    ) -> None:
        self._card = card
        self._executor = executor
        self._telemetry = telemetry
        self._tally = tally
        self._journal = journal
        self._tasks: dict[str, Held] = {}
        self._draining = False
        self._empty = asyncio.Event()
        self.outcomes = OutcomeWriter(store, clock, self, streams=card.kind is EngineKind.GENERATE)
        """Writes the endings; somebody must run it."""
        self.paced: Callable[[int, float], None] | None = None
        """Hears of how many tasks ended, and of the engine's time that they took, in seconds."""

    def __len__(self) -> int:
        return len(self._tasks)

    def held(self) -> Sequence[Held]:
        """Return what is held now."""
        return list(self._tasks.values())

    # From the schedulers.

    def assigned(self, assignments: Sequence[Assignment], source: Source) -> None:
        """Take leased tasks. One that cannot be executed gets its failure written; none is ever dropped."""
        now_s = time.monotonic()
        self._tally.arrived()
        admitted: list[Held] = []
        taken: list[tuple[Held, Assignment]] = []
        for assignment in assignments:
            held = work.hold(assignment, source, now_s)
            if self._draining:
                source.settle(held.id, held.attempt, Fate.RETURNED)
                continue
            if held.key in self._tasks:
                # The same attempt twice: it runs already, and is settled once.
                continue
            self._tasks[held.key] = held
            taken.append((held, assignment))
        if taken and self._journal is not None:
            # Before anything looks into them: reading a task may be what ends the process.
            self._journal.took([held for held, _ in taken], self._tasks.values)
        for held, assignment in taken:
            try:
                work.prepare(held, assignment, self._card)
            except ForebayError as error:
                self._fail(held, Failed(held.key, error), now_s)
            else:
                admitted.append(held)
        if admitted:
            self._executor.admit(admitted)

    def cancelled(self, ids: Iterable[str]) -> None:
        """Stop tasks that were cancelled: their writes are refused already."""
        wanted = frozenset(ids)
        self._drop([held for held in self._tasks.values() if held.id in wanted], Fate.TERMINAL)

    def drain(self) -> None:
        """Take no more, and give back what the engine has not begun."""
        self._draining = True
        self._executor.hand_back()

    def abandon(self, suspects: Iterable[str] = ()) -> None:
        """Take no more, stop what still runs and give it back: nothing of it is visible, and another runner may have
        it.

        Attempts named in `suspects` are only forgotten: they keep their leases until somebody looks into this runner's
        end.
        """
        self._draining = True
        for key in suspects:
            held = self._tasks.get(key)
            if held is not None and not held.ending:
                del self._tasks[key]
                self.outcomes.forget(held)
        if not self._tasks:
            self._empty.set()
        self._drop(list(self._tasks.values()), Fate.RETURNED)

    async def emptied(self) -> None:
        """Wait until nothing is held."""
        while self._tasks:
            self._empty.clear()
            await self._empty.wait()

    # From the engine.

    def updated(self, updates: Sequence[Update]) -> None:
        """Take what the engine brought; updates of tasks that are not held any more are dropped."""
        now_s = time.monotonic()
        tasks, outcomes = self._tasks, self.outcomes
        for update in updates:
            held = tasks.get(update.key)
            if held is None:
                continue
            match update:
                case Done():
                    self._tally.succeeded(held, now_s)
                    outcomes.done(held, update, now_s)
                case Chunk():
                    outcomes.chunk(held, update)
                case Failed():
                    self._fail(held, update, now_s)

    def returned(self, keys: Sequence[str]) -> None:
        """Give back tasks that the engine never saw."""
        self._leave([self._tasks[key] for key in keys if key in self._tasks], Fate.RETURNED)

    # From the record store.

    def finished(self, outcomes: Sequence[Outcome], written: Sequence[Written], write_s: float) -> None:
        """Settle tasks whose endings the store has answered."""
        tasks = self._tasks
        for outcome, verdict in zip(outcomes, written, strict=True):
            held = outcome.held
            del tasks[held.key]
            fate = Fate.TERMINAL
            if verdict is Written.FENCED:
                fate = Fate.FENCED
                _log.info("outcome refused", extra=_lost(held, "it ended or belongs to another attempt"))
            held.source.settle(held.id, held.attempt, fate, outcome.cost, failed=outcome.blames_runner)
        if self.paced is not None:
            costs = [cost.work_s for outcome in outcomes if (cost := outcome.cost) is not None]
            self.paced(len(costs), sum(costs))
        if not tasks:
            self._empty.set()
        self._telemetry.finished(outcomes, written, write_s)

    def fenced(self, tasks: Sequence[Held]) -> None:
        """Stop tasks that belong to somebody else, or to nobody any more."""
        lost = [held for held in tasks if held.key in self._tasks and not held.ending]
        for held in lost:
            _log.info("lease lost", extra=_lost(held, "it ended, or its lease ran out"))
        self._drop(lost, Fate.FENCED)

    def _fail(self, held: Held, failed: Failed, now_s: float) -> None:
        # What the client got wrong is the client's to read; the rest is for the one who runs the models.
        if not isinstance(failed.error, InvalidInput | DeadlinePassed):
            _log.warning(
                "task failed",
                extra={
                    "task_id": held.id,
                    "attempt": held.attempt,
                    "trace_id": trace_id_of(held.traceparent),
                },
                exc_info=failed.error,
            )
        self._tally.failed(now_s - held.received_s)
        self.outcomes.failed(held, failed, now_s)

    def _drop(self, tasks: Sequence[Held], fate: Fate) -> None:
        """Stop tasks in the engine and settle them. One whose ending is being written waits for that answer."""
        tasks = [held for held in tasks if not held.ending]
        if not tasks:
            return
        self._executor.cancel([held.key for held in tasks])
        for held in tasks:
            self.outcomes.forget(held)
        self._leave(tasks, fate)

    def _leave(self, tasks: Sequence[Held], fate: Fate) -> None:
        now_s = time.monotonic()
        for held in tasks:
            del self._tasks[held.key]
            held.source.settle(held.id, held.attempt, fate, _cost_so_far(held, fate, now_s))
        if not self._tasks:
            self._empty.set()


def _cost_so_far(held: Held, fate: Fate, now_s: float) -> Cost | None:
    """Return what an execution cost that was broken off; None where there was none, and of a cancelled task: what
    ended with a cost ended well.
    """
    if fate is Fate.TERMINAL or not held.admitted_s:
        return None
    return Cost(now_s - held.admitted_s, held.work_s)


def _lost(held: Held, cause: str) -> dict[str, object]:
    return {
        "task_id": held.id,
        "attempt": held.attempt,
        "cause": cause,
        "trace_id": trace_id_of(held.traceparent),
    }

"""Ends tasks whose answer is known, and tells what runs came to, in memory."""

from collections.abc import Sequence

from scheduler.adapters.memory.outcomes import EVENT_OF
from scheduler.adapters.memory.state import State
from scheduler.ports.answers import Answered, Closed, RunOutcome
from scheduler.ports.records import Hold
from scheduler.states import Event, TaskState


class MemoryAnswers:
    """AnswerStore in memory."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def answer(self, answered: Sequence[Answered]) -> list[Closed]:
        """End tasks; see AnswerStore."""
        verdicts = [self._answer(one) for one in answered]
        self._state.commit()
        return verdicts

    def _answer(self, answered: Answered) -> Closed:
        row, answer = self._state.row(answered.id), answered.answer
        if row is None or row.publication != answered.publication:
            return Closed.STALE
        if row.state is TaskState.EXPIRED:
            return Closed.EXPIRED
        if row.state is not TaskState.QUEUED:
            return Closed.HELD if row.state is TaskState.RUNNING else Closed.STALE
        if 0 < row.task.deadline_ms <= self._state.clock.now_ms():
            row.error = b""
            self._state.move(row, Event.EXPIRE, "WHILE_QUEUED")
            return Closed.EXPIRED
        voids = (answer.void,) if row.sequence and answer.outputs else ()
        for payload in (*voids, *answer.outputs):
            self._state.append(row, payload)
        failed = answer.state is TaskState.FAILED
        row.error = answer.body if failed else b""
        row.result = b"" if failed else answer.body
        self._state.move(row, EVENT_OF[answer.state], answer.reason)
        return Closed.ENDED

    async def outcomes(self, holds: Sequence[Hold], largest: int) -> list[RunOutcome | None]:
        """Tell what attempts came to; see AnswerStore. Nothing is copied, so it never has enough."""
        return [self._outcome(hold, largest) for hold in holds]

    def _outcome(self, hold: Hold, largest: int) -> RunOutcome:
        row = self._state.row(hold.id)
        if row is None or row.attempt != hold.attempt:
            return RunOutcome(TaskState.QUEUED)
        if row.state is TaskState.FAILED:
            return RunOutcome(row.state, row.error)
        if row.state is not TaskState.SUCCEEDED:
            return RunOutcome(TaskState.QUEUED)
        if len(row.result) > largest:
            return RunOutcome(row.state)
        outputs = tuple(payload for _, payload in row.chunks)
        return RunOutcome(row.state, row.result, outputs if sum(map(len, outputs)) <= largest else ())

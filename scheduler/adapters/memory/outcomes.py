"""What executions bring, in memory."""

from collections.abc import Sequence
from typing import Final

from scheduler.adapters.memory.rows import Row
from scheduler.adapters.memory.state import State
from scheduler.ports.records import Ending, OutputChunk, Written
from scheduler.states import Event, TaskState

EVENT_OF: Final = {
    TaskState.SUCCEEDED: Event.SUCCEED,
    TaskState.FAILED: Event.FAIL,
    TaskState.EXPIRED: Event.EXPIRE,
}


class MemoryOutcomes:
    """OutcomeStore in memory."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def finish(self, endings: Sequence[Ending]) -> list[Written]:
        """Write what attempts came to; see OutcomeStore."""
        answers = [self._finish(ending) for ending in endings]
        self._state.commit()
        return answers

    def _finish(self, ending: Ending) -> Written:
        row = self._state.held(ending.id, ending.attempt)
        if row is None:
            return self._too_late(ending)
        row.written = row.attempt
        row.result = ending.result if ending.state is TaskState.SUCCEEDED else b""
        row.error = ending.error if ending.state is not TaskState.SUCCEEDED else b""
        event = EVENT_OF[ending.state]
        if ending.state is TaskState.FAILED and ending.retry_in_ms >= 0:
            event = Event.ATTEMPTS_EXHAUSTED if row.exhausted else Event.RETRY
        if ending.last_output and event is not Event.RETRY:
            self._state.append(row, ending.last_output)
        self._state.move(row, event, ending.reason)
        if event is Event.RETRY:
            due_ms = self._state.clock.now_ms() + ending.retry_in_ms
            self._state.of(row).timers.put(row.id, due_ms)
        return Written.WRITTEN

    def _too_late(self, ending: Ending) -> Written:
        row = self._state.row(ending.id)
        own = row and row.attempt == row.written == ending.attempt
        return Written.ALREADY if own else Written.FENCED

    async def append_output(self, chunks: Sequence[OutputChunk]) -> list[int]:
        """Append to token streams; see OutcomeStore."""
        numbers: list[int] = []
        grown: dict[str, Row] = {}
        for chunk in chunks:
            row = self._state.held(chunk.id, chunk.attempt)
            written = _written(row, chunk) if row else 0
            if row and not written:
                written = self._state.append(row, chunk.payload)
                if chunk.after < 0:
                    row.began = chunk.attempt, written
                grown[chunk.id] = row
            numbers.append(written)
        for row in grown.values():
            self._state.grown(row)
        self._state.commit()
        return numbers


def _written(row: Row, chunk: OutputChunk) -> int:
    """Return the number that a chunk has already, 0 when it is new: only the present attempt writes, so a stream that
    is past `after` has it, however late the repetition comes.
    """
    if chunk.after >= 0:
        return chunk.after + 1 if chunk.after < row.sequence else 0
    attempt, number = row.began
    return number if attempt == chunk.attempt else 0

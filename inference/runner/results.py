"""From what the engine brought to what the record and the task's stream get."""

from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration

from forebay.tasks.v1.inputs_pb2 import FINISH_REASON_ABORTED
from forebay.tasks.v1.task_pb2 import TASK_STATE_SUCCEEDED
from forebay.tasks.v1.task_service_pb2 import StreamOutputResponse
from inference.convert import FINISH_REASONS, result_of
from inference.engine import Done, GenerateOutput
from inference.model_errors import wants_memory
from inference.runner.held import Held
from scheduler.errors import DeadlinePassed, ForebayError, ModelFailed, ModelOutOfMemory
from scheduler.policies.failures import FailureClass, failure_class
from scheduler.ports.records import Ending, OutputChunk
from scheduler.states import TaskState
from services.status import to_status


class PendingText:
    """Output of one attempt that is not written yet: chunks of a flush window become one."""

    __slots__ = ("texts", "token_ids")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.token_ids: list[int] = []

    def add(self, text: str, token_ids: Sequence[int]) -> None:
        """Append what the engine brought."""
        self.texts.append(text)
        self.token_ids.extend(token_ids)


def output_chunk(held: Held, pending: PendingText) -> OutputChunk:
    """Make the stream's next chunk. The first one of a later attempt voids what the earlier one wrote."""
    after = held.sequence or (0 if held.attempt == 1 else -1)
    return OutputChunk(held.id, held.attempt, _next_chunk(held, pending).SerializeToString(), after)


def success(held: Held, done: Done, pending: PendingText | None, now_s: float) -> Ending:
    """Make the ending of a task whose output is there; text that is still pending goes with it."""
    output = done.output
    result = result_of(output)
    timing = result.timing
    _set(timing.queue, (held.lease_time_ms - held.create_time_ms) / 1000)
    _set(timing.execute, now_s - held.received_s)
    if not isinstance(output, GenerateOutput):
        return Ending(held.id, held.attempt, TaskState.SUCCEEDED, result.SerializeToString())
    _set(timing.time_to_first_token, time_to_first_token_s(held, output))
    pending = pending or PendingText()
    pending.add(done.tail, done.tail_token_ids)
    last = _next_chunk(held, pending)
    last.finish_reason = FINISH_REASONS[output.finish]
    last.state = TASK_STATE_SUCCEEDED
    return Ending(
        held.id,
        held.attempt,
        TaskState.SUCCEEDED,
        result.SerializeToString(),
        last_output=last.SerializeToString(),
    )


def failure(
    held: Held, error: Exception, pending: PendingText | None, *, streams: bool, draw: float = 0.0
) -> Ending:
    """Make the ending of an attempt that went wrong, or was never begun because its deadline passed.

    `streams` when its model writes a stream, which is closed if the task ends with this attempt. `draw` in [0, 1)
    spreads the rest before the next one.
    """
    shown = shown_error(error)
    status = to_status(shown)
    state = TaskState.EXPIRED if isinstance(shown, DeadlinePassed) else TaskState.FAILED
    last_output = b""
    if streams:
        last = _next_chunk(held, pending or PendingText())
        last.finish_reason = FINISH_REASON_ABORTED
        last.state = state  # type: ignore[assignment]  # states have the numbers of the contract's
        last.error.CopyFrom(status)
        last_output = last.SerializeToString()
    return Ending(
        held.id,
        held.attempt,
        state,
        error=status.SerializeToString(),
        reason=shown.reason,
        last_output=last_output,
        retry_in_ms=_retry_in_ms(held, shown, draw) if state is TaskState.FAILED else -1,
    )


def shown_error(error: Exception) -> ForebayError:
    """Return an error that clients may see: the text of any but our own could hold a part of the input."""
    if isinstance(error, ForebayError):
        return error
    if wants_memory(error):
        return ModelOutOfMemory("there is not enough memory to run the model on this input")
    return ModelFailed("the model raised an error on this input")


def time_to_first_token_s(held: Held, output: GenerateOutput) -> float:
    """Return the time from the assignment to the first token: the wait for a place, then the engine's own figure."""
    return held.admitted_s - held.received_s + output.time_to_first_token_s


def _next_chunk(held: Held, pending: PendingText) -> StreamOutputResponse:
    restarted = not held.streamed and held.attempt > 1
    held.streamed = True
    return StreamOutputResponse(text="".join(pending.texts), token_ids=pending.token_ids, restarted=restarted)


def _retry_in_ms(held: Held, error: ForebayError, draw: float) -> int:
    """Return how long the task rests, at least as long as the error asks for; -1 for an error that comes again.

    The number of the attempt stands for that of failures: which of them are charged is known to the record alone.
    """
    if failure_class(error.reason) is not FailureClass.RETRYABLE:
        return -1
    hint_s: float = getattr(error, "retry_after_s", 0.0)
    return held.backoff.rest_ms(held.attempt, draw, int(hint_s * 1000))


def _set(duration: Duration, seconds: float) -> None:
    # Clocks of two hosts may disagree: never a negative time.
    duration.seconds, duration.nanos = divmod(max(0, int(seconds * 1e9)), 1_000_000_000)

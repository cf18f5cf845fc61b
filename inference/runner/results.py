"""From what the engine brought to what the record and the task's stream get."""

from dataclasses import dataclass, field
from typing import Final

from google.protobuf.duration_pb2 import Duration

from forebay.tasks.v1.inputs_pb2 import FINISH_REASON_ABORTED
from forebay.tasks.v1.inputs_pb2 import GenerateOutput as GenerateOutputMessage
from forebay.tasks.v1.task_pb2 import TASK_STATE_SUCCEEDED
from forebay.tasks.v1.task_service_pb2 import StreamOutputResponse
from inference.convert import FINISH_REASONS, result_of, write_logprobs
from inference.engine import Chunk, Done, EmbedOutput, Finish, GenerateOutput, TensorOutput, TokenLogprob
from inference.model_errors import wants_memory
from inference.runner.held import Held
from inference.runner.job import Job
from scheduler.errors import DeadlinePassed, ForebayError, ModelFailed, ModelOutOfMemory
from scheduler.policies.failures import FailureClass, failure_class
from scheduler.ports.records import Ending, OutputChunk
from scheduler.states import TaskState
from services.status import to_status

LARGEST_RESULT_BYTES: Final = 63 << 20
"""Most bytes of a serialised result: a client could not read more in one message, and the store refuses far more."""


@dataclass(slots=True)
class PendingChoice:
    """Output of one choice that is not written yet."""

    texts: list[str] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish: Finish | None = None


class PendingText:
    """Output of one attempt that is not written yet: chunks of a flush window become one, choices stay apart."""

    __slots__ = ("choices",)

    def __init__(self) -> None:
        self.choices: dict[int, PendingChoice] = {}
        """By index; those that brought something."""

    def add(self, chunk: Chunk) -> None:
        """Append what the engine brought."""
        choice = self.choices.get(chunk.index)
        if choice is None:
            choice = self.choices[chunk.index] = PendingChoice()
        choice.texts.append(chunk.text)
        choice.token_ids.extend(chunk.token_ids)
        choice.logprobs.extend(chunk.logprobs)
        choice.finish = chunk.finish


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
    if done.tail is not None:
        pending.add(done.tail)
    last = _next_chunk(held, pending)
    last.finish_reason = FINISH_REASONS[output.choices[0].finish]
    last.state = TASK_STATE_SUCCEEDED
    return Ending(
        held.id,
        held.attempt,
        TaskState.SUCCEEDED,
        result.SerializeToString(),
        last_output=last.SerializeToString(),
    )


def element_bytes(output: TensorOutput | GenerateOutput | EmbedOutput) -> int:
    """Return what the elements of an output take at least in a message, without making one: copies of what is far too
    large would stop the process for as long as they take.
    """
    if not isinstance(output, TensorOutput):
        return 0
    return sum(array.nbytes for array in output.outputs.values() if not array.dtype.hasobject)


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


def time_to_first_token_s(job: Job, output: GenerateOutput) -> float:
    """Return the time from its arrival to the first token: the wait for a place, then the engine's own figure."""
    return job.admitted_s - job.received_s + output.time_to_first_token_s


def _next_chunk(held: Held, pending: PendingText) -> StreamOutputResponse:
    restarted = not held.streamed and held.attempt > 1
    held.streamed = True
    chunk = StreamOutputResponse(restarted=restarted)
    write_text(chunk, pending)
    return chunk


def write_text(chunk: StreamOutputResponse | GenerateOutputMessage, pending: PendingText) -> None:
    """Put new output into a message. Why choice 0 ended is set in the stream of a call only."""
    for index, choice in sorted(pending.choices.items()):
        text = "".join(choice.texts)
        if index == 0:
            chunk.text = text
            chunk.token_ids.extend(choice.token_ids)
            write_logprobs(chunk.logprobs, choice.logprobs)
            # In the stream of a task it is told in the last chunk, which has that field for the whole task.
            if choice.finish is not None and isinstance(chunk, GenerateOutputMessage):
                chunk.finish_reason = FINISH_REASONS[choice.finish]
            continue
        other = chunk.others.add(index=index, text=text, token_ids=choice.token_ids)
        write_logprobs(other.logprobs, choice.logprobs)
        if choice.finish is not None:
            other.finish_reason = FINISH_REASONS[choice.finish]


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

"""From what the engine brought to the answers that a gateway gets."""

from forebay.runner.v1.runner_service_pb2 import Answer
from inference.convert import write_embeddings, write_generation, write_usage
from inference.engine import Done, EmbedOutput, TensorOutput
from inference.runner.direct.held_call import HeldCall
from inference.runner.results import (
    LARGEST_RESULT_BYTES,
    PendingText,
    element_bytes,
    shown_error,
    time_to_first_token_s,
    write_text,
)
from inference.tensor.wire import write_tensors
from scheduler.errors import ForebayError, ModelFailed
from services.status import to_status


def write_done(answer: Answer, call: HeldCall, done: Done) -> int:
    """Write the output with which a call ended; return its bytes, about. Raises ModelFailed for one that no message can
    carry; the answer is not to be sent then.
    """
    output = done.output
    size = element_bytes(output)
    if size > LARGEST_RESULT_BYTES:
        pass
    elif isinstance(output, TensorOutput):
        size = write_tensors(answer.tensors, output.outputs)
    elif isinstance(output, EmbedOutput):
        write_embeddings(answer.embed, output)
        write_usage(answer.usage, output)
        size = output.vectors.nbytes
    else:
        write_generation(answer.generate, output)
        write_usage(answer.usage, output)
        answer.first_token_us = int(time_to_first_token_s(call, output) * 1e6)
        size = answer.generate.ByteSize()
    if size > LARGEST_RESULT_BYTES:
        raise ModelFailed(f"the output has {size} bytes; {LARGEST_RESULT_BYTES} is the limit")
    answer.id = call.id
    answer.started = True
    answer.queue_us = int((call.admitted_s - call.received_s) * 1e6)
    answer.execute_us = int(call.execute_s * 1e6)
    if done.batch:
        answer.batch = done.batch
    return size


def write_new_text(answer: Answer, call: HeldCall, pending: PendingText) -> int:
    """Write new output of a streamed generation; return its bytes."""
    answer.id = call.id
    answer.started = True
    write_text(answer.chunk, pending)
    return answer.chunk.ByteSize()


def write_error(answer: Answer, number: int, error: Exception, call: HeldCall | None = None) -> ForebayError:
    """Write why a call failed; without `call` it was never taken in. Returns the error as the gateway reads it."""
    shown = shown_error(error)
    answer.Clear()
    answer.id = number
    answer.error.CopyFrom(to_status(shown))
    if call is not None and call.admitted_s:
        answer.started = True
        answer.queue_us = int((call.admitted_s - call.received_s) * 1e6)
        answer.execute_us = int(call.execute_s * 1e6)
    return shown

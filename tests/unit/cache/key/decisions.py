"""For each field of a request whether it can change the answer."""

from typing import Final

from google.protobuf.descriptor import Descriptor

from forebay.inference.v1 import inference_service_pb2
from forebay.runner.v1 import runner_service_pb2
from forebay.tasks.v1 import inputs_pb2, task_pb2

CHANGES_ANSWER: Final = {
    "forebay.tasks.v1.GenerateInput": (
        *("prompt", "messages", "max_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "stop"),
        *("ignore_eos", "presence_penalty", "frequency_penalty", "repetition_penalty", "logit_bias"),
        *("logprobs", "stop_token_ids", "n", "response_format"),
    ),
    "forebay.tasks.v1.ResponseFormat": ("text", "json_object", "json_schema", "regex", "grammar"),
    "forebay.tasks.v1.ChatMessages": ("messages",),
    "forebay.tasks.v1.ChatMessage": ("role", "parts"),
    "forebay.tasks.v1.ContentPart": ("text",),
    "forebay.tasks.v1.TensorInput": ("tensors",),
    "forebay.tasks.v1.Tensor": ("name", "datatype", "shape", "raw"),
    "forebay.tasks.v1.EmbedInput": ("texts", "normalize"),
    "forebay.tasks.v1.TaskSpec": ("model", "generate", "tensors", "embed"),
    "forebay.inference.v1.InferRequest": ("model", "tensors", "outputs", "sequence"),
    "forebay.inference.v1.EmbedRequest": ("model", "embed"),
    "forebay.inference.v1.GenerateRequest": ("model", "generate"),
    "forebay.runner.v1.WantedOutput": ("name", "classes"),
    "forebay.runner.v1.Call": ("tensors", "generate", "embed", "outputs", "sequence"),
}
"""By message: the fields that a question has, or that keep its answer out of the cache. What names the model is `Model`
in the question, resolved by the doors."""

CHANGES_NOTHING: Final = {
    "forebay.tasks.v1.TaskSpec": (
        *("priority", "pool", "not_before", "deadline", "retry", "depends_on", "on_parent_failure"),
        *("idempotency_key", "labels", "inputs_from", "cache"),
    ),
    "forebay.inference.v1.InferRequest": ("priority", "pool", "cache", "kind"),
    "forebay.inference.v1.EmbedRequest": ("priority", "pool", "cache", "kind"),
    "forebay.inference.v1.GenerateRequest": ("priority", "pool", "cache", "kind"),
    "forebay.runner.v1.Call": ("id", "tenant", "priority", "timeout_ms", "traceparent", "stream"),
}
"""By message: the fields that no question has. `inputs_from` is not asked itself: a task is asked once outputs of its
parents are in its input."""

REQUESTS: Final = (
    task_pb2.TaskSpec,
    inference_service_pb2.InferRequest,
    inference_service_pb2.EmbedRequest,
    inference_service_pb2.GenerateRequest,
    runner_service_pb2.Call,
)
INPUTS: Final = (
    inputs_pb2.GenerateInput,
    inputs_pb2.TensorInput,
    inputs_pb2.EmbedInput,
    runner_service_pb2.WantedOutput,
)


def every_message() -> dict[str, Descriptor]:
    """Return by its full name each request, each input, and each message that is inside an input."""
    found = {message.DESCRIPTOR.full_name: message.DESCRIPTOR for message in REQUESTS}
    waiting = [message.DESCRIPTOR for message in INPUTS]
    while waiting:
        message = waiting.pop()
        if message.full_name in found:
            continue
        found[message.full_name] = message
        waiting += [
            field.message_type
            for field in message.fields
            if field.message_type is not None and not field.message_type.GetOptions().map_entry
        ]
    return found

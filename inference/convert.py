"""Between the contract's messages and an engine's plain data: TaskSpec -> Request, engine output -> Result.

Faults carry paths inside TaskSpec, after a prefix of the caller's, for example `tasks[3].generate.top_p`.
"""

from collections.abc import Iterable, MutableSequence
from typing import Final

from forebay.tasks.v1 import inputs_pb2, task_pb2
from inference.engine import (
    Finish,
    FormatKind,
    GenerateOutput,
    GenerateRequest,
    Message,
    Request,
    ResponseFormat,
    TensorOutput,
    TensorRequest,
    TokenLogprob,
)
from inference.rules import Faults, check_generate
from inference.tensor.wire import read_tensors, write_tensors
from scheduler.errors import FieldFault, InvalidInput
from scheduler.states import Level

FINISH_REASONS: Final = {
    Finish.STOP: inputs_pb2.FINISH_REASON_STOP,
    Finish.LENGTH: inputs_pb2.FINISH_REASON_LENGTH,
}
DEFAULT_MAX_TOKENS: Final = 256


def request_of(
    spec: task_pb2.TaskSpec, at: str = "", *, level: Level = Level.NORMAL, tenant: str = ""
) -> Request:
    """Return what an engine takes for a task of a level and a tenant. Raises InvalidInput with every fault found."""
    kind = spec.WhichOneof("input")
    if kind == "tensors":
        return tensor_request(spec.tensors, f"{at}tensors", urgent=level is Level.CRITICAL)
    if kind == "generate":
        return generate_request(spec.generate, at, level=level, tenant=tenant)
    raise InvalidInput.of(f"{at}input", "exactly one of generate and tensors is required")


def generate_request(
    message: inputs_pb2.GenerateInput, at: str = "", *, level: Level = Level.NORMAL, tenant: str = ""
) -> GenerateRequest:
    """Check a generation's limits and fill in the defaults. Raises InvalidInput.

    What only the model knows (its context, its vocabulary, whether it has a chat template, which grammars it can be
    held to) is the engine's to check.
    """
    faults: Faults = []
    check_generate(message, faults)
    if faults:
        raise InvalidInput([FieldFault(f"{at}{field}", fault) for field, fault in faults])
    given = message.HasField
    return GenerateRequest(
        prompt=message.prompt if message.WhichOneof("input") == "prompt" else None,
        messages=tuple(
            Message(one.role, "".join(part.text for part in one.parts)) for one in message.messages.messages
        ),
        max_tokens=message.max_tokens if given("max_tokens") else DEFAULT_MAX_TOKENS,
        temperature=message.temperature,
        top_p=message.top_p if given("top_p") else 1.0,
        top_k=message.top_k,
        min_p=message.min_p,
        seed=message.seed if given("seed") else None,
        stop=tuple(message.stop),
        ignore_eos=message.ignore_eos,
        stop_token_ids=tuple(message.stop_token_ids),
        repetition_penalty=message.repetition_penalty if given("repetition_penalty") else 1.0,
        presence_penalty=message.presence_penalty,
        frequency_penalty=message.frequency_penalty,
        logit_bias=dict(message.logit_bias),
        logprobs=message.logprobs if given("logprobs") else None,
        n=message.n if given("n") else 1,
        response_format=_format_of(message.response_format),
        level=level,
        tenant=tenant,
    )


def _format_of(given: inputs_pb2.ResponseFormat) -> ResponseFormat | None:
    match given.WhichOneof("format"):
        case "json_object":
            return ResponseFormat(FormatKind.JSON_OBJECT)
        case "json_schema":
            return ResponseFormat(FormatKind.JSON_SCHEMA, given.json_schema)
        case "regex":
            return ResponseFormat(FormatKind.REGEX, given.regex)
        case "grammar":
            return ResponseFormat(FormatKind.GRAMMAR, given.grammar)
        case _:
            return None


def tensor_request(
    message: inputs_pb2.TensorInput, at: str = "tensors", *, urgent: bool = False
) -> TensorRequest:
    """Return arrays over the message's bytes. Raises InvalidInput.

    Whether names, datatypes and shapes are those of the model is the engine's to check.
    """
    return TensorRequest(read_tensors(message.tensors, f"{at}.tensors"), urgent)


def result_of(output: TensorOutput | GenerateOutput) -> task_pb2.Result:
    """Return the message for an engine's output, with usage and time to first token where there are any."""
    result = task_pb2.Result()
    if isinstance(output, TensorOutput):
        write_tensors(result.tensors, output.outputs)
        return result
    first, *others = output.choices
    generate = result.generate
    generate.text = first.text
    generate.token_ids.extend(first.token_ids)
    generate.finish_reason = FINISH_REASONS[first.finish]
    write_logprobs(generate.logprobs, first.logprobs)
    for index, other in enumerate(others, start=1):
        choice = generate.others.add(
            index=index,
            text=other.text,
            token_ids=other.token_ids,
            finish_reason=FINISH_REASONS[other.finish],
        )
        write_logprobs(choice.logprobs, other.logprobs)
    result.usage.input_tokens = output.input_tokens
    result.usage.output_tokens = output.output_tokens
    result.usage.cached_tokens = output.cached_tokens
    result.timing.time_to_first_token.FromNanoseconds(round(output.time_to_first_token_s * 1e9))
    return result


def write_logprobs(field: MutableSequence[inputs_pb2.TokenLogprob], logprobs: Iterable[TokenLogprob]) -> None:
    """Append logprobs to a field of a message."""
    for one in logprobs:
        top = [inputs_pb2.TopLogprob(token_id=token, logprob=logprob) for token, logprob in one.top]
        field.append(inputs_pb2.TokenLogprob(token_id=one.token, logprob=one.logprob, top=top))

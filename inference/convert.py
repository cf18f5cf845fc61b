"""Between the contract's messages and an engine's plain data: TaskSpec -> Request, engine output -> Result.

Faults carry paths inside TaskSpec, after a prefix of the caller's, for example `tasks[3].generate.top_p`.
"""

from collections.abc import Iterable, MutableSequence
from typing import Final

from forebay.tasks.v1 import inputs_pb2, task_pb2
from inference.engine import (
    EmbedOutput,
    EmbedRequest,
    Finish,
    FormatKind,
    GenerateOutput,
    GenerateRequest,
    Message,
    Request,
    ResponseFormat,
    SequencePlace,
    TensorOutput,
    TensorRequest,
    TokenLogprob,
    WantedOutput,
)
from inference.rules import Faults, check_embed, check_generate
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
        return tensor_request(spec.tensors, f"{at}tensors", level=level, tenant=tenant)
    if kind == "generate":
        return generate_request(spec.generate, at, level=level, tenant=tenant)
    if kind == "embed":
        return embed_request(spec.embed, at, level=level)
    raise InvalidInput.of(f"{at}input", "exactly one of generate, tensors and embed is required")


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
    message: inputs_pb2.TensorInput,
    at: str = "tensors",
    *,
    level: Level = Level.NORMAL,
    tenant: str = "",
    outputs: tuple[WantedOutput, ...] = (),
    sequence: SequencePlace | None = None,
) -> TensorRequest:
    """Return arrays over the message's bytes. Raises InvalidInput.

    Whether names, datatypes and shapes are those of the model is the engine's to check.
    """
    return TensorRequest(read_tensors(message.tensors, f"{at}.tensors"), level, tenant, outputs, sequence)


def embed_request(
    message: inputs_pb2.EmbedInput, at: str = "", *, level: Level = Level.NORMAL
) -> EmbedRequest:
    """Check an embedding's limits and fill in the defaults. Raises InvalidInput."""
    faults: Faults = []
    check_embed(message, faults)
    if faults:
        raise InvalidInput([FieldFault(f"{at}{field}", fault) for field, fault in faults])
    normalize = message.normalize if message.HasField("normalize") else True
    return EmbedRequest(tuple(message.texts), normalize, level)


def result_of(output: TensorOutput | GenerateOutput | EmbedOutput) -> task_pb2.Result:
    """Return the message for an engine's output, with usage and time to first token where there are any."""
    result = task_pb2.Result()
    if isinstance(output, TensorOutput):
        write_tensors(result.tensors, output.outputs)
    elif isinstance(output, EmbedOutput):
        write_embeddings(result.embed, output)
        write_usage(result.usage, output)
    else:
        write_generation(result.generate, output)
        write_usage(result.usage, output)
        result.timing.time_to_first_token.FromNanoseconds(round(output.time_to_first_token_s * 1e9))
    return result


def write_generation(generate: inputs_pb2.GenerateOutput, output: GenerateOutput) -> None:
    """Put all answers to one request into a message."""
    first, *others = output.choices
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


def write_embeddings(embed: inputs_pb2.EmbedOutput, output: EmbedOutput) -> None:
    """Append an embedding for each text, in order. Marks the message as set even when there is none."""
    embed.SetInParent()
    for vector, tokens, truncated in zip(output.vectors, output.tokens, output.truncated, strict=True):
        embed.embeddings.add(values=vector.tolist(), tokens=tokens, truncated=truncated)


def write_usage(usage: task_pb2.Usage, output: GenerateOutput | EmbedOutput) -> None:
    """Put what a generation or an embedding used into a message."""
    if isinstance(output, EmbedOutput):
        usage.input_tokens = sum(output.tokens)
        return
    usage.input_tokens = output.input_tokens
    usage.output_tokens = output.output_tokens
    usage.cached_tokens = output.cached_tokens


def write_logprobs(field: MutableSequence[inputs_pb2.TokenLogprob], logprobs: Iterable[TokenLogprob]) -> None:
    """Append logprobs to a field of a message."""
    for one in logprobs:
        top = [inputs_pb2.TopLogprob(token_id=token, logprob=logprob) for token, logprob in one.top]
        field.append(inputs_pb2.TokenLogprob(token_id=one.token, logprob=one.logprob, top=top))

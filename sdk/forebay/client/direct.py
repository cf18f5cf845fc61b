"""Calls that are answered while the client waits: what they take and what they bring."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from numpy.typing import ArrayLike

from forebay.client import reading
from forebay.client.answers import Choice, EmbedResult, TokenLogprob
from forebay.client.generations import GenerateOptions, generate_input
from forebay.client.specs import cache_number, embed_input, priority_number
from forebay.client.tasks import Priority, Timing, Usage
from forebay.client.tensors import Array, to_arrays, to_tensors
from forebay.inference.v1 import inference_service_pb2 as contract
from forebay.tasks.v1.inputs_pb2 import TensorInput

GENERATE_S: Final = 300.0
"""Longest life of a generation, in seconds, where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Execution:
    """How and by whom a call was executed."""

    runner: str
    version: int
    """Of the model; 0 for a model without versions."""
    timing: Timing
    """`queue_s` is from the call's arrival in the gateway until the model took it in."""
    cached: bool = False
    """Whether nothing was computed for this call: its answer was in the result cache, or another call's."""
    sampled: bool = False
    """Whether a cached answer is one of many that could have come: it was sampled without a seed."""


@dataclass(frozen=True, slots=True, eq=False)
class InferAnswer:
    """What a tensor model answered."""

    tensors: Mapping[str, Array]
    """By name, in the model's order or in that of the call."""
    execution: Execution


@dataclass(frozen=True, slots=True, eq=False)
class EmbedAnswer(EmbedResult):
    """What an embedding model answered to a call."""

    usage: Usage
    execution: Execution


@dataclass(frozen=True, slots=True)
class GenerateChunk:
    """What is new of a generation."""

    text: str
    """New text; whole characters only."""
    token_ids: tuple[int, ...] = ()
    finish_reason: str = ""
    """`stop`, `length` or `aborted`; set once."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """One for each of token_ids when they were asked for."""
    others: tuple[Choice, ...] = ()
    """What is new of answers 1 to n - 1."""
    usage: Usage | None = None
    """In the last one only, as is `execution`."""
    execution: Execution | None = None


def infer_request(
    model: str,
    tensors: Mapping[str, ArrayLike],
    outputs: Sequence[str],
    priority: Priority | str,
    pool: str,
    kind: str,
    sequence: str,
    *,
    start: bool,
    end: bool,
    cache: str = "default",
) -> contract.InferRequest:
    """Put a request together. Raises TypeError and ValueError for what cannot be written."""
    if isinstance(outputs, str):
        raise TypeError("outputs takes a list")
    if (start or end) and not sequence:
        raise TypeError("start and end go with a sequence")
    request = contract.InferRequest(
        model=model,
        tensors=TensorInput(tensors=to_tensors(tensors)),
        outputs=outputs,
        priority=priority_number(priority),
        pool=pool,
        kind=kind,
        cache=cache_number(cache),
    )
    if sequence:
        request.sequence.CopyFrom(contract.Sequence(id=sequence, start=start, end=end))
    return request


def embed_request(
    model: str,
    texts: Sequence[str],
    normalize: bool | None,
    priority: Priority | str,
    pool: str,
    kind: str,
    *,
    cache: str = "default",
) -> contract.EmbedRequest:
    """Put a request together. Raises TypeError and ValueError for what cannot be written."""
    return contract.EmbedRequest(
        model=model,
        embed=embed_input(texts, normalize),
        priority=priority_number(priority),
        pool=pool,
        kind=kind,
        cache=cache_number(cache),
    )


def generate_request(
    model: str,
    options: GenerateOptions,
    priority: Priority | str,
    pool: str,
    kind: str,
    *,
    cache: str = "default",
) -> contract.GenerateRequest:
    """Put a request together. Raises TypeError and ValueError for what cannot be written."""
    unknown = options.keys() - GenerateOptions.__annotations__.keys()
    if unknown:
        raise TypeError(f"unknown options: {', '.join(sorted(unknown))}")
    if ("prompt" in options) == ("messages" in options):
        raise TypeError("exactly one of prompt and messages is required")
    return contract.GenerateRequest(
        model=model,
        generate=generate_input(options),
        priority=priority_number(priority),
        pool=pool,
        kind=kind,
        cache=cache_number(cache),
    )


def infer_answer(response: contract.InferResponse) -> InferAnswer:
    """Read an answer."""
    return InferAnswer(to_arrays(response.tensors.tensors), _execution(response.execution))


def embed_answer(response: contract.EmbedResponse) -> EmbedAnswer:
    """Read an answer."""
    read = reading.embed_result(response.embed)
    return EmbedAnswer(
        read.vectors,
        read.tokens,
        read.truncated,
        reading.usage(response.usage),
        _execution(response.execution),
    )


def generate_chunk(response: contract.GenerateResponse) -> GenerateChunk:
    """Read what is new."""
    return GenerateChunk(
        text=response.text,
        token_ids=tuple(response.token_ids),
        finish_reason=reading.finish_reason(response.finish_reason),
        logprobs=reading.logprobs(response.logprobs),
        others=tuple(map(reading.choice, response.others)),
        usage=reading.usage(response.usage) if response.HasField("usage") else None,
        execution=_execution(response.execution) if response.HasField("execution") else None,
    )


def _execution(execution: contract.Execution) -> Execution:
    return Execution(
        execution.runner,
        execution.version,
        reading.timing(execution.timing),
        cached=execution.cached,
        sampled=execution.sampled,
    )

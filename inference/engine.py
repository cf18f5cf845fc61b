"""What a runner drives: one loaded model that many requests share.

A runner calls an engine from one thread, never concurrently: `admit` while `free` says there is room, then `step`
again and again while `active`. An engine that batches (all of them) does its work for every admitted request in each
step. Requests and updates are plain data; converting from and to Protobuf is the runner's business.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from scheduler.states import Level

Array = NDArray[np.generic]


class EngineKind(StrEnum):
    """What a model takes and gives."""

    TENSOR = "tensor"
    GENERATE = "generate"


@dataclass(frozen=True, slots=True)
class Signature:
    """One input or output of a tensor model."""

    name: str
    datatype: str
    """KServe name: BOOL, UINT8 … FP64, BYTES."""
    shape: tuple[int, ...]
    """-1 where any length is taken."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What is known of a loaded model."""

    kind: EngineKind
    digest: str
    """SHA-256 over its files, hexadecimal."""
    provider: str
    """Execution provider in use, for example CPUExecutionProvider."""
    inputs: tuple[Signature, ...] = ()
    outputs: tuple[Signature, ...] = ()
    context_length: int = 0
    batch_invariant: bool = False
    """Whether an answer does not depend on what runs beside it: tried when the model was loaded."""


@dataclass(frozen=True, slots=True)
class TensorRequest:
    """Named arrays, each of a model input's dtype; BYTES inputs are object arrays of bytes."""

    inputs: Mapping[str, Array]
    urgent: bool = False
    """Whether it goes before what else is held: its task is CRITICAL."""


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message."""

    role: str
    content: str


class FormatKind(StrEnum):
    """What an answer is made to look like."""

    JSON_OBJECT = "json_object"
    JSON_SCHEMA = "json_schema"
    REGEX = "regex"
    GRAMMAR = "grammar"


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """What constrains the tokens of an answer."""

    kind: FormatKind
    definition: str = ""
    """The JSON schema, the regular expression, or the Lark grammar; empty for json_object."""


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """A prompt or a chat, and how to continue it. Fields as in forebay.tasks.v1.GenerateInput."""

    prompt: str | None = None
    messages: tuple[Message, ...] = ()
    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    stop_token_ids: tuple[int, ...] = ()
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: int | None = None
    """None: none are returned. Otherwise those of the chosen tokens and of that many of the most probable ones."""
    n: int = 1
    """Independent answers to the same prompt."""
    response_format: ResponseFormat | None = None
    level: Level = Level.NORMAL
    tenant: str = ""
    """Whose it is: prompts of one tenant are not recognised for another unless the settings say so."""


Request = TensorRequest | GenerateRequest


class Finish(StrEnum):
    """Why a generation ended."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class TensorOutput:
    """Named arrays in the model's order."""

    outputs: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """How probable the model itself found a chosen token: by its raw logits, before bias, constraint, penalties and
    temperature.
    """

    token: int
    logprob: float
    """Natural logarithm."""
    top: Sequence[tuple[int, float]] = ()
    """The most probable tokens and their logprobs, best first; tokens that cannot be are left out."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One whole answer."""

    text: str
    token_ids: Sequence[int]
    finish: Finish
    logprobs: Sequence[TokenLogprob] = ()
    """One for each token when they were asked for."""


@dataclass(frozen=True, slots=True)
class GenerateOutput:
    """All answers to one request, in order of their index."""

    choices: Sequence[Choice]
    input_tokens: int
    time_to_first_token_s: float
    """From admission to the first sampled token, by the monotonic clock."""
    cached_tokens: int = 0
    """Prompt tokens that were not computed because a cache held them."""

    @property
    def output_tokens(self) -> int:
        """Tokens generated, over all choices."""
        return sum(len(choice.token_ids) for choice in self.choices)


@dataclass(frozen=True, slots=True)
class Chunk:
    """New output of one choice: whole UTF-8 characters only; text may lag behind token_ids."""

    key: str
    text: str
    token_ids: Sequence[int]
    index: int = 0
    logprobs: Sequence[TokenLogprob] = ()
    finish: Finish | None = None
    """Set on the last one of a choice."""


@dataclass(frozen=True, slots=True)
class Done:
    """A request ended with an output. What the last step brought and no Chunk carried is in `tail`: a Chunk of the
    choice that ended last; None for tensors.
    """

    key: str
    output: TensorOutput | GenerateOutput
    tail: Chunk | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """A request ended with an error: InvalidInput for what the client got wrong, ModelOutOfMemory when it wanted more
    memory than there is, ModelFailed for the rest.
    """

    key: str
    error: Exception


Update = Chunk | Done | Failed


class Engine(Protocol):
    """One loaded model. Not thread-safe: the runner's engine thread owns it."""

    @property
    def card(self) -> ModelCard:
        """What is known of the model."""
        ...

    @property
    def capacity(self) -> int:
        """How many requests can be admitted at once."""
        ...

    @property
    def active(self) -> int:
        """How many requests are admitted and not ended."""
        ...

    def admit(self, key: str, request: Request) -> None:
        """Take a request in; it ends through `step`. The caller checks `active < capacity` first, or `Preempts`.

        Raises InvalidInput (all faults at once, fields as paths inside the request) when it can never run.
        """
        ...

    def cancel(self, key: str) -> None:
        """Forget a request: no update of it follows. Unknown keys are ignored."""
        ...

    def step(self) -> Sequence[Update]:
        """Advance every admitted request by one model run and return what came of it.

        An error that concerns one request is a Failed update of that request, never an exception.
        """
        ...

    def warm_up(self) -> None:
        """Run the model once on made-up input, so that the first request does not pay for first-run work."""
        ...

    def close(self) -> None:
        """Let go of the model. Idempotent."""
        ...


@runtime_checkable
class Interruptible(Protocol):
    """An engine whose single step may last long, and can be stopped in the middle."""

    def runs(self, key: str) -> bool:
        """Tell, on any thread, whether a request runs now."""
        ...

    def interrupt(self, key: str) -> None:
        """Cancel a request that runs now, from any thread. Does nothing when it does not run now."""
        ...


@runtime_checkable
class TellsRuns(Protocol):
    """An engine that runs only some of what it holds in a step, and says which."""

    def tell_runs(self, tell: Callable[[Sequence[str]], None]) -> None:
        """Have `tell` called, on the thread that steps, with the keys of what is about to run, at least when they are
        others than before.
        """
        ...


@runtime_checkable
class SharesRuns(Protocol):
    """An engine whose capacity is not how much it executes at the same time."""

    @property
    def together(self) -> int:
        """Return how many requests one run takes at most."""
        ...


@runtime_checkable
class Preempts(Protocol):
    """An engine that can pause what it holds for the sake of something more urgent."""

    def preemptable(self, level: Level) -> int:
        """Return how many requests of a level can be admitted although no place is free."""
        ...


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Where the latest step spent its time, in seconds, and on how much."""

    prefill_s: float = 0.0
    decode_s: float = 0.0
    sample_s: float = 0.0
    """Choosing tokens: masks, penalties, the draw."""
    other_s: float = 0.0
    """The rest of the step: text, planning, caches, bookkeeping."""
    prefill_tokens: int = 0
    decode_rows: int = 0
    pieces: Sequence[tuple[str, float]] = ()
    """The pieces of prompts that were read: the key of the request, and the seconds that its piece took."""


@dataclass(frozen=True, slots=True)
class GenerationStats:
    """What a generating engine holds now, and what it has counted since it was loaded."""

    running: int = 0
    """Rows in a slot."""
    waiting: int = 0
    """Rows that wait for a slot."""
    preempted: int = 0
    """Rows that were paused and wait to go on."""
    preemptions: int = 0
    """Pauses so far."""
    kv_tokens: int = 0
    """Tokens that the slots hold."""
    kv_capacity: int = 0
    """Tokens that they can hold."""
    prefix_queries: int = 0
    """Prompt tokens that were looked up in the prefix cache."""
    prefix_hits: int = 0
    """Those that it held."""


@runtime_checkable
class ReportsGeneration(Protocol):
    """An engine that tells how it generates. For the thread that steps it."""

    @property
    def times(self) -> StepTimes:
        """Where the latest step spent its time."""
        ...

    def stats(self) -> GenerationStats:
        """Count what is held. Cheap: called after every step."""
        ...

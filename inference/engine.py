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


@dataclass(frozen=True, slots=True)
class TensorRequest:
    """Named arrays, each of a model input's dtype; BYTES inputs are object arrays of bytes."""

    inputs: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message."""

    role: str
    content: str


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
class GenerateOutput:
    """The whole answer."""

    text: str
    token_ids: Sequence[int]
    finish: Finish
    input_tokens: int
    time_to_first_token_s: float
    """From admission to the first sampled token, by the monotonic clock."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """New output of a running generation: whole UTF-8 characters only; text may lag behind token_ids."""

    key: str
    text: str
    token_ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class Done:
    """A request ended with an output. Text of the last step that no Chunk carried is in `tail`."""

    key: str
    output: TensorOutput | GenerateOutput
    tail: str = ""
    tail_token_ids: Sequence[int] = field(default=())


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
        """Take a request in; it ends through `step`. The caller checks `active < capacity` first.

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
        """Have `tell` called with the keys of each run before it begins, on the thread that steps."""
        ...

"""What is known of a loaded model."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


class EngineKind(StrEnum):
    """What a model takes and gives."""

    TENSOR = "tensor"
    GENERATE = "generate"
    EMBED = "embed"


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
    max_batch_size: int = 0
    """Most rows of a batch where the shapes of `inputs` and `outputs` leave the batch dimension out, as the
    configuration of a model folder does; 0 where they are complete."""
    stateful: bool = False
    """Whether requests belong to sequences."""
    dimensions: int = 0
    """Numbers in a vector of an embedding model."""
    config: bytes = b""
    """A serialised inference.ModelConfig for clients that ask for it."""
    answers_digest: str = ""
    """SHA-256, hexadecimal, over everything that can change an answer: see `inference.model_digest`."""
    unsteady_chats: bool = False
    """Whether its chat template writes the time, or something at random."""
    draws: bool = False
    """Whether its graph draws random numbers."""

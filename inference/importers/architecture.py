"""What a decoder-only language model is made of, as plain data: the readers fill it in, the graph is built from it.

One description covers the families that differ from llama in a few features only. A family that needs something else
is refused where its file is read, never approximated.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from scheduler.errors import ImportRefused

Float32 = NDArray[np.float32]
Family = Literal["llama", "mistral", "qwen2", "qwen3", "gemma3"]

_LARGEST: Final = {
    "layers": 1_000,
    "hidden": 1 << 17,
    "heads": 1 << 12,
    "kv_heads": 1 << 12,
    "head_size": 1 << 12,
    "feed_forward": 1 << 20,
    "vocabulary": 1 << 22,
    "context": 1 << 20,
}
"""Sizes beyond these are taken for damage, before anything of that size is allocated."""

_HEAD_STEP = 8  # GroupQueryAttention takes head sizes that are a multiple of this


@dataclass(frozen=True, slots=True)
class FrequencyBands:
    """How Llama 3.1 stretches rotary frequencies: slow ones by `factor`, fast ones not at all, a ramp between."""

    factor: float
    low: float
    """Frequencies that turn fewer times than this within `original_context` are stretched."""
    high: float
    """Frequencies that turn more often than this are kept."""
    original_context: int

    def stretch(self, frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the stretched frequencies, in radians per position."""
        turns = self.original_context * frequencies / (2 * np.pi)
        kept = np.clip((turns - self.low) / (self.high - self.low), 0, 1)
        return frequencies * (kept + (1 - kept) / self.factor)


@dataclass(frozen=True, slots=True)
class Rotation:
    """Rotary position embedding: how fast each pair of a head turns ("RoFormer", Su et al., 2021)."""

    base: float
    factor: float = 1.0
    """Positions are divided by this (linear scaling)."""
    bands: FrequencyBands | None = None

    def frequencies(self, head_size: int) -> Float32:
        """Radians per position of each pair, (head_size / 2,)."""
        plain = self.base ** -(np.arange(0, head_size, 2, dtype=np.float64) / head_size)
        stretched = plain if self.bands is None else self.bands.stretch(plain)
        return (stretched / self.factor).astype(np.float32)


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """The numbers and features that define a model. Every layer has the same sizes."""

    family: Family
    layers: int
    hidden: int
    """Width of the residual stream."""
    heads: int
    kv_heads: int
    head_size: int
    feed_forward: int
    vocabulary: int
    context: int
    """Tokens it was trained to attend to."""
    norm_epsilon: float
    rotation: Rotation
    tied: bool = True
    """The output projection is the embedding table."""
    qkv_bias: bool = False
    attention_out_bias: bool = False
    feed_forward_bias: bool = False
    activation: Literal["silu", "gelu"] = "silu"
    """What the gate passes through; gelu is the tanh approximation."""
    embedding_scale: float = 1.0
    """Embeddings are multiplied by this."""
    attention_scale: float | None = None
    """Queries times keys are multiplied by this; None is 1 / sqrt(head_size)."""
    query_key_norms: bool = False
    """Each query and key head is RMS-normalised before it is rotated."""
    branch_norms: bool = False
    """What attention and feed-forward return is RMS-normalised before it is added to the stream."""
    window: int | None = None
    """Tokens that a local layer attends to, the newest included."""
    local_layers: frozenset[int] = frozenset()
    local_rotation: Rotation | None = None
    """The rotation of local layers; None is the one of all layers."""

    def rotation_of(self, layer: int) -> Rotation:
        """Return the rotation that a layer uses."""
        local = self.local_rotation if layer in self.local_layers else None
        return local or self.rotation

    def checked(self, source: str) -> "DecoderShape":
        """Return itself when the numbers are possible. Raises ImportRefused, naming `source` and the number."""
        for name, largest in _LARGEST.items():
            value = getattr(self, name)
            if not 1 <= value <= largest:
                raise ImportRefused(f"{source}: {name} is {value}, must be from 1 to {largest}")
        if self.heads % self.kv_heads:
            raise ImportRefused(
                f"{source}: {self.heads} heads cannot share {self.kv_heads} key and value heads evenly"
            )
        if self.head_size % _HEAD_STEP:
            raise ImportRefused(
                f"{source}: heads are {self.head_size} wide; supported: multiples of {_HEAD_STEP}"
            )
        numbers = [self.norm_epsilon, self.rotation.base, self.rotation.factor, self.embedding_scale]
        if not all(np.isfinite(number) and number > 0 for number in numbers):
            raise ImportRefused(f"{source}: norm epsilon, rotation and scales must be numbers over 0")
        if self.local_layers and (self.window is None or self.window < 1):
            raise ImportRefused(f"{source}: layers with a sliding window, and no size of the window")
        return self

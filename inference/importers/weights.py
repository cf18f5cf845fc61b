"""The weights of a decoder by the part they play, whatever their file calls them and however it stores them.

Two conventions are known. GGUF files order the query and key rows of llama models for neighbouring pairs to be
rotated, where ONNX rotates halves, and hold the gains of norms as they are multiplied. Hugging Face files order rows
by halves, and hold Gemma's gains less one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from inference.importers.architecture import DecoderShape, Float32

ROPE_DIVISORS: Final = "rope_freqs.weight"
"""GGUF: what each rotary frequency is divided by, where a model stretches them."""


class TensorSource(Protocol):
    """Tensors by name. A tensor is read when it is asked for, and kept by nobody."""

    def has(self, name: str) -> bool:
        """Tell whether there is a tensor of this name."""
        ...

    def tensor(self, name: str, shape: tuple[int, ...]) -> Float32:
        """Return a tensor as float32 in C order. Raises ImportRefused when it is missing or of another shape."""
        ...


@dataclass(frozen=True, slots=True)
class Naming:
    """What one kind of file calls the tensors, and how it stores them."""

    embedding: str
    head: str
    final_norm: str
    layer: str
    """Prefix of a layer's tensors, with {} for its number."""
    roles: Mapping[str, str]
    """Role in a layer -> name after the prefix, without `.weight` or `.bias`."""
    pairs_rotated: bool = False
    """Query and key rows are ordered for pairs (2i, 2i + 1) to be rotated."""
    norm_offset: float = 0.0
    """What is added to the gains of norms."""


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One layer; projections are (out_features, in_features) float32. None is a part that the model has not."""

    attention_norm: Float32
    qkv: Float32
    """Query, key and value rows, one after the other."""
    attention_out: Float32
    feed_forward_norm: Float32
    gate_up: Float32
    """Gate rows, then up rows."""
    down: Float32
    qkv_bias: Float32 | None = None
    attention_out_bias: Float32 | None = None
    gate_up_bias: Float32 | None = None
    down_bias: Float32 | None = None
    query_norm: Float32 | None = None
    """(head_size,), shared by all heads; likewise the key's."""
    key_norm: Float32 | None = None
    attention_branch_norm: Float32 | None = None
    """Normalises what attention adds to the stream."""
    feed_forward_branch_norm: Float32 | None = None


class DecoderWeights:
    """Reads the tensors of one model by role; nothing is kept."""

    def __init__(self, source: TensorSource, naming: Naming, shape: DecoderShape) -> None:
        self._source = source
        self._naming = naming
        self._shape = shape

    def embedding(self) -> Float32:
        """(vocabulary, hidden)."""
        return self._source.tensor(self._naming.embedding, (self._shape.vocabulary, self._shape.hidden))

    def head(self) -> Float32 | None:
        """(vocabulary, hidden), or None when the model shares its embedding."""
        if self._shape.tied:
            return None
        return self._source.tensor(self._naming.head, (self._shape.vocabulary, self._shape.hidden))

    def final_norm(self) -> Float32:
        """(hidden,)."""
        return self._gain(self._naming.final_norm, self._shape.hidden)

    def rope_frequencies(self, layer: int = 0) -> Float32:
        """Radians per position of each pair of a head, (head_size / 2,), with all scaling applied."""
        frequencies = self._shape.rotation_of(layer).frequencies(self._shape.head_size)
        if self._source.has(ROPE_DIVISORS):
            frequencies = frequencies / self._source.tensor(ROPE_DIVISORS, frequencies.shape)
        return frequencies

    def layer(self, index: int) -> LayerWeights:
        """Read one layer."""
        s = self._shape
        queries, keys = s.heads * s.head_size, s.kv_heads * s.head_size
        width = s.feed_forward

        def read(role: str, *shape: int) -> Float32:
            rows = self._source.tensor(self._name(index, role) + ".weight", shape)
            return self._halves(rows, role)

        def bias(wanted: bool, **sizes: int) -> Float32 | None:
            """The biases of some roles, one after the other."""
            if not wanted:
                return None
            parts = [
                self._halves(self._source.tensor(self._name(index, role) + ".bias", (size,)), role)
                for role, size in sizes.items()
            ]
            return np.concatenate(parts)

        def gain(wanted: bool, role: str, size: int) -> Float32 | None:
            return self._gain(self._name(index, role) + ".weight", size) if wanted else None

        return LayerWeights(
            attention_norm=self._gain(self._name(index, "attention_norm") + ".weight", s.hidden),
            qkv=np.concatenate(
                [
                    read("query", queries, s.hidden),
                    read("key", keys, s.hidden),
                    read("value", keys, s.hidden),
                ]
            ),
            attention_out=read("attention_out", s.hidden, queries),
            feed_forward_norm=self._gain(self._name(index, "feed_forward_norm") + ".weight", s.hidden),
            gate_up=np.concatenate([read("gate", width, s.hidden), read("up", width, s.hidden)]),
            down=read("down", s.hidden, width),
            qkv_bias=bias(s.qkv_bias, query=queries, key=keys, value=keys),
            attention_out_bias=bias(s.attention_out_bias, attention_out=s.hidden),
            gate_up_bias=bias(s.feed_forward_bias, gate=width, up=width),
            down_bias=bias(s.feed_forward_bias, down=s.hidden),
            query_norm=gain(s.query_key_norms, "query_norm", s.head_size),
            key_norm=gain(s.query_key_norms, "key_norm", s.head_size),
            attention_branch_norm=gain(s.branch_norms, "attention_branch_norm", s.hidden),
            feed_forward_branch_norm=gain(s.branch_norms, "feed_forward_branch_norm", s.hidden),
        )

    def _name(self, layer: int, role: str) -> str:
        return self._naming.layer.format(layer) + self._naming.roles[role]

    def _gain(self, name: str, size: int) -> Float32:
        return self._source.tensor(name, (size,)) + np.float32(self._naming.norm_offset)

    def _halves(self, rows: Float32, role: str) -> Float32:
        """Bring query and key rows into the order that ONNX rotates: pairs (2i, 2i + 1) of a head become
        (i, i + head_size / 2).
        """
        if not self._naming.pairs_rotated or role not in ("query", "key"):
            return rows
        pairs = rows.reshape(-1, self._shape.head_size // 2, 2, *rows.shape[1:])
        return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(rows.shape))

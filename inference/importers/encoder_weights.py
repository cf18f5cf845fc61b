"""The weights of an encoder by the part they play, whatever prefix their file gives them."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from inference.importers.architecture import Float32
from inference.importers.encoder_architecture import EncoderShape
from inference.importers.safetensors_folder import SafetensorsFolder
from scheduler.errors import ImportRefused

_PREFIXES: Final = ("", "bert.", "roberta.", "model.")
_TABLE: Final = "embeddings.word_embeddings.weight"


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer norm, both (hidden,)."""

    gain: Float32
    bias: Float32


@dataclass(frozen=True, slots=True)
class Linear:
    """A product with the transpose of (out_features, in_features) weights, plus (out_features,)."""

    weight: Float32
    bias: Float32


@dataclass(frozen=True, slots=True)
class EncoderLayer:
    """One layer."""

    qkv: Linear
    """Queries, keys and values below each other, (3 * hidden, hidden)."""
    attention_out: Linear
    attention_norm: Norm
    """After attention and what went into it were added; likewise below."""
    up: Linear
    down: Linear
    feed_forward_norm: Norm


class EncoderWeights:
    """Reads the weights of one model, each when it is asked for. Raises ImportRefused for what is missing."""

    def __init__(self, tensors: SafetensorsFolder, shape: EncoderShape) -> None:
        self._tensors = tensors
        self._shape = shape
        found = [prefix for prefix in _PREFIXES if tensors.has(prefix + _TABLE)]
        if not found:
            raise ImportRefused(f"{tensors.path.name} has no tensor {_TABLE}")
        self._prefix = found[0]

    def embedding(self) -> Float32:
        """(vocabulary, hidden)."""
        return self._tensor(_TABLE, self._shape.vocabulary, self._shape.hidden)

    def positions(self) -> Float32:
        """(context, hidden): what is added to the tokens of a text, which all are of the first type."""
        shape = self._shape
        table = self._tensor("embeddings.position_embeddings.weight", shape.positions, shape.hidden)
        kinds = self._tensor("embeddings.token_type_embeddings.weight", shape.kinds, shape.hidden)
        found: Float32 = table[shape.first_position :] + kinds[0]
        return found

    def embedding_norm(self) -> Norm:
        """Of tokens and positions together."""
        return self._norm("embeddings.LayerNorm")

    def layer(self, index: int) -> EncoderLayer:
        """Read one layer."""
        name, hidden, wide = f"encoder.layer.{index}", self._shape.hidden, self._shape.feed_forward
        parts = [
            self._linear(f"{name}.attention.self.{part}", hidden, hidden)
            for part in ("query", "key", "value")
        ]
        return EncoderLayer(
            qkv=Linear(
                np.concatenate([part.weight for part in parts]), np.concatenate([part.bias for part in parts])
            ),
            attention_out=self._linear(f"{name}.attention.output.dense", hidden, hidden),
            attention_norm=self._norm(f"{name}.attention.output.LayerNorm"),
            up=self._linear(f"{name}.intermediate.dense", wide, hidden),
            down=self._linear(f"{name}.output.dense", hidden, wide),
            feed_forward_norm=self._norm(f"{name}.output.LayerNorm"),
        )

    def _linear(self, name: str, rows: int, columns: int) -> Linear:
        return Linear(self._tensor(f"{name}.weight", rows, columns), self._tensor(f"{name}.bias", rows))

    def _norm(self, name: str) -> Norm:
        # Checkpoints that came from TensorFlow have the older names.
        older = self._tensors.has(f"{self._prefix}{name}.gamma")
        gain, bias = ("gamma", "beta") if older else ("weight", "bias")
        hidden = self._shape.hidden
        return Norm(self._tensor(f"{name}.{gain}", hidden), self._tensor(f"{name}.{bias}", hidden))

    def _tensor(self, name: str, *shape: int) -> Float32:
        return self._tensors.tensor(self._prefix + name, shape)

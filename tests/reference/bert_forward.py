"""BERT in NumPy, float32, one text at a time: what other implementations are compared with.

Written from the description of the model ("BERT", Devlin et al., 2019) and the names of its tensors.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BertForward:
    """A model: its tensors by the names of Hugging Face's files, and the numbers that they do not tell."""

    tensors: Mapping[str, Float32]
    heads: int
    epsilon: float = 1e-12
    prefix: str = ""
    first_position: int = 0

    def hidden(self, ids: Sequence[int]) -> Float32:
        """Return the vectors of the tokens of one text, (tokens, hidden)."""
        count = len(ids)
        x = self._at("embeddings.word_embeddings.weight")[list(ids)]
        places = slice(self.first_position, self.first_position + count)
        x = x + self._at("embeddings.position_embeddings.weight")[places]
        x = x + self._at("embeddings.token_type_embeddings.weight")[0]
        x = self._norm("embeddings.LayerNorm", x)
        layer = 0
        while f"{self.prefix}encoder.layer.{layer}.output.dense.weight" in self.tensors:
            x = self._layer(f"encoder.layer.{layer}", x)
            layer += 1
        return x

    def vector(self, ids: Sequence[int]) -> Float32:
        """Return the mean of the tokens' vectors, of length 1."""
        mean: Float32 = self.hidden(ids).mean(axis=0)
        return mean / np.float32(np.linalg.norm(mean))

    def _layer(self, name: str, x: Float32) -> Float32:
        attention = f"{name}.attention"
        query, key, value = (
            self._heads(self._linear(f"{attention}.self.{part}", x)) for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / np.float32(math.sqrt(query.shape[-1]))
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        mixed = (weights @ value).transpose(1, 0, 2).reshape(x.shape)
        x = self._norm(f"{attention}.output.LayerNorm", x + self._linear(f"{attention}.output.dense", mixed))
        wide = self._linear(f"{name}.intermediate.dense", x)
        wide = (wide * (1 + erf(wide / math.sqrt(2))) / 2).astype(np.float32)
        return self._norm(f"{name}.output.LayerNorm", x + self._linear(f"{name}.output.dense", wide))

    def _heads(self, x: Float32) -> Float32:
        return x.reshape(len(x), self.heads, -1).transpose(1, 0, 2)

    def _linear(self, name: str, x: Float32) -> Float32:
        return x @ self._at(f"{name}.weight").T + self._at(f"{name}.bias")

    def _norm(self, name: str, x: Float32) -> Float32:
        centred = x - x.mean(axis=-1, keepdims=True)
        scale = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + np.float32(self.epsilon))
        normal: Float32 = centred / scale * self._at(f"{name}.weight") + self._at(f"{name}.bias")
        return normal

    def _at(self, name: str) -> Float32:
        return self.tensors[self.prefix + name]


def erf(x: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the error function, to 1.5e-7: formula 7.1.26 of Abramowitz and Stegun's handbook."""
    size = np.abs(x.astype(np.float64))
    t = 1 / (1 + 0.3275911 * size)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    found: NDArray[np.float64] = np.sign(x) * (1 - series * np.exp(-size * size))
    return found

"""Moving outliers of activations into weights, where a scale for each column can hold them.

With one scale for a whole row of activations, a channel that is a hundred times larger than the others leaves these
few steps. Dividing a channel by a factor and multiplying the weights that read it by the same changes nothing in
exact arithmetic; the factor balances both peaks ("SmoothQuant", Xiao et al., 2023). The division costs nothing: it goes
into the gain of the norm before the matrix, or into the rows of `up`. What is kept in the attention cache stays as it
was, so that forms of one model with and without this share a cache.
"""

import dataclasses

import numpy as np

from inference.importers.architecture import Float32
from inference.importers.calibration import Activations
from inference.importers.weights import DecoderWeights, LayerWeights

_NORM_SHARE = 0.65
"""How much of a peak moves into the weights, after a norm; in between after the activation of a feed-forward."""
_PRODUCT_SHARE = 0.5
_SMALLEST = 1e-5  # a channel that is never used would otherwise divide by nothing


class SmoothedWeights(DecoderWeights):
    """The weights of a model with outliers moved. Reads through another."""

    def __init__(self, plain: DecoderWeights, activations: Activations) -> None:
        """Take the weights as they are and what their layers multiply. Nothing is read here."""
        self._plain = plain
        self._activations = activations

    def embedding(self) -> Float32:
        """(vocabulary, hidden)."""
        return self._plain.embedding()

    def head(self) -> Float32 | None:
        """(vocabulary, hidden), or None when the model shares its embedding."""
        return self._plain.head()

    def final_norm(self) -> Float32:
        """(hidden,)."""
        return self._plain.final_norm()

    def rope_frequencies(self, layer: int = 0) -> Float32:
        """Radians per position of each pair of a head, (head_size / 2,)."""
        return self._plain.rope_frequencies(layer)

    def layer(self, index: int) -> LayerWeights:
        """Read one layer and move its outliers."""
        plain, name = self._plain.layer(index), f"model.layers.{index}"
        qkv = self._factors(f"{name}.attention.qkv", plain.qkv, _NORM_SHARE)
        gate_up = self._factors(f"{name}.mlp.gate_up", plain.gate_up, _NORM_SHARE)
        down = self._factors(f"{name}.mlp.down", plain.down, _PRODUCT_SHARE)
        rows = np.concatenate(
            [np.ones_like(down), 1 / down]
        )  # the gate stays: what it passes through is no line
        return dataclasses.replace(
            plain,
            attention_norm=plain.attention_norm / qkv,
            qkv=plain.qkv * qkv,
            feed_forward_norm=plain.feed_forward_norm / gate_up,
            gate_up=plain.gate_up * gate_up * rows[:, None],
            gate_up_bias=None if plain.gate_up_bias is None else plain.gate_up_bias * rows,
            down=plain.down * down,
        )

    def _factors(self, name: str, weights: Float32, share: float) -> Float32:
        """What each column of (out_features, in_features) weights is multiplied by; their geometric mean is 1."""
        activations = np.maximum(np.abs(self._activations[name]).max(axis=0), _SMALLEST)
        peaks = np.maximum(np.abs(weights).max(axis=0), _SMALLEST)
        logarithms = share * np.log(activations) - (1 - share) * np.log(peaks)
        factors: Float32 = np.exp(logarithms - logarithms.mean()).astype(np.float32)
        return factors

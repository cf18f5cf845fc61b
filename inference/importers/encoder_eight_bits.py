"""Products of an encoder in 8 bits: weights with a scale for each column, what they multiply with one for each token.

As in `wide.py`, so a text's vector does not depend on what runs beside it. Two things make 8 bits enough. Where a norm
comes before the product, outliers of its channels are moved into the weights ("SmoothQuant", Xiao et al., 2023); the
norm's output also goes around the branch, so the division is an operation of its own. What an activation function
returns is hardly ever negative, so most of the range is given to what is positive.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from inference.importers.architecture import Float32
from inference.importers.graph_parts import GraphParts
from inference.importers.wide import WideLinears, quantize_columns

SMOOTHED: Final = (".attention.qkv", ".mlp.up")
"""Ends of the names of products whose input comes from a norm."""
_ACTIVATED: Final = ".mlp.down"
_SHARE: Final = 0.65
"""How much of a peak moves into the weights."""
_SMALLEST: Final = 1e-5  # a channel that is never used would otherwise divide by nothing

_ZERO: Final = 24
"""The step that stands for zero, of 256, behind an activation function."""
_STEPS: Final = 255 - _ZERO
_LOWEST: Final = 0.171
"""What no activation function here goes below, negative: the lowest value of GELU is -0.17."""


class EightBitProducts:
    """See Products."""

    def __init__(self, peaks: Mapping[str, Float32]) -> None:
        """Take the largest size of each channel, (in_features,), of what the products in SMOOTHED multiply."""
        self._peaks = peaks
        self._linears = WideLinears(())
        self._shared = False

    def multiply_add(self, parts: GraphParts, name: str, x: str, weights: Float32, added: str) -> str:
        """See Products."""
        if name.endswith(_ACTIVATED):
            product = self._multiply_activated(parts, name, x, weights)
        else:
            if name.endswith(SMOOTHED):
                factors = _factors(self._peaks[name], weights)
                smoother = parts.constant(f"{name}.smoother", 1 / factors)
                (x,) = parts.node("Mul", [x, smoother], f"{name}.smooth")
                weights = weights * factors
            product = self._linears.multiply(parts, name, x, weights)
        return parts.node("Add", [product, added], f"{name}.added")[0]

    def _multiply_activated(self, parts: GraphParts, name: str, x: str, weights: Float32) -> str:
        """Add the product of what an activation function returned."""
        if not self._shared:
            self._add_shared(parts)
        (peak,) = parts.node("ReduceMax", [x, "activated.axis"], f"{name}.row_peak", keepdims=1)
        (peak,) = parts.node("Max", [peak, "activated.smallest"], f"{name}.peak")
        (inverse,) = parts.node("Div", ["activated.steps", peak], f"{name}.inverse")
        (steps,) = parts.node("Mul", [x, inverse], f"{name}.steps")
        (levels,) = parts.node("QuantizeLinear", [steps, "activated.one", "activated.zero"], f"{name}.levels")
        columns, scales = quantize_columns(weights)
        inputs = [
            levels,
            parts.constant(f"{name}.columns", columns),
            "activated.one",
            parts.constant(f"{name}.column_scales", scales / np.float32(_STEPS)),
            "activated.zero",
        ]
        (product,) = parts.node("MatMulIntegerToFloat", inputs, f"{name}.product")
        return parts.node("Mul", [product, peak], name)[0]

    def _add_shared(self, parts: GraphParts) -> None:
        """Add the constants that every such product uses."""
        parts.constant("activated.axis", np.array([-1], np.int64))
        parts.constant("activated.one", np.array(1, np.float32))
        parts.constant("activated.steps", np.array(_STEPS, np.float32))
        # A row has at least this peak, so that the lowest value is on a step too.
        parts.constant("activated.smallest", np.array(_LOWEST * _STEPS / _ZERO, np.float32))
        parts.constant("activated.zero", np.array(_ZERO, np.uint8))
        self._shared = True


def _factors(peaks: Float32, weights: Float32) -> Float32:
    """What each column of (out_features, in_features) weights is multiplied by; their geometric mean is 1."""
    inputs = np.maximum(peaks, _SMALLEST)
    columns = np.maximum(np.abs(weights).max(axis=0), _SMALLEST)
    logarithms = _SHARE * np.log(inputs) - (1 - _SHARE) * np.log(columns)
    factors: Float32 = np.exp(logarithms - logarithms.mean()).astype(np.float32)
    return factors

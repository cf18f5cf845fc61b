"""Matrices for many rows at once: 8-bit weights multiplied by 8-bit activations in the processor's integer units.

Weights are signed, with one scale for each column of the product; this is what ONNX Runtime packs once at load and
multiplies fastest. Activations are unsigned around 128, with a scale for each row that is found while the graph runs:
`max |x| / 127`. A row's result is therefore the same whatever rows are beside it, and a prompt read in parts gives
exactly what it gives read as a whole; a scale for all rows together (DynamicQuantizeLinear) would break both.

A scale for a whole row costs exactness where a few values are far larger than the rest. The layers that suffer most
from that, or gain least in speed, are written in blocks with a scale for each 32 values (docs/performance.md).

The sums are exact: 255 * 127 * columns stays within 32 bits for any width below 66,000.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.importers.architecture import Float32
from inference.importers.graph_parts import GraphParts
from inference.importers.linears import BlockLinears

IN_BLOCKS: Final = (".attention.qkv", ".attention.out", ".mlp.down")
"""Layers whose inputs have a scale for each 32 values, not one for a row."""

_LARGEST = 127
_SMALLEST_SCALE = 1e-12  # a row of zeros divides by this instead of by nothing


class WideLinears(BlockLinears):
    """8-bit weights by column, 8-bit activations by row; the table, the logits and some layers as in BlockLinears."""

    def __init__(self, blocks: Sequence[str] = IN_BLOCKS) -> None:
        """Take the ends of the names of linear layers that are written in blocks of 8 bits instead."""
        super().__init__(8)
        self._blocks = tuple(blocks)
        self._shared = False

    def multiply(self, parts: GraphParts, name: str, x: str, weights: Float32, output: str = "") -> str:
        """See Linears."""
        if name.endswith(self._blocks):
            return super().multiply(parts, name, x, weights, output)
        if not self._shared:
            self._add_shared(parts)
        (size,) = parts.node("Abs", [x], f"{name}.size")
        (peak,) = parts.node("ReduceMax", [size, "row.axis"], f"{name}.row_peak", keepdims=1)
        (peak,) = parts.node("Max", [peak, "row.smallest"], f"{name}.peak")
        (inverse,) = parts.node("Div", ["row.largest", peak], f"{name}.inverse")
        (steps,) = parts.node("Mul", [x, inverse], f"{name}.steps")
        (levels,) = parts.node("QuantizeLinear", [steps, "row.one", "row.middle"], f"{name}.levels")
        columns, scales = quantize_columns(weights)
        inputs = [
            levels,
            parts.constant(f"{name}.columns", columns),
            "row.one",
            parts.constant(f"{name}.column_scales", scales / np.float32(_LARGEST)),
            "row.middle",
        ]
        (product,) = parts.node("MatMulIntegerToFloat", inputs, f"{name}.product")
        return parts.named("Mul", [product, peak], name, [output or f"{name}.out"])[0]

    def _add_shared(self, parts: GraphParts) -> None:
        """Add the constants that every product uses."""
        parts.constant("row.axis", np.array([-1], np.int64))
        parts.constant("row.one", np.array(1, np.float32))
        parts.constant("row.largest", np.array(_LARGEST, np.float32))
        parts.constant("row.smallest", np.array(_SMALLEST_SCALE, np.float32))
        parts.constant("row.middle", np.array(128, np.uint8))
        self._shared = True


def quantize_columns(weights: Float32) -> tuple[NDArray[np.int8], Float32]:
    """Return the transpose of (out_features, in_features) weights in whole steps, and the step of each column.

    The first is (in_features, out_features) int8 within -127..127, the second (out_features,) float32.
    """
    scales = np.abs(weights).max(axis=1) / np.float32(_LARGEST)
    divisor = np.where(scales == 0, np.float32(1), scales)
    levels = np.rint(weights / divisor[:, None]).astype(np.int8)
    return np.ascontiguousarray(levels.T), scales.astype(np.float32)

"""How the matrices of a model are written into its graph: in full, or in blocks of few bits.

In full is in the precision of the graph, which is that of the scales of blocks too.

A graph asks for three things, whatever the form: the lookup of tokens, a product with a matrix, and the product that
gives the logits. Names of linear layers are the keys by which other modules know them.
"""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import numpy as np

from inference.importers.architecture import Float32
from inference.importers.error_feedback import quantize4_for
from inference.importers.graph_parts import GraphParts
from inference.importers.quantize import BLOCK, Quantized, quantize4, quantize8

EMBEDDING = "model.embedding"
HEAD = "lm_head"


class Linears(Protocol):
    """Writes matrices of one form."""

    def embed(self, parts: GraphParts, table: Float32) -> str:
        """Add the lookup of `input_ids` in a table (vocabulary, hidden); return its output."""

    def multiply(self, parts: GraphParts, name: str, x: str, weights: Float32, output: str = "") -> str:
        """Add the product of x with the transpose of (out_features, in_features) weights; return its output."""

    def project(
        self, parts: GraphParts, x: str, weights: Float32 | None, size: tuple[int, int], output: str
    ) -> None:
        """Add the product that gives the logits, with a matrix of a size (vocabulary, hidden) or, for None, with the
        table.
        """


class FullLinears:
    """Everything in full."""

    def embed(self, parts: GraphParts, table: Float32) -> str:
        """See Linears."""
        return parts.node("Gather", [parts.constant(EMBEDDING, table), "input_ids"], "model.embed")[0]

    def multiply(self, parts: GraphParts, name: str, x: str, weights: Float32, output: str = "") -> str:
        """See Linears."""
        constant = parts.constant(f"{name}.weight", weights.T)
        return parts.named("MatMul", [x, constant], name, [output or f"{name}.out"])[0]

    def project(
        self, parts: GraphParts, x: str, weights: Float32 | None, size: tuple[int, int], output: str
    ) -> None:
        """See Linears."""
        if weights is not None:
            self.multiply(parts, HEAD, x, weights, output)
            return
        (transposed,) = parts.node("Transpose", [EMBEDDING], f"{HEAD}.weight", perm=[1, 0])
        parts.named("MatMul", [x, transposed], HEAD, [output])


class BlockLinears:
    """Matrices in blocks of 4 or 8 bits; the table and the logits always have 8, and share their bytes."""

    def __init__(self, bits: Literal[4, 8]) -> None:
        self._bits = bits

    def embed(self, parts: GraphParts, table: Float32) -> str:
        """See Linears."""
        matrix = quantize8(table)
        packed = parts.constant(f"{EMBEDDING}.packed", matrix.packed.reshape(matrix.rows, -1))
        scales = parts.constant(f"{EMBEDDING}.scales", matrix.scales)
        layout: dict[str, Any] = {"bits": 8, "block_size": BLOCK, "gather_axis": 0, "quantize_axis": 1}
        return parts.node("GatherBlockQuantized", [packed, "input_ids", scales], "model.embed", **layout)[0]

    def multiply(self, parts: GraphParts, name: str, x: str, weights: Float32, output: str = "") -> str:
        """See Linears."""
        matrix = quantize4(weights) if self._bits == 4 else quantize8(weights)
        return multiply_blocks(parts, name, x, matrix, output)

    def project(
        self, parts: GraphParts, x: str, weights: Float32 | None, size: tuple[int, int], output: str
    ) -> None:
        """See Linears."""
        if weights is not None:
            multiply_blocks(parts, HEAD, x, quantize8(weights), output)
            return
        layout = parts.constant(f"{HEAD}.layout", np.array([size[0], size[1] // BLOCK, BLOCK], np.int64))
        (packed,) = parts.node("Reshape", [f"{EMBEDDING}.packed", layout], f"{HEAD}.packed")
        _matmul(parts, HEAD, [x, packed, f"{EMBEDDING}.scales"], size, 8, output)


class FedBackLinears(BlockLinears):
    """Matrices in blocks of 4 bits, rounded for what they multiply."""

    def __init__(self, activations: Mapping[str, Float32]) -> None:
        """Take what each linear layer multiplies, (tokens, in_features) by its name."""
        super().__init__(4)
        self._activations = activations

    def multiply(self, parts: GraphParts, name: str, x: str, weights: Float32, output: str = "") -> str:
        """See Linears."""
        return multiply_blocks(parts, name, x, quantize4_for(weights, self._activations[name]), output)


class FullTable(FullLinears):
    """The table and the logits in full, layers in another form."""

    def __init__(self, layers: Linears) -> None:
        self._layers = layers

    def multiply(self, parts: GraphParts, name: str, x: str, weights: Float32, output: str = "") -> str:
        """See Linears."""
        if name == HEAD:
            return super().multiply(parts, name, x, weights, output)
        return self._layers.multiply(parts, name, x, weights, output)


def multiply_blocks(parts: GraphParts, name: str, x: str, matrix: Quantized, output: str = "") -> str:
    """Add the product of x with the transpose of a matrix in blocks, and the matrix; return its output."""
    inputs = [
        x,
        parts.constant(f"{name}.packed", matrix.packed),
        parts.constant(f"{name}.scales", matrix.scales),
    ]
    if matrix.zero_points is not None:
        inputs.append(parts.constant(f"{name}.zero_points", matrix.zero_points))
    return _matmul(parts, name, inputs, (matrix.rows, matrix.columns), matrix.bits, output)


def _matmul(
    parts: GraphParts, name: str, inputs: list[str], size: tuple[int, int], bits: int, output: str
) -> str:
    """Add a MatMulNBits; accuracy level 4 multiplies in int8, the fast path of CPUs."""
    attributes: dict[str, Any] = {"N": size[0], "K": size[1], "bits": bits, "block_size": BLOCK}
    return parts.named(
        "MatMulNBits", inputs, name, [output or f"{name}.out"], accuracy_level=4, **attributes
    )[0]

"""Block quantisation of weight matrices, in the layout of ONNX Runtime's MatMulNBits.

A block is 32 consecutive weights of one row. 4-bit blocks are asymmetric: w is about (q - zero_point) * scale with q
and zero_point in 0..15. 8-bit blocks are symmetric around 128. The layouts are those of the operator's
documentation (com.microsoft.MatMulNBits): packed (rows, blocks, bytes of a block), low nibble first.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.importers.architecture import Float32

BLOCK = 32
_ROWS_AT_ONCE = 512  # bounds the memory of intermediate arrays, and keeps them in the processor's cache
_SMALLEST_SCALE = 1e-8  # of a block of zeros
_WIDTHS = (0.82, 0.91, 1.0)
"""Grids that are tried for a 4-bit block, relative to the one that spans its weights."""


@dataclass(frozen=True, slots=True)
class Quantized:
    """One matrix (rows, columns) in blocks."""

    bits: int
    rows: int
    columns: int
    packed: NDArray[np.uint8]
    """(rows, columns / 32, 32 * bits / 8)."""
    scales: Float32
    """(rows, columns / 32)."""
    zero_points: NDArray[np.uint8] | None
    """(rows, ceil(columns / 32 * bits / 8)); None is the middle of the range."""


def quantize4(weights: Float32) -> Quantized:
    """Quantise (rows, columns) to 4 bits. `columns` must be a multiple of 32."""
    columns = weights.shape[1]
    levels = np.empty_like(weights)
    scales = np.empty((len(weights), columns // BLOCK), np.float32)
    zeros = np.empty_like(scales)
    for at in range(0, len(weights), _ROWS_AT_ONCE):
        some = slice(at, at + _ROWS_AT_ONCE)
        blocks = weights[some].reshape(-1, columns // BLOCK, BLOCK)
        best = _best_grid(blocks, np.float32(1))
        levels[some] = best.levels.reshape(-1, columns)
        scales[some], zeros[some] = best.scales, best.zeros
    return pack_four_bits(levels, scales, zeros)


def fit_grid(block: Float32, importance: Float32) -> tuple[Float32, Float32]:
    """Choose scale and zero point, both (rows,), of one block (rows, 32), with errors of columns weighed (32,)."""
    scales = np.empty(len(block), np.float32)
    zeros = np.empty_like(scales)
    for at in range(0, len(block), _ROWS_AT_ONCE):
        some = slice(at, at + _ROWS_AT_ONCE)
        best = _best_grid(np.ascontiguousarray(block[some])[:, None], importance)
        scales[some], zeros[some] = best.scales[:, 0], best.zeros[:, 0]
    scales[scales == 0] = _SMALLEST_SCALE
    return scales, zeros


def pack_four_bits(levels: Float32, scales: Float32, zeros: Float32) -> Quantized:
    """Bring levels (rows, columns), scales and zero points (rows, columns / 32) into the layout of the operator."""
    rows, columns = levels.shape
    packed = _pack(np.ascontiguousarray(levels).astype(np.uint8).reshape(rows, -1, BLOCK))
    return Quantized(
        4, rows, columns, packed, np.ascontiguousarray(scales), _pack(_even(zeros.astype(np.uint8)))
    )


def quantize8(weights: Float32) -> Quantized:
    """Quantise (rows, columns) to 8 bits, symmetric. A Q8_0 matrix of a GGUF file comes through unchanged."""
    blocks = weights.reshape(weights.shape[0], -1, BLOCK)
    scales = np.abs(blocks).max(axis=-1) / np.float32(127)
    divisor = np.where(scales == 0, np.float32(1), scales)
    packed = (np.rint(blocks / divisor[..., None]) + 128).astype(np.uint8)
    return Quantized(8, weights.shape[0], weights.shape[1], packed, scales.astype(np.float32), None)


def dequantize(matrix: Quantized) -> Float32:
    """Return the (rows, columns) float32 matrix that the operator computes with."""
    if matrix.bits == 8:
        levels = matrix.packed.astype(np.float32)
        zeros = np.full((1, 1, 1), 128, np.float32)
    else:
        levels = _unpack(matrix.packed).astype(np.float32)
        assert matrix.zero_points is not None
        zeros = _unpack(matrix.zero_points)[:, : levels.shape[1], None].astype(np.float32)
    return (
        ((levels - zeros) * matrix.scales[..., None]).reshape(matrix.rows, matrix.columns).astype(np.float32)
    )


def _best_grid(blocks: Float32, importance: "Float32 | np.float32") -> "_Grid":
    """Return the best of several grids for each block of (rows, blocks, 32) weights.

    Zero points are whole numbers, so a grid cannot be placed freely: for each block a few widths of the grid and both
    neighbours of the ideal zero point are tried, and the one with the least squared error is kept.
    """
    low = np.minimum(blocks.min(axis=-1), 0)
    widest = (np.maximum(blocks.max(axis=-1), 0) - low) / np.float32(15)
    widest[widest == 0] = _SMALLEST_SCALE
    best = _Grid.fit(blocks, importance, widest, np.rint(-low / widest))
    for width in _WIDTHS:
        scales = widest * np.float32(width)
        for round_zero in (np.floor, np.ceil):
            best.take_better(_Grid.fit(blocks, importance, scales, round_zero(-low / scales)))
    return best


@dataclass(slots=True)
class _Grid:
    """One way to quantise every block of (rows, blocks, 32) weights."""

    levels: Float32
    scales: Float32
    zeros: Float32
    errors: Float32
    """Squared error of each block."""

    @classmethod
    def fit(
        cls, blocks: Float32, importance: "Float32 | np.float32", scales: Float32, zeros: Float32
    ) -> "_Grid":
        """Choose levels for a grid, then the scale that brings these levels closest to the weights."""
        zeros = np.clip(zeros, 0, 15)
        levels = np.clip(np.rint(blocks / scales[..., None]) + zeros[..., None], 0, 15)
        steps = levels - zeros[..., None]
        weighed = steps * importance
        norm = np.einsum("rbk,rbk->rb", weighed, steps)
        product = np.einsum("rbk,rbk->rb", weighed, blocks)
        scales = np.where(norm == 0, scales, product / np.where(norm == 0, 1, norm)).astype(np.float32)
        # The squared error of a least-squares fit, up to the weights' own squares, which no grid changes.
        return cls(levels, scales, zeros, -product * scales)

    def take_better(self, other: "_Grid") -> None:
        """Take from another grid the blocks that it fits better."""
        better = other.errors < self.errors
        for mine, theirs in zip(
            (self.levels, self.scales, self.zeros, self.errors),
            (other.levels, other.scales, other.zeros, other.errors),
            strict=True,
        ):
            mine[better] = theirs[better]


def _pack(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put two 4-bit values into one byte along the last axis, the first in the low nibble."""
    return (levels[..., 0::2] | (levels[..., 1::2] << 4)).astype(np.uint8)


def _unpack(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], -1)


def _even(zeros: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pad the last axis to an even length with the middle of the range."""
    return np.pad(zeros, ((0, 0), (0, zeros.shape[1] % 2)), constant_values=8)

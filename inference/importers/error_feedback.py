"""Rounding to 4 bits with each error handed on to the weights that come after ("GPTQ", Frantar et al., 2023).

Rounded one by one, errors of a row add up in its product. Here columns are rounded from left to right, and what is lost
in one is made up for in those that follow, as far as their activations vary together: the second moments of what the
matrix multiplies say how far. Grids are chosen block by block, from the weights as they have become by then, with the
errors of columns weighed by the size of their activations.
"""

import numpy as np

from inference.importers.architecture import Float32
from inference.importers.quantize import BLOCK, Quantized, fit_grid, pack_four_bits

_DAMPING = 0.1
"""Added to the second moments, relative to their mean: the text is short, and other texts differ."""
_WEIGHT_FLOOR = 0.01  # a channel that the text never used still counts a little
_SMALL = 64  # triangular matrices up to this size are inverted as any other
_TOGETHER = 8
"""Columns between which errors are handed on one by one; to all others they go as one product."""


def quantize4_for(weights: Float32, activations: Float32) -> Quantized:
    """Quantise (rows, columns) to 4 bits, for a matrix that multiplies activations like (tokens, columns)."""
    rows, columns = weights.shape
    handing, importance = _handing(activations)
    left = np.array(weights.T, order="C")  # one column of the weights lies in one piece
    levels = np.empty_like(left)
    scales = np.empty((columns // BLOCK, rows), np.float32)
    zeros = np.empty_like(scales)
    for block, start in enumerate(range(0, columns, BLOCK)):
        end = start + BLOCK
        scales[block], zeros[block] = fit_grid(left[start:end].T, importance[start:end])
        errors = _round(
            left[start:end], handing[start:end, start:end], scales[block], zeros[block], levels[start:end]
        )
        left[end:] -= handing[start:end, end:].T @ errors
    return pack_four_bits(levels.T, scales.T, zeros.T)


def _round(left: Float32, handing: Float32, scale: Float32, zero: Float32, levels: Float32) -> Float32:
    """Round the columns of one block, given as (BLOCK, rows), into `levels`; return the errors to hand on."""
    errors = np.empty_like(left)
    for first in range(0, BLOCK, _TOGETHER):
        last = first + _TOGETHER
        for column in range(first, last):
            level = np.clip(np.rint(left[column] / scale) + zero, 0, 15)
            levels[column] = level
            errors[column] = (left[column] - (level - zero) * scale) / handing[column, column]
            for later in range(column + 1, last):
                left[later] -= handing[column, later] * errors[column]
        left[last:] -= handing[first:last, last:].T @ errors[first:last]
    return errors


def _handing(activations: Float32) -> tuple[Float32, Float32]:
    """Return how errors are handed on, and how much each column matters, (columns,).

    The first is the upper Cholesky factor (columns, columns) of the inverse of the damped second moments.
    """
    moments = activations.T @ activations
    sizes = np.diag(moments).astype(np.float64)
    mean = sizes.mean() or 1.0
    damped = moments.astype(np.float64)
    damped[np.diag_indices_from(damped)] += _DAMPING * mean
    # Of the matrix turned round: the factor of its own inverse then needs no second factorisation.
    upper = np.linalg.cholesky(damped[::-1, ::-1])[::-1, ::-1]
    importance = sizes / mean + _WEIGHT_FLOOR
    return _inverse_upper(upper.astype(np.float32)), importance.astype(np.float32)


def _inverse_upper(matrix: Float32) -> Float32:
    """Invert an upper triangular matrix by halves: products of matrices are much faster than a general inverse."""
    size = len(matrix)
    if size <= _SMALL:
        return np.linalg.inv(matrix)
    half = size // 2
    first, last = _inverse_upper(matrix[:half, :half]), _inverse_upper(matrix[half:, half:])
    result = np.zeros_like(matrix, order="C")
    result[:half, :half], result[half:, half:] = first, last
    result[:half, half:] = -(first @ matrix[:half, half:]) @ last
    return result

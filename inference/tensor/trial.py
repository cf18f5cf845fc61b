"""Made-up inputs: to warm a model up, and to find out whether its rows influence each other."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from inference.engine import Array, Signature
from inference.tensor.datatypes import BFLOAT16, DATATYPES, to_bfloat16, to_numbers

Run = Callable[[Mapping[str, Array]], Sequence[Array]]
"""Runs the model; raises what the provider raises."""

FREE_LENGTHS = (1, 8, 32, 64, 224)
"""What is tried, in this order, for inner dimensions of any length: models have a smallest one that they take."""

INTEGERS_BELOW = (256, 2)
"""What is tried for integers: varied ones first, then such that a table of two rows is long enough for them."""

TOLERANCE = {"BF16": 5e-2, "FP16": 1e-2, "FP32": 1e-4, "FP64": 1e-6}
"""By datatype, relative to the largest output: for the same row in batches of the same size."""

LOOSE = 0.05
"""The same for a row alone and in a batch: other kernels add up in another order, and made-up input is often
ill-conditioned (0.003 was seen with a model whose rows are independent). Dividing by the number of rows is 0.5."""


@dataclass(frozen=True, slots=True)
class Filling:
    """How made-up input looks that a model takes."""

    free_length: int
    """Length of inner dimensions that may have any."""
    integers_below: int


def made_up(inputs: Sequence[Signature], rows: int, filling: Filling, seed: int = 0) -> dict[str, Array]:
    """Return valid arrays, with `rows` for a first dimension of any length.

    Numbers lie in [0, 1), integers in [0, integers_below), BYTES elements are digits.
    """
    random = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    for signature in inputs:
        shape = [filling.free_length if length == -1 else length for length in signature.shape]
        if signature.shape and signature.shape[0] == -1:
            shape[0] = rows
        dtype = DATATYPES[signature.datatype].dtype
        array: Array
        if dtype is BFLOAT16:
            array = to_bfloat16(random.random(shape, np.float32))
        elif dtype.kind == "f":
            array = random.random(shape).astype(dtype)
        elif dtype.hasobject:
            digits = random.integers(0, 10, shape).astype("S1")
            array = digits.astype(object)
        else:
            below = 128 if dtype.itemsize == 1 else 256  # what every integer type holds
            below = 2 if dtype.kind == "b" else min(below, filling.integers_below)
            array = random.integers(0, below, shape).astype(dtype)
        arrays[signature.name] = array
    return arrays


def runnable(inputs: Sequence[Signature], run: Run) -> Filling | None:
    """Return the first filling that the model takes, None when it takes none of those tried."""
    for filling in _fillings(inputs):
        try:
            for seed in range(3):
                run(made_up(inputs, 1, filling, seed))
        except Exception:  # whatever the provider raises: the model does not take this
            continue
        return filling
    return None


def rows_are_independent(
    inputs: Sequence[Signature], outputs: Sequence[Signature], run: Run, filling: Filling
) -> bool:
    """Run a row alone, and before and after others; tell whether its output stays the same.

    Two of the others are ordinary. One is NaN and one infinite, which show what ordinary numbers leave within
    rounding: an influence multiplied by nothing, or the common scale of a quantisation.
    """
    a, b, c = (made_up(inputs, 1, filling, seed) for seed in range(3))
    try:
        alone = run(a)
        before_b, before_c = run(_stacked(a, b)), run(_stacked(a, c))
        after_b, after_c = run(_stacked(b, a)), run(_stacked(c, a))
    except Exception:  # a model that refuses two rows has a batch dimension in name only
        return False
    for index, signature in enumerate(outputs):
        single = alone[index]
        pairs = [result[index] for result in (before_b, before_c, after_b, after_c)]
        if single.ndim == 0 or single.shape[0] != 1:
            return False
        if any(pair.shape != (2, *single.shape[1:]) for pair in pairs):
            return False
        strict = TOLERANCE.get(signature.datatype, 0.0)
        loose = max(LOOSE, strict) if strict else 0.0
        same = _close(pairs[0][0], pairs[1][0], strict) and _close(pairs[2][1], pairs[3][1], strict)
        if not (same and _close(single[0], pairs[0][0], loose) and _close(single[0], pairs[2][1], loose)):
            return False
    return _stands_spoiled_neighbours(outputs, run, a, before_b, after_b)


def _stands_spoiled_neighbours(
    outputs: Sequence[Signature],
    run: Run,
    row: Mapping[str, Array],
    before: Sequence[Array],
    after: Sequence[Array],
) -> bool:
    """Tell whether a row's output is the same before NaN and after infinity as it was `before` and `after` numbers."""
    for number, first in ((np.nan, True), (np.inf, False)):
        other = _spoiled(row, number)
        if other is None:
            return True
        try:
            found = run(_stacked(row, other) if first else _stacked(other, row))
        except (
            Exception
        ):  # what a model refuses fails in a batch too, and its neighbours run again without it
            continue
        place = 0 if first else 1
        for signature, expected, got in zip(outputs, before if first else after, found, strict=True):
            strict = TOLERANCE.get(signature.datatype, 0.0)
            if got.shape != expected.shape or not _close(expected[place], got[place], strict):
                return False
    return True


def _spoiled(row: Mapping[str, Array], number: float) -> dict[str, Array] | None:
    """Return a row whose numbers are all that one; None where it has no inputs that can be."""
    spoiled = dict(row)
    for name, array in row.items():
        if array.dtype == BFLOAT16:
            spoiled[name] = to_bfloat16(np.full(array.shape, number, np.float32))
        elif array.dtype.kind == "f":
            spoiled[name] = np.full_like(array, number)
    return spoiled if any(spoiled[name] is not row[name] for name in row) else None


def _fillings(inputs: Sequence[Signature]) -> Iterator[Filling]:
    """Yield what to try; one length is enough when no inner dimension is free."""
    lengths = FREE_LENGTHS if any(-1 in signature.shape[1:] for signature in inputs) else (1,)
    for length in lengths:
        for below in INTEGERS_BELOW:
            yield Filling(length, below)


def _stacked(first: Mapping[str, Array], second: Mapping[str, Array]) -> dict[str, Array]:
    return {name: np.concatenate([first[name], second[name]]) for name in first}


def _close(one: Array, other: Array, tolerance: float) -> bool:
    if not tolerance:
        return np.array_equal(one, other)
    first, second = to_numbers(one).astype(np.float64), to_numbers(other).astype(np.float64)
    finite = np.abs(first[np.isfinite(first)])
    scale = float(finite.max()) if finite.size else 0.0
    return np.allclose(first, second, rtol=0.0, atol=tolerance * scale, equal_nan=True)

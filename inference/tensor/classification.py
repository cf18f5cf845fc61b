"""The highest values of an output as text, "value:index" or "value:index:label", as KServe's clients know them."""

import math
from collections.abc import Sequence

import numpy as np

from inference.engine import Array
from inference.tensor.datatypes import to_numbers

CLASSIFIED = frozenset(
    ("UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "BF16", "FP32", "FP64")
)
"""Datatypes whose values have an order worth telling."""


def classify(array: Array, classes: int, labels: Sequence[str], *, rows: bool) -> Array:
    """Return BYTES of the `classes` highest values, the highest first, of equal ones the one of the lower index.

    With `rows` of each row, (rows, classes); else of the whole tensor, (classes,). There are fewer classes where there
    are fewer values. Fractions have six digits, as `%f` gives them; what is no number comes last.
    """
    values = to_numbers(array)
    table = values.reshape(len(values), math.prod(values.shape[1:])) if rows else values.reshape(1, -1)
    found: Array = np.empty((len(table), min(classes, table.shape[1])), object)
    for at, row in enumerate(table):
        for place, index in enumerate(_highest(row, found.shape[1])):
            found[at, place] = _text(row[index], int(index), labels)
    return found if rows else found[0]


def _highest(row: Array, count: int) -> Array:
    """Return the indices of the highest values."""
    if row.dtype.kind == "f":
        return np.argsort(np.negative(row), kind="stable")[:count]
    # Numbers without a sign have no opposite: turned round twice, the lower index is in front among equals.
    upwards = np.argsort(row[::-1], kind="stable")
    return (len(row) - 1 - upwards)[::-1][:count]


def _text(value: np.generic, index: int, labels: Sequence[str]) -> bytes:
    number = f"{value:f}" if isinstance(value, np.floating) else str(value)
    label = f":{labels[index]}" if index < len(labels) and labels[index] else ""
    return f"{number}:{index}{label}".encode()

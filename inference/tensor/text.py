"""BYTES tensors at the border to ONNX Runtime, which takes and gives Python strings and knows no bytes."""

import numpy as np

from inference.engine import Array


def to_text(array: Array) -> Array:
    """Return an object array of str for one of UTF-8 bytes, of the same shape."""
    elements: list[bytes] = array.ravel().tolist()
    return _mapped(array, [element.decode("utf-8") for element in elements])


def to_bytes(array: Array) -> Array:
    """Return an object array of UTF-8 bytes for one of str, of the same shape."""
    elements: list[str] = array.ravel().tolist()
    return _mapped(array, [element.encode("utf-8") for element in elements])


def _mapped(array: Array, elements: list[str] | list[bytes]) -> Array:
    """Keep the shape; NumPy would take a list of equal strings apart if it were asked to guess."""
    mapped = np.empty(len(elements), dtype=object)
    mapped[:] = elements
    return mapped.reshape(array.shape)

"""Arrays of a configuration: warm-up input and initial states, made up or read from files."""

import math
from pathlib import Path
from typing import Final

import numpy as np

from inference.engine import Array
from inference.repository.data_files import MAX_DATA_BYTES, Unreadable, read_data
from inference.tensor.datatypes import BFLOAT16, DATATYPES, to_bfloat16

Shape = tuple[int, ...]

_BYTES_OF_TEXT: Final = 64
"""What an element of BYTES counts for in the limit of a tensor's size."""
_SEED: Final = 7


def zeros(datatype: str, shape: Shape) -> Array:
    """Return zeros, or empty strings. Raises Unreadable when they would be too large."""
    dtype = _dtype(datatype, shape)
    array: Array = np.zeros(shape, dtype)
    if dtype.hasobject:
        array.fill(b"")
    return array


def random_values(datatype: str, shape: Shape) -> Array:
    """Return numbers in [0, 1), integers of any size, BYTES of digits: the same in each call.

    Raises Unreadable when they would be too large.
    """
    dtype = _dtype(datatype, shape)
    random = np.random.default_rng(_SEED)
    if dtype.hasobject:
        return random.integers(0, 10, shape).astype("S1").astype(object)
    if dtype.kind in "iu":
        return np.frombuffer(random.bytes(math.prod(shape) * dtype.itemsize), dtype).reshape(shape)
    if dtype.kind == "b":
        return random.integers(0, 2, shape).astype(dtype)
    numbers = random.random(shape, np.float32)
    return to_bfloat16(numbers) if dtype == BFLOAT16 else numbers.astype(dtype)


def from_file(folder: Path, name: str, datatype: str, shape: Shape, *, one_row: bool = False) -> Array:
    """Return the elements in a file: little-endian, or for BYTES each after its length in four bytes.

    With `one_row` the file may hold the first row only, which all others are equal to. Raises Unreadable, also when
    the file has another number of elements.
    """
    dtype = _dtype(datatype, shape)
    data = read_data(folder, name)
    if dtype.hasobject:
        elements = _texts(name, data)
        array: Array = np.empty(len(elements), object)
        array[:] = elements
    else:
        if len(data) % dtype.itemsize:
            raise Unreadable(f"{name!r}: {len(data)} bytes are not whole elements of {datatype}")
        array = np.frombuffer(data, dtype)
    count = math.prod(shape)
    if one_row and array.size * shape[0] == count:
        return np.broadcast_to(array.reshape(shape[1:]), shape).copy()
    if array.size != count:
        raise Unreadable(f"{name!r}: {array.size} elements of {datatype}, expected {count}")
    return array.reshape(shape)


def _dtype(datatype: str, shape: Shape) -> np.dtype[np.generic]:
    known = DATATYPES.get(datatype)
    if known is None:
        raise Unreadable(f"{datatype} cannot be made up here")
    size = math.prod(shape) * (known.itemsize or _BYTES_OF_TEXT)
    if size > MAX_DATA_BYTES:
        raise Unreadable(f"{size} bytes, more than {MAX_DATA_BYTES}")
    return known.dtype


def _texts(name: str, data: bytes) -> list[bytes]:
    elements: list[bytes] = []
    at = 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        if at + 4 > len(data) or end > len(data):
            raise Unreadable(f"{name!r}: element {len(elements)} is cut off")
        elements.append(data[at + 4 : end])
        at = end
    return elements

"""Tensor messages and arrays: raw little-endian elements, of BYTES each with its length before it.

Every size is checked against what was really sent before anything of that size is made.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from forebay.tasks.v1 import inputs_pb2
from inference.engine import Array
from inference.tensor.datatypes import DATATYPES, name_of
from scheduler.errors import FieldFault, InvalidInput

MAX_TENSORS = 1024
MAX_RANK = 32
MAX_NAME_CHARACTERS = 256
MAX_ARRAY_BYTES = 1 << 62
"""Of dimensions that are not 0, so that no product of them overflows anywhere."""


def read_tensors(tensors: Sequence[inputs_pb2.Tensor], at: str) -> dict[str, Array]:
    """Return arrays over the messages' bytes, which are not copied and cannot be written.

    `at` is the path of the list in the request. Raises InvalidInput with every fault found.
    """
    arrays: dict[str, Array] = {}
    faults: list[FieldFault] = []
    if not 1 <= len(tensors) <= MAX_TENSORS:
        raise InvalidInput.of(at, f"expected 1 to {MAX_TENSORS} tensors, got {len(tensors)}")
    for index, tensor in enumerate(tensors):
        name = tensor.name
        shape = tuple(tensor.shape[:])  # the slice is a list: twice as fast as iterating the container
        try:
            layout = _layout(tensor.datatype, shape)
            raw = tensor.raw
            array: Array
            if layout.plain and len(raw) == layout.size:
                array = np.ndarray(shape, layout.dtype, raw)
            else:
                array = _checked(raw, shape, layout)
            if name in arrays or not 1 <= len(name) <= MAX_NAME_CHARACTERS:
                raise _Fault("name", _name_fault(name))
        except _Fault as fault:
            faults.append(FieldFault(f"{at}[{index}].{fault.field}", fault.text))
        else:
            arrays[name] = array
    if faults:
        raise InvalidInput(faults)
    return arrays


class _Fault(Exception):
    """What is wrong with one field of a tensor; becomes a FieldFault where its place is known."""

    def __init__(self, field: str, text: str) -> None:
        self.field = field
        self.text = text
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class _Layout:
    """What a datatype and a shape say about the bytes of a tensor."""

    datatype: str
    dtype: np.dtype[np.generic]
    elements: int
    size: int
    """Bytes of all elements; 0 for BYTES."""
    plain: bool
    """Any bytes of that size will do: neither BYTES nor BOOL."""


@lru_cache(maxsize=4096)
def _layout(datatype: str, shape: tuple[int, ...]) -> _Layout:
    known = DATATYPES.get(datatype)
    if known is None:
        raise _Fault("datatype", f"expected one of {', '.join(DATATYPES)}")
    if len(shape) > MAX_RANK:
        raise _Fault("shape", f"expected at most {MAX_RANK} dimensions, got {len(shape)}")
    if any(length < 0 for length in shape):
        raise _Fault("shape", f"expected no negative dimension, got {min(shape)}")
    if math.prod(length for length in shape if length) * known.dtype.itemsize > MAX_ARRAY_BYTES:
        raise _Fault("shape", f"expected at most {MAX_ARRAY_BYTES} bytes")
    elements = math.prod(shape)
    plain = datatype not in ("BYTES", "BOOL")
    return _Layout(datatype, known.dtype, elements, elements * known.itemsize, plain)


def _checked(raw: bytes, shape: tuple[int, ...], layout: _Layout) -> Array:
    """Return the array of bytes whose values matter, or say what is wrong with them."""
    if layout.datatype == "BYTES":
        return _bytes_array(raw, shape, layout.elements)
    if len(raw) != layout.size:
        kind = f"{layout.datatype}[{','.join(map(str, shape))}]"
        raise _Fault("raw", f"expected {layout.size} bytes for {kind}, got {len(raw)}")
    if layout.size and np.ndarray(layout.size, np.uint8, raw).max() > 1:
        raise _Fault("raw", "expected bytes 0 and 1 for BOOL")
    return np.ndarray(shape, layout.dtype, raw)


def _name_fault(name: str) -> str:
    if 1 <= len(name) <= MAX_NAME_CHARACTERS:
        return f"input {name!r} is given twice"
    return f"expected 1 to {MAX_NAME_CHARACTERS} characters, got {len(name)}"


def _bytes_array(raw: bytes, shape: tuple[int, ...], elements: int) -> Array:
    """Take elements apart that are each preceded by their length as 4 little-endian bytes."""
    if elements * 4 > len(raw):  # before anything of that size is allocated
        least = f"expected at least {elements * 4} bytes for {elements} BYTES elements"
        raise _Fault("raw", f"{least}, got {len(raw)}")
    array = np.empty(elements, dtype=object)
    at = 0
    for index in range(elements):
        start = at + 4
        at = start + int.from_bytes(raw[at:start], "little")
        if start > len(raw) or at > len(raw):
            raise _Fault("raw", f"element {index} ends after the last of {len(raw)} bytes")
        array[index] = raw[start:at]
    if at != len(raw):
        raise _Fault("raw", f"{len(raw) - at} bytes follow the last of {elements} elements")
    return array.reshape(shape)


def write_tensors(message: inputs_pb2.TensorOutput, outputs: Mapping[str, Array]) -> int:
    """Append a tensor for each array, in order; return the bytes of their elements. Marks the message as set even when
    there is none.
    """
    message.SetInParent()
    add = message.tensors.add
    size = 0
    for name, array in outputs.items():
        raw = _raw_bytes(array) if array.dtype.hasobject else array.tobytes()
        add(name=name, datatype=name_of(array), shape=array.shape, raw=raw)
        size += len(raw)
    return size


def _raw_bytes(array: Array) -> bytes:
    parts: list[bytes] = []
    elements: list[bytes] = array.ravel().tolist()
    for element in elements:
        parts += (len(element).to_bytes(4, "little"), element)
    return b"".join(parts)

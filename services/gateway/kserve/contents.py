"""Elements of a tensor: from the typed field of a message to bytes, and from bytes to values of Python.

Bytes are little-endian; an element of BYTES has its length before it, in 4 bytes.
"""

from collections.abc import Sequence
from math import prod
from typing import Final

import numpy as np

from forebay.compat.kserve.kserve_service_pb2 import ModelInferRequest
from scheduler.errors import InvalidInput
from services.gateway.input_validation import bytes_fault

Element = bool | int | float | bytes

TYPED: Final = {
    "BOOL": ("bool_contents", "?"),
    "UINT8": ("uint_contents", "u1"),
    "UINT16": ("uint_contents", "<u2"),
    "UINT32": ("uint_contents", "<u4"),
    "UINT64": ("uint64_contents", "<u8"),
    "INT8": ("int_contents", "i1"),
    "INT16": ("int_contents", "<i2"),
    "INT32": ("int_contents", "<i4"),
    "INT64": ("int64_contents", "<i8"),
    "FP32": ("fp32_contents", "<f4"),
    "FP64": ("fp64_contents", "<f8"),
    "BYTES": ("bytes_contents", ""),
}
"""The field of a datatype, and how NumPy calls the type. FP16 and BF16 have none."""


def raw_of(tensor: ModelInferRequest.InferInputTensor, at: str) -> bytes:
    """Return the elements that an input has in its typed field. Raises InvalidInput when they are not what its datatype
    and shape ask for.
    """
    name, datatype, contents = tensor.name, tensor.datatype, tensor.contents
    if datatype not in TYPED:
        raise InvalidInput.of(
            f"{at}.contents",
            f"input '{name}' is {datatype}, whose elements can be in raw_input_contents only",
        )
    field, dtype = TYPED[datatype]
    if others := [each.name for each, _ in contents.ListFields() if each.name != field]:
        fault = f"input '{name}' is {datatype}, whose elements belong in {field}, not in {others[0]}"
        raise InvalidInput.of(f"{at}.contents", fault)
    elements = getattr(contents, field)
    expected = prod(tensor.shape)
    if len(elements) != expected:
        fault = f"input '{name}' has {len(elements)} elements, but its shape asks for {expected}"
        raise InvalidInput.of(f"{at}.contents", fault)
    if not dtype:
        return join(elements)
    try:
        return np.array(elements[:], dtype).tobytes()
    except OverflowError:
        raise InvalidInput.of(f"{at}.contents", f"input '{name}' has elements that {datatype} cannot hold")


def join(elements: Sequence[bytes]) -> bytes:
    """Return elements of BYTES in one piece."""
    parts: list[bytes] = []
    for element in elements:
        parts += (len(element).to_bytes(4, "little"), element)
    return b"".join(parts)


def split(raw: bytes, count: int, what: str) -> list[bytes]:
    """Return so many elements of BYTES. Raises InvalidInput."""
    if fault := bytes_fault(raw, count, count):
        raise InvalidInput.of("raw_input_contents", f"{what} {fault}")
    elements, at = [], 0
    for _ in range(count):
        end = at + 4 + int.from_bytes(raw[at : at + 4], "little")
        elements.append(raw[at + 4 : end])
        at = end
    return elements


def values_of(datatype: str, raw: bytes, count: int, what: str) -> Sequence[Element]:
    """Return so many elements as values of Python. Raises InvalidInput."""
    if datatype == "BYTES":
        return split(raw, count, what)
    known = TYPED.get(datatype)
    if known is None:
        raise InvalidInput.of("inputs", f"{what} is {datatype}, which is not taken for it")
    values: list[Element] = np.frombuffer(raw, known[1]).tolist()
    return values

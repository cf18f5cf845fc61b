"""Element types by their three names: KServe's on the wire, NumPy's in memory, ONNX Runtime's in a model."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.engine import Array

BFLOAT16 = np.dtype([("bfloat16", "<u2")])
"""NumPy has no such numbers: elements are their two bytes, in a type that is no other's."""


@dataclass(frozen=True, slots=True)
class Datatype:
    """One element type."""

    name: str
    """KServe name."""
    dtype: np.dtype[np.generic]
    """Little-endian, as on the wire; BYTES elements are Python bytes."""
    onnx: str
    """As ONNX Runtime writes the type of an input."""

    @property
    def itemsize(self) -> int:
        """Bytes of one element on the wire; 0 for BYTES, whose elements have their own length."""
        return 0 if self.dtype.hasobject else self.dtype.itemsize


DATATYPES: dict[str, Datatype] = {
    name: Datatype(name, np.dtype(dtype), f"tensor({onnx})")
    for name, dtype, onnx in (
        ("BOOL", "?", "bool"),
        ("UINT8", "u1", "uint8"),
        ("UINT16", "<u2", "uint16"),
        ("UINT32", "<u4", "uint32"),
        ("UINT64", "<u8", "uint64"),
        ("INT8", "i1", "int8"),
        ("INT16", "<i2", "int16"),
        ("INT32", "<i4", "int32"),
        ("INT64", "<i8", "int64"),
        ("FP16", "<f2", "float16"),
        ("BF16", BFLOAT16, "bfloat16"),
        ("FP32", "<f4", "float"),
        ("FP64", "<f8", "double"),
        ("BYTES", "O", "string"),
    )
}
"""By KServe name."""

BY_ONNX: dict[str, Datatype] = {datatype.onnx: datatype for datatype in DATATYPES.values()}
"""By the name that ONNX Runtime gives to an input or output."""

_BY_CHAR: dict[str, str] = {
    str(datatype.dtype.char): datatype.name
    for datatype in DATATYPES.values()
    if datatype.dtype is not BFLOAT16
}
# C types of equal size: which of them NumPy calls int64 depends on the platform.
_BY_CHAR.update({char: np.dtype(char).name.upper() for char in "bBhHiIlLqQ"})


def name_of(array: Array) -> str:
    """Return the KServe name of an array's element type; empty when there is none, or its bytes are swapped."""
    dtype = array.dtype
    if dtype.char == "V":
        return "BF16" if dtype == BFLOAT16 else ""
    return _BY_CHAR.get(dtype.char, "") if dtype.isnative else ""


def to_numbers(array: Array) -> Array:
    """Return an array that can be computed with: that of BF16 as FP32, any other as it is."""
    if array.dtype != BFLOAT16:
        return array
    # Operators make a scalar of an array without dimensions.
    return np.asarray(array.view("<u2").astype(np.uint32) << 16).view(np.float32)


def to_bfloat16(numbers: NDArray[np.float32]) -> Array:
    """Return numbers as BF16, cut off rather than rounded."""
    return np.asarray(numbers.view(np.uint32) >> 16).astype("<u2").view(BFLOAT16)

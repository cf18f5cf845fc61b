"""Element types by their three names: KServe's on the wire, NumPy's in memory, ONNX Runtime's in a model."""

from dataclasses import dataclass

import numpy as np

from inference.engine import Array


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
        ("FP32", "<f4", "float"),
        ("FP64", "<f8", "double"),
        ("BYTES", "O", "string"),
    )
}
"""By KServe name."""

BY_ONNX: dict[str, Datatype] = {datatype.onnx: datatype for datatype in DATATYPES.values()}
"""By the name that ONNX Runtime gives to an input or output."""

_BY_CHAR: dict[str, str] = {str(datatype.dtype.char): datatype.name for datatype in DATATYPES.values()}
# C types of equal size: which of them NumPy calls int64 depends on the platform.
_BY_CHAR.update({char: np.dtype(char).name.upper() for char in "bBhHiIlLqQ"})


def name_of(array: Array) -> str:
    """Return the KServe name of an array's element type; empty when there is none, or its bytes are swapped."""
    return _BY_CHAR.get(array.dtype.char, "") if array.dtype.isnative else ""

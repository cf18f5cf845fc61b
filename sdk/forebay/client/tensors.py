"""NumPy arrays to tensors of the wire and back: the layout of the Open Inference Protocol (KServe v2).

Row-major, little-endian; each element of a BYTES tensor is preceded by its length as 4 little-endian bytes.
"""

import math
import struct
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forebay.tasks.v1.inputs_pb2 import Tensor

Array = NDArray[np.generic]

_DTYPES: Final[dict[str, np.dtype[np.generic]]] = {
    "BOOL": np.dtype(np.bool_),
    **{
        f"{kind}{bits}": np.dtype(f"<{code}{bits // 8}")
        for kind, code in (("UINT", "u"), ("INT", "i"))
        for bits in (8, 16, 32, 64)
    },
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
}
_DATATYPES: Final = {dtype: name for name, dtype in _DTYPES.items()}
BF16: Final = "BF16"
_BFLOAT16: Final = np.dtype("<u2")
"""NumPy has no bfloat16: it is the upper half of a float32."""
_LENGTH: Final = struct.Struct("<I")


def to_tensor(name: str, values: ArrayLike) -> Tensor:
    """Make a tensor of an array, or of anything that NumPy makes one of.

    Strings and bytes, alone or as the elements of an object array, become BYTES; strings are written as UTF-8. An
    array whose dtype is named bfloat16, as those of the package ml_dtypes are, becomes BF16. Raises ValueError for a
    dtype that the wire does not have.
    """
    array = np.asarray(values)
    if array.dtype.kind in "OSU":
        return Tensor(name=name, datatype="BYTES", shape=array.shape, raw=_pack(name, array))
    if array.dtype.name == "bfloat16":
        return Tensor(name=name, datatype=BF16, shape=array.shape, raw=array.tobytes())
    little = array.dtype.newbyteorder("<") if array.dtype.byteorder == ">" else array.dtype
    datatype = _DATATYPES.get(little)
    if datatype is None:
        raise ValueError(f"tensor {name!r}: dtype {array.dtype} has no datatype on the wire")
    raw = array.astype(little, copy=False).tobytes()
    return Tensor(name=name, datatype=datatype, shape=array.shape, raw=raw)


def to_tensors(values: Mapping[str, ArrayLike]) -> list[Tensor]:
    """Make a tensor of each array."""
    return [to_tensor(name, array) for name, array in values.items()]


def to_array(tensor: Tensor) -> Array:
    """Make an array of a tensor: read-only over the tensor's own bytes; BYTES becomes an object array of bytes, BF16
    an array of float32.

    Raises ValueError when datatype, shape and bytes do not fit together.
    """
    shape = tuple(tensor.shape)
    count = math.prod(shape)
    if tensor.datatype == "BYTES":
        array = np.empty(count, dtype=object)
        elements = list(_unpack(tensor))
        if len(elements) != count:
            raise ValueError(f"tensor {tensor.name!r}: {len(elements)} elements do not fill shape {shape}")
        array[:] = elements
        return array.reshape(shape)
    dtype = _BFLOAT16 if tensor.datatype == BF16 else _DTYPES.get(tensor.datatype)
    if dtype is None:
        raise ValueError(f"tensor {tensor.name!r}: unknown datatype {tensor.datatype!r}")
    if len(tensor.raw) != count * dtype.itemsize:
        raise ValueError(
            f"tensor {tensor.name!r}: {len(tensor.raw)} bytes do not fill shape {shape} of {tensor.datatype}"
        )
    array = np.frombuffer(tensor.raw, dtype=dtype).reshape(shape)
    return _widened(array) if tensor.datatype == BF16 else array


def to_arrays(tensors: Iterable[Tensor]) -> dict[str, Array]:
    """Make an array of each tensor, by name, in their order."""
    return {tensor.name: to_array(tensor) for tensor in tensors}


def _widened(halves: Array) -> Array:
    widened: Array = (halves.astype(np.uint32) << 16).view(np.float32)
    widened.flags.writeable = False
    return widened


def _pack(name: str, array: Array) -> bytes:
    parts: list[bytes] = []
    for element in array.ravel().tolist():
        if isinstance(element, str):
            element = element.encode()
        elif not isinstance(element, bytes):
            raise ValueError(f"tensor {name!r}: an element is {type(element).__name__}, not bytes or str")
        parts += (_LENGTH.pack(len(element)), element)
    return b"".join(parts)


def _unpack(tensor: Tensor) -> Iterable[bytes]:
    raw, at = tensor.raw, 0
    while at < len(raw):
        start = at + _LENGTH.size
        end = start + _LENGTH.unpack_from(raw, at)[0] if start <= len(raw) else math.inf
        if end > len(raw):
            raise ValueError(f"tensor {tensor.name!r}: the bytes end inside an element")
        at = int(end)
        yield raw[start:at]

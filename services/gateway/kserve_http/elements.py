"""Elements of a tensor as JSON and as bytes: little-endian, row by row, of BYTES each after its length in 4 bytes.

JSON may nest them as the shape does, or have them all in one list. It is decoded by the type that the datatype asks
for, so that 1.5 is no integer, "1" no number and true no 1.
"""

import re
from collections.abc import Sequence
from functools import cache
from math import prod
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.gateway.kserve.contents import join
from services.gateway.kserve_http.refusals import BadBody

DTYPES: Final = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
"""How NumPy calls a datatype. BF16 and BYTES it does not have."""
BINARY_ONLY: Final = ("FP16", "BF16")
MAX_RANK: Final = 32
_NESTED: Final = re.compile(rb"\s*\[\s*\[")
_FLOATS: Final = ("FP32", "FP64")


class Elements:
    """The `data` of an input, not looked at before its datatype is known."""

    __slots__ = ("_raw", "_value")

    def __init__(self, raw: msgspec.Raw | None, value: Any = None) -> None:
        """It is `raw`, or else already a `value` of Python, which may have NaN and infinity in it."""
        self._raw = raw
        self._value = value

    def to_bytes(self, datatype: str, shape: Sequence[int], what: str) -> bytes:
        """Return the elements as bytes. `what` names the tensor. Raises BadBody."""
        if datatype in BINARY_ONLY:
            raise BadBody(f"{what} is {datatype}, which has no form in JSON: send it as binary data")
        if datatype not in DTYPES and datatype != "BYTES":
            raise BadBody(f"{what}: the datatype must be one of {', '.join((*DTYPES, 'BF16', 'BYTES'))}")
        depth = len(shape) if self._nested() else 1
        if depth > MAX_RANK:
            raise BadBody(f"{what} has {depth} dimensions; at most {MAX_RANK} are taken")
        try:
            array = _array(datatype, self._decoded(_type_of(datatype, depth)))
        except msgspec.ValidationError as error:
            raise BadBody(f"{what} ({datatype}): {error}")
        except (ValueError, RecursionError):
            raise BadBody(f"{what}: its data is nested otherwise than its shape says")
        except (OverflowError, FloatingPointError):
            raise BadBody(f"{what} has elements that {datatype} cannot hold")
        if (depth > 1 and array.shape != tuple(shape)) or array.size != prod(shape):
            raise BadBody(f"{what}: its shape {list(shape)} is not that of its data, {list(array.shape)}")
        if datatype != "BYTES":
            return array.tobytes()
        try:
            return join([text.encode() for text in array.ravel().tolist()])
        except UnicodeEncodeError:
            raise BadBody(f"{what} has text that is not Unicode")

    def _nested(self) -> bool:
        if self._raw is not None:
            return _NESTED.match(memoryview(self._raw)) is not None
        return isinstance(self._value, list) and bool(self._value) and isinstance(self._value[0], list)

    def _decoded(self, wanted: Any) -> Any:
        if self._raw is not None:
            return _decoder(wanted).decode(self._raw)
        return msgspec.convert(self._value, wanted)


def from_bytes(datatype: str, raw: bytes, what: str) -> list[Any]:
    """Return elements in one list, as JSON can have them. `what` names the tensor. Raises BadBody."""
    if datatype == "BYTES":
        return _texts(raw, what)
    if datatype == "BF16":
        wide = np.frombuffer(raw, "<u2").astype("<u4") << 16
        numbers: list[Any] = wide.view("<f4").tolist()
        return numbers
    values: list[Any] = np.frombuffer(raw, DTYPES[datatype]).tolist()
    return values


def all_finite(datatype: str, raw: bytes) -> bool:
    """Whether no element is NaN or infinite."""
    if datatype == "BF16":
        return bool((np.frombuffer(raw, "<u2") & 0x7F80 != 0x7F80).all())
    if datatype in ("FP16", *_FLOATS):
        return bool(np.isfinite(np.frombuffer(raw, DTYPES[datatype])).all())
    return True


def _array(datatype: str, values: Any) -> NDArray[Any]:
    if datatype == "BYTES":
        return np.array(values, dtype=object)
    with np.errstate(over="raise"):
        return np.array(values, dtype=DTYPES[datatype])


def _texts(raw: bytes, what: str) -> list[Any]:
    texts = []
    at = 0
    try:
        while at < len(raw):
            end = at + 4 + int.from_bytes(raw[at : at + 4], "little")
            texts.append(raw[at + 4 : end].decode())
            at = end
    except UnicodeDecodeError:
        raise BadBody(f"{what} is not UTF-8, which JSON would need: ask for it as binary data")
    return texts


@cache
def _decoder(wanted: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(wanted)


@cache
def _type_of(datatype: str, depth: int) -> Any:
    """Return the type of so many lists in one another."""
    wanted: Any = int
    if datatype in _FLOATS:
        wanted = float
    elif datatype == "BYTES":
        wanted = str
    elif datatype == "BOOL":
        wanted = bool
    for _ in range(depth):
        wanted = list[wanted]
    return wanted

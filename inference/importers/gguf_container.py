"""The GGUF container: metadata and the places of tensors, read from a mapped file with every length checked.

Follows the GGUF specification, versions 2 and 3, little-endian. A vocabulary of 262,144 tokens is read in a fraction of
a second, where the reader of the `gguf` package, which makes an array of each token, takes many.
"""

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from numpy.typing import NDArray

from scheduler.errors import ImportRefused

_MAGIC: Final = b"GGUF"
_NUMBERS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Value types of one size, in the letters of `struct`; they mean the same to NumPy."""
_STRING, _ARRAY = 8, 9
_DEEPEST_ARRAY = 3
_MOST_DIMENSIONS = 4
_PLAIN: Final = {
    GGMLQuantizationType.F32: "<f4",
    GGMLQuantizationType.F16: "<f2",
    GGMLQuantizationType.F64: "<f8",
}


class _Damaged(ValueError):
    """What the bytes say cannot be; the message names it."""


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """Where one tensor lies."""

    shape: tuple[int, ...]
    """Rows first, as NumPy has it."""
    type_number: int
    offset: int
    """Bytes from the beginning of the file."""

    @property
    def type_name(self) -> str:
        """What llama.cpp calls the type, or its number when it is newer than the `gguf` package."""
        kind = _kind(self.type_number)
        return f"number {self.type_number}" if kind is None else kind.name


class GgufContainer:
    """One mapped file. `values` are the metadata as plain Python values, `tensors` what it holds by name."""

    def __init__(self, path: Path) -> None:
        """Map and read it. Raises ImportRefused when it is no GGUF file, or is damaged."""
        try:
            with path.open("rb") as file:
                if file.read(4) != _MAGIC:
                    raise ImportRefused(f"{path} is not a GGUF file: it does not begin with the letters GGUF")
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise ImportRefused(f"{path} cannot be read: {error.strerror}")
        try:
            self._bytes = np.frombuffer(mapped, np.uint8)
            reader = _Reader(memoryview(mapped), 4)
            self.values = self._metadata(reader)
            self.tensors = self._places(reader)
        except (_Damaged, UnicodeDecodeError) as error:
            cause = str(error) if isinstance(error, _Damaged) else "text that is not UTF-8"
            raise ImportRefused(f"{path} is a damaged or truncated GGUF file ({cause})")

    def stored(self, tensor: GgufTensor) -> tuple[NDArray[Any], GGMLQuantizationType]:
        """Return a tensor as it is stored, a view of the file, and its type; quantised ones are rows of bytes.

        Raises KeyError when the type is not known.
        """
        kind = _kind(tensor.type_number)
        if kind is None:
            raise KeyError(tensor.type_number)
        raw = self._bytes[tensor.offset : tensor.offset + _size(tensor)]
        if kind in _PLAIN:
            return raw.view(_PLAIN[kind]).reshape(tensor.shape), kind
        return raw.reshape(*tensor.shape[:-1], -1), kind

    def _metadata(self, reader: "_Reader") -> dict[str, Any]:
        version = reader.number("I")
        if version not in (2, 3):
            raise _Damaged(f"version {version}; supported: 2 and 3, little-endian")
        self._tensor_count = reader.count(24)
        values = {}
        for _ in range(reader.count(12)):
            key = reader.text()
            values[key] = reader.value(reader.number("I"))
        return values

    def _places(self, reader: "_Reader") -> dict[str, GgufTensor]:
        found: list[tuple[str, tuple[int, ...], int, int]] = []
        for _ in range(self._tensor_count):
            name, dimensions = reader.text(), reader.number("I")
            if dimensions > _MOST_DIMENSIONS:
                raise _Damaged(f"a tensor of {dimensions} dimensions")
            shape = tuple(reader.number("Q") for _ in range(dimensions))
            found.append((name, shape[::-1], reader.number("I"), reader.number("Q")))
        alignment = self.values.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1:
            raise _Damaged(f"an alignment of {alignment!r}")
        start = math.ceil(reader.at / alignment) * alignment
        tensors = {name: GgufTensor(shape, kind, start + offset) for name, shape, kind, offset in found}
        for name, tensor in tensors.items():
            if _kind(tensor.type_number) is not None and tensor.offset + _size(tensor) > len(self._bytes):
                raise _Damaged(f"tensor {name} ends after the file")
        return tensors


class _Reader:
    """Reads one value after the other."""

    def __init__(self, data: memoryview, at: int) -> None:
        self._data = data
        self.at = at

    def number(self, letter: str) -> Any:
        at = self._take(struct.calcsize(f"<{letter}"))
        return struct.unpack_from(f"<{letter}", self._data, at)[0]

    def count(self, least_bytes: int) -> int:
        """Read how many things of at least so many bytes follow."""
        count = int(self.number("Q"))
        if count * least_bytes > len(self._data) - self.at:
            raise _Damaged("it ends too early")
        return count

    def text(self) -> str:
        size = self.count(1)
        at = self._take(size)
        return str(self._data[at : at + size], "utf-8")

    def value(self, kind: int, depth: int = 0) -> Any:
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY or depth > _DEEPEST_ARRAY:
            raise _Damaged(f"a value of type {kind}")
        item = self.number("I")
        if item in _NUMBERS:
            letter = np.dtype(_NUMBERS[item]).newbyteorder("<")
            count = self.count(letter.itemsize)
            at = self._take(count * letter.itemsize)
            return np.frombuffer(self._data, letter, count, at).tolist()
        return [self.value(item, depth + 1) for _ in range(self.count(8))]

    def _take(self, size: int) -> int:
        """Return where the next `size` bytes are, and step over them."""
        at = self.at
        if at + size > len(self._data):
            raise _Damaged("it ends too early")
        self.at = at + size
        return at


def _kind(number: int) -> GGMLQuantizationType | None:
    try:
        return GGMLQuantizationType(number)
    except ValueError:
        return None


def _size(tensor: GgufTensor) -> int:
    """Return the bytes of a tensor of a known type. Raises _Damaged when rows are no whole number of blocks."""
    kind = GGMLQuantizationType(tensor.type_number)
    block, block_bytes = GGML_QUANT_SIZES[kind]
    if tensor.shape and tensor.shape[-1] % block:
        raise _Damaged(f"rows of {tensor.shape[-1]} in blocks of {block}")
    return math.prod(tensor.shape) // block * block_bytes

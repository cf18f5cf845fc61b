"""Reading GGUF model files: metadata and tensors, bounded and checked before anything is converted.

Quantised tensors are decoded by the `gguf` package of the llama.cpp project. A model may be split into shards, each a
GGUF file named `NAME-00001-of-0000N.gguf`; the first has all metadata.
"""

import re
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from gguf import dequantize

from inference.importers.architecture import Float32
from inference.importers.gguf_container import GgufContainer, GgufTensor
from scheduler.errors import ImportRefused

T = TypeVar("T", int, float, str, bool)

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
_MOST_SHARDS = 1_000


class GgufFile:
    """One opened GGUF model. Tensors are read when they are asked for, never all at once."""

    def __init__(self, path: Path) -> None:
        """Open it, with every shard when it is one of several.

        Raises ImportRefused when it is no GGUF file, is cut short, or a shard is missing.
        """
        first, *others = _shards(path)
        self.path = first
        containers = [GgufContainer(shard) for shard in (first, *others)]
        self._values = containers[0].values
        self._tensors: dict[str, tuple[GgufContainer, GgufTensor]] = {
            name: (container, tensor)
            for container in containers
            for name, tensor in container.tensors.items()
        }
        expected = self.value("split.count", int, 1)
        if expected not in (0, 1, 1 + len(others)):
            raise ImportRefused(
                f"{first.name} is one of {expected} shards; they must be named NAME-00001-of-{expected:05d}.gguf"
            )

    def value(self, key: str, kind: type[T], default: T | None = None) -> T:
        """Return one metadata value. Raises ImportRefused when it is missing without default, or of another type."""
        found = self.optional(key)
        if found is None:
            if default is None:
                raise ImportRefused(f"{self.path.name} has no metadata value {key}")
            return default
        if kind is float and isinstance(found, int):
            return kind(found)
        if not isinstance(found, kind):
            raise ImportRefused(
                f"{self.path.name}: {key} is a {type(found).__name__}, expected {kind.__name__}"
            )
        return found

    def optional(self, key: str) -> Any:
        """Return a metadata value of whatever type, or None."""
        return self._values.get(key)

    def has(self, name: str) -> bool:
        """Tell whether the file holds a tensor of this name."""
        return name in self._tensors

    def tensor(self, name: str, shape: tuple[int, ...]) -> Float32:
        """Return a tensor dequantised to float32 in C order, (out_features, in_features) for a projection.

        Raises ImportRefused when it is missing, its shape is not `shape`, or its type is not known.
        """
        if name not in self._tensors:
            raise ImportRefused(f"{self.path.name} has no tensor {name}")
        container, tensor = self._tensors[name]
        if tensor.shape != shape:
            raise ImportRefused(f"{self.path.name}: tensor {name} has shape {tensor.shape}, expected {shape}")
        try:
            values = dequantize(*container.stored(tensor))
        except (NotImplementedError, KeyError):
            raise ImportRefused(
                f"{self.path.name}: tensor {name} has the type {tensor.type_name}, not supported"
            )
        return np.ascontiguousarray(values, dtype=np.float32).reshape(shape)


def _shards(path: Path) -> list[Path]:
    """Return the files of the model that `path` is a part of, the first shard first."""
    match = _SHARD.fullmatch(path.name)
    if match is None:
        return [path]
    count = int(match["count"])
    if not 1 <= count <= _MOST_SHARDS:
        raise ImportRefused(f"{path.name} is one of {count} shards; supported: 1 to {_MOST_SHARDS}")
    names = [f"{match['stem']}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1)]
    shards = [path.with_name(name) for name in names]
    for shard in shards:
        if not shard.is_file():
            raise ImportRefused(f"{path.name} is one of {count} shards, and {shard.name} is not beside it")
    return shards

"""The attention cache of all rows: one buffer per layer, key and value, that the model reads and extends in place.

A buffer is (rows, kv_heads, capacity, head_size). A run over the first n rows, or over one row, binds a part of it
that lies in one piece, so no run copies the cache. Rows in use are kept at the front: `move` closes a gap.
"""

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.generate.config import GenaiConfig
from inference.providers import runtime

_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class KvCache:
    """Buffers for every layer; memory of the CPU is taken only as rows grow into it."""

    def __init__(self, session: Any, config: GenaiConfig, rows: int, capacity: int) -> None:
        """Take memory for `rows` rows of `capacity` tokens where the model wants to have it.

        Raises KeyError when the model's cache is neither float32 nor float16, or is missing.
        """
        types = {node.name: node.type for node in session.get_inputs()}
        self.dtype = np.dtype(_DTYPES[types[config.past_keys[0]]])
        self._shape = (rows, config.kv_heads, capacity, config.head_size)
        self._inputs = [*config.past_keys, *config.past_values]
        self._outputs = [*config.present_keys, *config.present_values]
        self.device = device_of(session, self._inputs[0])
        if self.device == "cpu":
            self._arrays: list[NDArray[Any]] = [_lazy_zeros(self._shape, self.dtype) for _ in self._inputs]
            self._addresses = [array.ctypes.data for array in self._arrays]
        else:
            value = runtime().OrtValue
            self._values = [
                value.ortvalue_from_shape_and_type(self._shape, self.dtype, self.device, 0)
                for _ in self._inputs
            ]
            self._arrays = []
            self._addresses = [value.data_ptr() for value in self._values]

    def bind(self, binding: Any, first: int, count: int) -> None:
        """Bind rows [first, first + count) as the past and, the same memory, as the present."""
        shape = (count, *self._shape[1:])
        offset = first * int(np.prod(self._shape[1:])) * self.dtype.itemsize
        for past, present, address in self._parts():
            binding.bind_input(past, self.device, 0, self.dtype.type, shape, address + offset)
            binding.bind_output(present, self.device, 0, self.dtype.type, shape, address + offset)

    def move(self, source: int, target: int, tokens: int) -> None:
        """Copy the first `tokens` tokens of one row to another. Only for buffers in the memory of this process."""
        for array in self._arrays:
            array[target, :, :tokens] = array[source, :, :tokens]

    def _parts(self) -> Iterator[tuple[str, str, int]]:
        return zip(self._inputs, self._outputs, self._addresses, strict=True)


def _lazy_zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return zeros that take memory page by page as they are written.

    NumPy's own would ask for huge pages: 2 MiB for the first token of each head of each layer, and the time to clear
    them (0.8 s and 360 MB per row with 30 layers of 3 heads).
    """
    size = int(np.prod(shape)) * dtype.itemsize
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANON)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, dtype).reshape(shape)


def device_of(session: Any, name: str) -> str:
    """Return where the model reads an input from: cpu or cuda. Old versions of ONNX Runtime cannot tell: cpu."""
    describe = getattr(session, "get_input_memory_infos", None)
    if describe is None:
        return "cpu"
    for node, memory in zip(session.get_inputs(), describe(), strict=True):
        if (
            node.name == name
            and "cuda" in str(memory.name).lower()
            and "pinned" not in str(memory.name).lower()
        ):
            return "cuda"
    return "cpu"

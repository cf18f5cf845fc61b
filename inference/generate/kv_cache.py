"""The attention cache of all slots: one buffer per layer, key and value, that the model reads and extends in place.

A buffer is (slots, kv_heads, context, head_size). A run over the first n slots, or over one, binds a part of it that
lies in one piece, so no run copies the cache and none makes room in it.
"""

import contextlib
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

    def __init__(self, layout: "KvLayout", slots: int, context: int) -> None:
        """Take memory for `slots` slots of `context` tokens. Raises MemoryError."""
        self.layout = layout
        self.slots = slots
        self._shape = (slots, layout.kv_heads, context, layout.head_size)
        self._slot_bytes = layout.kv_heads * context * layout.head_size * layout.dtype.itemsize
        self._arrays: list[NDArray[Any]] = []
        self._values: list[Any] = []
        if layout.device == "cpu":
            self._arrays = [lazy_zeros(self._shape, layout.dtype) for _ in range(layout.parts)]
            self._addresses = [array.ctypes.data for array in self._arrays]
        else:
            value = runtime().OrtValue
            self._values = [
                value.ortvalue_from_shape_and_type(self._shape, layout.dtype, layout.device, layout.device_id)
                for _ in range(layout.parts)
            ]
            self._addresses = [value.data_ptr() for value in self._values]

    @property
    def readable(self) -> bool:
        """Whether rows can be copied: only where the cache is in the memory of this process."""
        return bool(self._arrays)

    @property
    def parts(self) -> int:
        """Buffers: a key and a value for each layer."""
        return self.layout.parts

    @property
    def kv_heads(self) -> int:
        """Heads of a buffer."""
        return self.layout.kv_heads

    @property
    def head_size(self) -> int:
        """Width of a head."""
        return self.layout.head_size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of all buffers."""
        return self.layout.dtype

    @property
    def bytes_per_token(self) -> int:
        """Bytes of one token in all buffers."""
        return self.layout.bytes_per_token

    def bind(self, binding: Any, first: int, count: int) -> None:
        """Bind slots [first, first + count) as the past and, the same memory, as the present."""
        shape = (count, *self._shape[1:])
        device, number, kind = self.layout.device, self.layout.device_id, self.layout.dtype.type
        for past, present, address in self._parts():
            start = address + first * self._slot_bytes
            binding.bind_input(past, device, number, kind, shape, start)
            binding.bind_output(present, device, number, kind, shape, start)

    def read(self, slot: int, first: int, out: NDArray[Any]) -> None:
        """Copy tokens [first, first + n) of a slot into `out` (parts, kv_heads, n, head_size)."""
        end = first + out.shape[2]
        for part, array in enumerate(self._arrays):
            out[part] = array[slot, :, first:end]

    def write(self, slot: int, first: int, values: NDArray[Any]) -> None:
        """Copy `values` (parts, kv_heads, n, head_size) to tokens [first, first + n) of a slot."""
        end = first + values.shape[2]
        for part, array in enumerate(self._arrays):
            array[slot, :, first:end] = values[part]

    def move(self, source: int, target: int, tokens: int) -> None:
        """Copy the first `tokens` tokens of one slot to another."""
        for array in self._arrays:
            array[target, :, :tokens] = array[source, :, :tokens]

    def _parts(self) -> Iterator[tuple[str, str, int]]:
        return zip(self.layout.inputs, self.layout.outputs, self._addresses, strict=True)


class KvLayout:
    """What the model says of its cache."""

    def __init__(self, session: Any, config: GenaiConfig, device_id: int) -> None:
        """Read it from an opened session. Raises KeyError when the cache is neither float32 nor float16."""
        types = {node.name: node.type for node in session.get_inputs()}
        self.inputs = (*config.past_keys, *config.past_values)
        self.outputs = (*config.present_keys, *config.present_values)
        self.parts = len(self.inputs)
        self.kv_heads = config.kv_heads
        self.head_size = config.head_size
        self.dtype = np.dtype(_DTYPES[types[config.past_keys[0]]])
        self.device = _device_of(session, self.inputs[0])
        self.device_id = device_id if self.device != "cpu" else 0
        self.bytes_per_token = self.parts * self.kv_heads * self.head_size * self.dtype.itemsize


def lazy_zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return zeros that take memory page by page as they are written.

    NumPy's own would ask for huge pages: 2 MiB for the first token of each head of each layer, and the time to clear
    them (0.8 s and 360 MB per row with 30 layers of 3 heads). Raises MemoryError.
    """
    size = int(np.prod(shape)) * dtype.itemsize
    try:
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANON)
    except OSError:
        raise MemoryError(f"no address space for {size} bytes")
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        # A kernel that knows no huge pages refuses advice about them.
        with contextlib.suppress(OSError):
            memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, dtype).reshape(shape)


def _device_of(session: Any, name: str) -> str:
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

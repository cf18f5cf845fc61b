"""The attention cache of all slots: one buffer per layer, key and value, that the model reads and extends in place.

A buffer is (slots, kv_heads, context, head_size). A run over the first n slots, or over one, binds a part of it that
lies in one piece, so no run copies the cache and none makes room in it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.generate.kv_buffers import Buffers, DeviceBuffers, HostBuffers
from inference.generate.kv_layout import KvLayout


class KvCache:
    """Buffers for every layer, where the model reads them."""

    def __init__(self, layout: KvLayout, slots: int, context: int) -> None:
        """Take memory for `slots` slots of `context` tokens. Raises MemoryError."""
        self.layout = layout
        self.slots = slots
        self._shape = (slots, layout.kv_heads, context, layout.head_size)
        self._slot_bytes = layout.kv_heads * context * layout.head_size * layout.dtype.itemsize
        make = HostBuffers if layout.device == "cpu" else DeviceBuffers
        self._buffers: Buffers = make(layout, slots, context)

    @property
    def fault(self) -> str:
        """Why rows cannot be copied; empty when they can."""
        return self._buffers.fault

    @property
    def readable(self) -> bool:
        """Whether rows can be copied."""
        return not self._buffers.fault

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
        layout, shape = self.layout, (count, *self._shape[1:])
        place = (layout.device, layout.device_id, layout.dtype.type, shape)
        addresses = self._buffers.addresses
        for past, present, address in zip(layout.inputs, layout.outputs, addresses, strict=True):
            start = address + first * self._slot_bytes
            binding.bind_input(past, *place, start)
            binding.bind_output(present, *place, start)

    def read(self, slot: int, first: int, out: NDArray[Any]) -> None:
        """Copy tokens [first, first + n) of a slot into `out` (parts, kv_heads, n, head_size)."""
        self._buffers.read(slot, first, out)

    def write(self, slot: int, first: int, values: NDArray[Any]) -> None:
        """Copy `values` (parts, kv_heads, n, head_size) to tokens [first, first + n) of a slot."""
        self._buffers.write(slot, first, values)

    def move(self, source: int, target: int, tokens: int) -> None:
        """Copy the first `tokens` tokens of one slot to another."""
        self._buffers.move(source, target, tokens)

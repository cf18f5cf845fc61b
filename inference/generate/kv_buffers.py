"""The memory of the attention cache: in this process, or on a device.

Both hold the same buffers, (slots, kv_heads, context, head_size) each, and copy tokens of one slot out, in, or to
another slot. Values that are copied are (parts, kv_heads, tokens, head_size) in C order.
"""

import contextlib
import mmap
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from inference.generate.device_copies import DeviceCopies
from inference.generate.kv_layout import KvLayout
from inference.providers import brief, runtime


class Buffers(Protocol):
    """Memory for every part of the cache."""

    @property
    def addresses(self) -> list[int]:
        """Where each buffer begins."""

    @property
    def fault(self) -> str:
        """Why tokens cannot be copied; empty when they can."""

    def read(self, slot: int, first: int, out: NDArray[Any]) -> None:
        """Copy tokens [first, first + n) of a slot into `out`."""

    def write(self, slot: int, first: int, values: NDArray[Any]) -> None:
        """Copy values to tokens [first, first + n) of a slot."""

    def move(self, source: int, target: int, tokens: int) -> None:
        """Copy the first tokens of one slot to another."""


class HostBuffers:
    """Buffers in the memory of this process, which is taken only as rows grow into it."""

    fault = ""

    def __init__(self, layout: KvLayout, slots: int, context: int) -> None:
        """Raises MemoryError when there is no room in the address space."""
        shape = (slots, layout.kv_heads, context, layout.head_size)
        self._arrays = [lazy_zeros(shape, layout.dtype) for _ in range(layout.parts)]
        self.addresses = [array.ctypes.data for array in self._arrays]

    def read(self, slot: int, first: int, out: NDArray[Any]) -> None:
        """See Buffers."""
        end = first + out.shape[2]
        for part, array in enumerate(self._arrays):
            out[part] = array[slot, :, first:end]

    def write(self, slot: int, first: int, values: NDArray[Any]) -> None:
        """See Buffers."""
        end = first + values.shape[2]
        for part, array in enumerate(self._arrays):
            array[slot, :, first:end] = values[part]

    def move(self, source: int, target: int, tokens: int) -> None:
        """See Buffers."""
        for array in self._arrays:
            array[target, :, :tokens] = array[source, :, :tokens]


class DeviceBuffers:
    """Buffers on a device, all of them taken at once.

    The tokens of one head are one strip of memory, so what is copied of a slot is a strip for each head of each part.
    """

    def __init__(self, layout: KvLayout, slots: int, context: int) -> None:
        """Raises MemoryError when the device has no room for them."""
        shape = (slots, layout.kv_heads, context, layout.head_size)
        value, zeros = runtime().OrtValue, np.zeros(shape, layout.dtype)
        try:
            # Zeros, for a kernel may multiply what lies behind a row by nothing: of chance bits that can be NaN.
            self._values = [
                value.ortvalue_from_numpy(zeros, layout.device, layout.device_id) for _ in range(layout.parts)
            ]
        except Exception as error:  # the runtime raises types of its own, without a common base
            raise MemoryError(brief(error))
        self.addresses = [value.data_ptr() for value in self._values]
        self._token_bytes = layout.head_size * layout.dtype.itemsize
        self._head_bytes = context * self._token_bytes
        self._heads = layout.kv_heads
        self._copies: DeviceCopies | None = None
        self.fault = ""
        try:
            self._copies = DeviceCopies(layout.parts * layout.kv_heads, layout.device, layout.device_id)
            if not self._comes_back(layout.dtype, slots, layout.head_size, min(context, 3)):
                self.fault = "what is copied comes back as something else"
        except Exception as error:  # likewise
            self.fault = brief(error)

    def read(self, slot: int, first: int, out: NDArray[Any]) -> None:
        """See Buffers."""
        assert self._copies is not None
        found = np.empty(out.shape, out.dtype)
        self._copies.to_host(self._strips(slot, first), _pieces(found), found[0, 0].nbytes)
        out[...] = found

    def write(self, slot: int, first: int, values: NDArray[Any]) -> None:
        """See Buffers."""
        assert self._copies is not None
        values = np.ascontiguousarray(values)
        self._copies.to_device(_pieces(values), self._strips(slot, first), values[0, 0].nbytes)

    def move(self, source: int, target: int, tokens: int) -> None:
        """See Buffers."""
        assert self._copies is not None
        size = tokens * self._token_bytes
        self._copies.within_device(self._strips(source, 0), self._strips(target, 0), size)

    def _strips(self, slot: int, first: int) -> list[int]:
        """Return where token `first` of each head of each part of a slot lies."""
        at = slot * self._heads * self._head_bytes + first * self._token_bytes
        return [
            address + at + head * self._head_bytes
            for address in self.addresses
            for head in range(self._heads)
        ]

    def _comes_back(self, dtype: np.dtype[Any], slots: int, head_size: int, tokens: int) -> bool:
        """Write made-up tokens, move them and read them; leave zeros behind."""
        shape = (len(self.addresses), self._heads, tokens, head_size)
        values = (np.arange(np.prod(shape)) % 1009).reshape(shape).astype(dtype)
        found = np.empty_like(values)
        self.write(0, 0, values)
        self.move(0, slots - 1, tokens)
        self.read(slots - 1, 0, found)
        for slot in (0, slots - 1):
            self.write(slot, 0, np.zeros_like(values))
        return np.array_equal(found, values)


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


def _pieces(values: NDArray[Any]) -> list[int]:
    """Return where the tokens of each head of each part of values in C order lie."""
    start, size = values.ctypes.data, values[0, 0].nbytes
    return [start + number * size for number in range(values.shape[0] * values.shape[1])]

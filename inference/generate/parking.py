"""Parking: the memory of rows that were paused.

What a slot held is copied out, and later into any slot, bit for bit.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.generate.blocks import SlotMemory


@dataclass(frozen=True, slots=True, eq=False)
class Parked:
    """A ticket for what a row held. The memory is the parking's: it ends with `restore` or `drop`."""

    tokens: int
    bytes: int


class Parking:
    """Copies of what paused rows held, within a limit. Not thread-safe: the engine's thread owns it."""

    def __init__(self, memory: SlotMemory, limit_bytes: int) -> None:
        """Take the slots to copy from and to, and the most memory for copies."""
        self._memory = memory
        self._limit_bytes = limit_bytes
        self._copies: dict[Parked, NDArray[Any]] = {}
        self._bytes = 0

    def __len__(self) -> int:
        """How many rows are parked."""
        return len(self._copies)

    @property
    def bytes(self) -> int:
        """Memory of all copies."""
        return self._bytes

    def room_for(self, tokens: int) -> bool:
        """Tell whether a row of so many tokens could be parked now."""
        return self._bytes + tokens * self._memory.bytes_per_token <= self._limit_bytes

    def park(self, slot: int, tokens: int) -> Parked:
        """Copy the first `tokens` tokens of a slot, which is free for others afterwards.

        Raises MemoryError when the limit would be passed: ask `room_for` first.
        """
        if not self.room_for(tokens):
            raise MemoryError(
                f"no room to park {tokens} tokens: {self._bytes} of {self._limit_bytes} bytes are taken"
            )
        memory = self._memory
        values = np.empty((memory.parts, memory.kv_heads, tokens, memory.head_size), memory.dtype)
        memory.read(slot, 0, values)
        parked = Parked(tokens, values.nbytes)
        self._copies[parked] = values
        self._bytes += parked.bytes
        return parked

    def restore(self, parked: Parked, slot: int) -> None:
        """Copy a row's tokens to the beginning of a slot, and let go of the copy.

        Raises KeyError when it was restored or dropped before.
        """
        self._memory.write(slot, 0, self._copies[parked])
        self.drop(parked)

    def drop(self, parked: Parked) -> None:
        """Let go of a copy that nobody wants any more. Does nothing when it is gone already."""
        if self._copies.pop(parked, None) is not None:
            self._bytes -= parked.bytes

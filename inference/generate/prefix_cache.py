"""The prefix cache: beginnings of prompts whose attention cache is kept, so that it is not computed again.

Kept are copies of whole blocks of tokens, beside the slots: a row that ends leaves nothing behind that others would
depend on, and a hit is one copy into the slot of the row that has it. Copying is some hundred times faster than
computing. Who reads a prompt sees no difference but the time: its last tokens are always computed, for the model must
run once to say what follows.

The tokens of an answer may be stored as well, once it has ended: in a chat they are part of the next prompt. That is
exact only where generating leaves in a slot what reading would have left there; with one set of weights for reading and
another for generating it does not, and an answer would depend on what happens to be cached. The one who stores knows.
"""

import mmap
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.generate.blocks import BlockIndex, Entry, SlotMemory, links

BLOCK: Final = 64
"""Tokens of a block. Smaller ones find longer beginnings and cost more per token."""


@dataclass(frozen=True, slots=True)
class Hit:
    """The part of a prompt that is cached. Good until something is stored: what is dropped by then cannot be loaded."""

    tokens: int = 0
    """Length of the beginning; 0 when nothing of it is cached."""
    chain: Sequence[Entry] = ()


class PrefixCache:
    """Beginnings of prompts, per tenant or shared by all. Not thread-safe: the engine's thread owns it."""

    def __init__(
        self,
        memory: SlotMemory,
        limit_bytes: int,
        *,
        block: int = BLOCK,
        shared: bool = False,
        unread: int = 1,
    ) -> None:
        """Keep at most `limit_bytes` of copies of what `memory` holds; with less than one block, nothing is kept.

        The last `unread` tokens of a prompt are never looked up.

        Raises MemoryError when there is no room for so much in the address space. Memory itself is taken block by
        block, as they are stored.
        """
        self._memory = memory
        self._block = block
        self._shared = shared
        self._unread = unread
        blocks = limit_bytes // (block * memory.bytes_per_token)
        self._index = BlockIndex(blocks)
        self._copies: _Copies | None = None
        if blocks > 0:
            shape = (blocks, memory.parts, memory.kv_heads, block, memory.head_size)
            self._copies = _Copies(shape, memory.dtype)
        self._queries = 0
        self._hits = 0

    @property
    def queries(self) -> int:
        """Prompt tokens that were looked up since the cache was made."""
        return self._queries

    @property
    def hits(self) -> int:
        """Those of them that were found."""
        return self._hits

    @property
    def bytes(self) -> int:
        """Memory of the blocks that are kept now."""
        return len(self._index) * self._block * self._memory.bytes_per_token

    def match(self, tenant: str, tokens: NDArray[np.int64]) -> Hit:
        """Look a prompt (n,) up: the longest beginning of whole blocks that is cached, and never all of it."""
        if self._copies is None:
            return Hit()
        scope = self._scope(tenant)
        usable = max(0, len(tokens) - self._unread) // self._block
        chain = self._index.find(scope, islice(links(scope, tokens, self._block), usable))
        self._index.touch(chain)
        self._queries += len(tokens)
        self._hits += len(chain) * self._block
        return Hit(len(chain) * self._block, tuple(chain))

    def load(self, slot: int, hit: Hit, held: int = 0, most: int | None = None) -> int:
        """Copy the next blocks of what was found to a slot that holds `held` tokens of it, a whole number of blocks.

        No more blocks than `most` tokens need; without it, all. Returns how many tokens of it the slot holds then.
        Raises ValueError when they were dropped since they were found; the slot is untouched then.
        """
        first = held // self._block
        part = hit.chain[first : None if most is None else first - (-most // self._block)]
        if not part or self._copies is None:
            return held
        # No block outlives the one before it, so the last one answers for all.
        if not self._index.holds(part[-1]):
            raise ValueError("what was found in the prefix cache is no longer there")
        for position, entry in enumerate(part, start=first):
            self._memory.write(slot, position * self._block, self._copies.values[entry.number])
        return (first + len(part)) * self._block

    def store(self, tenant: str, tokens: NDArray[np.int64], slot: int, upto: int) -> None:
        """Keep the whole blocks of the first `upto` tokens of `tokens` (n,), which a slot holds from its beginning on.

        Blocks that are kept already are only marked as used. Where there is no room for all, the beginning is kept.
        """
        if self._copies is None:
            return
        if not 0 <= upto <= len(tokens):
            raise ValueError(f"a slot cannot hold {upto} of {len(tokens)} tokens")
        scope = self._scope(tenant)
        chain = list(links(scope, tokens[:upto], self._block))
        found = self._index.find(scope, chain)
        new = self._index.missing(found, chain)
        places = self._index.reserve(found, len(new))
        try:
            for position, number in enumerate(places, start=len(found)):
                self._memory.read(slot, position * self._block, self._copies.values[number])
        except BaseException:
            self._index.release(places)
            raise
        self._index.add(scope, found, new, places)

    def clear(self) -> None:
        """Drop everything, and give its memory back."""
        self._index.clear()
        if self._copies is not None:
            self._copies.give_back()

    def _scope(self, tenant: str) -> str | None:
        return None if self._shared else tenant


class _Copies:
    """The memory of all blocks: `values` is (blocks, parts, kv_heads, block, head_size).

    Huge pages where the system has them: a block is written whole, so they waste nothing, and the first copy into fresh
    memory takes a third of the time.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        try:
            self._memory = mmap.mmap(-1, prod(shape) * dtype.itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANON)
        except OSError as error:
            raise MemoryError(f"no address space for {prod(shape) * dtype.itemsize} bytes") from error
        _advise(self._memory, "MADV_HUGEPAGE")
        self.values: NDArray[Any] = np.frombuffer(self._memory, dtype).reshape(shape)

    def give_back(self) -> None:
        """Let go of the pages; the address space stays, and what is read there is of no use."""
        _advise(self._memory, "MADV_DONTNEED")


def _advise(memory: mmap.mmap, name: str) -> None:
    """Tell the kernel how memory is used. Not every system knows every advice, and none is needed."""
    advice = getattr(mmap, name, None)
    if advice is not None:
        with suppress(OSError):  # known to Python, but not built into this kernel
            memory.madvise(advice)

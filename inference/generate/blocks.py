"""Blocks of a prompt: what names one, which memory it has, and which goes first when there is no more. Pure.

A block is a run of tokens of fixed length. The attention cache of a token depends on every token before it, so a block
stands for a whole beginning: its name is a hash over the name of the block before it and its own tokens. The blocks of
an index therefore form trees, and a block is of use only while all those before it are there.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

_DIGEST_BYTES: Final = 32


class SlotMemory(Protocol):
    """The attention cache of slots, as far as others copy from it and to it. Arrays lie in this process's memory."""

    @property
    def parts(self) -> int:
        """Buffers: a key and a value for each layer."""
        ...

    @property
    def kv_heads(self) -> int:
        """Heads of a buffer."""
        ...

    @property
    def head_size(self) -> int:
        """Width of a head."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of all buffers."""
        ...

    @property
    def bytes_per_token(self) -> int:
        """Bytes of one token in all buffers."""
        ...

    def read(self, slot: int, first: int, out: NDArray[Any]) -> None:
        """Copy tokens [first, first + n) of a slot into `out` (parts, kv_heads, n, head_size)."""
        ...

    def write(self, slot: int, first: int, values: NDArray[Any]) -> None:
        """Copy `values` (parts, kv_heads, n, head_size) to tokens [first, first + n) of a slot."""
        ...


class Link(NamedTuple):
    """What a block must be to continue a chain."""

    digest: bytes
    """Over the scope and all tokens from the first one to the end of the block."""
    tokens: bytes
    """Those of the block, 8 bytes each, lowest byte first."""


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A block that is kept. Two of them are the same only when they are one object."""

    scope: str | None
    parent: "Entry | None" = field(repr=False)
    """The block before it; None for the first one of a prompt."""
    link: Link
    number: int
    """Of its place in the block memory."""


def links(scope: str | None, tokens: NDArray[np.int64], block: int) -> Iterator[Link]:
    """Yield the links of the whole blocks of `tokens` (n,), first one first; what is left at the end has none.

    Equal beginnings of different scopes have different digests. A scope is the name of a tenant, or None for all.
    """
    digest = _digest(b"" if scope is None else b"\0" + scope.encode())
    data = np.ascontiguousarray(tokens, "<i8").tobytes()
    size = 8 * block
    for start in range(0, len(data) - size + 1, size):
        own = data[start : start + size]
        digest = _digest(digest + own)
        yield Link(digest, own)


class BlockAllocator:
    """Places for blocks, by number. Used ones are taken before fresh ones: their memory is there already."""

    def __init__(self, blocks: int) -> None:
        """Take how many there are."""
        self._blocks = blocks
        self._begun = 0
        """Places from this one on were never taken."""
        self._returned: list[int] = []

    @property
    def free(self) -> int:
        """How many places no block has."""
        return len(self._returned) + self._blocks - self._begun

    def take(self) -> int:
        """Return a free place, which is taken from now on. Raises IndexError when there is none."""
        if self._returned:
            return self._returned.pop()
        if self._begun == self._blocks:
            raise IndexError("all places are taken")
        self._begun += 1
        return self._begun - 1

    def give_back(self, number: int) -> None:
        """Note that a place is free again."""
        self._returned.append(number)


class BlockIndex:
    """The blocks that are kept, least recently used first.

    A use of a chain counts for its last block first and for its first block last, so a block is always older than the
    one it continues: whatever is dropped for its age, no block outlives the one before it.
    """

    def __init__(self, blocks: int) -> None:
        """Take how many blocks there is memory for."""
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self._places = BlockAllocator(blocks)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        """Those that are dropped first come first."""
        return iter(self._entries.values())

    @property
    def free(self) -> int:
        """Places without a block."""
        return self._places.free

    def holds(self, entry: Entry) -> bool:
        """Tell whether a block is still kept, and with it all those before it."""
        return self._entries.get(entry.link.digest) is entry

    def find(self, scope: str | None, chain: Iterable[Link]) -> list[Entry]:
        """Return the blocks that are kept of the beginning of a chain, first one first.

        Everything is compared, not only the digest: what is found is the same beginning even if hashes collide.
        """
        found: list[Entry] = []
        parent: Entry | None = None
        for link in chain:
            entry = self._entries.get(link.digest)
            if entry is None or (entry.scope, entry.parent, entry.link) != (scope, parent, link):
                break
            found.append(entry)
            parent = entry
        return found

    def missing(self, found: Sequence[Entry], chain: Sequence[Link]) -> list[Link]:
        """Return what follows the blocks that were found, up to where a digest already names another block."""
        following: dict[bytes, Link] = {}
        for link in chain[len(found) :]:
            if link.digest in self._entries or link.digest in following:
                break
            following[link.digest] = link
        return list(following.values())

    def touch(self, chain: Sequence[Entry]) -> None:
        """Note a use of a chain that is kept from its first block on."""
        for entry in reversed(chain):
            self._entries.move_to_end(entry.link.digest)

    def reserve(self, chain: Sequence[Entry], wanted: int) -> list[int]:
        """Take up to `wanted` places for the continuation of a chain; the oldest blocks make room, never its own.

        They are used by `add` or given back by `release`.
        """
        self.touch(chain)
        count = min(wanted, self._places.free + len(self._entries) - len(chain))
        while self._places.free < count:
            _, oldest = self._entries.popitem(last=False)
            self._places.give_back(oldest.number)
        return [self._places.take() for _ in range(count)]

    def release(self, numbers: Iterable[int]) -> None:
        """Give reserved places back, unused."""
        for number in numbers:
            self._places.give_back(number)

    def add(
        self, scope: str | None, chain: Sequence[Entry], new: Sequence[Link], numbers: Sequence[int]
    ) -> None:
        """Keep new blocks, which continue a chain, in reserved places: as many as there are places."""
        grown = list(chain)
        for link, number in zip(new, numbers, strict=False):
            entry = Entry(scope, grown[-1] if grown else None, link, number)
            self._entries[link.digest] = entry
            grown.append(entry)
        self.touch(grown)

    def clear(self) -> None:
        """Drop all blocks."""
        while self._entries:
            self._places.give_back(self._entries.popitem()[1].number)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()

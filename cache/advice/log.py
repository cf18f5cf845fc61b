"""Traces of several gateways, put together: each adds what it has sampled, and whoever wants advice reads all of it.

Entries in the log carry the beginnings of tags and digests only: enough to tell keys apart, and no key. What is lost of
it costs accuracy and nothing else.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Final, Protocol

from cache.advice.trace import Access, Part, Sample
from cache.ports import Away, Key

MOST_PARTS: Final = 256
"""Parts that are kept, the latest."""
MOST_OF_PART: Final = 4096
"""Uses in one part: about 120 kB."""

WHO_BYTES: Final = 8
"""Whose part it is."""

_HEAD: Final = Struct("<4s8sdQQ")
_ACCESS: Final = Struct("<8s8sIIf")
_MAGIC: Final = b"fbt1"
_MOST: Final = (1 << 32) - 1


class TracesAway(Away):
    """The traces cannot be read or written."""


class TraceLog(Protocol):
    """Parts of traces, shared by all gateways. Raises TracesAway when they cannot be read or written."""

    async def add(self, part: bytes) -> None:
        """Add a part; the oldest go when there are more than `MOST_PARTS`."""
        ...

    async def read(self) -> Sequence[bytes]:
        """Return the parts that are kept, oldest first."""
        ...


def pack_part(part: Part, rate: float, who: bytes) -> bytes:
    """Return a part as it is kept; `who` are `WHO_BYTES` that name the gateway."""
    begin_ms = part.accesses[0].at_ms if part.accesses else 0
    packed = [_HEAD.pack(_MAGIC, who, rate, part.seen, begin_ms)]
    for (namespace, digest), size, at_ms, cost_ms in part.accesses:
        after_ms = min(max(0, at_ms - begin_ms), _MOST)
        packed.append(_ACCESS.pack(namespace[:8], digest[:8], min(size, _MOST), after_ms, cost_ms))
    return b"".join(packed)


def read_sample(parts: Sequence[bytes], rate: float, but: bytes = b"") -> Sample:
    """Put parts together, but for those that cannot be read, were sampled at another rate, or are of the gateway
    `but`.
    """
    accesses: list[Access] = []
    total = 0
    for part in parts:
        if len(part) < _HEAD.size or (len(part) - _HEAD.size) % _ACCESS.size:
            continue
        magic, who, its_rate, seen, begin_ms = _HEAD.unpack_from(part)
        if magic != _MAGIC or its_rate != rate or who == but:
            continue
        total += seen
        for namespace, digest, size, after_ms, cost_ms in _ACCESS.iter_unpack(part[_HEAD.size :]):
            accesses.append(Access(Key(namespace, digest), size, begin_ms + after_ms, cost_ms))
    accesses.sort(key=lambda access: access.at_ms)
    return Sample(tuple(accesses), rate, total)

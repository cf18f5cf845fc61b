"""The same runner for the same key, as far as runners stay: each runner draws lots for the key, and the highest wins.

Rendezvous hashing (Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", IEEE/ACM Transactions on
Networking, 1998): when a runner comes or goes, only its own keys move. A runner without free credit is no candidate, so
its keys go to their second choice until it has some.
"""

from collections.abc import Sequence
from zlib import crc32

from scheduler.routing.choice import Candidate, Errand


class ConsistentHash:
    """Remembers nothing."""

    def choose(self, candidates: Sequence[Candidate], errand: Errand) -> int:
        """Return the place of the runner with the highest lot for the key."""
        key = errand.key.to_bytes(8, "little", signed=True)
        return max(
            range(len(candidates)), key=lambda place: _mixed(crc32(candidates[place].id.encode() + key))
        )


def _mixed(lot: int) -> int:
    # A checksum is linear: without mixing, the order of two runners would be the same for half of all keys.
    lot = ((lot >> 16) ^ lot) * 0x45D9F3B & 0xFFFFFFFF
    lot = ((lot >> 16) ^ lot) * 0x45D9F3B & 0xFFFFFFFF
    return (lot >> 16) ^ lot

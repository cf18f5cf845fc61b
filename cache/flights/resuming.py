"""How a stream goes on when the computation behind it is done again by somebody else.

Only answers that are determined by their question fly, so a second computation is expected to say the same. It is
not taken on trust: batches of another size can turn a number's last bit, and with it a token. Each chunk of the new
computation is compared with the one delivered in its place. While they agree nothing is said, and the stream goes on
after the last chunk as if nothing had happened. From the first that differs on, what was delivered is void, and a
typed event says so before anything else is. A client can so never be shown a mixture of two answers.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from cache.flights.events import Chunk, Restarted

DIGEST_BYTES: Final = 8


class Delivered:
    """What one follower of a stream has been given: eight bytes for each chunk."""

    def __init__(self, content_of: Callable[[bytes], bytes]) -> None:
        """`content_of` returns what two computations of one answer must have in common: not the times."""
        self._content_of = content_of
        self._digests = bytearray()

    @property
    def count(self) -> int:
        """The place of the next chunk that the follower has not been given."""
        return len(self._digests) // DIGEST_BYTES

    def take(self, place: int, body: bytes) -> list[Chunk | Restarted]:
        """Return what the follower is told of a chunk, which is at most one place behind what it has."""
        digest = blake2b(self._content_of(body), digest_size=DIGEST_BYTES).digest()
        told: list[Chunk | Restarted] = []
        at = place * DIGEST_BYTES
        if at < len(self._digests):
            if self._digests[at : at + DIGEST_BYTES] == digest:
                return told
            told.append(self._back_to(place))
        self._digests += digest
        told.append(Chunk(place, body))
        return told

    def end(self, chunks: int) -> list[Restarted]:
        """Return what the follower is told when the answer ends after so many chunks."""
        return [self._back_to(chunks)] if chunks < self.count else []

    def _back_to(self, place: int) -> Restarted:
        del self._digests[place * DIGEST_BYTES :]
        return Restarted(place)

"""The port by which gateways tell each other that an answer was computed anew, in place of what is older."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from cache.ports.entries import Key


class Invalidation(NamedTuple):
    """Entries of a key that are to be let go of."""

    key: Key
    before_ms: int
    """Those that were created before this time."""


class Invalidations(Protocol):
    """What gateways were told lately. It is bounded and may be lost: then entries stay until their time is over, and a
    purge is what reaches all of them. Raises InvalidationsAway when it does not answer.
    """

    async def tell(self, outdated: Sequence[Invalidation]) -> None:
        """Tell every gateway, this one too."""
        ...

    async def heard(self) -> list[Invalidation]:
        """Wait until something was told that this has not returned yet, and return it in the order in which it was
        told; at first what is still remembered of the time before. Cancelling stops the wait.
        """
        ...

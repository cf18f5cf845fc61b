"""Which models are to be loaded and unloaded, as operators said it: kept in the record store, followed by every agent.

Every method raises RecordsUnavailable when the store does not answer in time.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class WantedModel(NamedTuple):
    """What was said last of one model."""

    number: int
    """Higher than that of everything that was said before, even to a store that has lost its memory since: about the
    store's time in milliseconds."""
    model: str
    loaded: bool
    """Whether it is to be loaded, as its folder is now, or to be unloaded."""


class WantedModels(Protocol):
    """Keeps the last word on each model. Who follows it tells by the numbers what is new."""

    async def want(self, model: str, *, loaded: bool) -> int:
        """Keep a word in place of the one before; returns its number. Each call makes a new one, whatever it says."""
        ...

    async def forget(self, model: str, number: int) -> None:
        """Forget what was said with this number, unless something else was said since. Idempotent."""
        ...

    async def wanted(self) -> Sequence[WantedModel]:
        """Return the last word on each model, oldest first; a read of a few microseconds, for asking every second."""
        ...

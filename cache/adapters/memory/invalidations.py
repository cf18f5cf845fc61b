"""Invalidations of a gateway that shares nothing with others."""

import asyncio
from collections.abc import Sequence

from cache.ports import Invalidation


class MemoryInvalidations:
    """Invalidations within a process, for one who hears."""

    def __init__(self) -> None:
        self._told: list[Invalidation] = []
        self._some = asyncio.Event()

    async def tell(self, outdated: Sequence[Invalidation]) -> None:
        """Tell; see Invalidations."""
        self._told += outdated
        self._some.set()

    async def heard(self) -> list[Invalidation]:
        """Wait and hear; see Invalidations."""
        await self._some.wait()
        self._some.clear()
        heard, self._told = self._told, []
        return heard

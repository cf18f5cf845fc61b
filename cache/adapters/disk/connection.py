"""The tier's database from opening to closing, and opened again after it failed; calls with a deadline."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from cache.adapters.disk import jobs
from cache.adapters.disk.database import Database
from cache.adapters.disk.faults import DatabaseDamaged, DatabaseFault, DiskInUse
from cache.adapters.threads import BoundedThreads, TooManyCalls
from cache.ports import TierAway
from cache.tiers.partition import Partitions

logger = logging.getLogger(__name__)

_WAITING_CALLS: Final = 256
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """An open database and the index of what is in it: number of pieces by key."""

    database: Database
    index: Partitions[int]


class Connection:
    """At most one open database; none while it is being opened or has failed."""

    def __init__(self, folder: Path, new_index: Callable[[], Partitions[int]]) -> None:
        self._folder = folder
        self._new_index = new_index
        self._thread = BoundedThreads("cache-disk", 1, _WAITING_CALLS)
        self._opening: asyncio.Future[Loaded] | None = None
        self._closed = False
        self.loaded: Loaded | None = None

    async def open(self, now_ms: int, limit_s: float | None) -> Loaded:
        """Return the database, opened if it is not; it goes on being opened when that takes longer than `limit_s`.
        Raises TierAway, DiskInUse.
        """
        if self.loaded is not None:
            return self.loaded
        if self._closed:
            raise TierAway("the cache on disk is closed")
        if self._opening is None:
            self._opening = self._start(partial(self._load, now_ms))
            self._opening.add_done_callback(self._opened)
        return await self._wait(self._opening, limit_s)

    async def run(
        self, loaded: Loaded, call: Callable[[Database], T], limit_s: float, *, always: bool = False
    ) -> T:
        """Return what a call in the thread returns. Once it is given to the thread it is made, also when the caller is
        cancelled or has waited for `limit_s`; one that follows from a change of the index is given to it `always`, and
        others only while there is room. Raises TierAway.
        """
        if self.loaded is not loaded:
            raise TierAway("the database on disk was closed meanwhile")
        future = self._start(lambda: call(loaded.database), always=always)
        future.add_done_callback(partial(self._ended, loaded))
        return await self._wait(future, limit_s)

    async def close(self) -> None:
        """Flush and close, and make what was begun. May be called twice. What cannot be flushed is logged."""
        if self._closed:
            return
        self._closed = True
        if self._opening is not None:
            await asyncio.wait([self._opening])
        loaded, self.loaded = self.loaded, None
        if loaded is not None:
            try:
                await self._start(lambda: _flush_and_close(loaded.database), always=True)
            except DatabaseFault as error:
                logger.warning("cache on disk not flushed", extra={"cause": str(error)})
        self._thread.close()

    def _load(self, now_ms: int) -> Loaded:
        index = self._new_index()
        return Loaded(jobs.load(self._folder, index, now_ms), index)

    def _opened(self, future: asyncio.Future[Loaded]) -> None:
        self._opening = None
        if not future.cancelled() and future.exception() is None:
            self.loaded = future.result()

    def _ended(self, loaded: Loaded, future: asyncio.Future[T]) -> None:
        """Close a database that failed; the next call opens it again."""
        error = None if future.cancelled() else future.exception()
        if not isinstance(error, DatabaseFault) or self.loaded is not loaded:
            return
        logger.warning("cache on disk failed", extra={"cause": str(error)})
        self.loaded = None
        damaged = isinstance(error, DatabaseDamaged)
        self._start(partial(jobs.shut, loaded.database, self._folder, damaged), always=True)

    def _start(self, call: Callable[[], T], *, always: bool = False) -> asyncio.Future[T]:
        try:
            return self._thread.start(call, always=always)
        except TooManyCalls as error:
            raise TierAway(str(error)) from error

    async def _wait(self, future: asyncio.Future[T], limit_s: float | None) -> T:
        try:
            async with asyncio.timeout(limit_s):
                # The thread's work is not undone when nobody waits for it any more.
                return await asyncio.shield(future)
        except DiskInUse:
            raise
        except (DatabaseFault, OSError) as error:
            # TimeoutError is an OSError.
            raise TierAway(f"the cache on disk does not answer ({type(error).__name__})") from error


def _flush_and_close(database: Database) -> None:
    database.flush()
    database.close()

"""Answers that are in use and near their end are computed anew in the background, behind everybody who waits."""

import asyncio
import logging
from collections import Counter
from dataclasses import replace
from typing import Final

from cache.flights import Abandoned, FlightFailed, OnItsOwn
from cache.key import CacheMode
from cache.ports import Key
from scheduler.errors import ForebayError
from scheduler.states import Level
from services.gateway.caching.asking import Asking
from services.gateway.caching.computing import Computation
from services.gateway.caching.landed import Landed
from services.gateway.caching.result_cache import ResultCache
from services.gateway.caching.statistics import CacheStatistics
from services.gateway.direct import DirectCall
from services.gateway.direct.port import Calls

DOOR: Final = "refresh"
"""What metrics of calls tell refreshes by: no client made them."""
REFRESHED: Final = "refreshed"
FAILED: Final = "failed"
_LOG: Final = logging.getLogger(__name__)


class EarlyRefresh:
    """The refreshes of one gateway, which are tasks of a group. One that fails changes nothing: the entry stands."""

    def __init__(
        self,
        calls: Calls,
        cache: ResultCache,
        statistics: CacheStatistics,
        group: asyncio.TaskGroup,
        within_s: float,
    ) -> None:
        """A refresh may take `within_s`."""
        self._calls = calls
        self._cache = cache
        self._statistics = statistics
        self._group = group
        self._within_s = within_s
        self._running: set[asyncio.Task[None]] = set()
        self._keys: set[Key] = set()
        self._closed = False
        self.ended: Final[Counter[str]] = Counter({REFRESHED: 0, FAILED: 0})
        """How many ended, by result."""

    def used(self, asking: Asking, wanted: DirectCall, landed: Landed) -> None:
        """Take in that an answer was used; begin to compute it anew when it is due and there is room."""
        cache = self._cache
        if self._closed or landed.entry is None or not cache.due(landed.entry):
            return
        if cache.refreshes.begin(asking.key):
            task = self._group.create_task(self._refresh(asking, wanted, landed))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def runs(self, key: Key) -> bool:
        """Tell whether a key's answer is computed anew just now, while the old one stands."""
        return key in self._keys

    def close(self) -> None:
        """End what runs, and begin nothing more."""
        self._closed = True
        for task in list(self._running):
            task.cancel()

    async def _refresh(self, asking: Asking, wanted: DirectCall, landed: Landed) -> None:
        cache = self._cache
        behind = replace(wanted, cache=CacheMode.REFRESH, traceparent="", door=DOOR)
        ends_s = cache.clock.monotonic() + self._within_s
        own = Computation(cache, self._calls, asking, behind, self._statistics, ends_s)
        # What other gateways have stays until their own refresh of it.
        own.anew = False
        own.replaces = landed.entry
        result = FAILED
        self._keys.add(asking.key)
        try:
            async with asyncio.timeout(self._within_s):
                # Another gateway may have done it.
                if await own.find() is None:
                    await cache.flights.do(asking.key, int(Level.LOW), own)
            result = REFRESHED
        except (ForebayError, FlightFailed, Abandoned, OnItsOwn, TimeoutError) as error:
            _LOG.info("cached answer not refreshed", extra=_told(asking, error))
        except Exception as fault:
            # Whatever it is, it must not end the group that other refreshes run in.
            _LOG.error("cached answer not refreshed", extra=_told(asking, fault))
        finally:
            self.ended[result] += 1
            self._keys.discard(asking.key)
            cache.refreshes.end(asking.key)


def _told(asking: Asking, why: Exception) -> dict[str, str]:
    """Return what a log may say of a failure: its text may have parts of what was asked."""
    cause = why.reason if isinstance(why, ForebayError) else type(why).__name__
    return {"model": asking.known.name, "cause": cause}

"""Keeps the leases of everything this runner holds, all in one batch, at a third of their length."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, Protocol

from inference.runner.held import Held
from scheduler.errors import RecordsUnavailable
from scheduler.ports.clock import Clock
from scheduler.ports.records import Hold, LeaseStore

DEFAULT_LEASE_MS: Final = 10_000
RENEWALS_PER_LEASE: Final = 3
AFTER_FAULT_S: Final = 0.5
"""Longest pause after a renewal that the store did not answer."""

_log = logging.getLogger(__name__)


class Holder(Protocol):
    """Has tasks, and hears which it has lost."""

    def held(self) -> Sequence[Held]:
        """Return what is held now."""
        ...

    def fenced(self, tasks: Sequence[Held]) -> None:
        """Stop tasks that belong to somebody else, or to nobody any more."""
        ...


class LeaseKeeper:
    """Renews leases while `run` runs.

    A store that does not answer stops nothing: work goes on, and the fence decides at its end whose it was.
    """

    def __init__(self, store: LeaseStore, clock: Clock, holder: Holder) -> None:
        self._store = store
        self._clock = clock
        self._holder = holder
        self._lease_ms = DEFAULT_LEASE_MS
        self._changed = asyncio.Event()

    def lease_lasts(self, lease_ms: int) -> None:
        """Learn how long leases stand; with schedulers that disagree during a change of settings, the latest."""
        if lease_ms != self._lease_ms:
            self._lease_ms = lease_ms
            self._changed.set()

    async def run(self) -> None:
        """Renew for ever."""
        answered = True
        while True:
            self._changed.clear()
            pause_s = self._lease_ms / 1000 / RENEWALS_PER_LEASE
            await self._pause(pause_s if answered else min(pause_s, AFTER_FAULT_S))
            try:
                await self._renew()
            except RecordsUnavailable as error:
                if answered:
                    _log.warning("records unavailable, leases not renewed", extra={"cause": str(error)})
                answered = False
            else:
                answered = True

    async def _pause(self, pause_s: float) -> None:
        """Sleep that long; no longer than the present length of leases is known to hold."""
        async with asyncio.TaskGroup() as group:
            sleeping = group.create_task(self._clock.sleep(pause_s))
            changing = group.create_task(self._changed.wait())
            await asyncio.wait({sleeping, changing}, return_when=asyncio.FIRST_COMPLETED)
            sleeping.cancel()
            changing.cancel()

    async def _renew(self) -> None:
        # A task whose ending is being written needs its lease no more, and a refusal would only tell of the ending.
        tasks = [task for task in self._holder.held() if not task.ending]
        if not tasks:
            return
        kept = await self._store.renew([Hold(task.id, task.attempt) for task in tasks], self._lease_ms)
        lost = [task for task, still in zip(tasks, kept, strict=True) if not still]
        if lost:
            self._holder.fenced(lost)

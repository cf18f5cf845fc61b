"""Tells the record store, lazily and in batches, which publications have arrived. Fed by `submit.py`."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from scheduler.errors import ServerUnavailable
from scheduler.ports.clock import Clock
from scheduler.ports.records import AdmissionStore, PublishTicket

_GATHER_S: Final = 0.02
_MAX_KEPT: Final = 10_000

_LOG: Final = logging.getLogger(__name__)


class TicketMarker:
    """Collects tickets. One that is lost costs a second publication, which is harmless."""

    def __init__(self, store: AdmissionStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._tickets: list[PublishTicket] = []
        self._some = asyncio.Event()

    def arrived(self, tickets: Sequence[PublishTicket]) -> None:
        """Take tickets whose publications the log has acknowledged; never waits."""
        if len(self._tickets) < _MAX_KEPT:
            self._tickets.extend(tickets)
            self._some.set()

    async def run(self) -> None:
        """Mark what comes, for ever. Cancelling it leaves the last tickets to `flush`."""
        while True:
            await self._some.wait()
            await self._clock.sleep(_GATHER_S)
            await self.flush()

    async def flush(self) -> None:
        """Mark what has come."""
        tickets, self._tickets = self._tickets, []
        self._some.clear()
        if tickets:
            try:
                await self._store.mark_published(tickets)
            except ServerUnavailable as error:
                _LOG.warning(
                    "publications not marked", extra={"reason": error.reason, "tickets": len(tickets)}
                )


@asynccontextmanager
async def ticket_marker(store: AdmissionStore, clock: Clock) -> AsyncIterator[TicketMarker]:
    """Mark tickets while the block lasts, and the last ones when it is left."""
    marker = TicketMarker(store, clock)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(marker.run())
        try:
            yield marker
        finally:
            running.cancel()
            await marker.flush()

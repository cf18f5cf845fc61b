"""Which tasks are worth looking for: an answer that costs less to compute than to look for and to keep is computed.

Looking at submit, leading a flight at the scheduler and keeping the answer take 0.1 to 0.2 ms of processor time, and a
task of a small model less than that. What tasks cost is what schedulers learned and tell. It may change at any time: a
task has a question or it has none, and only those that have one lead or follow.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from scheduler.errors import RecordsUnavailable
from scheduler.ports.clock import Clock
from services.gateway.expected_work import ExpectedWork

LOOK_S: Final = 1.0
"""Pause between two looks at what schedulers tell."""
_LOG: Final = logging.getLogger(__name__)


class Worth:
    """Knows it by model and tenant, while `run` runs."""

    def __init__(self, expected: ExpectedWork, clock: Clock, least_ms: float) -> None:
        """`least_ms` is the expected work from which on a task is worth it; 0: each is."""
        self._expected = expected
        self._clock = clock
        self._least_ms = least_ms

    def __call__(self, model: str, tenant: str) -> bool:
        """Tell whether a tenant's tasks of a model are worth looking for; where nobody knows their cost they are."""
        work_ms = self._expected.known(model, tenant)
        return work_ms is None or work_ms >= self._least_ms

    async def run(self) -> None:
        """Look for ever. While the views cannot be read, what was read last goes on to hold."""
        away = False
        while True:
            try:
                await self._expected.refresh()
            except RecordsUnavailable as error:
                if not away:
                    _LOG.warning("what tasks cost is not known anew", extra={"reason": error.reason})
                away = True
            else:
                away = False
            await self._clock.sleep(LOOK_S)


@asynccontextmanager
async def worth_known(expected: ExpectedWork, clock: Clock, least_ms: float) -> AsyncIterator[Worth]:
    """Know it while the block lasts."""
    worth = Worth(expected, clock, least_ms)
    if not least_ms:
        yield worth
        return
    async with asyncio.TaskGroup() as group:
        running = group.create_task(worth.run())
        try:
            yield worth
        finally:
            running.cancel()

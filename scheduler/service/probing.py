"""Wakes the dispatchers when a runner that was taken out may be tried again: nothing else happens at that moment."""

import asyncio
from typing import Final

from scheduler.ports.clock import Clock
from scheduler.routing.breaker import Circuit
from scheduler.service.runners import Roster

INTERVAL_S: Final = 0.5


async def wake_for_probes(roster: Roster, wake: asyncio.Event, clock: Clock) -> None:
    """Look twice a second, for ever."""
    while True:
        await clock.sleep(INTERVAL_S)
        now_s = clock.monotonic()
        if any(one.takes and one.breaker.state(now_s) is Circuit.HALF_OPEN for one in roster):
            wake.set()

"""Renews the leases of all flights that this process leads, and learns who follows them elsewhere."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from cache.flights.local import LocalFlight
from cache.flights.sharing import Sharing
from cache.ports import NOBODY, Key, Renewed

T = TypeVar("T")


class Keeper(Generic[T]):
    """One loop for all leases: a round trip for each interval, however many there are, and none when there are none."""

    def __init__(
        self,
        flights: Mapping[Key, LocalFlight[T]],
        sharing: Sharing,
        *,
        followed: Callable[[LocalFlight[T]], None],
        deserted: Callable[[LocalFlight[T]], None],
    ) -> None:
        """`followed` is called for a flight that others follow, and `deserted` for one that nobody waits for."""
        self._flights, self._sharing = flights, sharing
        self._followed, self._deserted = followed, deserted
        self._leads = asyncio.Event()
        self._ask = asyncio.Event()

    def leads(self) -> None:
        """Say that a flight is led whose lease must be renewed."""
        self._leads.set()

    def ask(self) -> None:
        """Renew now: nobody waits here any more for one of them."""
        self._ask.set()

    async def run(self, group: asyncio.TaskGroup) -> None:
        """Renew until cancelled."""
        while True:
            await self._leads.wait()
            tick = group.create_task(self._sharing.clock.sleep(self._sharing.renew_s))
            asked = group.create_task(self._ask.wait())
            try:
                await asyncio.wait({tick, asked}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                tick.cancel()
                asked.cancel()
            self._ask.clear()
            await self._renew()

    async def _renew(self) -> None:
        held = [(flight, flight.fence) for flight in list(self._flights.values()) if flight.fence is not None]
        if not held:
            self._leads.clear()
            return
        renewed = await self._sharing.renew([(flight.key, fence) for flight, fence in held])
        for place, (flight, fence) in enumerate(held):
            if flight.fence == fence:
                self._take(flight, renewed[place] if renewed is not None else None)

    def _take(self, flight: LocalFlight[T], renewed: Renewed | None) -> None:
        if renewed is not None and renewed.ok:
            flight.remote_level = renewed.level
            if renewed.level != NOBODY:
                if flight.lead is not None:
                    flight.lead.wanted_at(renewed.level)
                self._followed(flight)
                if not self._forgotten(flight):
                    return
        elif renewed is not None:
            # Another leads by now. Those who wait here still get this computation, and nobody else hears of it.
            flight.fence = None
        if not flight.seats:
            self._deserted(flight)

    def _forgotten(self, flight: LocalFlight[T]) -> bool:
        """Tell whether a flight has gone on for others for so long that nobody may be left of them."""
        since_s = flight.deserted_s
        return since_s is not None and self._sharing.clock.monotonic() - since_s > self._sharing.for_others_s

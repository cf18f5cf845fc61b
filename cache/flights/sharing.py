"""The flights of all gateways as one process sees them, also while they do not answer, or have a fault.

Then everything goes on within the process, and for a moment nobody asks: a deadline that is waited out by each
request would slow all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final

from cache.faults import Faults
from cache.flights.relay import Numbered, Relay
from cache.ports import Flights, FlightsAway, Following, Key, Landing, Leading, Renewed
from scheduler.ports.clock import Clock

LEASE_MS: Final = 4_000
"""How long a leader that died keeps its followers waiting, at most."""
RENEW_S: Final = 0.5
"""How often leases are renewed. So long a leader does not know that somebody follows at another gateway."""
ALONE: Final = inf
"""In place of the time until which they are left alone: of a process that shares them with nobody."""
FOR_OTHERS_S: Final = 300.0
"""How long a computation that only other gateways wait for goes on: who leaves there says nothing. Then whoever is left
of them computes.
"""
REST_S: Final = 1.0
"""After shared flights did not answer they are left alone for so long."""


@dataclass(slots=True)
class Sharing:
    """Shared flights and their chunks; every answer has a form for "nobody is there"."""

    flights: Flights
    relay: Relay
    clock: Clock
    who: str
    """This process; no two may have one name."""
    lease_ms: int = LEASE_MS
    renew_s: float = RENEW_S
    for_others_s: float = FOR_OTHERS_S
    away_until_s: float = 0.0
    """No question before this monotonic time."""
    outages: int = 0
    """How often the shared flights did not answer."""
    faults: Faults = field(init=False)
    """What they raised beside that: no request fails for it."""

    def __post_init__(self) -> None:
        self.faults = Faults(self.clock.monotonic)

    @property
    def away(self) -> bool:
        """Whether the shared flights are left alone just now."""
        return self.clock.monotonic() < self.away_until_s

    async def begin(self, key: Key, level: int, past: int = 0) -> Leading | Following | None:
        """Begin, or join a flight with a higher number than `past`; None when this process is on its own."""
        if self.away:
            return None
        now_ms = self.clock.now_ms()
        try:
            return await self.flights.begin(key, self.who, self.lease_ms, level, now_ms, past)
        except Exception as why:
            self._rest(why)
            return None

    async def begin_all(self, wanted: Sequence[tuple[Key, int]]) -> list[Leading | Following] | None:
        """Begin or join many; None when this process is on its own."""
        if self.away:
            return None
        try:
            return await self.flights.begin_all(wanted, self.who, self.lease_ms, self.clock.now_ms())
        except Exception as why:
            self._rest(why)
            return None

    async def renew(self, held: Sequence[tuple[Key, int]]) -> list[Renewed] | None:
        """Renew leases; None when nobody answers."""
        try:
            return await self.flights.renew(held, self.lease_ms)
        except Exception as why:
            self._rest(why)
            return None

    async def land(self, key: Key, fence: int, landing: Landing) -> None:
        """End a flight. One that cannot be told of it ends with its lease; one that is another's by now goes on."""
        try:
            await self.flights.land(key, fence, landing)
        except Exception as why:
            self._rest(why)

    async def land_all(self, ends: Sequence[tuple[Key, int, Landing]]) -> None:
        """End many; as `land`."""
        try:
            await self.flights.land_all(ends)
        except Exception as why:
            self._rest(why)

    async def ended(self, key: Key, fence: int) -> Landing | None:
        """Wait for the end of another's flight; None when it ended unseen."""
        try:
            return await self.flights.ended(key, fence)
        except Exception as why:
            self._rest(why)
            return None

    async def send(self, key: Key, fence: int, chunks: Sequence[Numbered]) -> bool:
        """Send chunks; False when it is no use to send more."""
        try:
            return await self.relay.send(key, fence, chunks)
        except Exception as why:
            self._rest(why)
            return False

    async def read(self, key: Key, fence: int, cursor: bytes) -> tuple[list[Numbered], bytes] | None:
        """Wait for chunks behind a cursor; None when nobody answers."""
        try:
            return await self.relay.read(key, fence, cursor, wait=True)
        except Exception as why:
            self._rest(why)
            return None

    def _rest(self, why: Exception) -> None:
        if not isinstance(why, FlightsAway):
            self.faults.note("flights", why)
        self.outages += 1
        self.away_until_s = self.clock.monotonic() + REST_S

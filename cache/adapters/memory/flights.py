"""Flights and the chunks of those that are followed, for gateways that live in one process."""

import asyncio
from collections.abc import Sequence
from typing import Final

from cache.flights import rules
from cache.flights.chunks import MOST_CHUNKS
from cache.flights.relay import Numbered
from cache.flights.rules import Flight
from cache.ports import Following, Key, Landing, Leading, Renewed
from scheduler.ports.clock import Clock

MOST_BYTES: Final = 4 << 20
SWEEP_MS: Final = 1_000


class MemoryFlights:
    """Flights in memory, by the rules themselves; also their Relay, with the limits of the one on Redis."""

    def __init__(self, clock: Clock, *, most_chunks: int = MOST_CHUNKS, most_bytes: int = MOST_BYTES) -> None:
        self._clock = clock
        self._most_chunks, self._most_bytes = most_chunks, most_bytes
        self._flights: dict[Key, Flight] = {}
        self._forget_ms: dict[Key, int] = {}
        self._streams: dict[tuple[Key, int], _Stream] = {}
        self._last_fence = 0
        self._swept_ms = 0
        self._changed = asyncio.Event()

    async def begin(
        self, key: Key, who: str, lease_ms: int, level: int, began_ms: int = 0, past: int = 0
    ) -> Leading | Following:
        """Take the lead or join; see Flights."""
        now_ms = self._clock.now_ms()
        self._forget(now_ms)
        self._last_fence = max(self._last_fence + 1, now_ms * 1000)
        before, fence = self._flights.get(key), self._last_fence
        flight, turn = rules.begin(before, who, lease_ms, level, now_ms, fence, began_ms, past)
        if before is not None and flight.fence != before.fence:
            self._tell()
        self._keep(key, flight, flight.lease_until_ms)
        return turn

    async def begin_all(
        self, wanted: Sequence[tuple[Key, int]], who: str, lease_ms: int, began_ms: int = 0
    ) -> list[Leading | Following]:
        """Begin many; see Flights."""
        return [await self.begin(key, who, lease_ms, level, began_ms) for key, level in wanted]

    async def renew(self, held: Sequence[tuple[Key, int]], lease_ms: int) -> list[Renewed]:
        """Keep the lead; see Flights."""
        answers = []
        for key, fence in held:
            flight, renewed = rules.renew(self._flights.get(key), fence, lease_ms, self._clock.now_ms())
            if flight is not None and renewed.ok:
                self._keep(key, flight, flight.lease_until_ms)
            answers.append(renewed)
        return answers

    async def land(self, key: Key, fence: int, outcome: Landing) -> bool:
        """End a flight; see Flights."""
        flight, landed = rules.land(self._flights.get(key), fence, outcome)
        if flight is not None and landed:
            self._keep(key, flight, self._clock.now_ms())
            self._tell()
        return landed

    async def land_all(self, ends: Sequence[tuple[Key, int, Landing]]) -> list[bool]:
        """End many flights; see Flights."""
        return [await self.land(key, fence, outcome) for key, fence, outcome in ends]

    async def ended(self, key: Key, fence: int) -> Landing | None:
        """Wait for the end of a flight; see Flights."""
        while True:
            flight, changed = self._flights.get(key), self._changed
            over, landing = rules.ending(flight, fence, self._clock.now_ms())
            if over or flight is None:
                return landing
            left_ms = flight.lease_until_ms - self._clock.now_ms()
            async with asyncio.TaskGroup() as group:
                lapse = group.create_task(self._clock.sleep(left_ms / 1000))
                news = group.create_task(changed.wait())
                await asyncio.wait({lapse, news}, return_when=asyncio.FIRST_COMPLETED)
                lapse.cancel()
                news.cancel()

    async def send(self, key: Key, fence: int, chunks: Sequence[Numbered]) -> bool:
        """Add chunks; see Relay."""
        flight = self._flights.get(key)
        if flight is None or flight.fence != fence or flight.landing:
            return False
        stream = self._streams.setdefault((key, fence), _Stream())
        added_bytes = sum(len(chunk.body) for chunk in chunks)
        if stream.added_bytes + added_bytes > self._most_bytes:
            return False
        stream.added_bytes += added_bytes
        stream.chunks += chunks
        surplus = len(stream.chunks) - self._most_chunks
        if surplus > 0:
            del stream.chunks[:surplus]
            stream.trimmed += surplus
        self._tell()
        return True

    async def read(self, key: Key, fence: int, cursor: bytes, *, wait: bool) -> tuple[list[Numbered], bytes]:
        """Return the chunks behind a cursor; see Relay."""
        seen = int(cursor or 0)
        while True:
            changed, stream = self._changed, self._streams.get((key, fence), _Stream())
            chunks = stream.chunks[max(0, seen - stream.trimmed) :]
            if chunks or not wait:
                return chunks, b"%d" % max(seen, stream.trimmed + len(stream.chunks))
            await changed.wait()

    def _keep(self, key: Key, flight: Flight, from_ms: int) -> None:
        self._flights[key] = flight
        self._forget_ms[key] = from_ms + rules.LINGER_MS

    def _forget(self, now_ms: int) -> None:
        if now_ms - self._swept_ms < SWEEP_MS:
            return
        self._swept_ms = now_ms
        for key in [key for key, forget_ms in self._forget_ms.items() if forget_ms <= now_ms]:
            del self._flights[key], self._forget_ms[key]
        for key, fence in [name for name in self._streams if name[0] not in self._flights]:
            del self._streams[key, fence]

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class _Stream:
    def __init__(self) -> None:
        self.chunks: list[Numbered] = []
        self.trimmed = 0
        self.added_bytes = 0

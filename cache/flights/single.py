"""One computation for any number of the same question, in this process and, as long as they answer, in all others.

    do / stream ──▶ a seat in the process's flight of the key          local.py, seats.py
                        one task brings it to its end                  piloting.py
                            leads: computes, with a renewed lease      keeping.py, lead.py, chunks.py
                            follows another gateway's                  following.py
                        what all gateways agree on                     rules.py, behind the port Flights

The computation belongs to nobody's request: when the one who brought it leaves, it goes on for the others who wait,
here or elsewhere; when the last has left it is cancelled. One that ends for its own caller's reasons hands over to the
next, and for what all of its process would meet, to another process; one that was interrupted by what nobody is to
blame for does so twice, and is everybody's failure then; and what turns out to answer something else than was asked is
its caller's alone.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, Generic, TypeVar

from cache.flights.call import Call
from cache.flights.chunks import Outrun
from cache.flights.events import Answered, Chunk, Restarted
from cache.flights.keeping import Keeper
from cache.flights.local import LocalFlight
from cache.flights.piloting import Pilot
from cache.flights.resuming import Delivered
from cache.flights.seats import Seat
from cache.flights.sending import send_chunks
from cache.flights.sharing import Sharing
from cache.ports import Key

T = TypeVar("T")

_AT_ONCE: Final = 64
"""Chunks that a reader holds at once: the window of a buffer may go on without it."""


@asynccontextmanager
async def single_flight(sharing: Sharing, of: type[T]) -> AsyncGenerator["SingleFlight[T]", None]:
    """Run the flights of one process, whose answers are of one type. Leaving abandons all that are under way."""
    async with asyncio.TaskGroup() as group:
        flights = SingleFlight[T](sharing, group)
        keeping = group.create_task(flights.keep())
        try:
            yield flights
        finally:
            flights.abandon_all()
            keeping.cancel()


class SingleFlight(Generic[T]):
    """The flights of one process. For one event loop."""

    def __init__(self, sharing: Sharing, group: asyncio.TaskGroup) -> None:
        self._sharing, self._group = sharing, group
        self._flights: dict[Key, LocalFlight[T]] = {}
        self._parted: set[LocalFlight[T]] = set()
        """Flights that nobody joins any more, and that have not ended."""
        self._keeper = Keeper(self._flights, sharing, followed=self._send, deserted=self._give_up)
        self._pilot = Pilot(sharing, self._keeper, group, self._forget)

    @property
    def under_way(self) -> int:
        """How many flights this process leads or follows."""
        return len(self._flights) + len(self._parted)

    @property
    def outages(self) -> int:
        """How often the flights that are shared with other processes did not answer."""
        return self._sharing.outages

    def flies(self, key: Key) -> bool:
        """Tell whether somebody in this process waits for a key's answer: one more is told it at the same time."""
        return key in self._flights

    def began_ms(self, key: Key) -> int | None:
        """Return when those who wait in this process for a key's answer began to; None when nobody waits."""
        flight = self._flights.get(key)
        return None if flight is None else flight.began_ms

    def part(self, key: Key) -> None:
        """Let nobody join those any more who wait for a key's answer now: they go on to wait for theirs, and who comes
        next begins another computation, here and at other gateways.
        """
        flight = self._flights.pop(key, None)
        if flight is not None:
            self._parted.add(flight)

    async def do(self, key: Key, level: int, call: Call[T]) -> T:
        """Return the answer: by this call's own computation, or by that of whoever was first.

        Raises what this call's own computation raised; FlightFailed when another's failed; OnItsOwn when others compute
        something else than it asks; Abandoned at shutdown.
        Cancelling it ends only this wait, unless nobody else waits.
        """
        with self._seated(key, level, call, streams=False) as (_, seat):
            return await seat.ending

    async def stream(
        self, key: Key, level: int, call: Call[T]
    ) -> AsyncGenerator[Chunk | Restarted | Answered[T], None]:
        """Yield the chunks of the answer from its first on, however late one joins, and then the answer.

        When the leader dies, the next computation's chunks are compared with those delivered: the stream goes on
        behind them, or says Restarted. One who reads too slowly gets the rest from the answer. Raises as `do`.
        Close it (`aclosing`) to leave before its end.
        """
        with self._seated(key, level, call, streams=True) as (flight, seat):
            delivered = Delivered(call.content_of)
            whole = False
            while not whole:
                buffer = flight.buffer if seat.buffer is None else seat.buffer
                changed = flight.renewed_buffer
                place = 0
                try:
                    while await buffer.more(place):
                        for chunk in buffer.read(place, _AT_ONCE):
                            for event in delivered.take(*chunk):
                                yield event
                        place = chunk.place + 1
                    whole = buffer.whole and place > 0
                except Outrun:
                    whole = False
                if not whole:
                    if seat.ending.done():
                        break
                    if flight.buffer is buffer:
                        await changed.wait()
            answer = await seat.ending
            if not whole:
                place = 0
                for body in call.chunks_of(answer):
                    for event in delivered.take(place, body):
                        yield event
                    place += 1
            for event in delivered.end(place):
                yield event
            yield Answered(answer)

    async def keep(self) -> None:
        """Renew leases until cancelled."""
        await self._keeper.run(self._group)

    def abandon_all(self) -> None:
        """Cancel everything under way; followers elsewhere take over."""
        for flight in [*self._flights.values(), *self._parted]:
            self._give_up(flight)

    @contextmanager
    def _seated(
        self, key: Key, level: int, call: Call[T], *, streams: bool
    ) -> Iterator[tuple[LocalFlight[T], Seat[T]]]:
        seat = Seat(call, level, streams=streams)
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = LocalFlight(key, self._sharing.clock.now_ms())
            flight.sit(seat)
            flight.runner = self._group.create_task(self._pilot.fly(flight))
        else:
            flight.sit(seat)
        try:
            yield flight, seat
        finally:
            flight.seats.remove(seat)
            if not flight.seats:
                self._deserted(flight)

    def _deserted(self, flight: LocalFlight[T]) -> None:
        """Nobody waits here any more."""
        if flight.fence is not None and flight not in self._parted:
            # Perhaps somebody does at another gateway.
            flight.deserted_s = self._sharing.clock.monotonic()
            self._keeper.ask()
        elif not flight.beginning:
            self._give_up(flight)

    def _give_up(self, flight: LocalFlight[T]) -> None:
        if flight.ended:
            return
        self._forget(flight)
        if flight.runner is not None:
            flight.runner.cancel()

    def _forget(self, flight: LocalFlight[T]) -> None:
        self._parted.discard(flight)
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    def _send(self, flight: LocalFlight[T]) -> None:
        """Somebody follows at another gateway: send what there is, and what comes."""
        if flight.sending is None and flight.fence is not None:
            flight.sending = self._group.create_task(send_chunks(flight, flight.fence, self._sharing))

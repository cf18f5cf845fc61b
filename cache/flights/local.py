"""One key's flight within one process: who waits for it here, and what they are told at its end."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, TypeVar

from cache.flights.chunks import ChunkBuffer
from cache.flights.events import FlightFailed
from cache.flights.lead import Lead
from cache.flights.rules import higher
from cache.flights.seats import Seat, Seats
from cache.ports import NOBODY, Key

T = TypeVar("T")


@dataclass(eq=False)
class LocalFlight(Generic[T]):
    """All who wait for one key in this process, and how far it has come."""

    key: Key
    began_ms: int
    """When the first began to wait."""
    seats: Seats[T] = field(default_factory=Seats)
    buffer: ChunkBuffer = field(default_factory=ChunkBuffer)
    """The chunks of the computation that runs; another takes its place when it is begun anew."""
    runner: asyncio.Task[None] | None = None
    lead: Lead | None = None
    """While this process computes."""
    fence: int | None = None
    """While this process leads, and other gateways know."""
    sending: asyncio.Task[None] | None = None
    """Sends the chunks to other gateways, once somebody follows there."""
    remote_level: int = NOBODY
    """The highest level of those who follow at other gateways."""
    told_level: int = NOBODY
    """The level at which the flight of another gateway is followed."""
    interrupted: int = 0
    """How many computations were broken off by what is nobody's fault, here and at those who led before."""
    set_apart: int = 0
    """How many computed something else than was asked for."""
    deserted_s: float | None = None
    """Since when nobody waits here, while somebody does elsewhere; by a clock that never goes back."""
    beginning: bool = False
    """While the shared flights are asked whose turn it is: that is not broken off."""
    _end: Callable[[Seat[T]], None] | None = field(default=None, init=False)
    """How it ended, for those who come while other gateways are told."""
    _renewed: asyncio.Event | None = field(default=None, init=False)

    @property
    def renewed_buffer(self) -> asyncio.Event:
        """Set when `buffer` was replaced, or nothing more comes at all. Most flights have nobody who waits for it."""
        if self._renewed is None:
            self._renewed = asyncio.Event()
        return self._renewed

    @cached_property
    def level_rose(self) -> asyncio.Event:
        """Set when somebody of a higher level than `told_level` came."""
        return asyncio.Event()

    @cached_property
    def stream_wanted(self) -> asyncio.Event:
        """Set once somebody here wants the chunks, too."""
        event = asyncio.Event()
        if any(seat.streams for seat in self.seats):
            event.set()
        return event

    @property
    def ended(self) -> bool:
        """Whether all who wait have been told its end."""
        return self._end is not None

    def sit(self, seat: Seat[T]) -> None:
        """Let one more wait."""
        self.seats.add(seat)
        self.deserted_s = None
        if self._end is not None:
            self._end(seat)
            return
        if seat.streams:
            self.stream_wanted.set()
        if self.lead is not None:
            self.lead.wanted_at(seat.level)
        elif self.told_level != NOBODY and higher(self.told_level, seat.level) != self.told_level:
            self.level_rose.set()

    def begin_chunks(self, buffer: ChunkBuffer) -> None:
        """Let a computation begin anew; readers of the old chunks go over to the new ones."""
        self.buffer.close(whole=False)
        self.buffer = buffer
        self.tell_readers()

    def give_apart(self, seat: Seat[T], buffer: ChunkBuffer) -> None:
        """Let one read what it alone is given; the others wait for the next computation."""
        seat.buffer = buffer
        self.begin_chunks(ChunkBuffer())

    def land(self, answer: T, trace: bytes | None = None) -> None:
        """Give all the answer; `trace` is what the one who computed it says of that, None when it was only found."""
        self._finish(lambda seat: seat.answer(answer, trace))

    def fail(self, status: bytes, failure: Exception | None = None, of: Seat[T] | None = None) -> None:
        """Let all fail: the one whose computation it was with its own error."""
        self._finish(lambda seat: seat.fail(failure if failure and seat is of else FlightFailed(status)))

    def give_up(self, why: Exception) -> None:
        """Send those away who have not been told anything else."""
        self._finish(lambda seat: seat.fail(why))

    def tell_readers(self) -> None:
        """Wake those who read chunks: there are others now, or the end is known."""
        if self._renewed is not None:
            self._renewed.set()
            self._renewed = None

    def _finish(self, end: Callable[[Seat[T]], None]) -> None:
        if self._end is not None:
            return
        self._end = end
        for seat in self.seats:
            end(seat)
        self.buffer.close(whole=self.buffer.whole)
        self.tell_readers()

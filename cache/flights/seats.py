"""Those who wait for one flight in this process: in the order in which they came, and whose turn it is to compute."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

from cache.flights.call import Call
from cache.flights.chunks import ChunkBuffer
from cache.flights.rules import higher
from cache.ports import NOBODY

T = TypeVar("T")


class Seat(Generic[T]):
    """One who waits."""

    def __init__(self, call: Call[T], level: int, *, streams: bool) -> None:
        self.call = call
        self.level = level
        self.streams = streams
        """Whether it wants the chunks, too."""
        self.computed = False
        """Whether its own computation was begun: it gets no second one."""
        self.buffer: ChunkBuffer | None = None
        """The chunks that it alone is given, of a computation that is not what the others asked for."""
        self.ending: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def answer(self, answer: T, trace: bytes | None) -> None:
        """Give it the answer, and what is told of the computation; None when it was only found."""
        if not self.ending.done():
            if trace is not None and not self.computed:
                try:
                    self.call.followed(trace)
                except Exception as fault:
                    # A call that breaks its contract fails alone: others are told after it.
                    self.fail(fault)
                    return
            self.ending.set_result(answer)
        if self.buffer is not None:
            self.buffer.close(whole=True)

    def fail(self, error: Exception) -> None:
        """Give it a failure."""
        if not self.ending.done():
            self.ending.set_exception(error)
            # Retrieved here: one that leaves just now never asks.
            self.ending.exception()
        if self.buffer is not None and not self.buffer.closed:
            self.buffer.close(whole=False)


class Seats(Generic[T]):
    """All seats of a flight. Nothing walks them that is done once for each of them: there may be thousands."""

    def __init__(self) -> None:
        self._all: dict[Seat[T], None] = {}
        self._untried: OrderedDict[Seat[T], None] = OrderedDict()
        """Those whose computation was not begun."""
        self._levels: Counter[int] = Counter()
        """How many sit there of each level."""

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Seat[T]]:
        return iter(self._all)

    @property
    def level(self) -> int:
        """The highest level of those who sit there."""
        level = NOBODY
        for each in self._levels:
            level = higher(level, each)
        return level

    def add(self, seat: Seat[T]) -> None:
        """Let one more sit down."""
        self._all[seat] = self._untried[seat] = None
        self._levels[seat.level] += 1

    def remove(self, seat: Seat[T]) -> None:
        """Let one leave that sits there."""
        del self._all[seat]
        self._untried.pop(seat, None)
        self._levels[seat.level] -= 1
        if not self._levels[seat.level]:
            del self._levels[seat.level]

    def waiting(self) -> Iterator[Seat[T]]:
        """Yield those who have not been told anything yet."""
        return (seat for seat in self._all if not seat.ending.done())

    def next_to_compute(self) -> Seat[T] | None:
        """Return whose turn it is, once: the first who has not computed yet, and still waits."""
        while self._untried:
            seat, _ = self._untried.popitem(last=False)
            if not seat.ending.done():
                seat.computed = True
                return seat
        return None

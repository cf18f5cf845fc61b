"""Brings one flight of this process to its end: leads it, or follows who leads, or takes over."""

import asyncio
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from cache.flights.chunks import ChunkBuffer
from cache.flights.events import Abandoned, Disbanded, Interrupted, OnItsOwn
from cache.flights.following import follow
from cache.flights.keeping import Keeper
from cache.flights.lead import Lead
from cache.flights.local import LocalFlight
from cache.flights.rules import higher
from cache.flights.seats import Seat
from cache.flights.sharing import Sharing
from cache.ports import Following, Landing, LandingKind, Leading

T = TypeVar("T")

MOST_INTERRUPTED: Final = 2
"""How many try again what was interrupted, one after the other; then it is the failure of all who wait."""
MOST_APART: Final = 2
"""After so many computed something else than was asked for, everybody goes on alone: not one after the other."""
_IN_A_ROW: Final = 64
"""So many hand over, perhaps without a wait, until others have the event loop: each time all who read chunks wake."""


class Pilot(Generic[T]):
    """One task for each flight runs `fly`. Cancelling it abandons the flight: a follower elsewhere takes over."""

    def __init__(
        self,
        sharing: Sharing,
        keeper: Keeper[T],
        group: asyncio.TaskGroup,
        forget: Callable[[LocalFlight[T]], None],
    ) -> None:
        """`forget` is called before a flight is given up, so that nobody joins it any more."""
        self._sharing, self._keeper, self._group, self._forget = sharing, keeper, group, forget

    async def fly(self, flight: LocalFlight[T]) -> None:
        """Return once everybody who waits for the flight has been told its end. Raises only CancelledError."""
        given_up: Exception = Abandoned("the computation was given up")
        try:
            await self._fly(flight)
        except Exception as fault:
            # A call that breaks its contract fails those who wait, and not the flights of others.
            given_up = fault
        finally:
            self._forget(flight)
            flight.give_up(given_up)
            if flight.sending is not None:
                flight.sending.cancel()
            await self._tell(flight, _abandoned(flight))

    async def _fly(self, flight: LocalFlight[T]) -> None:
        turn = await self._begin(flight)
        while flight.seats:
            if not isinstance(turn, Following):
                await self._lead(flight, turn)
                return
            if not _accepted(flight, turn):
                # Not one of its chunks is given to who came after a purge.
                turn = await self._begin(flight, past=turn.fence)
                continue
            news = await follow(flight, turn, self._sharing, self._group)
            if isinstance(news, Landing) and await self._settle(flight, news):
                return
            turn = news if isinstance(news, Leading | Following) else await self._begin(flight)
        if isinstance(turn, Leading):
            flight.fence = turn.fence

    async def _begin(self, flight: LocalFlight[T], past: int = 0) -> Leading | Following | None:
        if not any(seat.call.shares for seat in flight.seats):
            return None
        flight.beginning = True
        try:
            flight.told_level = flight.seats.level
            return await self._sharing.begin(flight.key, flight.told_level, past)
        finally:
            flight.beginning = False

    async def _settle(self, flight: LocalFlight[T], landing: Landing) -> bool:
        """Pass another gateway's landing on; False when somebody must compute after all."""
        if landing.kind is LandingKind.FAILED:
            flight.fail(landing.detail)
            return True
        if landing.kind is LandingKind.ABANDONED:
            flight.interrupted = max(flight.interrupted, _interruptions(landing))
        return landing.kind is LandingKind.STORED and await self._find(flight, landing.detail)

    async def _find(self, flight: LocalFlight[T], trace: bytes | None = None) -> bool:
        """Answer from the tiers if they have it; `trace` is what was told of its computation, by who led it. Those who
        want it newer go on waiting; False when somebody does.
        """
        for reads in (True, False):
            # One looks for all who take the same.
            asked = next((seat for seat in flight.seats.waiting() if seat.call.reads is reads), None)
            if asked is None:
                continue
            answer = await asked.call.find()
            if answer is None:
                return False
            if all(seat.call.reads is reads for seat in flight.seats.waiting()):
                flight.land(answer, trace)
                return True
            for seat in flight.seats.waiting():
                if seat.call.reads is reads:
                    seat.answer(answer, trace)
            # Wakes those of them who read chunks: others may wait for long.
            flight.begin_chunks(ChunkBuffer())
        return False

    async def _lead(self, flight: LocalFlight[T], turn: Leading | None) -> None:
        if turn is not None:
            flight.fence = turn.fence
            self._keeper.leads()
        # On its own, nobody remembers what landed a moment ago.
        if (turn is None or turn.look_again) and await self._find(flight):
            await self._tell(flight, Landing(LandingKind.STORED))
            return
        handed_over = 0
        while (seat := flight.seats.next_to_compute()) is not None:
            landing = await self._compute(flight, seat)
            if landing is not None:
                await self._tell(flight, landing)
                return
            if flight.set_apart >= MOST_APART:
                flight.give_up(OnItsOwn("others compute something else"))
            handed_over += 1
            if handed_over % _IN_A_ROW == 0 and not flight.ended:
                await asyncio.sleep(0)

    async def _compute(self, flight: LocalFlight[T], seat: Seat[T]) -> Landing | None:
        """Run one caller's computation; None when it was only that caller's to give up, or to have."""
        buffer = ChunkBuffer()
        flight.begin_chunks(buffer)
        level = higher(flight.seats.level, flight.remote_level)
        flight.lead = lead = Lead(level, buffer, lambda alone: flight.give_apart(seat, alone))
        try:
            answer = await seat.call.compute(lead)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            seat.fail(Abandoned("the computation was cancelled"))
        except Abandoned as abandoned:
            cause = abandoned.__cause__
            failure = cause if isinstance(cause, Exception) else abandoned
            if isinstance(abandoned, Interrupted):
                flight.interrupted += 1
                if flight.interrupted > MOST_INTERRUPTED:
                    return _failed(flight, seat, failure)
            if isinstance(abandoned, Disbanded):
                flight.give_up(failure)
            seat.fail(failure)
        except Exception as failure:
            return _failed(flight, seat, failure)
        else:
            if lead.apart:
                flight.set_apart += 1
                seat.answer(answer, None)
                return None
            buffer.close(whole=True)
            trace = seat.call.trace
            flight.land(answer, trace)
            flight.lead = None
            # Nobody here waits for slow tiers; others are told once they can find it.
            await seat.call.keep(answer)
            return Landing(LandingKind.STORED, trace)
        finally:
            flight.lead = None
        return None

    async def _tell(self, flight: LocalFlight[T], landing: Landing) -> None:
        """Tell other gateways, unless they have been told."""
        fence, flight.fence = flight.fence, None
        if fence is not None:
            await self._sharing.land(flight.key, fence, landing)


def _failed(flight: LocalFlight[T], seat: Seat[T], failure: Exception) -> Landing:
    """Let all who wait here fail, and return what others are told."""
    status = seat.call.status_of(failure)
    flight.fail(status, failure, seat)
    return Landing(LandingKind.FAILED, status)


def _abandoned(flight: LocalFlight[T]) -> Landing:
    """Return what others are told who may take over: also how often that was in vain."""
    return Landing(LandingKind.ABANDONED, b"%d" % flight.interrupted if flight.interrupted else b"")


def _interruptions(landing: Landing) -> int:
    """Return how often it was in vain until others may take over."""
    return int(landing.detail) if landing.detail.isdigit() else 0


def _accepted(flight: LocalFlight[T], turn: Following) -> bool:
    """Tell whether those who wait here may be given what another process computes."""
    return all(seat.call.accepts(turn.began_ms) for seat in flight.seats)

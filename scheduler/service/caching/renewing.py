"""Keeps the leads of this process among the shared flights: one that is not renewed ends, and somebody else leads."""

from typing import Final

from scheduler.ports.clock import Clock
from scheduler.service.caching.answers import Answers
from scheduler.service.caching.flights import FlightBoard

RENEW_S: Final = 1.0
"""How often leads are renewed; a shorter run's never is."""


async def renew_leads(board: FlightBoard, answers: Answers, clock: Clock) -> None:
    """Renew for ever."""
    while True:
        await clock.sleep(RENEW_S)
        before_s = clock.monotonic() - RENEW_S
        held = [
            (flight, flight.fence)
            for flight in board.led()
            if flight.fence is not None and flight.began_s <= before_s
        ]
        if not held:
            continue
        renewed = await answers.sharing.renew([(flight.key, fence) for flight, fence in held])
        for (flight, _), one in zip(held, renewed or (), strict=False):
            if not one.ok:
                # Another leads by now. Those who wait here still get this answer, and nobody else hears of it.
                flight.fence = None

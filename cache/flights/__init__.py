"""Single flight: one computation for all who ask the same at once, whichever gateway they ask.

A cold key that many want at once would be computed once for each of them (a stampede). Here the first leads and the
others follow; see `single.py` for how a request travels through it, and `rules.py` for what all gateways agree on.
"""

from cache.flights.call import Call
from cache.flights.events import (
    Abandoned,
    Answered,
    Chunk,
    Disbanded,
    FlightFailed,
    Interrupted,
    OnItsOwn,
    Restarted,
)
from cache.flights.lead import Lead
from cache.flights.looking import SharedLooks
from cache.flights.relay import BEGINNING, Numbered, Relay
from cache.flights.sharing import ALONE, Sharing
from cache.flights.single import SingleFlight, single_flight

__all__ = [
    "ALONE",
    "BEGINNING",
    "Abandoned",
    "Answered",
    "Call",
    "Chunk",
    "Disbanded",
    "FlightFailed",
    "Interrupted",
    "Lead",
    "Numbered",
    "OnItsOwn",
    "Relay",
    "Restarted",
    "SharedLooks",
    "Sharing",
    "SingleFlight",
    "single_flight",
]

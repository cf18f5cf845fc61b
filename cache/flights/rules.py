"""The life of a shared flight, as a pure state machine: one computation that many ask for.

            begin                    land, while the fence is still its own
    nobody ───────▶ led by one ─────────────────────────────────────────▶ landed: free to be led again
       ▲               │  ▲ renew
       └───────────────┘──┘
        the lease runs out, and the next to begin takes over

A leader holds a lease and a fence: a number higher than that of any earlier flight of its key. Whoever begins while
the lease stands follows. When it has run out, the first who begins is the one taker: it gets a higher fence, the
others follow it, and the old leader's renewals and landing are refused. So it is with a flight that began before a
purge: who came after that takes over. (Gray and Cheriton, "Leases", SOSP 1989;
fencing tokens: Burrows, "The Chubby lock service", OSDI 2006.) The adapter in memory runs this code; the scripts of
the adapter on Redis say the same, and one conformance suite holds the two together.
"""

from dataclasses import dataclass, replace
from typing import Final

from cache.ports import NOBODY, Following, Landing, LandingKind, Leading, Renewed

LINGER_MS: Final = 10_000
"""How long a landing is remembered, for followers that hear of it late."""


@dataclass(frozen=True, slots=True)
class Flight:
    """What is known of a key's latest flight."""

    fence: int
    leader: str
    lease_until_ms: int
    began_ms: int = 0
    """When it began, by its leader's clock."""
    level: int = NOBODY
    """The highest level of those who follow."""
    landing: Landing | None = None
    """How it ended; None while it is under way."""


def begin(
    flight: Flight | None,
    who: str,
    lease_ms: int,
    level: int,
    now_ms: int,
    fence: int,
    began_ms: int = 0,
    past: int = 0,
) -> tuple[Flight, Leading | Following]:
    """Take the lead, or join who has it. `fence` is offered by the caller: higher than any before of any key.

    Somebody who begins what it leads already has forgotten, or never heard, that it does: it leads anew. One that must
    not be given what flights up to the number `past` compute takes the lead from them.
    """
    stands = flight is not None and not flight.landing and flight.lease_until_ms > now_ms
    if flight and stands and flight.leader != who and flight.fence > past:
        joined = replace(flight, level=higher(flight.level, level))
        return joined, Following(flight.leader, flight.fence, flight.began_ms)
    led = Flight(max(fence, flight.fence + 1) if flight else fence, who, now_ms + lease_ms, began_ms)
    stored = flight is not None and flight.landing is not None and flight.landing.kind is LandingKind.STORED
    return led, Leading(led.fence, look_again=stored)


def renew(flight: Flight | None, fence: int, lease_ms: int, now_ms: int) -> tuple[Flight | None, Renewed]:
    """Keep the lead. A lease that ran out comes back as long as nobody took over."""
    if flight is None or flight.fence != fence or flight.landing:
        return flight, Renewed(False, NOBODY)
    return replace(flight, lease_until_ms=now_ms + lease_ms), Renewed(True, flight.level)


def land(flight: Flight | None, fence: int, landing: Landing) -> tuple[Flight | None, bool]:
    """End a flight; refused when it is no longer the caller's, or has ended."""
    if flight is None or flight.fence != fence or flight.landing:
        return flight, False
    return replace(flight, landing=landing), True


def ending(flight: Flight | None, fence: int, now_ms: int) -> tuple[bool, Landing | None]:
    """Return whether a flight is over, and its landing if one is known."""
    if flight is None or flight.fence != fence:
        return True, None
    return flight.landing is not None or flight.lease_until_ms <= now_ms, flight.landing


def higher(one: int, other: int) -> int:
    """Return the higher of two levels: the lower number, where NOBODY has none."""
    return min(one, other) if one != NOBODY and other != NOBODY else one or other

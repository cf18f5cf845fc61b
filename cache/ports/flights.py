"""The port to computations under way, shared by all gateways."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from cache.ports.entries import Key

NOBODY: Final = 0
"""In place of a level: nobody follows. Levels are as in `scheduler.states.Level`, a lower number being higher."""


@dataclass(frozen=True, slots=True)
class Leading:
    """The caller computes the answer, and must renew its lease until it has landed."""

    fence: int
    """The number of this flight; higher than that of any earlier flight of the key."""
    look_again: bool = False
    """Whether the key's answer was stored a moment ago: perhaps after the caller looked for it in the tiers."""


@dataclass(frozen=True, slots=True)
class Following:
    """Somebody else computes the answer."""

    leader: str
    fence: int
    """The number of the flight that is followed."""
    began_ms: int = 0
    """When it began, by its leader's clock; 0 where that is not known."""


@dataclass(frozen=True, slots=True)
class Renewed:
    """What a leader hears when it renews its lease."""

    ok: bool
    """False when the flight is no longer the caller's."""
    level: int
    """The highest level of those who follow; NOBODY while none does."""


class LandingKind(Enum):
    """How a flight ends."""

    STORED = "stored"
    """The answer is in the tiers."""
    FAILED = "failed"
    """The computation failed, and so does every follower."""
    ABANDONED = "abandoned"
    """The leader gives up without an answer: a follower may take over."""


@dataclass(frozen=True, slots=True)
class Landing:
    """The end of a flight."""

    kind: LandingKind
    detail: bytes = b""
    """FAILED: the failure as a serialised google.rpc.Status. STORED: what `Call.trace` of the computation said.
    ABANDONED: how many computations were interrupted by what is nobody's fault, in digits; may be empty."""


class Flights(Protocol):
    """Computations under way, shared by all gateways. Every method raises FlightsAway when they do not answer."""

    async def begin(
        self, key: Key, who: str, lease_ms: int, level: int, began_ms: int = 0, past: int = 0
    ) -> Leading | Following:
        """Take the lead of a key's computation for `lease_ms`, or join the one that is under way at `level`.

        `began_ms` is what those who follow are told of its beginning. Flights up to the number `past` are not joined:
        the lead is taken from them, for what they compute must not be given to the caller.
        """
        ...

    async def begin_all(
        self, wanted: Sequence[tuple[Key, int]], who: str, lease_ms: int, began_ms: int = 0
    ) -> list[Leading | Following]:
        """Begin many, each given by its key and level, in one go; no key twice. In their order."""
        ...

    async def renew(self, held: Sequence[tuple[Key, int]], lease_ms: int) -> list[Renewed]:
        """Keep the lead of flights, each given by its key and fence, for `lease_ms` from now."""
        ...

    async def land(self, key: Key, fence: int, outcome: Landing) -> bool:
        """End the flight and tell its followers; False when it is no longer the caller's."""
        ...

    async def land_all(self, ends: Sequence[tuple[Key, int, Landing]]) -> list[bool]:
        """End many flights, each given by its key and fence, in one go. In their order."""
        ...

    async def ended(self, key: Key, fence: int) -> Landing | None:
        """Wait for the end of a flight and return it; None when its lease ran out or nothing is known of it any
        more. Cancelling stops the wait and changes nothing.
        """
        ...

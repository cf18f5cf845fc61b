"""What a look-up met on its way down: for the span of the request and the metrics."""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from cache.ports import Entry, Key


class Met(Enum):
    """What one tier said."""

    HIT = "hit"
    MISS = "miss"
    PURGED = "purged"
    """There is an entry, and a purge marker says that it is dead, or another was computed in its place."""
    AWAY = "away"
    """The tier did not answer in its time, or is left alone for a while."""


class Look(NamedTuple):
    """One tier asked."""

    tier: str
    met: Met
    took_s: float
    keys: int = 1
    """How many were asked for together and met with this: each of them waited for so long."""


@dataclass(frozen=True, slots=True)
class Found:
    """The end of a look-up."""

    entry: Entry | None
    """None: no tier has it."""
    looks: tuple[Look, ...]
    """The tiers that were asked, from the top."""
    tier: str = ""
    """The tier that answered; empty when none did."""


class FoundMany(NamedTuple):
    """The end of a look-up of many."""

    found: dict[Key, Entry]
    unseen: list[Key]
    """Those that were not looked for."""
    looks: list[Look]
    """What tiers said, from the top: one for each word of a tier, with for how many keys it was said."""
    tiers: dict[Key, str]
    """Which tier had what was found."""

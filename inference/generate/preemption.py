"""Which row gives way to a CRITICAL one, how it is paused, and when it goes on. Pure.

Of the rows of the lowest level, that one gives way whose slot would stay taken for longest: the longest job waits, the
short ones end and free their slots, and the mean time to an answer is as short as it can be. A row that is about to end
is left alone for the same reason, for it gives its slot up by itself and what it has generated is all but complete.
What moving a row costs everyone, in steps, is taken off its time: a long context is moved only for a longer answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from scheduler.states import Level

# Tokens in the time of one step of 16 rows, as measured with a model of 135 M parameters on 2 cores (25 ms). Other
# models and machines change all three much alike; what decides is that reading is some forty times dearer than copying.
_MOVED_PER_STEP: Final = 1000
"""Copied out of a slot and back again."""
_READ_PER_STEP: Final = 25
"""Read by the model."""


class Pause(Enum):
    """How a row is paused."""

    KEEP = auto()
    """What its slot holds is copied, and copied back when it goes on."""
    RECOMPUTE = auto()
    """What its slot holds is dropped, and its prompt is read again. Only for rows that have generated nothing: reading
    an answer may leave other numbers than generating it did, and the row would not go on as if nothing had been."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row that has a slot."""

    level: Level
    held: int
    """Tokens that its slot holds."""
    generated: int
    """Tokens that it has generated."""
    allowed: int
    """Tokens that it may still generate."""
    order: int
    """Rows that came first have lower numbers."""
    fits: bool = True
    """Whether there is memory for what its slot holds."""


@dataclass(frozen=True, slots=True)
class Victim:
    """Who gives way, and how."""

    index: int
    """Among the candidates."""
    pause: Pause


def choose_victim(candidates: Sequence[Candidate], newcomer: Level) -> Victim | None:
    """Return which row gives way to a newcomer; None when it is not CRITICAL, or no row of a lower level can."""
    ways = ((index, row, _cheapest(row, newcomer)) for index, row in enumerate(candidates))
    able = [(index, row, way) for index, row, way in ways if way is not None]
    if not able:
        return None
    # Of equals the newest gives way, as it would have had it come a moment later.
    index, _, (pause, _) = max(able, key=lambda one: (one[1].level, one[1].allowed - one[2][1], one[1].order))
    return Victim(index, pause)


def gives_way(row: Candidate, newcomer: Level) -> bool:
    """Tell whether a row could be paused for a newcomer."""
    return _cheapest(row, newcomer) is not None


def turn(level: Level, order: int) -> tuple[Level, int]:
    """Return the sort key of rows that wait for a slot, paused ones among them: the most urgent, then the oldest."""
    return (level, order)


def _cheapest(row: Candidate, newcomer: Level) -> tuple[Pause, float] | None:
    """Return how a row is best paused and what that costs, in steps; None when it cannot be paused, or must not: only
    CRITICAL ones are made room for, by rows of lower levels.
    """
    if newcomer is not Level.CRITICAL or row.level <= newcomer:
        return None
    ways: list[tuple[Pause, float]] = []
    if not row.generated:
        ways.append((Pause.RECOMPUTE, row.held / _READ_PER_STEP))
    if row.fits:
        ways.append((Pause.KEEP, row.held / _MOVED_PER_STEP))
    return min(ways, key=lambda way: way[1], default=None)

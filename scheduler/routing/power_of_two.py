"""The less loaded of two drawn at random.

Nearly as even as asking everybody, and without the herd that follows stale figures when several schedulers choose at
the same time (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", IEEE TPDS, 2001).
"""

from collections.abc import Sequence
from random import Random

from scheduler.routing.choice import Candidate, Errand


class PowerOfTwo:
    """Draws from the generator that it is given."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance

    def choose(self, candidates: Sequence[Candidate], errand: Errand) -> int:
        """Return the place of the one of two different runners with less outstanding work."""
        count = len(candidates)
        if count == 1:
            return 0
        one = int(self._chance.random() * count)
        other = int(self._chance.random() * (count - 1))
        other += other >= one
        return min(one, other, key=lambda place: (candidates[place].outstanding_ms, candidates[place].held))

"""In proportion to the weights that runners attach with, for example 95 to 5 between a model and its next version.

Stride scheduling (Waldspurger and Weihl, "Stride Scheduling: Deterministic Proportional-Share Resource Management",
MIT LCS TM-528, 1995): every runner has a mark that moves on by work / weight with each task; the lowest mark is next.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from scheduler.routing.choice import Candidate, Errand

MOST_RUNNERS: Final = 1024
"""Runners whose marks are remembered; the one that was chosen longest ago is forgotten first."""


class Weighted:
    """Remembers a mark for each runner. One that comes, or comes back, starts at the present, not at the past."""

    def __init__(self) -> None:
        self._marks: OrderedDict[str, float] = OrderedDict()
        self._now = 0.0

    def choose(self, candidates: Sequence[Candidate], errand: Errand) -> int:
        """Return the place of the runner whose mark is the lowest. A weight of 0 counts as 1."""
        now = self._now
        marks = [max(self._marks.get(one.id, now), now) for one in candidates]
        place = min(range(len(marks)), key=lambda place: (marks[place], -candidates[place].weight))
        chosen = candidates[place]
        self._now = marks[place]
        self._marks[chosen.id] = marks[place] + errand.work_ms / max(1, chosen.weight)
        self._marks.move_to_end(chosen.id)
        if len(self._marks) > MOST_RUNNERS:
            self._marks.popitem(last=False)
        return place

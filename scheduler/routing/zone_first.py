"""A runner of the chooser's own zone while one has room, else any: what crosses zones costs time and money."""

from collections.abc import Sequence

from scheduler.routing.choice import Candidate, Errand
from scheduler.routing.least_outstanding import LeastOutstanding


class ZoneFirst:
    """Knows its zone. Inside a zone the least outstanding work decides."""

    def __init__(self, zone: str) -> None:
        self._zone = zone
        self._inside = LeastOutstanding()

    def choose(self, candidates: Sequence[Candidate], errand: Errand) -> int:
        """Return the place of the least loaded runner of the zone, or of all when the zone has none."""
        near = [place for place, one in enumerate(candidates) if one.zone == self._zone]
        if not near or len(near) == len(candidates):
            return self._inside.choose(candidates, errand)
        return near[self._inside.choose([candidates[place] for place in near], errand)]

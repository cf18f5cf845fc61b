"""By turns: every runner with free credit gets as many tasks as any other."""

from collections.abc import Sequence

from scheduler.routing.choice import Candidate, Errand


class RoundRobin:
    """Remembers who was last, by id, so that runners may come and go."""

    def __init__(self) -> None:
        self._last = ""

    def choose(self, candidates: Sequence[Candidate], errand: Errand) -> int:
        """Return the place of the first runner behind the last one."""
        place = next((place for place, one in enumerate(candidates) if one.id > self._last), 0)
        self._last = candidates[place].id
        return place

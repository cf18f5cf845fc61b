"""What a start usually costs: the measure of what is owed, and of who would be next after one more start."""

from typing import Final

_MEMORY: Final = 1 / 64
"""How much one start changes what counts as usual, once there were as many."""


class UsualStart:
    """The mean cost of a start: of all of them at first, for nobody is owed a guess, and later of the latest ones."""

    __slots__ = ("_starts", "cost")

    def __init__(self) -> None:
        self.cost = 1.0
        """In the unit that `note` is given."""
        self._starts = 0

    def note(self, each: float, starts: int) -> None:
        """Take in so many starts in a row of this cost each."""
        self._starts += starts
        memory = starts * _MEMORY if self._starts * _MEMORY > 1.0 else starts / self._starts
        self.cost += (each - self.cost) * (memory if memory < 1.0 else 1.0)

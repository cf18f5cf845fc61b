"""How much of its engine's time a request of this runner takes by all that is known."""

from typing import Final

_MEMORY: Final = 0.2
"""Part that the latest report has in what is known."""


class UsualCost:
    """The moving mean of what requests cost."""

    def __init__(self) -> None:
        self.mean_s = 0.0
        """Seconds of the engine's time; 0 before the first report."""

    def ended(self, requests: int, work_s: float) -> bool:
        """Take in a report: so many requests ended, and so much of the engine's time they took in all. Returns whether
        it says anything.
        """
        if requests <= 0 or work_s <= 0:
            return False
        mean_s = work_s / requests
        self.mean_s += (mean_s - self.mean_s) * (_MEMORY if self.mean_s else 1.0)
        return True

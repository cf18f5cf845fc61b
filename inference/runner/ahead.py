"""How many tasks a runner holds: enough to be busy while more come, and not so many that what comes later, of another
tenant or a higher level, waits behind them. What a runner holds has left the order of its scheduler.
"""

from typing import Final

from inference.runner.credit import CreditPool
from inference.runner.usual_cost import UsualCost

TARGET_S: Final = 0.1
"""Work that is held ahead, in seconds: several times what it takes to fetch more."""


class Ahead:
    """Sizes the credit of a runner by the work of the tasks that it has ended."""

    def __init__(self, credit: CreditPool, least: int, most: int) -> None:
        """Hold from `least` to `most` tasks; the least until something is known of them. That is after the first
        report, a moment later, while what is too much for a slow runner stays with it until it is done.
        """
        self._credit = credit
        self._least = least
        self._most = most
        self._total = 0
        self._cost = UsualCost()
        self._hold(least)

    def ended(self, tasks: int, work_s: float) -> None:
        """Take in a report: so many tasks ended, and so much of the engine's time they took in all."""
        if not self._cost.ended(tasks, work_s):
            return
        wanted = TARGET_S / self._cost.mean_s
        # Small changes are noise, and each of them would be told to every scheduler.
        if not 0.75 * self._total <= wanted <= 1.25 * self._total:
            self._hold(int(wanted))

    def _hold(self, tasks: int) -> None:
        total = min(self._most, max(self._least, tasks))
        if total != self._total:
            self._total = total
            self._credit.resize(total)

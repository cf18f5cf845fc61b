"""Which runner has the state of a sequence.

A sequence begins at the runner that rendezvous hashing names for it, and stays there as long as it goes on, however the
fleet changes: that is what the table is for. A sequence that is not in the table is looked for where hashing names now:
another gateway began it, or this one before it was started anew; the runner knows whether it has it.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

MOST: Final = 100_000
"""Sequences that are remembered, some 300 bytes each; the one that was idle longest is forgotten first."""
IDLE_S: Final = 3600.0
"""After so long a sequence is forgotten. When its state goes is for its runner to say, which is sooner as a rule."""


class SequenceRunners:
    """The table. Times are seconds of a clock that never goes back."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._runners: OrderedDict[Hashable, tuple[str, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._runners)

    def runner(self, key: Hashable) -> str | None:
        """Return the runner of a sequence."""
        known = self._runners.get(key)
        return known[0] if known else None

    def keep(self, key: Hashable, runner: str, now_s: float) -> None:
        """Note that a call of a sequence goes to a runner."""
        self._runners[key] = runner, now_s
        self._runners.move_to_end(key)
        if len(self._runners) > self._most:
            self._runners.popitem(last=False)

    def forget(self, key: Hashable) -> None:
        """Note that a sequence is over."""
        self._runners.pop(key, None)

    def expire(self, now_s: float) -> None:
        """Forget those that were idle for too long."""
        while self._runners:
            key, (_, used_s) = next(iter(self._runners.items()))
            if used_s + IDLE_S > now_s:
                return
            del self._runners[key]

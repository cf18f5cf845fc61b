"""Faults of what is behind the cache's ports: none fails a request, and none goes unseen."""

import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

QUIET_S: Final = 60.0
"""How long nothing more is logged of one kind of fault at one place."""
_LOG: Final = logging.getLogger(__name__)


class Faults:
    """Counts faults, and logs the first of each kind in a minute."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """`monotonic` returns seconds of a clock that is never set back."""
        self._monotonic = monotonic
        self._quiet_until_s: dict[tuple[str, type[Exception]], float] = {}
        self.counts: Final[Counter[str]] = Counter()
        """How many there were, by place."""

    def note(self, place: str, fault: Exception) -> None:
        """Take in a fault that was met at a place, which is one of a few words."""
        self.counts[place] += 1
        now_s, kind = self._monotonic(), (place, type(fault))
        if now_s >= self._quiet_until_s.get(kind, now_s):
            self._quiet_until_s[kind] = now_s + QUIET_S
            _LOG.error("fault of the cache", exc_info=fault, extra={"place": place})

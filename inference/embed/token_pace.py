"""How many tokens a run of an encoder may have, and how many requests it holds: by how long runs take, and how long
requests are.
"""

from collections import deque
from typing import Final

from inference.tensor.pace import AHEAD, Pace

_USUAL_TOKENS: Final = 32
"""Of a request, until some have come."""
_LEARNING: Final = 0.05
"""How much the latest request counts for what is usual."""
_RECENT: Final = 16
"""Runs of which the fastest tells how long the next may be."""


class TokenPace:
    """Learns from requests and runs."""

    def __init__(self, pace: Pace, capacity: int) -> None:
        """`pace` counts tokens; `capacity` is the most requests to hold."""
        self._pace = pace
        self._capacity = capacity
        self._usual_tokens = float(_USUAL_TOKENS)
        self._recent: deque[float] = deque(maxlen=_RECENT)
        """Seconds a token of the latest runs."""

    @property
    def tokens(self) -> int:
        """Most tokens of the next run."""
        return self._pace.rows

    @property
    def together(self) -> int:
        """How many requests of the usual length one run takes."""
        return max(1, int(self._pace.rows / self._usual_tokens))

    @property
    def capacity(self) -> int:
        """How many requests to hold at once."""
        return max(1, min(self._capacity, AHEAD * self.together))

    def came(self, tokens: int) -> None:
        """Take note of a request of so many tokens."""
        self._usual_tokens += _LEARNING * (tokens - self._usual_tokens)

    def ran(self, tokens: int, seconds: float) -> None:
        """Take note of a run.

        By the fastest of the latest ones: where others use the cores now and then, shorter runs would only mean more
        waiting, for the threads of a run wait for each other as often whatever its length.
        """
        self._recent.append(seconds / tokens)
        # Texts hardly ever fill a run to the last token, and every token costs the same.
        self._pace.ran(tokens, tokens * min(self._recent), full=2 * tokens >= self._pace.rows)

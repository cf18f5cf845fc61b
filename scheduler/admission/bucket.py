"""Token buckets: how many tasks a second, and how many at once.

The meter is Turner's ("New Directions in Communications (or Which Way to the Information Age?)", IEEE Communications
Magazine, 1986), filled lazily: it is brought up to the present when somebody asks. In any t seconds no more than
rate * t + burst tokens are taken. Times are seconds of a clock that never goes back, passed in.
"""

from collections.abc import Hashable
from typing import Final

MAX_BUCKETS: Final = 10_000
"""Buckets that are kept, about 200 bytes each. The one that nobody asked for longest gives way, and is full when it is
needed again; only tenants beyond this number can gain a burst by that."""


class TokenBucket:
    """One meter. Rate and burst come with each question, so that they can change while it is in use."""

    __slots__ = ("_at_s", "tokens")

    def __init__(self, burst: float, now_s: float) -> None:
        """Begin full."""
        self.tokens = burst
        """What may be taken, as of the last question."""
        self._at_s = now_s

    def fill(self, rate: float, burst: float, now_s: float) -> float:
        """Return how many tokens there are now. A time before that of the last question counts as that time."""
        if now_s > self._at_s:
            self.tokens += (now_s - self._at_s) * rate
            self._at_s = now_s
        self.tokens = min(self.tokens, burst)
        return self.tokens

    def take(self) -> None:
        """Take one of the tokens that `fill` told of; there must be one."""
        self.tokens -= 1.0

    def give_back(self, count: float) -> None:
        """Return tokens that came to nothing; the next `fill` cuts off what is over the burst."""
        self.tokens += count


class Buckets:
    """Buckets by name, as many as are in use, and never more than a bound."""

    def __init__(self, most: int = MAX_BUCKETS) -> None:
        self._most = most
        self._buckets: dict[Hashable, TokenBucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def bucket(self, name: Hashable, burst: float, now_s: float) -> TokenBucket:
        """Return the bucket of a name, a full one if there was none."""
        known = self._buckets.pop(name, None)
        if known is None:
            known = TokenBucket(burst, now_s)
            if len(self._buckets) >= self._most:
                del self._buckets[next(iter(self._buckets))]
        self._buckets[name] = known  # the last one: the longest unasked is the first
        return known

    def clear(self) -> None:
        """Forget all."""
        self._buckets.clear()

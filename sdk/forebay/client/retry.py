"""When to try again, and after how long.

Only what is safe is tried again: reads, cancelling, and submits whose tasks all carry an idempotency key. The pause
is exponential with full jitter (a uniform draw from 0 to the present limit, which spreads the herd best: AWS
Architecture Blog, "Exponential Backoff And Jitter"), and never shorter than what the server asks for in RetryInfo.
"""

import random
from dataclasses import dataclass
from typing import Final

from forebay.client.errors import ForebayClientError, ResourceExhausted, Unavailable

_RUNNER_GONE: Final = "RUNNER_GONE"
"""A runner went while it had the call. The call may be what it died of: the next one might, too."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How stubborn a client is. Deadlines of calls bound everything here."""

    attempts: int = 10
    """Most tries of one call, the first one counted. 1 means never again. Ten take 5.5 s on average, twice what a
    gateway takes to start."""
    initial_s: float = 0.1
    """Limit of the first pause, in seconds."""
    max_s: float = 2.0
    """Limit of every pause, in seconds."""
    multiplier: float = 2.0
    """By how much the limit grows."""
    reconnect_s: float = 30.0
    """How long a wait or a stream goes on reconnecting without hearing anything, in seconds."""

    def pause_s(self, tried: int, error: ForebayClientError) -> float | None:
        """Return the pause after the `tried`-th try failed (1, 2, …); None when that was the last one."""
        if tried >= self.attempts or not transient(error):
            return None
        return self.backoff_s(tried, error)

    def backoff_s(self, tried: int, error: ForebayClientError | None = None) -> float:
        """Return a pause, whether or not the error is one to try again after."""
        limit = min(self.max_s, self.initial_s * self.multiplier ** min(tried - 1, 32))
        asked = error.retry_after_s if error is not None else None
        return (asked or 0.0) + random.uniform(0.0, limit)


def transient(error: ForebayClientError) -> bool:
    """Whether the same request can succeed a little later, and may be made again without being asked for."""
    if error.reason == _RUNNER_GONE:
        return False
    return isinstance(error, Unavailable) or (
        isinstance(error, ResourceExhausted) and error.retry_after_s is not None
    )

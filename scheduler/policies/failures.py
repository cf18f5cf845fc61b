"""What a failure means for a task: whether another attempt may mend it, and how long it rests before.

Rests are exponential with full jitter: a random time between nothing and the bound, so that tasks that failed together
do not come back together (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
"""

from enum import Enum
from typing import Final, NamedTuple


class FailureClass(Enum):
    """Kinds of failure."""

    RETRYABLE = "retryable"
    """Another attempt may go better; it counts."""
    PERMANENT = "permanent"
    """The same input fails again: the task ends."""
    RUNNER_LOST = "runner lost"
    """Nobody knows what the attempt came to: the task goes back to its queue at once; it counts."""


CLASSES: Final[dict[str, FailureClass]] = {
    "INVALID_INPUT": FailureClass.PERMANENT,
    "DEADLINE_PASSED": FailureClass.PERMANENT,
    "TASK_CANCELLED": FailureClass.PERMANENT,
    "PARENT_FAILED": FailureClass.PERMANENT,
    "PARENT_OUTPUT_UNUSABLE": FailureClass.PERMANENT,
    "MODEL_FAILED": FailureClass.RETRYABLE,
    "MODEL_OUT_OF_MEMORY": FailureClass.RETRYABLE,
    "ENVELOPE_DAMAGED": FailureClass.RETRYABLE,
    "RUNNER_LOST": FailureClass.RUNNER_LOST,
    "RUNNER_CRASHED": FailureClass.RUNNER_LOST,
    "RUNNER_OUT_OF_MEMORY": FailureClass.RUNNER_LOST,
}
"""By the reason of an error; a reason that is not here is retryable."""


def failure_class(reason: str) -> FailureClass:
    """Return what kind of failure a reason stands for."""
    return CLASSES.get(reason, FailureClass.RETRYABLE)


def may_be_the_runners(reason: str) -> bool:
    """Return whether a failure may be the fault of the runner that met it, so that another one could do better."""
    return failure_class(reason) is FailureClass.RETRYABLE and reason != "ENVELOPE_DAMAGED"


class Backoff(NamedTuple):
    """How long a task rests between attempts."""

    initial_ms: int = 500
    longest_ms: int = 60_000
    multiplier: float = 2.0

    def bound_ms(self, failures: int) -> int:
        """Return the longest rest after that many failures, at least 1."""
        # Beyond this exponent every bound is the longest one, and a float would overflow.
        factor = self.multiplier ** min(max(failures - 1, 0), 64)
        return int(min(self.longest_ms, self.initial_ms * factor))

    def rest_ms(self, failures: int, draw: float, hint_ms: int = 0) -> int:
        """Return how long to rest after that many failures: `draw` in [0, 1) of the bound, at least the hint that
        the failure itself gave.
        """
        return max(int(draw * self.bound_ms(failures)), hint_ms)

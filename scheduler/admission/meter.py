"""One limit of a policy as it stands for one call: whether a task is within it, and if not, when it may be."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from scheduler.admission.backlog import Backlog
from scheduler.admission.bucket import TokenBucket
from scheduler.admission.wording import Bound, subject_of, told
from scheduler.policies.policy import Limit

SHARES: Final[Mapping[int, float]] = {1: 1.0, 2: 0.9, 3: 0.8, 4: 0.7}
"""The part of a limit for all levels that each level may fill, by the level's number."""
BURST_S: Final = 2.0
"""Without a burst of its own, a rate allows so many seconds' worth at once."""
SOONEST_S: Final = 0.05
LATEST_S: Final = 60.0
UNKNOWN_S: Final = 1.0
"""When to try again while nobody knows how fast the line moves: about four looks."""


class Refusal(NamedTuple):
    """Why a task was not let in. All tasks of a call that meet the same bound share one."""

    subject: str
    description: str
    retry_after_s: float


def burst_of(limit: Limit) -> float:
    """Return how many tasks a limit with a rate lets in at once; at least one."""
    return float(limit.burst) or max(1.0, BURST_S * limit.rate)


class Meter:
    """One limit, and what stood against it when the call came. Lives as long as the call."""

    __slots__ = ("_backlog", "_burst", "_limit", "_who", "bucket", "level", "tasks", "work_ms")

    def __init__(self, limit: Limit, who: str, backlog: Backlog, bucket: TokenBucket | None) -> None:
        """`who` is the tenant, or empty for all; `bucket` is up to date, and None where there is no rate."""
        self.level = limit.level
        self.bucket = bucket
        self.tasks, self.work_ms = backlog.waiting(who, limit.level)
        self._limit = limit
        self._who = who
        self._backlog = backlog
        self._burst = burst_of(limit)

    def refusing(self, level: int, work_ms: float) -> Bound | None:
        """Return the bound that a task is over; None when it is within all."""
        limit = self._limit
        share = 1.0 if self.level else SHARES[level]
        if limit.queued_tasks and self.tasks >= limit.queued_tasks * share:
            return Bound.TASKS
        if (
            limit.queued_work_s
            and self.tasks
            and self.work_ms + work_ms > limit.queued_work_s * 1000.0 * share
        ):
            return Bound.WORK
        if self.bucket is not None and not self._has_token(self.bucket.tokens, share):
            return Bound.RATE
        return None

    def take(self, work_ms: float) -> None:
        """Count a task that is let in."""
        self.tasks += 1
        self.work_ms += work_ms
        if self.bucket is not None:
            self.bucket.take()

    def refusal(self, bound: Bound, level: int, count: int) -> Refusal:
        """Say why so many tasks were refused, and when there may be room for them or for a good part of them."""
        share = 1.0 if self.level else SHARES[level]
        seconds = min(max(self._room_in_s(bound, share, count), SOONEST_S), LATEST_S)
        return Refusal(
            subject_of(self._limit, self._who), told(self._limit, bound, level, share, self._burst), seconds
        )

    def _has_token(self, tokens: float, share: float) -> bool:
        # A level leaves to higher ones what it may not fill; never so much that a small burst has nothing for it.
        return tokens >= 1.0 and tokens > (1.0 - share) * self._burst

    def _room_in_s(self, bound: Bound, share: float, count: int) -> float:
        limit = self._limit
        if bound is Bound.RATE and self.bucket is not None:
            least = max(1.0, (1.0 - share) * self._burst)
            missing = least + min(count, self._burst * share / 2) - 1.0 - self.bucket.tokens
            return missing / limit.rate
        draining = self._backlog.draining(self._who, self.level)
        if bound is Bound.TASKS:
            allowed = limit.queued_tasks * share
            missing, per_s = self.tasks - allowed + min(count, allowed / 10), draining.tasks
        else:
            allowed = limit.queued_work_s * 1000.0 * share
            missing, per_s = self.work_ms - allowed + allowed / 10, draining.work_ms
        return missing / per_s if per_s > 0 else UNKNOWN_S

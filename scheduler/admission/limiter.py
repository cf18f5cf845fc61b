"""Decides which tasks of a call may come in, task by task, in their order.

A task must be within every limit that applies to it. Where a limit is for all levels together, each level may fill only
a part of it, the lower the less: so what is refused first, and let in again last, is what matters least, and a flood of
LOW tasks leaves room for CRITICAL ones. A task that waits already and changes its level must be within the limits of
its new one; what is for all levels counts it already.

Never more waits than a limit allows but for what other gateways let in between two looks, and but for this: what waits
alone is let in however large its work is expected to be, or it would never be.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from scheduler.admission.backlog import ALL_LEVELS, ALL_TENANTS, Backlog, Taken, Waiting
from scheduler.admission.bucket import Buckets, TokenBucket
from scheduler.admission.meter import Meter, Refusal, burst_of
from scheduler.admission.wording import Bound
from scheduler.policies.policy import Limit

_NOTHING: Final = Waiting()
NONE_ENDED: Final[Mapping[int, int]] = MappingProxyType({})


class Wanted(NamedTuple):
    """A task that somebody submits, or moves to this level."""

    level: int
    work_ms: float


class Decision(NamedTuple):
    """Of one call."""

    refusals: Sequence[Refusal | None]
    """By place in the call; None for those that were let in."""
    taken: Taken
    """Those that were let in. To be given to `Limiter.settle`, whatever becomes of them."""
    buckets: Sequence[tuple[TokenBucket, int]]
    """Where tokens were taken, and for which level, 0 for all."""


class Limiter:
    """Holds calls to the limits of a policy, over a backlog and token buckets of its own."""

    def __init__(self) -> None:
        self.active = False
        """Whether there is any limit."""
        self.backlog: Final = Backlog()
        self._buckets = Buckets()
        self._general: tuple[Limit, ...] = ()
        self._own: dict[str, tuple[Limit, ...]] = {}

    def follow(self, limits: Sequence[Limit]) -> None:
        """Go by these limits from now on. Buckets keep what they hold, so that a change is no second burst."""
        self._general = tuple(limit for limit in limits if not limit.tenant)
        own: dict[str, list[Limit]] = {}
        for limit in limits:
            if limit.tenant:
                own.setdefault(limit.tenant, []).append(limit)
        self._own = {tenant: tuple(theirs) for tenant, theirs in own.items()}
        self.active = bool(limits)
        if not limits:
            self._buckets.clear()
            self.backlog.forget()

    def decide(self, tenant: str, wanted: Sequence[Wanted], now_s: float, *, moved: bool = False) -> Decision:
        """Let in what is within all limits, and count it. `now_s` is of a clock that never goes back; `moved` is for
        tasks that wait already, on other levels.
        """
        limits = (*self._general, *self._own.get(tenant, ()))
        meters = [self._meter(tenant, limit, now_s) for limit in limits if limit.level or not moved]
        met: list[tuple[Meter, Bound, int] | None] = []
        numbers: dict[tuple[Meter, Bound, int], int] = {}
        sums: dict[int, list[float]] = {}
        by_level: dict[int, list[Meter]] = {}
        for level, work_ms in wanted:
            applying = by_level.get(level)
            if applying is None:
                applying = by_level[level] = [m for m in meters if m.level in (ALL_LEVELS, level)]
            for meter in applying:
                bound = meter.refusing(level, work_ms)
                if bound is not None:
                    key = meter, bound, level
                    numbers[key] = numbers.get(key, 0) + 1
                    met.append(key)
                    break
            else:
                for meter in applying:
                    meter.take(work_ms)
                sum_ = sums.setdefault(level, [0, 0.0])
                sum_[0] += 1
                sum_[1] += work_ms
                met.append(None)
        made = {key: key[0].refusal(key[1], key[2], count) for key, count in numbers.items()}
        taken = Taken(
            tenant, {level: Waiting(int(count), work_ms) for level, (count, work_ms) in sums.items()}, moved
        )
        self.backlog.take(taken)
        buckets = [(meter.bucket, meter.level) for meter in meters if meter.bucket is not None]
        return Decision([made[key] if key else None for key in met], taken, buckets)

    def settle(
        self, decision: Decision, recorded: Mapping[int, Waiting], ended: Mapping[int, int] = NONE_ENDED
    ) -> None:
        """Learn, by level, which of the tasks that were let in were recorded and wait, and how many were recorded as
        `ended`: those wait for nothing and keep their tokens; tokens of all others are given back.
        """
        taken = decision.taken
        self.backlog.settle(taken, taken._replace(levels=recorded))
        for bucket, of_level in decision.buckets:
            idle = sum(
                waiting.tasks - recorded.get(level, _NOTHING).tasks - ended.get(level, 0)
                for level, waiting in taken.levels.items()
                if of_level in (ALL_LEVELS, level)
            )
            if idle > 0:
                bucket.give_back(idle)

    def _meter(self, tenant: str, limit: Limit, now_s: float) -> Meter:
        who = ALL_TENANTS if limit.shared else tenant
        bucket = None
        burst = burst_of(limit)
        if limit.rate > 0:
            bucket = self._buckets.bucket((limit.tenant, limit.level, limit.shared, who), burst, now_s)
            bucket.fill(limit.rate, burst, now_s)
        return Meter(limit, who, self.backlog, bucket)

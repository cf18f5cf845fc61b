"""Section `cache`, as far as gateways and schedulers both read it; the rest: services/gateway/caching/settings.py."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from cache.eviction import PolicyName
from cache.tiers import TierSettings
from scheduler.ports.clock import Clock
from services.answer_budget import AnswerBudget
from services.redis_url import check_apart, redis_fault, without_password
from services.settings import ranged

MIB: Final = 1 << 20
POLICIES: Final = tuple(one.value for one in PolicyName)


@dataclass(frozen=True, slots=True)
class SharedCacheSettings:
    """What is kept of answers, for how long, and what gateways and schedulers share."""

    enabled: bool = False
    """Whether answers are cached."""
    ttl_s: float = ranged(3600.0, minimum=1.0)
    """Seconds for which an answer is kept at most, in each tier that has no time of its own. It is fresh for as long as
    the tier in use says that keeps it longest, shortened by chance, by up to a quarter."""
    policy: str = PolicyName.SCAN_RESISTANT.value
    """What goes first in a namespace that has reached its quota, in each tier that has no policy of its own: `lru`,
    `lfu`, `fifo`, `ttl`, `random` or `scan-resistant`.
    """
    task_bytes_per_s: int = ranged(16 * MIB, minimum=1)
    """Bytes of known answers a second with which each gateway, and each scheduler, ends tasks of one tenant without
    executing them: each is written into its task's record. Tasks beyond wait."""
    task_bytes_at_once: int = ranged(64 * MIB, minimum=1)
    """How many of them at once, after a pause."""
    memory_ttl_s: float = ranged(0.0, minimum=0.0)
    """Seconds for which gateways keep an answer in memory at most; 0 for `ttl_s`."""
    redis_url: str = ""
    """`redis://host:port/db` of a server for what gateways and schedulers share; empty leaves each to itself."""
    redis_bytes: int = ranged(1024 * MIB, minimum=1)
    """What it may hold; keep it below the server's `maxmemory`."""
    redis_namespace_bytes: int = ranged(256 * MIB, minimum=1)
    """What one namespace may have of it."""
    redis_ttl_s: float = ranged(0.0, minimum=0.0)
    """Seconds for which it keeps an answer at most; 0 for `ttl_s`."""
    redis_policy: str = ""
    """What goes first there; empty for `policy`. What the server itself evicts at its `maxmemory` is by its own
    `maxmemory-policy`."""
    redis_timeout_s: float = ranged(0.25, minimum=0.01)
    """Longest wait for one answer of that server, in seconds; look-ups wait 50 ms."""
    disk_ttl_s: float = ranged(0.0, minimum=0.0)
    """Seconds for which gateways keep an answer on disk at most; 0 for `ttl_s`."""
    entry_bytes: int = ranged(16 * MIB, minimum=1)
    """The largest answer that is kept."""
    trace_rate: float = ranged(0.05, minimum=0.0, maximum=1.0)
    """Part of all keys whose uses are noted for `forebay cache advise`, at most 65,536 uses (16 MB); 0 for none."""

    def check(self, records_url: str) -> None:
        """Raise StartupRefused when the cache would lie in the record store, which must never be full of it."""
        if self.enabled:
            check_apart(self.redis_url, records_url)

    @property
    def longest_ttl_ms(self) -> int:
        """Milliseconds for which any tier of any gateway keeps an answer at most."""
        times_s = (self.memory_ttl_s, self.redis_ttl_s, self.disk_ttl_s)
        return int(max(each_s or self.ttl_s for each_s in times_s) * 1000)

    def budget(self, clock: Clock) -> AnswerBudget:
        """Return what tasks may be ended with in this process."""
        return AnswerBudget(clock.monotonic, self.task_bytes_per_s, self.task_bytes_at_once)

    def redis(self) -> TierSettings:
        """Return the settings of the tier in Redis. Raises ValueError for what cannot be meant."""
        return self.tier(self.redis_bytes, self.redis_namespace_bytes, self.redis_ttl_s, self.redis_policy)

    def tier(self, capacity_bytes: int, namespace_bytes: int, ttl_s: float, policy: str) -> TierSettings:
        """Return the settings of a tier of this size. Raises ValueError for what cannot be meant."""
        namespace_bytes = min(namespace_bytes, capacity_bytes)
        return TierSettings(
            capacity_bytes,
            namespace_bytes,
            min(self.entry_bytes, namespace_bytes),
            int((ttl_s or self.ttl_s) * 1000),
            PolicyName(policy or self.policy),
        )

    def faults_of(
        self, tiers: Sequence[Callable[[], TierSettings]], policies: Sequence[tuple[str, str]] = ()
    ) -> list[str]:
        """Return what cannot be meant, of this and of `tiers`; `policies` are names and values of policies beside those
        that are here.
        """
        chosen = [
            (name, policy) for name, policy in (("redis_policy", self.redis_policy), *policies) if policy
        ]
        found = [
            f"{name} is {policy!r}; it must be one of {', '.join(POLICIES)}"
            for name, policy in (("policy", self.policy), *chosen)
            if policy not in POLICIES
        ]
        if self.redis_url and (fault := redis_fault(self.redis_url)):
            found.append(f"redis_url is {without_password(self.redis_url)!r}; {fault}")
        if found:
            return found
        for tier in tiers:
            try:
                tier()
            except ValueError as fault:
                found.append(f"{tier.__name__}: {fault}")
        return found

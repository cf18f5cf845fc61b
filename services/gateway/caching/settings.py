"""Section `cache`: the result cache of a gateway."""

from dataclasses import dataclass
from pathlib import Path

from cache.replay import Pace
from cache.tiers import TierSettings
from services.cache_settings import MIB, SharedCacheSettings
from services.settings import ranged


@dataclass(frozen=True, slots=True)
class CacheSettings(SharedCacheSettings):
    """What a gateway keeps of answers, and for how long. Raises ValueError for what cannot be meant."""

    namespaces: tuple[str, ...] = ()
    """`tenant=namespace` for tenants that share what is cached; every other tenant has its own."""
    cache_sampled: bool = False
    """Whether answers that are sampled without a seed are cached, too: answers say so then."""
    least_task_work_ms: float = ranged(1.0, minimum=0.0)
    """Tasks that are expected to take less of a runner's time than this, in milliseconds, are executed: to look for
    their answers and to keep them would cost more. 0 looks for every one; REFRESH and ONLY always go the whole way."""
    least_call_work_ms: float = ranged(0.0, minimum=0.0)
    """Answers to calls of models that take less of a runner's time than this, in milliseconds, are kept in the memory
    alone: to look for them in other tiers, and to keep them there, would cost more. 0 keeps every one everywhere;
    REFRESH and ONLY always go the whole way."""
    memory_bytes: int = ranged(256 * MIB, minimum=1)
    """What the tier in the gateway's memory holds."""
    memory_namespace_bytes: int = ranged(64 * MIB, minimum=1)
    """What one namespace may have of it."""
    memory_policy: str = ""
    """What goes first there; empty for `policy`."""
    disk_folder: Path | None = None
    """Folder of the tier on this gateway's disk, of no other process; none leaves that tier out."""
    disk_bytes: int = ranged(8192 * MIB, minimum=1)
    """What it may hold. Its index takes 0.45 to 0.8 kB of the gateway's memory for each answer, each of which counts
    for 4 KiB at least: at most a fifth of this, where all are small."""
    disk_namespace_bytes: int = ranged(2048 * MIB, minimum=1)
    """What one namespace may have of it."""
    disk_policy: str = ""
    """What goes first there; empty for `policy`."""
    replay: str = Pace.AT_ONCE.value
    """How fast a cached generation is streamed: `AT_ONCE`, or `AS_GENERATED` with the pauses that it came with."""
    most_refreshes: int = ranged(8, minimum=0)
    """Answers that are computed anew before their end at one time, in all; 0 for none."""
    most_refreshes_of_namespace: int = ranged(2, minimum=0)
    """The same, of one namespace."""
    most_warming: int = ranged(4, minimum=1)
    """Answers that are computed at one time because somebody warms the cache."""

    def __post_init__(self) -> None:
        faults = []
        for pair in self.namespaces:
            tenant, _, namespace = pair.rpartition("=")
            if not tenant or not namespace:
                faults.append(f"namespaces: {pair!r} is not tenant=namespace")
        paces = [one.value for one in Pace]
        if self.replay not in paces:
            faults.append(f"replay is {self.replay!r}; it must be one of {', '.join(paces)}")
        own = (("memory_policy", self.memory_policy), ("disk_policy", self.disk_policy))
        faults += self.faults_of([self.memory, self.redis, self.disk], own)
        if faults:
            raise ValueError("; ".join(faults))

    @property
    def shared(self) -> dict[str, str]:
        """Return the shared namespaces by tenant."""
        pairs = [pair.rpartition("=") for pair in self.namespaces]
        return {tenant: namespace for tenant, _, namespace in pairs}

    @property
    def ttl_ms(self) -> int:
        """Milliseconds for which an answer is fresh at most: the longest time of the tiers in use."""
        used = [
            self.memory(),
            *([self.redis()] if self.redis_url else []),
            *([self.disk()] if self.disk_folder is not None else []),
        ]
        return max(tier.ttl_ms for tier in used)

    def memory(self) -> TierSettings:
        """Return the settings of the tier in memory."""
        return self.tier(
            self.memory_bytes, self.memory_namespace_bytes, self.memory_ttl_s, self.memory_policy
        )

    def disk(self) -> TierSettings:
        """Return the settings of the tier on disk."""
        return self.tier(self.disk_bytes, self.disk_namespace_bytes, self.disk_ttl_s, self.disk_policy)

"""What the client returns about the result cache: plain, frozen values. `cache_reading.py` makes them."""

from dataclasses import dataclass
from datetime import datetime

from forebay.client.errors import ForebayClientError


@dataclass(frozen=True, slots=True)
class CacheTierSettings:
    """How much a tier may hold, for how long, and what goes first."""

    capacity_bytes: int
    namespace_bytes: int
    """For each namespace."""
    entry_bytes: int
    """The largest entry."""
    ttl_s: float
    policy: str


@dataclass(frozen=True, slots=True)
class CacheNamespace:
    """What one namespace has in a tier."""

    name: str
    """The tenant, or the name that several share; a digest where the gateway has not met it since its start."""
    shared: bool
    entries: int
    held_bytes: int


@dataclass(frozen=True, slots=True)
class CacheTier:
    """One tier; counts are those of the gateway that answered, since its start."""

    name: str
    settings: CacheTierSettings
    entries: int
    held_bytes: int
    hits: int
    misses: int
    fills: int
    evictions: int
    """Entries dropped for room before their time."""
    refusals: int
    """Entries not taken: too large, or no room of their own namespace."""
    damaged: int
    expired: int
    purged: int
    unanswered: int
    """Calls that it did not answer in its time."""
    away: bool
    waiting: int
    """Entries that wait to be written into it."""
    dropped: int
    """Entries that were not written: too many waited, or it was away."""
    namespaces: tuple[CacheNamespace, ...]


@dataclass(frozen=True, slots=True)
class CacheModelUse:
    """What the cached answers of one model brought on the gateway that answered."""

    model: str
    hits: int
    fills: int
    filled_bytes: int
    saved_s: float
    """Time of computation that the hits saved."""


@dataclass(frozen=True, slots=True)
class CacheStats:
    """The result cache of one gateway."""

    tiers: tuple[CacheTier, ...]
    models: tuple[CacheModelUse, ...]
    purges: int
    """Purge markers that stand."""
    purges_current: bool
    """Whether all of them were read since the shared ones were last out of reach."""


@dataclass(frozen=True, slots=True)
class CacheHeld:
    """What a tier held of what a purge matches."""

    tier: str
    entries: int
    held_bytes: int


@dataclass(frozen=True, slots=True)
class CachePurged:
    """A purge."""

    before: datetime | None
    """Answers created before this time are purged; None for a dry run."""
    held: tuple[CacheHeld, ...]
    """Empty where it is not known without reading every entry."""


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What one tier has of an answer."""

    tier: str
    model: str
    version: int
    kind: str
    size_bytes: int
    create_time: datetime
    fresh_until: datetime
    cost_s: float
    """How long it took to compute."""
    stream: bool
    labels: int
    """How many labels its task had."""
    sampled: bool
    """Whether it is one of many that could have come."""
    identity: str
    """Digest of the model that answered."""


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """Where an answer is kept."""

    key: str
    kept: tuple[KeptAnswer, ...]
    """From the top."""
    unanswered: tuple[str, ...]
    """Tiers that did not answer: they may have it."""


@dataclass(frozen=True, slots=True)
class Warmed:
    """What became of one request that is to be warm."""

    outcome: str
    """`computed`, `present`, `uncacheable` or `failed`."""
    error: ForebayClientError | None
    """Why it failed, or why its answer may never be kept."""


@dataclass(frozen=True, slots=True)
class CacheForetold:
    """What a tier with certain settings would have done."""

    settings: CacheTierSettings
    hit_ratio: float
    saved_s: float
    """Time of computation that its hits would have saved, for each look-up."""
    held_bytes: int


@dataclass(frozen=True, slots=True)
class CacheSuggestion:
    """One change of one setting."""

    kind: str
    """`larger`, `smaller`, `policy` or `longer_ttl`."""
    then: CacheForetold


@dataclass(frozen=True, slots=True)
class CacheAdvice:
    """What other settings of one tier would bring. A hit in a tier above counts as one."""

    tier: str
    settings: CacheTierSettings
    uses: int
    """Look-ups that it looks back at."""
    sampled: int
    doubtful: bool
    """Whether too few were sampled to rely on."""
    now: CacheForetold
    measured_hit_ratio: float | None
    by_size: tuple[CacheForetold, ...]
    by_policy: tuple[CacheForetold, ...]
    by_ttl: tuple[CacheForetold, ...]
    suggestions: tuple[CacheSuggestion, ...]
    knee_bytes: int
    """The smallest size of one namespace with 95 % of the hits of the largest that was tried; 0 when nothing was asked
    twice.
    """

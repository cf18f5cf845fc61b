"""From what the gateway says about the result cache to what the client returns."""

from collections.abc import Iterable

from forebay.cache.v1 import cache_service_pb2 as wire
from forebay.client import reading
from forebay.client.cache_info import (
    CacheAdvice,
    CachedAnswer,
    CacheForetold,
    CacheHeld,
    CacheModelUse,
    CacheNamespace,
    CachePurged,
    CacheStats,
    CacheSuggestion,
    CacheTier,
    CacheTierSettings,
    KeptAnswer,
    Warmed,
)
from forebay.client.errors import from_status


def stats(answer: wire.GetCacheStatsResponse) -> CacheStats:
    """Read the state of a cache."""
    models = [
        CacheModelUse(one.model, one.hits, one.fills, one.filled_bytes, reading.seconds(one.saved))
        for one in answer.models
    ]
    return CacheStats(tuple(map(_tier, answer.tiers)), tuple(models), answer.purges, answer.purges_current)


def purged(answer: wire.PurgeCacheResponse) -> CachePurged:
    """Read the outcome of a purge."""
    held = [CacheHeld(one.tier, one.entries, one.held_bytes) for one in answer.held]
    return CachePurged(reading.time(answer.before) if answer.HasField("before") else None, tuple(held))


def answer(found: wire.GetCachedAnswerResponse) -> CachedAnswer:
    """Read where an answer is kept."""
    return CachedAnswer(found.key, tuple(map(_kept, found.kept)), tuple(found.unanswered))


def warmed(results: Iterable[wire.Warmed]) -> list[Warmed]:
    """Read what became of requests."""
    return [
        Warmed(
            wire.WarmOutcome.Name(one.outcome).removeprefix("WARM_OUTCOME_").lower(),
            from_status(one.error) if one.HasField("error") else None,
        )
        for one in results
    ]


def advice(found: wire.TierAdvice) -> CacheAdvice:
    """Read an advice."""
    suggestions = [
        CacheSuggestion(
            wire.SuggestionKind.Name(one.kind).removeprefix("SUGGESTION_KIND_").lower(), _foretold(one.then)
        )
        for one in found.suggestions
    ]
    return CacheAdvice(
        tier=found.tier,
        settings=_settings(found.settings),
        uses=found.uses,
        sampled=found.sampled,
        doubtful=found.doubtful,
        now=_foretold(found.now),
        measured_hit_ratio=found.measured_hit_ratio if found.HasField("measured_hit_ratio") else None,
        by_size=tuple(map(_foretold, found.by_size)),
        by_policy=tuple(map(_foretold, found.by_policy)),
        by_ttl=tuple(map(_foretold, found.by_ttl)),
        suggestions=tuple(suggestions),
        knee_bytes=found.knee_bytes,
    )


def _tier(tier: wire.TierState) -> CacheTier:
    return CacheTier(
        name=tier.name,
        settings=_settings(tier.settings),
        entries=tier.entries,
        held_bytes=tier.held_bytes,
        hits=tier.hits,
        misses=tier.misses,
        fills=tier.fills,
        evictions=tier.evictions,
        refusals=tier.refusals,
        damaged=tier.damaged,
        expired=tier.expired,
        purged=tier.purged,
        unanswered=tier.unanswered,
        away=tier.away,
        waiting=tier.waiting,
        dropped=tier.dropped,
        namespaces=tuple(
            CacheNamespace(one.name, one.shared, one.entries, one.held_bytes) for one in tier.namespaces
        ),
    )


def _settings(settings: wire.TierSettings) -> CacheTierSettings:
    return CacheTierSettings(
        settings.capacity_bytes,
        settings.namespace_bytes,
        settings.entry_bytes,
        reading.seconds(settings.ttl),
        settings.policy,
    )


def _kept(kept: wire.KeptAnswer) -> KeptAnswer:
    return KeptAnswer(
        tier=kept.tier,
        model=kept.model,
        version=kept.version,
        kind=kept.kind,
        size_bytes=kept.size_bytes,
        create_time=reading.time(kept.create_time),
        fresh_until=reading.time(kept.fresh_until),
        cost_s=reading.seconds(kept.cost),
        stream=kept.stream,
        labels=kept.labels,
        sampled=kept.sampled,
        identity=kept.identity,
    )


def _foretold(found: wire.Foretold) -> CacheForetold:
    return CacheForetold(
        _settings(found.settings), found.hit_ratio, reading.seconds(found.saved), found.held_bytes
    )

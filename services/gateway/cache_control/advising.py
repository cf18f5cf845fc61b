"""What other settings of the tiers would bring: from their counts, and a sample of what all gateways were asked."""

import asyncio
import logging
from dataclasses import replace
from typing import Final

from cache.adapters.memory.tier import OBJECT_BYTES
from cache.advice import Foretold, Part, Sample, SuggestionKind, TracesAway, pack_part, read_sample
from cache.advice.advise import FACTORS, scaled
from cache.tiers import TierSettings
from forebay.cache.v1 import cache_service_pb2 as contract
from scheduler.errors import ForebayError, InvalidInput, Overloaded
from services.gateway.cache_control.advice_process import AdviceFailed, Advised, Job, advised
from services.gateway.cache_control.stats import write_settings
from services.gateway.caching import CacheControl

MOST_USES: Final = 20_000
"""Sampled uses that an advice looks at, the latest: some seconds of one processor."""
_AGAIN_S: Final = 5.0
_SHARED: Final = "redis"
_KINDS: Final = {
    SuggestionKind.LARGER: contract.SUGGESTION_KIND_LARGER,
    SuggestionKind.SMALLER: contract.SUGGESTION_KIND_SMALLER,
    SuggestionKind.POLICY: contract.SUGGESTION_KIND_POLICY,
    SuggestionKind.LONGER_TTL: contract.SUGGESTION_KIND_LONGER_TTL,
}
_COUNTED: Final = {"memory": (OBJECT_BYTES, 0), "redis": (350, 0), "disk": (150, 4096)}
"""By tier, for how many bytes more an entry counts there than by itself, and for how many at least. In Redis and on
disk large entries count for less than that where they can be compressed.
"""
_LOG: Final = logging.getLogger(__name__)


class Advising:
    """Advises on the tiers of one gateway."""

    def __init__(self, control: CacheControl) -> None:
        self._control = control
        self._busy = asyncio.Lock()

    async def advise(self, tier: str) -> contract.AdviseCacheResponse:
        """Return the advice on a tier; on all for an empty name. Raises InvalidInput, Overloaded."""
        names = [each.name for each in self._control.layers.tiers()]
        if tier and tier not in names:
            raise InvalidInput.of("tier", f"is none of this gateway's tiers: {', '.join(names)}")
        if self._busy.locked():
            raise Overloaded("another advice is being computed", _AGAIN_S)
        async with self._busy:
            jobs = await self._jobs(tier)
            try:
                found = await advised(jobs)
            except AdviceFailed as failure:
                _LOG.warning("no advice", extra={"cause": str(failure)})
                raise ForebayError(
                    "the advice could not be computed; the gateway's log says why"
                ) from failure
        return contract.AdviseCacheResponse(tiers=[_written(one) for one in found])

    async def _jobs(self, wanted: str) -> list[Job]:
        control = self._control
        uses = control.layers.models.values()
        # Not the misses that tiers count: of what is not kept afterwards the sample knows nothing.
        lookups = sum(use.hits + use.fills for use in uses)
        trace = control.layers.trace
        own = trace.sample() if trace is not None else Sample((), 1.0, 0)
        jobs = []
        hits = 0
        for tier in control.layers.tiers():
            hits += tier.stats().hits
            if wanted not in ("", tier.name):
                continue
            sample = await self._everybodys(own) if tier.name == _SHARED else own
            jobs.append(
                Job(
                    tier.name,
                    control.tier_settings(tier.name),
                    sample.latest(MOST_USES).counted(*_COUNTED[tier.name]),
                    min(1.0, hits / lookups) if lookups else None,
                )
            )
        return jobs

    async def _everybodys(self, own: Sample) -> Sample:
        """Return the samples of all gateways in one; this gateway's own when they are out of reach."""
        control = self._control
        if control.layers.trace is None:
            return own
        try:
            parts = await control.traces.read()
        except TracesAway:
            return own
        # Of the others what they noted since they shared last is missing. Ours is written as theirs is, for keys are
        # shortened in parts.
        mine = pack_part(Part(own.accesses, own.total, 0), own.rate, control.who)
        others = read_sample(parts, own.rate, but=control.who)
        return Sample.merged((others, read_sample([mine], own.rate)))


def _written(found: Advised) -> contract.TierAdvice:
    advice = found.advice
    message = contract.TierAdvice(
        tier=advice.tier,
        uses=advice.uses,
        sampled=advice.sampled,
        doubtful=advice.doubtful,
        measured_hit_ratio=advice.measured,
        knee_bytes=found.knee_bytes,
    )
    write_settings(message.settings, advice.settings)
    _write_foretold(message.now, advice.settings, advice.now)
    now = advice.settings
    sizes = {scaled(now, factor): then for factor, (_, then) in zip(FACTORS, advice.by_size, strict=True)}
    for settings, then in sizes.items():
        _write_foretold(message.by_size.add(), settings, then)
    for policy, then in advice.by_policy:
        _write_foretold(message.by_policy.add(), replace(now, policy=policy), then)
    for ttl_ms, then in advice.by_ttl:
        _write_foretold(message.by_ttl.add(), replace(now, ttl_ms=ttl_ms), then)
    for one in advice.suggestions:
        suggestion = message.suggestions.add(kind=_KINDS[one.kind])
        _write_foretold(suggestion.then, one.settings, one.then)
    return message


def _write_foretold(message: contract.Foretold, settings: TierSettings, then: Foretold) -> None:
    write_settings(message.settings, settings)
    message.hit_ratio = then.hit_ratio
    message.saved.FromMicroseconds(round(then.saved_ms * 1000))
    message.held_bytes = then.held_bytes

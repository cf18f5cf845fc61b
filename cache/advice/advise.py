"""Says what other settings of a tier would bring, as data; whoever shows it chooses the words.

Every suggestion is one change of one setting, with the hit ratio that a miniature of the tier has with it and
without it, over the same sample. Nothing is suggested for less than it is worth: sizes are memory, and a change for
a tenth of a percent is noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from random import Random
from typing import Final

from cache.advice.miniature import Foretold, foretell
from cache.advice.trace import Sample
from cache.eviction import PolicyName
from cache.tiers.settings import TierSettings

FACTORS: Final = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Sizes that are tried, as multiples of the present one."""
TTL_FACTORS: Final = (0.25, 0.5, 1.0, 2.0, 4.0)
WORTH: Final = 0.02
"""A gain of hit ratio below which more memory, another policy or a longer time to live is not suggested."""
FREE: Final = 0.005
"""A loss of hit ratio that a smaller tier may bring."""
FEW: Final = 1_000
"""With fewer sampled uses the advice is doubtful, and says so."""


class SuggestionKind(Enum):
    """Which setting to change."""

    LARGER = "larger"
    SMALLER = "smaller"
    POLICY = "policy"
    LONGER_TTL = "longer-ttl"


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One change, and what it would bring."""

    kind: SuggestionKind
    settings: TierSettings
    """The settings with the change."""
    now: Foretold
    then: Foretold

    @property
    def gain(self) -> float:
        """By how much the hit ratio would rise; negative where it would fall."""
        return self.then.hit_ratio - self.now.hit_ratio


@dataclass(frozen=True, slots=True)
class Advice:
    """What is known of one tier, and what could be done about it."""

    tier: str
    settings: TierSettings
    uses: int
    """How many uses the advice looks back at."""
    sampled: int
    """How many of them it saw."""
    now: Foretold
    measured: float | None
    """The hit ratio that the tier's own counts show; far from `now`, the sample is not like what the counts saw."""
    by_size: tuple[tuple[int, Foretold], ...]
    """The hit-ratio curve: capacity in bytes, and what a tier of that size would have done."""
    by_policy: tuple[tuple[PolicyName, Foretold], ...]
    by_ttl: tuple[tuple[int, Foretold], ...]
    suggestions: tuple[Suggestion, ...]
    """The one that brings the most first; empty when things are well as they are."""

    @property
    def doubtful(self) -> bool:
        """Whether too little was seen to rely on it."""
        return self.sampled < FEW


def advise(
    tier: str, settings: TierSettings, sample: Sample, seed: int = 0, measured: float | None = None
) -> Advice:
    """Try other sizes, policies and times to live of a tier on a sample of its uses.

    `measured`: hits / (hits + misses) of the tier, if known. `seed`: for policies that go by chance.
    """

    def run(changed: TierSettings) -> Foretold:
        return foretell(sample, changed, Random(seed))

    now = run(settings)
    sizes = [scaled(settings, factor) for factor in FACTORS]
    ttls = [replace(settings, ttl_ms=max(1, round(settings.ttl_ms * factor))) for factor in TTL_FACTORS]
    policies = [replace(settings, policy=name) for name in PolicyName]
    by_size = [(each, now if each == settings else run(each)) for each in sizes]
    by_policy = [(each, now if each == settings else run(each)) for each in policies]
    by_ttl = [(each, now if each == settings else run(each)) for each in ttls]

    found = [
        *_more(SuggestionKind.LARGER, by_size[FACTORS.index(1.0) + 1 :], now),
        *_more(SuggestionKind.LONGER_TTL, by_ttl[TTL_FACTORS.index(1.0) + 1 :], now),
        *_best_policy(by_policy, now),
    ]
    if not found and len(sample.accesses) >= FEW:
        # With few uses everything fits into anything.
        found = _less(by_size[: FACTORS.index(1.0)], now)
    return Advice(
        tier=tier,
        settings=settings,
        uses=sample.total,
        sampled=len(sample.accesses),
        now=now,
        measured=measured,
        by_size=tuple((each.capacity_bytes, then) for each, then in by_size),
        by_policy=tuple((each.policy, then) for each, then in by_policy),
        by_ttl=tuple((each.ttl_ms, then) for each, then in by_ttl),
        suggestions=tuple(sorted(found, key=lambda suggestion: -suggestion.gain)),
    )


def scaled(settings: TierSettings, factor: float) -> TierSettings:
    """Return the settings of a tier that is so many times as large, its quotas with it; entries stay as large as
    they may be.
    """
    namespace_bytes = max(settings.entry_bytes, round(settings.namespace_bytes * factor))
    return replace(
        settings,
        capacity_bytes=max(namespace_bytes, round(settings.capacity_bytes * factor)),
        namespace_bytes=namespace_bytes,
    )


def _more(
    kind: SuggestionKind, tried: Sequence[tuple[TierSettings, Foretold]], now: Foretold
) -> list[Suggestion]:
    """Suggest the most for which each step, up from what was worth it before, is worth it."""
    best: list[Suggestion] = []
    reached = now.hit_ratio
    for settings, then in tried:
        if then.hit_ratio >= reached + WORTH:
            best, reached = [Suggestion(kind, settings, now, then)], then.hit_ratio
    return best


def _less(tried: Sequence[tuple[TierSettings, Foretold]], now: Foretold) -> list[Suggestion]:
    """Suggest the smallest size that costs nothing."""
    free = [
        Suggestion(SuggestionKind.SMALLER, settings, now, then)
        for settings, then in tried
        if then.hit_ratio >= now.hit_ratio - FREE
    ]
    return free[:1]


def _best_policy(tried: Sequence[tuple[TierSettings, Foretold]], now: Foretold) -> list[Suggestion]:
    settings, then = max(tried, key=lambda each: each[1].hit_ratio)
    worth = then.hit_ratio >= now.hit_ratio + WORTH
    return [Suggestion(SuggestionKind.POLICY, settings, now, then)] if worth else []

"""What the tiers of a gateway's cache hold and have counted."""

from collections.abc import Iterable
from operator import attrgetter
from typing import Final

from cache.ports import PartitionStats, TierStats
from cache.tiers import TierSettings
from forebay.cache.v1 import cache_service_pb2 as contract
from scheduler.errors import InvalidInput
from services.gateway.caching import CacheControl
from services.gateway.caller import Caller

MOST: Final = 1000
DEFAULT_MOST: Final = 50
_COUNTS: Final = (
    *("entries", "held_bytes", "hits", "misses", "fills"),
    *("evictions", "refusals", "damaged", "expired", "purged"),
)
"""Fields that have the same names in the contract."""


def stats(
    control: CacheControl, request: contract.GetCacheStatsRequest, caller: Caller
) -> contract.GetCacheStatsResponse:
    """Return them as far as the caller may see them. Raises InvalidInput."""
    if not 0 <= request.most <= MOST:
        raise InvalidInput.of("most", f"must be 1 to {MOST}, or 0 for {DEFAULT_MOST}, is {request.most}")
    most = request.most or DEFAULT_MOST
    own = control.keys.remember(caller.tenant)
    answer = contract.GetCacheStatsResponse(purges_current=control.board.current)
    away, queues = control.layers.away(), control.layers.queues()
    for tier in control.layers.tiers():
        found = tier.stats(by_namespace=request.namespaces or not caller.operator)
        state = answer.tiers.add(name=tier.name, away=tier.name in away)
        write_settings(state.settings, control.tier_settings(tier.name))
        if not caller.operator:
            _write_namespaces(state, control, {own: found.namespaces.get(own, PartitionStats())}.items(), 1)
            continue
        _write_counts(state, found)
        if (queue := queues.get(tier.name)) is not None:
            state.waiting, state.dropped = len(queue), queue.dropped
        if request.namespaces:
            _write_namespaces(state, control, found.namespaces.items(), most)
    if caller.operator:
        answer.purges = len(control.board.markers)
        if request.models:
            _write_models(answer, control, most)
    return answer


def write_settings(message: contract.TierSettings, settings: TierSettings) -> None:
    """Write the settings of a tier."""
    message.capacity_bytes = settings.capacity_bytes
    message.namespace_bytes = settings.namespace_bytes
    message.entry_bytes = settings.entry_bytes
    message.ttl.FromMilliseconds(settings.ttl_ms)
    message.policy = settings.policy.value


def _write_counts(state: contract.TierState, found: TierStats) -> None:
    for name in _COUNTS:
        setattr(state, name, getattr(found, name))
    state.unanswered = found.away


def _write_namespaces(
    state: contract.TierState, control: CacheControl, found: Iterable[tuple[bytes, PartitionStats]], most: int
) -> None:
    largest = sorted(found, key=lambda each: -each[1].held_bytes)[:most]
    for tag, held in largest:
        name, shared = control.keys.name(tag)
        state.namespaces.add(name=name, shared=shared, entries=held.entries, held_bytes=held.held_bytes)


def _write_models(answer: contract.GetCacheStatsResponse, control: CacheControl, most: int) -> None:
    uses = sorted(control.layers.models.items(), key=lambda each: attrgetter("hits", "fills")(each[1]))
    for name, use in uses[: -most - 1 : -1]:
        message = answer.models.add(model=name, hits=use.hits, fills=use.fills, filled_bytes=use.filled_bytes)
        message.saved.FromMilliseconds(round(use.saved_ms))

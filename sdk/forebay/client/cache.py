"""The result cache: what it holds, purging it, and answers computed ahead of their use."""

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from forebay.cache.v1.cache_service_pb2 import (
    AdviseCacheRequest,
    CacheScope,
    GetCachedAnswerRequest,
    GetCacheStatsRequest,
    PurgeCacheRequest,
    WarmCacheRequest,
)
from forebay.client import cache_reading, methods
from forebay.client.cache_info import CacheAdvice, CachedAnswer, CachePurged, CacheStats, Warmed
from forebay.client.calls import Calls
from forebay.client.transport import complete, iterate
from forebay.tasks.v1.task_pb2 import TaskSpec

_AT_ONCE: Final = 16
"""Requests that are warmed by one call: it lasts as long as the slowest of them."""
_WARM_S: Final = 600.0
_ADVICE_S: Final = 60.0


class AsyncCache:
    """The result cache as one gateway has it; `AsyncClient.cache` is one.

    Every method raises FailedPrecondition with reason CACHE_OFF where the gateway has none.
    """

    def __init__(self, calls: Calls, timeout_s: float) -> None:
        self._calls = calls
        self._timeout_s = timeout_s

    async def stats(self, *, namespaces: bool = False, models: bool = False, most: int = 50) -> CacheStats:
        """Return what the tiers hold and have counted; also by namespace and by model, `most` of each. Who does not
        operate the platform sees what is held for its own namespace, and no counts.
        """
        request = GetCacheStatsRequest(namespaces=namespaces, models=models, most=most)
        return cache_reading.stats(await self._calls.unary(methods.CACHE_STATS, request, self._timeout_s))

    async def purge(
        self,
        *,
        model: str = "",
        label: tuple[str, str] | None = None,
        key: str = "",
        everything: bool = False,
        tenant: str = "",
        all_tenants: bool = False,
        dry_run: bool = False,
    ) -> CachePurged:
        """Let answers that meet every condition never be given again, in every tier of every gateway within a second.

        One of `model`, `label` (name and value), `key` and `everything` is required. Another tenant's answers, or
        those of all, are for operators. `dry_run` only says what is held. Raises Unavailable with reason
        PURGE_NOT_SHARED when it holds on one gateway and the others could not be told: purge again.
        """
        name, value = label or ("", "")
        request = PurgeCacheRequest(
            scope=CacheScope(tenant=tenant, all_tenants=all_tenants),
            model=model,
            label_key=name,
            label_value=value,
            key=key,
            everything=everything,
            dry_run=dry_run,
        )
        return cache_reading.purged(await self._calls.unary(methods.PURGE_CACHE, request, self._timeout_s))

    async def get(self, wanted: TaskSpec | str, *, tenant: str = "") -> CachedAnswer:
        """Return where the answer to a request made with `task_spec`, or with a key, is kept: neither the answer nor
        what was asked. Raises NotFound when no tier has it, or it may never be kept.
        """
        request = GetCachedAnswerRequest(scope=CacheScope(tenant=tenant))
        if isinstance(wanted, str):
            request.key = wanted
        else:
            request.request.CopyFrom(wanted)
        return cache_reading.answer(await self._calls.unary(methods.GET_CACHED, request, self._timeout_s))

    async def warm(
        self, requests: Iterable[TaskSpec], *, refresh: bool = False, timeout_s: float | None = None
    ) -> AsyncGenerator[Warmed, None]:
        """Have the answers to requests made with `task_spec` computed behind everybody who waits, and yield what became
        of each, in order; a few requests are taken at a time. `refresh` computes anew what is there. `timeout_s` is
        for each few, ten minutes by default.
        """
        left = iter(requests)
        while few := list(islice(left, _AT_ONCE)):
            request = WarmCacheRequest(requests=few, refresh=refresh)
            answer = await self._calls.unary(methods.WARM_CACHE, request, timeout_s or _WARM_S)
            for one in cache_reading.warmed(answer.results):
                yield one

    async def advise(self, tier: str = "", *, timeout_s: float | None = None) -> Sequence[CacheAdvice]:
        """Return what other settings of the tiers would bring, or of one; for operators. It takes seconds."""
        request = AdviseCacheRequest(tier=tier)
        answer = await self._calls.unary(methods.ADVISE_CACHE, request, timeout_s or _ADVICE_S)
        return [cache_reading.advice(one) for one in answer.tiers]


class Cache:
    """The same without asyncio; `Client.cache` is one."""

    def __init__(self, cache: AsyncCache) -> None:
        self._cache = cache

    def stats(self, *, namespaces: bool = False, models: bool = False, most: int = 50) -> CacheStats:
        """See AsyncCache.stats."""
        return complete(self._cache.stats(namespaces=namespaces, models=models, most=most))

    def purge(
        self,
        *,
        model: str = "",
        label: tuple[str, str] | None = None,
        key: str = "",
        everything: bool = False,
        tenant: str = "",
        all_tenants: bool = False,
        dry_run: bool = False,
    ) -> CachePurged:
        """See AsyncCache.purge."""
        return complete(
            self._cache.purge(
                model=model,
                label=label,
                key=key,
                everything=everything,
                tenant=tenant,
                all_tenants=all_tenants,
                dry_run=dry_run,
            )
        )

    def get(self, wanted: TaskSpec | str, *, tenant: str = "") -> CachedAnswer:
        """See AsyncCache.get."""
        return complete(self._cache.get(wanted, tenant=tenant))

    def warm(
        self, requests: Iterable[TaskSpec], *, refresh: bool = False, timeout_s: float | None = None
    ) -> Iterator[Warmed]:
        """See AsyncCache.warm."""
        return iterate(self._cache.warm(requests, refresh=refresh, timeout_s=timeout_s))

    def advise(self, tier: str = "", *, timeout_s: float | None = None) -> Sequence[CacheAdvice]:
        """See AsyncCache.advise."""
        return complete(self._cache.advise(tier, timeout_s=timeout_s))

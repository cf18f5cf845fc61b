"""CacheService: what operators and tenants do with the result cache; `services/gateway/cache_control` does it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import grpc.aio

from forebay.cache.v1 import cache_service_pb2 as contract
from forebay.cache.v1 import cache_service_pb2_grpc
from scheduler.errors import CacheOff
from services.gateway.cache_control import finding, leaving, purging, stats
from services.gateway.cache_control.advising import Advising
from services.gateway.cache_control.requests import Requests
from services.gateway.cache_control.warming import Warming
from services.gateway.caching import CacheControl, ResultCache
from services.gateway.caller import CallerOf
from services.gateway.direct import Calls
from services.lifecycle import Service


@dataclass(frozen=True, slots=True)
class CacheUseCases:
    """What the service does, where there is a cache."""

    control: CacheControl
    requests: Requests
    warming: Warming
    advising: Advising

    async def tenants_are(self, tenants: Mapping[str, Collection[str]]) -> bool:
        """Purge what tenants had who are no more; False when that has to be tried again. See `leaving.tenants_are`."""
        return await leaving.tenants_are(self.control, tenants)


def use_cases(
    calls: Calls, cache: ResultCache, control: CacheControl, pools: Collection[str]
) -> CacheUseCases:
    """Put them together. `calls` is the direct way with the cache in front of it."""
    requests = Requests(calls, cache, control, pools)
    warming = Warming(calls, requests, control.settings.most_warming)
    return CacheUseCases(control, requests, warming, Advising(control))


class CacheServicer(cache_service_pb2_grpc.CacheServiceServicer):
    """Called by gRPC; errors that leave a method become statuses in `services/interceptor.py`."""

    def __init__(self, cases: CacheUseCases | None, caller_of: CallerOf) -> None:
        """`cases`: None where there is no cache."""
        self._maybe = cases
        self._caller_of = caller_of

    async def GetCacheStats(
        self, request: contract.GetCacheStatsRequest, context: Any
    ) -> contract.GetCacheStatsResponse:
        """See the contract."""
        return stats.stats(self._cases.control, request, self._caller_of(context))

    async def PurgeCache(
        self, request: contract.PurgeCacheRequest, context: Any
    ) -> contract.PurgeCacheResponse:
        """See the contract."""
        return await purging.purge(self._cases.control, request, self._caller_of(context))

    async def GetCachedAnswer(
        self, request: contract.GetCachedAnswerRequest, context: Any
    ) -> contract.GetCachedAnswerResponse:
        """See the contract."""
        cases = self._cases
        return await finding.find(cases.control, cases.requests, request, self._caller_of(context))

    async def WarmCache(self, request: contract.WarmCacheRequest, context: Any) -> contract.WarmCacheResponse:
        """See the contract."""
        return await self._cases.warming.warm(request, self._caller_of(context).tenant)

    async def AdviseCache(
        self, request: contract.AdviseCacheRequest, context: Any
    ) -> contract.AdviseCacheResponse:
        """See the contract."""
        return await self._cases.advising.advise(request.tier)

    @property
    def _cases(self) -> CacheUseCases:
        """Return what there is to do with the cache. Raises CacheOff."""
        if self._maybe is None:
            raise CacheOff
        return self._maybe


def cache_service(servicer: CacheServicer) -> Service:
    """Return the service, ready to be served."""

    def register(server: grpc.aio.Server) -> None:
        cache_service_pb2_grpc.add_CacheServiceServicer_to_server(servicer, server)

    return Service(contract.DESCRIPTOR.services_by_name["CacheService"].full_name, register)

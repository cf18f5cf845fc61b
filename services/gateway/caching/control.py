"""What operators need of a gateway's cache, beside what calls need: see `services/gateway/cache_service.py`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cache.advice import TraceLog
from cache.key import Keys
from cache.key.question import Question
from cache.ports import Key
from cache.purge_board import PurgeBoard
from cache.tenants import TenantTags
from cache.tiers import TierSettings
from scheduler.ports.clock import Clock
from services.gateway.caching.settings import CacheSettings
from services.gateway.caching.uses import NotedCache

_MOST_NAMES: Final = 10_000
_LONGEST_NAME: Final = 256


class NamedKeys(Keys):
    """Keys that remember whose namespace a tag is of: nobody could tell from the tag."""

    def __init__(self, secret: bytes, shared: Mapping[str, str]) -> None:
        """See Keys."""
        super().__init__(secret, shared)
        self._shared_names = dict(shared)
        self._names: dict[bytes, tuple[str, bool]] = {}

    def key(self, tenant: str, question: Question) -> Key:
        """Return the key of a tenant's question; see Keys."""
        key = super().key(tenant, question)
        if key.namespace not in self._names:
            self.remember(tenant)
        return key

    def remember(self, tenant: str) -> bytes:
        """Remember a tenant's namespace, unless there are too many, and return its tag."""
        tag = self.namespace(tenant)
        if len(self._names) < _MOST_NAMES:
            shared = self._shared_names.get(tenant)
            name = tenant if shared is None else shared
            self._names[tag] = (name[:_LONGEST_NAME], shared is not None)
        return tag

    def name(self, tag: bytes) -> tuple[str, bool]:
        """Return the name of a namespace and whether it is one that tenants share; the tag itself where no call of it
        has come by.
        """
        return self._names.get(tag, (tag.hex(), False))


@dataclass(frozen=True, slots=True)
class CacheControl:
    """The parts of a gateway's cache that its operators see and change. It owns none of them."""

    settings: CacheSettings
    layers: NotedCache
    keys: NamedKeys
    board: PurgeBoard
    traces: TraceLog
    who: bytes
    """Names this gateway among the traces."""
    clock: Clock
    tenants: Sequence[TenantTags]
    """Where it is kept who had a part of the cache."""

    def tier_settings(self, tier: str) -> TierSettings:
        """Return the settings of a tier that is there."""
        made: dict[str, Callable[[], TierSettings]] = {
            "memory": self.settings.memory,
            "redis": self.settings.redis,
            "disk": self.settings.disk,
        }
        return made[tier]()

"""What the cache keeps in Redis or Valkey, for all gateways: Lua scripts, one call for each namespace of a batch."""

from cache.adapters.redis.flights import RedisFlights, RedisRelay
from cache.adapters.redis.gathering import carrying
from cache.adapters.redis.invalidations import RedisInvalidations
from cache.adapters.redis.news import News
from cache.adapters.redis.purges import RedisPurges
from cache.adapters.redis.tenants import RedisTenants
from cache.adapters.redis.tier import RedisTier
from cache.adapters.redis.traces import RedisTraces

__all__ = [
    "News",
    "RedisFlights",
    "RedisInvalidations",
    "RedisPurges",
    "RedisRelay",
    "RedisTenants",
    "RedisTier",
    "RedisTraces",
    "carrying",
]

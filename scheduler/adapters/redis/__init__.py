"""The ports of the record store on Redis or Valkey: Lua scripts, one call for a whole batch of a partition."""

from scheduler.adapters.redis.admission import RedisAdmission
from scheduler.adapters.redis.connection import connect
from scheduler.adapters.redis.events import RedisEvents
from scheduler.adapters.redis.leases import RedisLeases
from scheduler.adapters.redis.membership import RedisMembership
from scheduler.adapters.redis.outcomes import RedisOutcomes
from scheduler.adapters.redis.queries import RedisQueries
from scheduler.adapters.redis.sweeps import RedisSweeps

__all__ = [
    "RedisAdmission",
    "RedisEvents",
    "RedisLeases",
    "RedisMembership",
    "RedisOutcomes",
    "RedisQueries",
    "RedisSweeps",
    "connect",
]

"""The ports of the record store on Redis or Valkey: Lua scripts, one call for a whole batch of a partition."""

from scheduler.adapters.redis.admission import RedisAdmission
from scheduler.adapters.redis.answers import RedisAnswers
from scheduler.adapters.redis.connection import connect
from scheduler.adapters.redis.dead_letters import RedisDeadLetters
from scheduler.adapters.redis.events import RedisEvents
from scheduler.adapters.redis.follow_ups import RedisFollowUps
from scheduler.adapters.redis.keys import RedisKeys
from scheduler.adapters.redis.leases import RedisLeases
from scheduler.adapters.redis.lines import RedisLines
from scheduler.adapters.redis.membership import RedisMembership
from scheduler.adapters.redis.outcomes import RedisOutcomes
from scheduler.adapters.redis.pauses import RedisPauses, RedisShelves
from scheduler.adapters.redis.policies import RedisPolicies
from scheduler.adapters.redis.queries import RedisQueries
from scheduler.adapters.redis.schedules import RedisSchedules
from scheduler.adapters.redis.store_time import RedisStoreTime
from scheduler.adapters.redis.sweeps import RedisSweeps
from scheduler.adapters.redis.walk import RedisWalk
from scheduler.adapters.redis.wanted_models import RedisWantedModels

__all__ = [
    "RedisAdmission",
    "RedisAnswers",
    "RedisDeadLetters",
    "RedisEvents",
    "RedisFollowUps",
    "RedisKeys",
    "RedisLeases",
    "RedisLines",
    "RedisMembership",
    "RedisOutcomes",
    "RedisPauses",
    "RedisPolicies",
    "RedisQueries",
    "RedisSchedules",
    "RedisShelves",
    "RedisStoreTime",
    "RedisSweeps",
    "RedisWalk",
    "RedisWantedModels",
    "connect",
]

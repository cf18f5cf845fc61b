"""Composes an agent from its settings and the real directory."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from inference.agent.agent import Agent
from inference.agent.catalogue import read_catalogue
from inference.agent.memory_kills import MemoryKills
from inference.agent.post_mortem import PostMortem
from inference.agent.process import PythonSpawn
from inference.agent.settings import AgentSettings
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.redis import RedisMembership, RedisSweeps, RedisWantedModels, connect
from services.connections import RedisSettings, RetentionSettings


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that an agent process is told, one class per section."""

    agent: AgentSettings
    redis: RedisSettings
    retention: RetentionSettings = field(default_factory=RetentionSettings)


@asynccontextmanager
async def build(settings: Settings, environ: Mapping[str, str]) -> AsyncIterator[Agent]:
    """Connect what an agent needs and let go of it afterwards; `environ` is what its runners get.

    Raises StartupRefused when a setting cannot be used.
    """
    catalogue = read_catalogue(settings.agent.models, settings.agent.repository)
    retention = settings.retention.limits()
    clock = SystemClock()
    client = connect(settings.redis.url, timeout_s=settings.redis.timeout_s)
    try:
        post_mortem = PostMortem(RedisSweeps(client, retention), clock, MemoryKills())
        yield Agent(
            settings.agent,
            catalogue,
            PythonSpawn(environ),
            RedisMembership(client),
            RedisWantedModels(client),
            post_mortem,
            clock,
        )
    finally:
        await client.aclose()

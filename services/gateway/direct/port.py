"""What doors use of the direct way, whether or not a result cache is in front of it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from forebay.runner.v1.runner_service_pb2 import Answer, ReadStatisticsResponse
from services.gateway.direct.admission import Room
from services.gateway.direct.wanted import DEFAULT_POOL, DirectCall, KnownModel


@dataclass(slots=True)
class CacheCounts:
    """How often a model was answered from the cache of this gateway, and what that took, in nanoseconds in all."""

    hits: int = 0
    """Calls for which nothing was computed."""
    hit_ns: int = 0
    """Looking for their answers."""
    hit_calls_ns: int = 0
    """The whole of them."""
    misses: int = 0
    """Answers that were computed because they were not there, or were to be made anew."""
    miss_ns: int = 0
    """Looking for them in vain, and keeping what was computed."""
    last_hit_ms: int = 0
    """Unix time of the latest hit in milliseconds; 0 before the first."""


class Calls(Protocol):
    """Answers calls; see `DirectCalls` for what each of these raises."""

    @property
    def closing(self) -> asyncio.Event:
        """Set when nothing more is taken."""
        ...

    @property
    def open(self) -> bool:
        """Whether calls are taken, and it is known who is there."""
        ...

    def model(self, name: str, version: int = 0, pool: str = DEFAULT_POOL) -> KnownModel:
        """Return what is known of a model, NAME or NAME@VERSION."""
        ...

    def models(self, pool: str = DEFAULT_POOL) -> Sequence[KnownModel]:
        """Return every version of every model that runners of a pool announce, by name and version."""
        ...

    def by_prefix(self, model: str) -> bool:
        """Whether the policy has runners of a model chosen by how prompts begin."""
        ...

    async def call(self, wanted: DirectCall) -> Answer:
        """Return the answer, which is no error and no chunk."""
        ...

    def stream(self, wanted: DirectCall) -> AsyncGenerator[Answer, None]:
        """Yield chunks as they come, and the whole outcome, which is no chunk, as the last one."""
        ...

    def raise_level(self, wanted: DirectCall, level: int) -> None:
        """Make a call that is under way more urgent, while it waits; a lower level than it has changes nothing."""
        ...

    def room(self, wanted: DirectCall) -> Room:
        """Let in a call for which nothing is given to a runner, until `Room.end`: one that waits for what another
        computes, or is told a long answer. Raises Overloaded, ShuttingDown.
        """
        ...

    def work_ms(self, known: KnownModel) -> float:
        """Return what a call of a model costs of a runner's time, as measured lately, in milliseconds; 1 until then."""
        ...

    async def statistics(self, known: KnownModel) -> Sequence[ReadStatisticsResponse]:
        """Return what each runner of a model has counted."""
        ...

    def cache_counts(self, known: KnownModel) -> CacheCounts:
        """Return how often a model was answered from this gateway's cache; nothing where there is none."""
        ...

"""What doors ask of the direct way that no cache has to do with: it is handed down as it is."""

import asyncio
from collections.abc import Sequence

from forebay.runner.v1.runner_service_pb2 import ReadStatisticsResponse
from services.gateway.direct import DEFAULT_POOL, DirectCall, KnownModel
from services.gateway.direct.admission import Room
from services.gateway.direct.port import Calls


class Beneath:
    """Hands it down; see `Calls`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    @property
    def closing(self) -> asyncio.Event:
        """Set when nothing more is taken."""
        return self._calls.closing

    @property
    def open(self) -> bool:
        """Whether calls are taken, and it is known who is there."""
        return self._calls.open

    def model(self, name: str, version: int = 0, pool: str = DEFAULT_POOL) -> KnownModel:
        """Return what is known of a model."""
        return self._calls.model(name, version, pool)

    def models(self, pool: str = DEFAULT_POOL) -> Sequence[KnownModel]:
        """Return every version of every model of a pool."""
        return self._calls.models(pool)

    def by_prefix(self, model: str) -> bool:
        """Whether runners of a model are chosen by how prompts begin."""
        return self._calls.by_prefix(model)

    def raise_level(self, wanted: DirectCall, level: int) -> None:
        """Make a call more urgent that went the direct way alone."""
        self._calls.raise_level(wanted, level)

    def room(self, wanted: DirectCall) -> Room:
        """Let in a call for which nothing is given to a runner."""
        return self._calls.room(wanted)

    def work_ms(self, known: KnownModel) -> float:
        """Return what a call of a model costs of a runner's time, in milliseconds."""
        return self._calls.work_ms(known)

    async def statistics(self, known: KnownModel) -> Sequence[ReadStatisticsResponse]:
        """Return what each runner of a model has counted."""
        return await self._calls.statistics(known)

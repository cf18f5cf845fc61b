"""Which lane a batch of a tenant's tasks takes: by what waits, as it was counted last, and by what was sent since.

Nobody tells a gateway how long a lane is, but it is known what waits of each tenant, and which lanes a tenant owns. One
with little waiting whose own lanes are both full of tasks of others takes the shortest lane of all: it must not wait
behind a flood because of a draw.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final

from scheduler.errors import RecordsUnavailable
from scheduler.lanes import Lane, shorter_lane, tenant_lanes
from scheduler.ports.clock import Clock
from scheduler.ports.lines import Line, LineStore
from scheduler.states import Level

_HALF_LIFE_S: Final = 1.0
LITTLE: Final = 256
"""Tasks that fit into what a scheduler's window takes of a lane: who has no more need not wait behind a flood."""
COUNT_S: Final = 1.0
"""Pause between two counts."""
COUNTING: Final = 0.05
"""Part of the time that counting may take: with very many tenants and models the pause becomes longer."""

_LOG: Final = logging.getLogger(__name__)

Whose = tuple[str, Level, str]


class LaneChooser:
    """Chooses by what waits. Holds two numbers for each lane that was ever used, and what was counted last."""

    def __init__(self, lanes: int, clock: Clock) -> None:
        self._lanes = lanes
        self._clock = clock
        self._sent: dict[Lane, tuple[float, float]] = {}
        self._depths: dict[Lane, float] = {}
        self._own: dict[Whose, float] = {}

    def heard(self, lines: Iterable[Line]) -> None:
        """Take in what waits, counted a moment ago."""
        self._depths, self._own = {}, {}
        for line in lines:
            if not line.queued:
                continue
            whose = line.pool, line.level, line.tenant
            self._own[whose] = self._own.get(whose, 0) + line.queued
            own = tenant_lanes(line.tenant, self._lanes)
            for index in own:
                lane = Lane(line.pool, line.level, index)
                self._depths[lane] = self._depths.get(lane, 0) + line.queued / len(own)

    def choose(self, pool: str, level: Level, tenant: str, tasks: int) -> Lane:
        """Return the lane for that many tasks, and count them there."""
        now = self._clock.monotonic()
        whose = pool, level, tenant
        own = [Lane(pool, level, index) for index in tenant_lanes(tenant, self._lanes)]
        # Whole numbers: what is long ago counts as nothing, and the first lane wins again.
        depths = {lane: int(self._depth(lane, now)) for lane in own}
        lane = shorter_lane(pool, level, tenant, self._lanes, depths)
        # What was sent since counts as waiting, or a flood would have all lanes before the next count.
        mine = self._own[whose] = self._own.get(whose, 0) + tasks
        if depths[lane] >= LITTLE >= mine:
            every = [Lane(pool, level, index) for index in range(self._lanes)]
            lane = min(every, key=lambda one: self._depth(one, now))
        self._sent[lane] = (self._weight(lane, now) + tasks, now)
        return lane

    def _depth(self, lane: Lane, now: float) -> float:
        return self._depths.get(lane, 0.0) + self._weight(lane, now)

    def _weight(self, lane: Lane, now: float) -> float:
        weight, at = self._sent.get(lane, (0.0, now))
        return weight * float(0.5 ** ((now - at) / _HALF_LIFE_S))


@asynccontextmanager
async def lanes_counted(chooser: LaneChooser, lines: LineStore, clock: Clock) -> AsyncIterator[LaneChooser]:
    """Count what waits while the block lasts. A store that does not answer leaves the last count standing."""
    async with asyncio.TaskGroup() as group:
        counting = group.create_task(_count(chooser, lines, clock))
        try:
            yield chooser
        finally:
            counting.cancel()


async def _count(chooser: LaneChooser, lines: LineStore, clock: Clock) -> None:
    away = False
    while True:
        began_s = clock.monotonic()
        try:
            chooser.heard(await lines.lines())
        except RecordsUnavailable as error:
            if not away:
                _LOG.warning("lanes are chosen by what waited before", extra={"reason": error.reason})
            away = True
        else:
            away = False
        await clock.sleep(max(COUNT_S, (clock.monotonic() - began_s) / COUNTING))

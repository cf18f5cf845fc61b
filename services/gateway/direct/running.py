"""Puts the direct way together, and runs it while a block lasts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random
from typing import Final

from scheduler.policies.policy import Policy
from scheduler.ports.clock import Clock
from scheduler.ports.membership import Membership
from services.gateway.direct.admission import Admission
from services.gateway.direct.calls import DirectCalls
from services.gateway.direct.choosing import Chooser
from services.gateway.direct.connection import Connection
from services.gateway.direct.table import CallObserver
from services.gateway.quotas import Quotas

_FIRST_LOOK_S: Final = 2.0
"""Longest wait at the start until it is known who is there."""


@dataclass(frozen=True, slots=True)
class DirectBounds:
    """How much is taken in, and for how long."""

    max_calls: int = 4096
    max_bytes: int = 256 << 20
    timeout_s: float = 60.0
    """Of calls whose client says none."""


@dataclass(frozen=True, slots=True)
class Direct:
    """The direct way, running."""

    calls: DirectCalls
    chooser: Chooser

    def follow(self, policy: Policy) -> None:
        """Choose runners by another policy from now on; limits are followed by `Quotas`."""
        self.chooser.follow(policy)


@asynccontextmanager
async def direct_way(
    membership: Membership,
    clock: Clock,
    quotas: Quotas,
    observer: CallObserver,
    policy: Policy,
    bounds: DirectBounds,
    *,
    chance: Random,
    zone: str = "",
) -> AsyncIterator[Direct]:
    """Follow who is there and take calls while the block lasts; leaving it ends those that are under way.

    `chance` is for the routing policy that draws lots.
    """
    async with asyncio.TaskGroup() as group:
        tasks: set[asyncio.Task[None]] = set()

        def connect(connection: Connection) -> asyncio.Task[None]:
            task = group.create_task(connection.run())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            return task

        chooser = Chooser(chance, zone, policy)
        admission = Admission(quotas, bounds.max_calls, bounds.max_bytes)
        calls = DirectCalls(membership, clock, connect, chooser, admission, observer, bounds.timeout_s)
        running = group.create_task(calls.run())
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_FIRST_LOOK_S):
                    await calls.fleet.known.wait()
            yield Direct(calls, chooser)
        finally:
            calls.close()
            running.cancel()
            for task in list(tasks):
                task.cancel()

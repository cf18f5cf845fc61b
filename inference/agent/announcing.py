"""Shows the models of a host in the directory, where gateways look."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from forebay.models.v1.repository_view_pb2 import RepositoryView
from inference.presence import ANNOUNCE_EVERY_S, TTL_MS
from scheduler.errors import RecordsUnavailable
from scheduler.ports.clock import Clock
from scheduler.ports.membership import REPOSITORY_ROLE, Membership

_log = logging.getLogger(__name__)


class ViewAnnouncer:
    """Of one agent. `run` runs it once."""

    def __init__(
        self, agent: str, view: Callable[[], RepositoryView | None], membership: Membership, clock: Clock
    ) -> None:
        """`agent` is its id; `view` returns what is shown, None for nothing yet."""
        self.changed: Final = asyncio.Event()
        """To be set when there is something else to show."""
        self._agent = agent
        self._view = view
        self._membership = membership
        self._clock = clock

    async def run(self) -> None:
        """Announce at every change and twice a second, for ever. Cancelling it withdraws what was announced."""
        answered = True
        try:
            while True:
                self.changed.clear()
                if (view := self._view()) is not None:
                    card = view.SerializeToString()
                    try:
                        await self._membership.announce(REPOSITORY_ROLE, self._agent, card, TTL_MS)
                    except RecordsUnavailable as error:
                        if answered:
                            _log.warning("models not announced", extra={"cause": str(error)})
                        answered = False
                    else:
                        answered = True
                await self._change_or_time()
        finally:
            with suppress(RecordsUnavailable):
                await self._membership.withdraw(REPOSITORY_ROLE, self._agent)

    async def _change_or_time(self) -> None:
        async with asyncio.TaskGroup() as group:
            waits = [
                group.create_task(self.changed.wait()),
                group.create_task(self._clock.sleep(ANNOUNCE_EVERY_S)),
            ]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()

"""Sends tasks that are deep in their lane and near their deadline to the express lane of their level.

The window orders what it holds by deadline; a task behind it in the log is not seen. So once a second the record store
is asked for QUEUED tasks whose slack (the time to their deadline less their expected execution) runs out, and these are
published anew, each once.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Final

from scheduler.errors import ServerUnavailable
from scheduler.policies.policy import DEFAULT_POLICY, Policy
from scheduler.ports.clock import Clock
from scheduler.ports.sweeps import SweepStore
from scheduler.service.duties import Duties
from scheduler.service.outgoing import Outgoing

log = logging.getLogger(__name__)

INTERVAL_S: Final = 1.0
LIMIT: Final = 10
"""Most tasks of one model and partition that one look takes on, so some hundreds in all; the next one follows a second
later."""


class Promotion:
    """Looks after the partitions that this scheduler holds the duty for."""

    def __init__(
        self,
        store: SweepStore,
        duties: Duties,
        outgoing: Outgoing,
        needs: Callable[[], Mapping[str, int]],
        clock: Clock,
    ) -> None:
        """`needs` returns how long the execution of a task is expected to take, in milliseconds, by model."""
        self._store = store
        self._duties = duties
        self._outgoing = outgoing
        self._needs = needs
        self._clock = clock
        self._slack_ms = int(DEFAULT_POLICY.express_slack_s * 1000)

    def follow(self, policy: Policy) -> None:
        """Go by another policy from now on."""
        self._slack_ms = int(policy.express_slack_s * 1000)

    async def run(self) -> None:
        """Promote for ever; a server that does not answer is met again a second later."""
        while True:
            await self._clock.sleep(INTERVAL_S)
            # While the log is away there is no use in having more for it.
            if self._slack_ms and self._duties.partitions and self._outgoing.has_room:
                try:
                    await self.promote()
                except ServerUnavailable as error:
                    log.warning("promotion interrupted: %s", error)

    async def promote(self) -> int:
        """Promote what is near its deadline now; returns how many. Raises RecordsUnavailable."""
        tasks, tickets = await self._store.promote(
            self._duties.partitions, self._slack_ms, self._needs(), LIMIT
        )
        if tasks:
            # What does not fit is published by its ticket.
            self._outgoing.offer(tasks, tickets)
            log.info("tasks promoted to the express lane", extra={"tasks": len(tasks)})
        return len(tasks)

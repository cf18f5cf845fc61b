"""Puts everything that is QUEUED on the log again, after a message of ours could not be read: nobody knows whose tasks
were in it. The others get a second message under the same number, which is found stale once their first has served.
"""

import logging

from scheduler.errors import ServerUnavailable
from scheduler.ports.clock import Clock
from scheduler.ports.walk import WalkStore, open_pages
from scheduler.service.republisher import Republisher
from scheduler.service.unreadable import Losses
from scheduler.states import TaskState

log = logging.getLogger(__name__)

PAGE = 256
"""Records that are looked at in one step."""
REST_S = 10.0
"""Shortest time between two repairs, in seconds: messages that are damaged together are made up for together."""


class Repair:
    """Waits for a message to be lost."""

    def __init__(self, walk: WalkStore, republisher: Republisher, losses: Losses, clock: Clock) -> None:
        """`losses` are messages of ours; they are acknowledged after the repair that makes up for them."""
        self._walk = walk
        self._republisher = republisher
        self._losses = losses
        self._clock = clock

    async def run(self) -> None:
        """Repair for ever, once for all that was lost meanwhile. After a cancellation, or the death of this process,
        the log delivers the lost messages again, and who meets them repairs.
        """
        while True:
            lost = await self._losses.next()
            try:
                count = await self._republish()
            except ServerUnavailable as error:
                log.warning("repair interrupted, will begin again: %s", error)
                self._losses.add(lost)
            else:
                self._losses.made_up_for(lost)
                log.warning("all queued tasks were put on the log again", extra={"tasks": count})
            await self._clock.sleep(REST_S)

    async def _republish(self) -> int:
        count = 0
        async for tasks in open_pages(self._walk, PAGE):
            queued = [task.publication for task in tasks if task.state is TaskState.QUEUED]
            await self._republisher.publish(queued, ())
            count += len(queued)
        return count

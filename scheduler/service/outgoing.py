"""What must go on the log without anybody waiting for it: the sweeper's, the follow-ups' and the schedules' tasks.

A log that is away must not keep deadlines, leases and the ends of families waiting. The record store remembers each
of these publications by its ticket, so what does not fit here, or does not arrive, is found again by the sweeper.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

from scheduler.errors import ServerUnavailable
from scheduler.ports.records import PublishTicket, Republication
from scheduler.service.republisher import Republisher

log = logging.getLogger(__name__)

MOST_TASKS = 4096
"""Tasks that may wait here."""
MOST_BYTES = 64 * 1024 * 1024
"""Bytes of envelopes that may wait here; a larger batch comes in all the same when nothing else waits."""
BATCH = 1024
"""Tasks from which on a batch is closed."""


class Outgoing:
    """A bounded line in front of a republisher."""

    def __init__(self, republisher: Republisher) -> None:
        self._republisher = republisher
        self._line: deque[tuple[Sequence[Republication], Sequence[PublishTicket]]] = deque()
        self._known: set[PublishTicket] = set()
        self._tasks = 0
        self._bytes = 0
        self._work = asyncio.Event()

    @property
    def has_room(self) -> bool:
        """Whether it makes sense to look for more to publish."""
        return self._tasks < MOST_TASKS and self._bytes < MOST_BYTES

    def offer(self, tasks: Sequence[Republication], tickets: Sequence[PublishTicket]) -> bool:
        """Let tasks go out soon, then mark their tickets. Without room they are left to their tickets; what is in the
        line already is not taken twice. Returns whether they were taken.
        """
        if not (tasks or tickets) or not self.has_room or (tickets and self._known.issuperset(tickets)):
            return False
        self._line.append((tasks, tickets))
        self._known.update(tickets)
        self._tasks += len(tasks)
        self._bytes += _size(tasks)
        self._work.set()
        return True

    async def run(self) -> None:
        """Publish for ever, what has gathered together. Cancelling it leaves the rest to the tickets."""
        while True:
            while not self._line:
                self._work.clear()
                await self._work.wait()
            tasks: list[Republication] = []
            tickets: list[PublishTicket] = []
            while self._line and len(tasks) < BATCH:
                some, theirs = self._line.popleft()
                tasks += some
                tickets += theirs
            try:
                await self._republisher.publish(tasks, tickets)
            except ServerUnavailable as error:
                log.warning("not put on the log, will be tried again: %s", error, extra={"tasks": len(tasks)})
            finally:
                self._known.difference_update(tickets)
                self._tasks -= len(tasks)
                self._bytes -= _size(tasks)


def _size(tasks: Sequence[Republication]) -> int:
    return sum(len(task.envelope) for task in tasks)

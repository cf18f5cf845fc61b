"""Puts tasks on the log for which the record store has a publication: lost runners, hand-backs, timers, children of
parents that ended, publications that never arrived. Tasks that still wait for something are parked.
"""

from collections.abc import Sequence

from scheduler.ports.log import LogPublisher
from scheduler.ports.records import AdmissionStore, Hold, LeaseStore, PublishTicket, Republication
from services.bundling import Bundler


class Republisher:
    """Publishes what the record store says is QUEUED but not on the log, and marks it done."""

    def __init__(
        self, publisher: LogPublisher, admissions: AdmissionStore, leases: LeaseStore, lanes: int
    ) -> None:
        self._publisher = publisher
        self._admissions = admissions
        self._leases = leases
        self._lanes = lanes

    async def give_back(self, holds: Sequence[Hold]) -> None:
        """Return attempts that were never executed to their queues.

        Raises RecordsUnavailable or LogUnavailable; the sweeper completes what was left half done.
        """
        republications, tickets = await self._leases.give_back(holds)
        await self.publish(republications, tickets)

    async def publish(
        self, republications: Sequence[Republication], tickets: Sequence[PublishTicket]
    ) -> None:
        """Publish tasks in as few bundles as fit, park those with number 0, then mark the tickets.

        Raises LogUnavailable or RecordsUnavailable; the tickets stay then, and the sweeper tries again.
        """
        bundler = Bundler(self._publisher, self._lanes)
        await bundler.put(republications)
        await bundler.flush()
        if tickets:
            await self._admissions.mark_published(tickets)

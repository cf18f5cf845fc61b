"""Puts tasks back on the log under a new publication: lost runners, hand-backs, publications that never arrived."""

from collections.abc import Sequence

from forebay.tasks.v1.envelope_pb2 import Bundle, Envelope
from observability.propagation import to_properties
from scheduler.bundles import BUNDLE_PROPERTIES, MAX_BUNDLE_BYTES, MAX_BUNDLE_TASKS
from scheduler.lanes import Lane, shorter_lane
from scheduler.ports.log import LogPublisher
from scheduler.ports.records import AdmissionStore, Hold, LeaseStore, PublishTicket, Republication
from scheduler.states import Level


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
        """Publish tasks in as few bundles as fit, then mark their tickets.

        Raises LogUnavailable; the tickets stay then, and the sweeper tries again.
        """
        bundles: dict[Lane, list[Bundle]] = {}
        sizes: dict[Lane, int] = {}
        for item in republications:
            envelope = Envelope.FromString(item.envelope)
            lane = shorter_lane(envelope.pool, Level(envelope.priority), envelope.tenant, self._lanes, sizes)
            open_bundles = bundles.setdefault(lane, [])
            size = sizes.get(lane, 0) + len(item.envelope)
            if (
                not open_bundles
                or size > MAX_BUNDLE_BYTES
                or len(open_bundles[-1].publications) == MAX_BUNDLE_TASKS
            ):
                open_bundles.append(Bundle())
                size = len(item.envelope)
            sizes[lane] = size
            open_bundles[-1].publications.add(envelope=envelope, publication=item.publication)
        for lane, made in bundles.items():
            for bundle in made:
                await self._publisher.publish(lane, bundle.SerializeToString(), _properties(bundle))
        if tickets:
            await self._admissions.mark_published(tickets)


def _properties(bundle: Bundle) -> dict[str, str]:
    traced = (publication.envelope.traceparent for publication in bundle.publications)
    return {**BUNDLE_PROPERTIES, **to_properties(next(filter(None, traced), ""))}

"""Puts tasks on the log for which the record store has a publication: lost runners, hand-backs, timers, children of
parents that ended, publications that never arrived. Tasks that still wait for something are parked.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence

from google.protobuf.message import DecodeError

from forebay.tasks.v1.envelope_pb2 import Bundle, Envelope, Publication
from observability.propagation import to_properties
from scheduler.bundles import MAX_BUNDLE_BYTES, MAX_BUNDLE_TASKS, bundle_properties
from scheduler.lanes import Lane, shorter_lane
from scheduler.ports.log import LogPublisher
from scheduler.ports.records import AdmissionStore, Hold, LeaseStore, PublishTicket, Republication
from scheduler.states import Level

log = logging.getLogger(__name__)


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
        lanes: dict[Lane, list[tuple[Publication, int]]] = {}
        parked: dict[str, list[tuple[Publication, int]]] = {}
        waiting: dict[Lane, int] = {}
        for item in republications:
            publication, size = _publication(item), len(item.envelope)
            if publication is None:
                continue
            envelope = publication.envelope
            if not item.publication:
                parked.setdefault(envelope.pool, []).append((publication, size))
                continue
            level = Level(envelope.priority)
            lane = shorter_lane(envelope.pool, level, envelope.tenant, self._lanes, waiting)
            waiting[lane] = waiting.get(lane, 0) + size
            lanes.setdefault(lane, []).append((publication, size))
        for lane, members in lanes.items():
            for bundle in _bundles(members):
                payload = bundle.SerializeToString()
                properties = {**bundle_properties(lane, payload), **_trace(bundle)}
                await self._publisher.publish(lane, payload, properties)
        for pool, members in parked.items():
            for bundle in _bundles(members):
                await self._publisher.park(pool, bundle.SerializeToString())
        if tickets:
            await self._admissions.mark_published(tickets)


def _publication(item: Republication) -> Publication | None:
    try:
        envelope = Envelope.FromString(item.envelope)
        Level(envelope.priority)
    except (DecodeError, ValueError):
        # A record that something else has written into: no lane can be found for it.
        log.error("a record has an envelope that cannot be read", extra={"task_id": item.id})
        return None
    return Publication(envelope=envelope, publication=item.publication, isolation=item.isolation)


def _bundles(members: Iterable[tuple[Publication, int]]) -> Iterator[Bundle]:
    bundle, total = Bundle(), 0
    for publication, size in members:
        full = total + size > MAX_BUNDLE_BYTES or len(bundle.publications) == MAX_BUNDLE_TASKS
        if bundle.publications and full:
            yield bundle
            bundle, total = Bundle(), 0
        bundle.publications.append(publication)
        total += size
    yield bundle


def _trace(bundle: Bundle) -> dict[str, str]:
    traced = (publication.envelope.traceparent for publication in bundle.publications)
    return to_properties(next(filter(None, traced), ""))

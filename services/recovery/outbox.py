"""Puts tasks on the log in as few bundles as fit: on the lanes those that wait there, on the parked topic the others.
Called by `replay.py` and `republish.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from forebay.tasks.v1.envelope_pb2 import Bundle, Envelope
from observability.propagation import to_properties
from scheduler.bundles import MAX_BUNDLE_BYTES, MAX_BUNDLE_TASKS, bundle_properties
from scheduler.lanes import Lane, shorter_lane
from scheduler.ports.log import LogPublisher
from scheduler.ports.records import Republication
from scheduler.states import Level


@dataclass(slots=True)
class _Open:
    """A bundle that takes more."""

    bundle: Bundle = field(default_factory=Bundle)
    size_bytes: int = 0


class Outbox:
    """Collects tasks and publishes full bundles; holds at most one open bundle for each lane and pool."""

    def __init__(self, publisher: LogPublisher, lanes: int) -> None:
        """Take the log, which stays the caller's, and how many lanes a queue has."""
        self._publisher = publisher
        self._lanes = lanes
        self._open: dict[Lane | str, _Open] = {}
        self._sent: dict[Lane, int] = {}

    async def queue(self, tasks: Sequence[Republication]) -> None:
        """Put tasks on lanes of their tenants. Raises LogUnavailable."""
        for task in tasks:
            envelope = Envelope.FromString(task.envelope)
            level = Level(envelope.priority)
            lane = shorter_lane(envelope.pool, level, envelope.tenant, self._lanes, self._sent)
            self._sent[lane] = self._sent.get(lane, 0) + 1
            await self._add(lane, envelope, task)

    async def park(self, tasks: Sequence[Republication]) -> None:
        """Keep tasks that wait for something on their pools' parked topics. Raises LogUnavailable."""
        for task in tasks:
            envelope = Envelope.FromString(task.envelope)
            await self._add(envelope.pool, envelope, task)

    async def flush(self) -> None:
        """Publish everything that is still here. Raises LogUnavailable."""
        for place in list(self._open):
            await self._send(place)

    async def _add(self, place: Lane | str, envelope: Envelope, task: Republication) -> None:
        size = len(task.envelope)
        waiting = self._open.get(place)
        if waiting and (
            len(waiting.bundle.publications) == MAX_BUNDLE_TASKS
            or waiting.size_bytes + size > MAX_BUNDLE_BYTES
        ):
            await self._send(place)
            waiting = None
        if waiting is None:
            waiting = self._open[place] = _Open()
        waiting.bundle.publications.add(
            envelope=envelope, publication=task.publication, isolation=task.isolation
        )
        waiting.size_bytes += size

    async def _send(self, place: Lane | str) -> None:
        bundle = self._open[place].bundle
        if isinstance(place, Lane):
            traced = (each.envelope.traceparent for each in bundle.publications)
            payload = bundle.SerializeToString()
            traceparent = next(filter(None, traced), "")
            properties = {**bundle_properties(place, payload), **to_properties(traceparent)}
            await self._publisher.publish(place, payload, properties)
        else:
            await self._publisher.park(place, bundle.SerializeToString())
        del self._open[place]

"""Tasks of the record store as bundles on the log: on the lanes those that wait there, on the parked topic the others.
For whoever puts tasks on the log again: the scheduler while it works, recovery after a loss.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import DecodeError

from forebay.tasks.v1.envelope_pb2 import Bundle, Envelope
from observability.propagation import to_properties
from scheduler.bundles import MAX_BUNDLE_BYTES, MAX_BUNDLE_TASKS, bundle_properties
from scheduler.lanes import Lane, express_lane, shorter_lane
from scheduler.ports.log import LogPublisher
from scheduler.ports.records import Republication
from scheduler.states import Level

_LOG: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class _Open:
    """A bundle that takes more."""

    bundle: Bundle = field(default_factory=Bundle)
    size_bytes: int = 0

    def takes(self, size_bytes: int) -> bool:
        """Whether a task fits; the first one always does."""
        tasks = len(self.bundle.publications)
        return not tasks or (tasks < MAX_BUNDLE_TASKS and self.size_bytes + size_bytes <= MAX_BUNDLE_BYTES)


class Bundler:
    """Collects tasks in as few bundles as fit and publishes full ones; holds one open bundle for each lane and pool."""

    def __init__(self, publisher: LogPublisher, lanes: int) -> None:
        """Take the log, which stays the caller's, and how many lanes a queue has."""
        self._publisher = publisher
        self._lanes = lanes
        self._open: dict[Lane | str, _Open] = {}
        """By lane, or by the pool whose parked topic it is for."""
        self._given: dict[Lane, int] = {}
        """Bytes that each lane was given, so that a tenant's lanes share the load."""

    async def put(self, tasks: Sequence[Republication], *, parked: bool = False) -> None:
        """Take tasks in, in order; those with number 0, or all with `parked`, for their pool's parked topic.

        A task whose envelope cannot be read is left out: no lane can be found for it. Raises LogUnavailable, with which
        this is of no more use: what it held must be found again in the records.
        """
        for task in tasks:
            try:
                envelope = Envelope.FromString(task.envelope)
                level = Level(envelope.priority)
            except (DecodeError, ValueError):
                # A record that something else has written into.
                _LOG.error("a record has an envelope that cannot be read", extra={"task_id": task.id})
                continue
            size = len(task.envelope)
            place: Lane | str = envelope.pool
            if task.publication and not parked:
                if task.express:
                    place = lane = express_lane(envelope.pool, level, self._lanes)
                else:
                    place = lane = shorter_lane(
                        envelope.pool, level, envelope.tenant, self._lanes, self._given
                    )
                self._given[lane] = self._given.get(lane, 0) + size
            waiting = self._open.setdefault(place, _Open())
            if not waiting.takes(size):
                await self._send(place)
                waiting = self._open[place] = _Open()
            waiting.bundle.publications.add(
                envelope=envelope, publication=task.publication, isolation=task.isolation
            )
            waiting.size_bytes += size

    async def flush(self) -> None:
        """Publish everything that is still here. Raises as `put` does."""
        for place in list(self._open):
            await self._send(place)

    async def _send(self, place: Lane | str) -> None:
        bundle = self._open.pop(place).bundle
        payload = bundle.SerializeToString()
        if isinstance(place, Lane):
            traced = (each.envelope.traceparent for each in bundle.publications)
            properties = {
                **bundle_properties(place, payload),
                **to_properties(next(filter(None, traced), "")),
            }
            await self._publisher.publish(place, payload, properties)
        else:
            await self._publisher.park(place, payload)

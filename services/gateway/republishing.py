"""Puts tasks on the log again that the gateway found or made in need of it: after updates, releases and repetitions."""

from collections.abc import Callable, Sequence

from forebay.tasks.v1 import envelope_pb2
from scheduler.errors import LogUnavailable
from scheduler.ports.records import PublishTicket, Republication
from scheduler.states import Level
from services.gateway import convert
from services.gateway.lanes import LaneChooser
from services.gateway.publisher import BundlePublisher, Destination, Parcel, Parking


class Republish:
    """Sends tasks to the lanes of their levels, and those with publication 0 to where tasks are parked."""

    def __init__(
        self,
        publisher: BundlePublisher,
        lanes: LaneChooser,
        arrived: Callable[[Sequence[PublishTicket]], None],
    ) -> None:
        """`arrived` takes the tickets of publications that the log has acknowledged."""
        self._publisher = publisher
        self._lanes = lanes
        self._arrived = arrived

    async def __call__(
        self, republications: Sequence[Republication], tickets: Sequence[PublishTicket] = ()
    ) -> dict[str, LogUnavailable]:
        """Return, when the log has answered, the ids of those that it did not acknowledge, with the reason.

        The tickets cover these tasks; unless all are acknowledged, they are left to the sweeper. Cancelling it does not
        stop what was handed over.
        """
        groups: dict[tuple[str, int, str, bool], list[Republication]] = {}
        for item in republications:
            envelope = envelope_pb2.Envelope.FromString(item.envelope)
            group = envelope.pool, envelope.priority, envelope.tenant, not item.publication
            groups.setdefault(group, []).append(item)
        sent: list[tuple[list[Republication], list[Parcel]]] = []
        for (pool, level, tenant, parked), items in groups.items():
            to: Destination = Parking(pool)
            if not parked:
                to = self._lanes.choose(pool, Level(level), tenant, len(items))
            frames = [convert.frame(item.envelope, item.publication, item.isolation) for item in items]
            sent.append((items, self._publisher.hand_over(to, frames, "")))
        failed: dict[str, LogUnavailable] = {}
        for items, parcels in sent:
            start = 0
            for parcel in parcels:
                end = start + len(parcel.frames)
                error = await parcel.outcome
                if error is not None:
                    failed.update((item.id, error) for item in items[start:end])
                start = end
        if not failed:
            self._arrived(tickets)
        return failed

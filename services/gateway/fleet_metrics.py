"""What /metrics shows of the whole fleet, and where Prometheus finds the pages of the other processes."""

import asyncio
import json
from typing import Final, Protocol

from forebay.queues.v1 import queue_service_pb2
from scheduler.errors import RecordsUnavailable
from scheduler.ports.lines import LineStore
from scheduler.ports.membership import METRICS_ROLE, QUEUES_ROLE, VIEW_ROLE, Membership
from scheduler.states import Level
from services.gateway import queue_states
from services.gateway.announced import runners
from services.gateway.fleet_view import FleetView

_LIMIT_S: Final = 2.0


class QueueGauges(Protocol):
    """Shows queues."""

    def queue(
        self,
        pool: str,
        level: str,
        *,
        depth: int,
        running: int,
        oldest_age_s: float,
        work_s: float,
        share: float,
        share_got: float,
    ) -> None:
        """Show one queue as it is now."""
        ...

    def forget_queues(self) -> None:
        """Show no queue."""
        ...


class FleetMetrics:
    """Reads the fleet's state when a page is asked for; between two pages it costs nothing."""

    def __init__(self, lines: LineStore, membership: Membership, gauges: QueueGauges) -> None:
        self._lines = lines
        self._membership = membership
        self._gauges = gauges

    async def refresh(self) -> None:
        """Bring the gauges of queues up to date; without an answer of the store within two seconds there are none,
        since old figures would mislead, and the page shows the rest.
        """
        try:
            queues = await self._read()
        except RecordsUnavailable:
            self._gauges.forget_queues()
            return
        for queue in queues:
            self._show(queue)

    async def targets(self) -> str:
        """Return the pages of schedulers and runners as Prometheus' `http_sd_configs` reads them (JSON).

        https://prometheus.io/docs/prometheus/latest/http_sd/. Raises RecordsUnavailable.
        """
        groups = [
            {
                "targets": [card.decode("ascii", "replace")],
                "labels": {"service": "scheduler", "member": member},
            }
            for member, card in await self._membership.members(METRICS_ROLE)
        ]
        for status in await runners(self._membership):
            runner = status.runner
            if runner.metrics_address:
                labels = {"service": "runner", "member": runner.id, "model": runner.model}
                groups.append({"targets": [runner.metrics_address], "labels": labels})
        return json.dumps(groups)

    async def _read(self) -> list[queue_service_pb2.Queue]:
        try:
            async with asyncio.timeout(_LIMIT_S):
                lines, cards, views = await asyncio.gather(
                    self._lines.lines(),
                    self._membership.members(QUEUES_ROLE),
                    self._membership.members(VIEW_ROLE),
                )
        except TimeoutError:
            raise RecordsUnavailable("the record store does not answer") from None
        fleet = FleetView.of(card for _, card in views)
        return list(queue_states.merged(lines, (card for _, card in cards), fleet).values())

    def _show(self, queue: queue_service_pb2.Queue) -> None:
        self._gauges.queue(
            queue.pool,
            Level(queue.priority).label,
            depth=queue.depth,
            running=queue.running,
            oldest_age_s=queue.oldest_age.ToMilliseconds() / 1000,
            work_s=queue.queued_work.ToMilliseconds() / 1000,
            share=queue.share,
            share_got=queue.share_got,
        )

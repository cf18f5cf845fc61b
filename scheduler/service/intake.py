"""From the log into the window. A request comes here from the lanes that services/gateway/publisher.py fills and goes
on in scheduler/service/dispatcher.py.
"""

import asyncio
from collections.abc import Iterable

from google.protobuf.message import DecodeError

from forebay.tasks.v1.envelope_pb2 import Bundle, Publication
from scheduler.bundles import Checked, check_bundle
from scheduler.ids import is_task_id
from scheduler.lanes import Lane
from scheduler.ports.clock import Clock
from scheduler.ports.log import Delivery, LogConsumer
from scheduler.service.entry import PoolWindow, Waiting
from scheduler.service.learning import Learning
from scheduler.service.rates import Rates
from scheduler.service.settlement import Settlement
from scheduler.service.unreadable import Graveyard
from scheduler.window import WaitingTask


class Intake:
    """Keeps each lane's share of the window full, one bundle at a time."""

    def __init__(
        self,
        consumer: LogConsumer,
        graveyard: Graveyard,
        settlement: Settlement,
        window: PoolWindow,
        arrived: asyncio.Event,
        clock: Clock,
        learning: Learning,
        rates: Rates,
        lanes: int,
    ) -> None:
        """`lanes` is how many lanes of a queue tenants share: the one behind them is the express lane."""
        self._consumer = consumer
        self._graveyard = graveyard
        self._settlement = settlement
        self._window = window
        self._arrived = arrived
        self._clock = clock
        self._learning = learning
        self._rates = rates
        self._lanes = lanes
        self._room: dict[Lane, asyncio.Event] = {}

    async def drain(self, lane: Lane) -> None:
        """Move one lane's bundles into the window while it has room, for ever."""
        room = self._room.setdefault(lane, asyncio.Event())
        while True:
            while not self._window.has_room(lane):
                room.clear()
                await room.wait()
            delivery = await self._consumer.receive(lane)
            await self._open(delivery)

    def made_room(self, lanes: set[Lane]) -> None:
        """Note that tasks of these lanes left the window."""
        for lane in lanes:
            room = self._room.get(lane)
            if room is not None:
                room.set()

    async def _open(self, delivery: Delivery) -> None:
        lane = delivery.lane
        checked = check_bundle(lane, delivery.payload, delivery.properties)
        if checked is Checked.DAMAGED:
            await self._graveyard.bury(
                delivery, "the message does not have the checksum that it was written with"
            )
            return
        try:
            # As a list: each walk through a repeated field makes its objects anew.
            publications = list(Bundle.FromString(delivery.payload).publications)
        except DecodeError:
            await self._graveyard.bury(delivery, "the bytes are not a forebay.tasks.v1.Bundle")
            return
        # What has its checksum was put together by a publisher of ours, for this queue: it is not doubted.
        fault = "" if checked is Checked.WHOLE else _fault(publications, lane)
        if not publications:
            fault = "the bundle is empty"
        if fault:
            await self._graveyard.bury(delivery, fault)
            return
        now_ns = self._clock.now_ms() * 1_000_000
        bundle = self._settlement.opened(delivery, len(publications))
        tasks: list[Waiting] = []
        urgent = lane.index == self._lanes
        envelopes = [publication.envelope for publication in publications]
        foretold = self._learning.expect_all(lane.pool, envelopes)
        for publication, envelope, (traits, expected) in zip(publications, envelopes, foretold, strict=True):
            created_ms, not_before_ms = envelope.create_time_ms, envelope.not_before_ms
            tasks.append(
                # By place: names cost as much again.
                WaitingTask(
                    envelope.id,
                    publication.publication,
                    traits.model,
                    lane,
                    # What was to come later has waited since then, not since it was asked for.
                    not_before_ms if not_before_ms > created_ms else created_ms,
                    envelope,
                    bundle,
                    now_ns,
                    publication.isolation,
                    None,
                    traits.tenant,
                    envelope.deadline_ms,
                    expected,
                    urgent,
                )
            )
        self._rates.arrived(lane.pool, lane.level, len(tasks))
        self._window.extend(lane, tasks)
        self._arrived.set()


def _fault(publications: Iterable[Publication], lane: Lane) -> str:
    """Say what keeps a bundle without a checksum from being one of this lane; empty for nothing."""
    for publication in publications:
        envelope = publication.envelope
        if not is_task_id(envelope.id):
            return "the bundle names a task by what is no id"
        if envelope.pool != lane.pool or int(envelope.priority) != lane.level:
            return "the bundle has a task of another queue"
        if publication.publication < 1:
            return "the bundle has a task that was never published"
    return ""

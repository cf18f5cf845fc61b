"""From the log into the window. A request comes here from the lanes that services/gateway/publisher.py fills and goes
on in scheduler/service/dispatcher.py.
"""

import asyncio
import logging

from google.protobuf.message import DecodeError

from forebay.tasks.v1.envelope_pb2 import Bundle
from scheduler.errors import LogUnavailable
from scheduler.lanes import Lane
from scheduler.ports.clock import Clock
from scheduler.ports.log import Delivery, LogConsumer, LogPublisher
from scheduler.service.entry import PoolWindow, Waiting
from scheduler.service.settlement import Settlement
from scheduler.window import WaitingTask

log = logging.getLogger(__name__)

AGAIN_S = 1.0
"""Pause after the log did not take an unreadable message, in seconds."""


class Intake:
    """Keeps each lane's share of the window full, one bundle at a time."""

    def __init__(
        self,
        consumer: LogConsumer,
        publisher: LogPublisher,
        settlement: Settlement,
        window: PoolWindow,
        arrived: asyncio.Event,
        clock: Clock,
    ) -> None:
        self._consumer = consumer
        self._publisher = publisher
        self._settlement = settlement
        self._window = window
        self._arrived = arrived
        self._clock = clock
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
        try:
            publications = Bundle.FromString(delivery.payload).publications
        except DecodeError:
            await self._set_aside(delivery, "the bytes are not a forebay.tasks.v1.Bundle")
            return
        if not publications:
            await self._set_aside(delivery, "the bundle is empty")
            return
        now_ns = self._clock.now_ms() * 1_000_000
        bundle = self._settlement.opened(delivery, len(publications))
        lane = delivery.lane
        tasks: list[Waiting] = []
        for publication in publications:
            envelope = publication.envelope
            tasks.append(
                WaitingTask(
                    envelope.id,
                    publication.publication,
                    envelope.model,
                    lane,
                    envelope.create_time_ms,
                    envelope,
                    bundle,
                    now_ns,
                )
            )
        self._window.extend(lane, tasks)
        self._arrived.set()

    async def _set_aside(self, delivery: Delivery, fault: str) -> None:
        log.error(
            "unreadable message set aside: %s",
            fault,
            extra={"topic_lane": str(delivery.lane.index), "payload_bytes": len(delivery.payload)},
        )
        while True:
            try:
                await self._publisher.set_aside(delivery.lane, delivery.payload, fault)
            except LogUnavailable as error:
                log.warning("unreadable message not set aside yet: %s", error)
                await self._clock.sleep(AGAIN_S)
            else:
                self._settlement.discard(delivery)
                return

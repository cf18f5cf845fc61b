"""Messages that cannot be read: kept where people find them, so that the lane goes on.

Such a message is among the dead letters of whoever operates the platform, exactly once however often it is
delivered, and on the pool's topic of unreadable messages, at least once. It may have carried tasks of ours, whose
records then wait for a message that nobody can read: they are put on the log again (repair.py), and until that is
done the message stays unacknowledged, so that whoever follows a scheduler that dies meanwhile meets it too.
"""

import asyncio
import logging
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from scheduler.bundles import is_ours
from scheduler.errors import MessageUnreadable, ServerUnavailable
from scheduler.ids import derived_id
from scheduler.ports.clock import Clock
from scheduler.ports.dead_letters import DeadLetterStore, UnreadableLetter
from scheduler.ports.log import Delivery, LogPublisher
from scheduler.service.settlement import Settlement
from services.status import to_status

log = logging.getLogger(__name__)

AGAIN_S: Final = 1.0
"""Pause after the log or the record store did not take an unreadable message, in seconds."""


class Losses:
    """Unreadable messages of ours that nothing has made up for. Only what their acknowledgement needs is kept."""

    def __init__(self, settlement: Settlement) -> None:
        self._settlement = settlement
        self._lost: list[Delivery] = []
        self._some = asyncio.Event()

    def add(self, deliveries: Iterable[Delivery]) -> None:
        """Note that messages were lost, or that making up for them failed."""
        self._lost += (Delivery(lost.lane, b"", {}, lost.token) for lost in deliveries)
        if self._lost:
            self._some.set()

    async def next(self) -> list[Delivery]:
        """Wait for a loss and return all that there are: they are the caller's then. Cancelling it takes none."""
        await self._some.wait()
        self._some.clear()
        lost, self._lost = self._lost, []
        return lost

    def made_up_for(self, lost: Iterable[Delivery]) -> None:
        """Acknowledge messages: what they carried is on the log again."""
        for delivery in lost:
            self._settlement.discard(delivery)


class Graveyard:
    """Buries unreadable messages."""

    def __init__(
        self,
        publisher: LogPublisher,
        letters: DeadLetterStore,
        settlement: Settlement,
        losses: Losses,
        clock: Clock,
    ) -> None:
        """`losses` gets the messages of ours; others are acknowledged once they are kept."""
        self._publisher = publisher
        self._letters = letters
        self._settlement = settlement
        self._losses = losses
        self._clock = clock

    async def bury(self, delivery: Delivery, fault: str) -> None:
        """Keep a message; returns when it is kept, and tries for as long as that takes. `fault` must not quote it.

        Cancelling leaves it unknown what was kept; doing it again is harmless.
        """
        ours = is_ours(delivery.properties)
        letter = letter_of(delivery, fault)
        log.error(
            "unreadable message set aside: %s",
            fault,
            extra={
                "letter_id": letter.id,
                "topic": letter.topic,
                "payload_bytes": len(delivery.payload),
                "repair": ours,
            },
        )
        while True:
            try:
                await self._letters.bury([letter])
                await self._publisher.set_aside(delivery.lane, delivery.payload, fault)
            except ServerUnavailable as error:
                log.warning("unreadable message not set aside yet: %s", error)
                await self._clock.sleep(AGAIN_S)
            else:
                break
        if ours:
            self._losses.add((delivery,))
        else:
            self._settlement.discard(delivery)


def letter_of(delivery: Delivery, fault: str) -> UnreadableLetter:
    """Return the dead letter of a message: the same one at every delivery."""
    lane = delivery.lane
    topic = f"tasks.{lane.pool}.{lane.level.label}-partition-{lane.index}"
    digest = sha256(topic.encode() + b"\0" + delivery.payload).digest()
    error = to_status(MessageUnreadable(fault)).SerializeToString()
    return UnreadableLetter(derived_id(digest, delivery.publish_time_ms), delivery.payload, topic, error)

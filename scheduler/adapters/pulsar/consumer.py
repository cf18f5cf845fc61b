"""Receives lanes from the broker. Called by the scheduler's lane loop; its deliveries go to the window.

Each lane has at most one receive outstanding at the client and a buffer of HAND_OVER deliveries. Nothing ever
cancels that receive (a cancelled one swallows a message): its answer goes to the buffer, whoever waits for it.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final
from uuid import uuid4

import pulsar
import pulsar.asyncio

from scheduler.adapters.pulsar.client import OK, answer_on, close_client, open_client, unavailable
from scheduler.errors import LogUnavailable, StartupRefused
from scheduler.lanes import Lane
from scheduler.ports.log import Delivery

HAND_OVER: Final = 2
RETRY_S: Final = 1.0
ACKNOWLEDGEMENTS_OUT_S: Final = 0.15
"""The client sends acknowledgements every 100 ms: closing sooner than this after one would lose it."""

SUBSCRIPTION_TYPES: Final = {
    "failover": pulsar.ConsumerType.Failover,
    "shared": pulsar.ConsumerType.Shared,
}

logger = logging.getLogger(__name__)


class PulsarConsumer:
    """A LogConsumer on a Pulsar broker, with one subscription to each lane.

    `subscription_type` is `failover` on Apache Pulsar, where each lane has one active consumer and goes to another
    when that dies, and `shared` on the embedded broker, which delivers twice under Failover.
    """

    def __init__(
        self,
        url: str,
        namespace: str,
        lanes: Sequence[Lane],
        subscription_type: str = "failover",
        *,
        subscription: str = "scheduler",
        name: str = "",
        prefetch: int = 2,
        timeout_s: float = 10.0,
    ) -> None:
        if subscription_type not in SUBSCRIPTION_TYPES:
            raise StartupRefused(
                f"the subscription type is {subscription_type!r}; it must be one of "
                + " or ".join(sorted(SUBSCRIPTION_TYPES))
            )
        self._client = open_client(url, timeout_s)
        self._namespace = namespace
        self._subscription = subscription
        self._type = SUBSCRIPTION_TYPES[subscription_type]
        # The broker divides the lanes by the order of names: one name for all lanes gives each process its share.
        self._name = name or f"scheduler-{uuid4().hex}"
        self._prefetch = prefetch
        self._timeout_s = timeout_s
        self._intakes = {lane: _Intake(lane) for lane in lanes}
        self._acknowledged_at = float("-inf")
        self._closed = False

    async def open(self) -> None:
        """Subscribe to all lanes at once.

        Raises LogUnavailable. What was subscribed until then stays so until `close`.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                await asyncio.gather(*(self._subscribe(intake) for intake in self._intakes.values()))
        except TimeoutError:
            raise LogUnavailable(f"the log did not open its lanes within {self._timeout_s:g} s") from None

    async def receive(self, lane: Lane) -> Delivery:
        """See LogConsumer."""
        return await self._intakes[lane].next()

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """See LogConsumer. Returns at once: the client groups acknowledgements and sends them every 100 ms."""
        if self._closed:
            return
        for delivery in deliveries:
            self._intakes[delivery.lane].acknowledge(delivery.token)
        self._acknowledged_at = asyncio.get_running_loop().time()

    async def close(self) -> None:
        """See LogConsumer. A `receive` that waits goes on waiting: its caller cancels it."""
        if self._closed:
            return
        self._closed = True
        since_s = asyncio.get_running_loop().time() - self._acknowledged_at
        if since_s < ACKNOWLEDGEMENTS_OUT_S:
            await asyncio.sleep(ACKNOWLEDGEMENTS_OUT_S - since_s)
        for intake in self._intakes.values():
            intake.closed = True
        await close_client(self._client)

    async def _subscribe(self, intake: "_Intake") -> None:
        topic = intake.lane.topic(self._namespace)
        try:
            opened = await self._client.subscribe(
                topic,
                self._subscription,
                consumer_type=self._type,
                receiver_queue_size=self._prefetch,
                consumer_name=self._name,
                initial_position=pulsar.InitialPosition.Earliest,
            )
        except pulsar.asyncio.PulsarException as error:
            raise unavailable(f"the log did not subscribe to {topic}", error.error()) from error
        intake.attach(opened._consumer)


class _Intake:
    """A lane's way from the client's threads to whoever receives it."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.closed = False
        self._consumer: Any = None
        self._asked = False
        self._ready: asyncio.Queue[Delivery] = asyncio.Queue(HAND_OVER)

    def attach(self, consumer: Any) -> None:
        """Start to receive from a subscribed consumer."""
        self._consumer = consumer
        self._ask()

    async def next(self) -> Delivery:
        """Return the oldest delivery that is here. Cancelling it takes none."""
        delivery = await self._ready.get()
        self._ask()
        return delivery

    def acknowledge(self, message_id: object) -> None:
        """Hand an acknowledgement to the client."""
        try:
            self._consumer.acknowledge_async(message_id, _ignore)
        except pulsar.PulsarException as error:
            logger.debug("acknowledgement not taken", extra={"cause": str(error)})

    def _ask(self) -> None:
        if self._asked or self.closed or self._consumer is None or self._ready.full():
            return
        self._asked = True
        self._consumer.receive_async(answer_on(asyncio.get_running_loop(), self._answered))

    def _answered(self, result: Any, message: Any) -> None:
        self._asked = False
        if self.closed:
            return
        if result == OK:
            self._ready.put_nowait(
                Delivery(
                    self.lane,
                    message.data(),
                    message.properties(),
                    token=message.message_id(),
                    publish_time_ms=message.publish_timestamp(),
                )
            )
            self._ask()
        else:
            logger.warning("lane not received", extra={"lane": str(self.lane), "cause": result.name})
            asyncio.get_running_loop().call_later(RETRY_S, self._ask)


def _ignore(_result: object) -> None:
    """An acknowledgement that failed is harmless: the message comes again."""

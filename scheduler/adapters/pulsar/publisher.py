"""Publishes bundles to lanes. Called by the gateway's submit path and by the sweeper; the broker's answer ends it."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

import _pulsar
import pulsar
import pulsar.asyncio

from scheduler.adapters.pulsar.client import OK, answer_on, close_client, open_client, unavailable
from scheduler.adapters.pulsar.names import parked_topic, results_topic, unreadable_topic
from scheduler.errors import LogUnavailable
from scheduler.lanes import Lane

FAULT_PROPERTY: Final = "fault"
LANE_PROPERTY: Final = "lane"


class PulsarPublisher:
    """A LogPublisher on a Pulsar broker: one producer per lane, opened when it is first needed.

    At most `max_in_flight` payloads are in the client's hands. A payload leaves them when the client says so, not
    when its sender gives up: while the broker is away they stay, and further senders run into their deadline.
    """

    def __init__(
        self,
        url: str,
        namespace: str = "public/default",
        *,
        timeout_s: float = 10.0,
        max_in_flight: int = 256,
        grace_s: float = 2.0,
        topics_made: asyncio.Event | None = None,
    ) -> None:
        """`topics_made` says that what is put on topics will be kept: senders wait for it. None: it is so already."""
        self._client = open_client(url, timeout_s)
        self._namespace = namespace
        self._timeout_s = timeout_s
        self._max_in_flight = max_in_flight
        self._grace_s = grace_s
        self._topics_made = topics_made
        self._slots = asyncio.Semaphore(max_in_flight)
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._producers: dict[str, Any] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        self._closed = False

    async def open(self, lanes: Iterable[Lane]) -> None:
        """Open the producers of these lanes at once, so that no first payload waits for its own.

        Raises LogUnavailable.
        """
        topics = [lane.topic(self._namespace) for lane in lanes]
        try:
            async with asyncio.timeout(self._timeout_s):
                await asyncio.gather(*(self._producer(topic) for topic in topics))
        except TimeoutError:
            raise LogUnavailable(f"the log did not open its lanes within {self._timeout_s:g} s") from None

    async def publish(self, lane: Lane, payload: bytes, properties: Mapping[str, str]) -> None:
        """See LogPublisher."""
        await self._send(lane.topic(self._namespace), payload, properties)

    async def set_aside(self, lane: Lane, payload: bytes, fault: str) -> None:
        """See LogPublisher. Raises LogUnavailable as `publish` does."""
        properties = {FAULT_PROPERTY: fault, LANE_PROPERTY: lane.topic(self._namespace)}
        await self._send(unreadable_topic(self._namespace, lane.pool), payload, properties)

    async def park(self, pool: str, payload: bytes) -> None:
        """See LogPublisher."""
        await self._send(parked_topic(self._namespace, pool), payload, {})

    async def journal(self, payload: bytes) -> None:
        """See LogPublisher."""
        await self._send(results_topic(self._namespace), payload, {})

    async def close(self) -> None:
        """See LogPublisher. What the broker does not settle within the grace fails with LogUnavailable."""
        if self._closed:
            return
        self._closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(self._grace_s):
                await self._idle.wait()
        await close_client(self._client)
        self._producers.clear()

    async def _send(self, topic: str, payload: bytes, properties: Mapping[str, str]) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                producer = self._producers.get(topic) or await self._producer(topic)
                await self._slots.acquire()
                result = await self._hand_over(producer, payload, properties)
        except TimeoutError:
            raise LogUnavailable(
                f"the log did not acknowledge within {self._timeout_s:g} s; whether it has the payload is unknown"
            ) from None
        if result != OK:
            # A producer that cannot go on is not asked again: the next payload opens a new one.
            if result != pulsar.Result.Timeout and self._producers.get(topic) is producer:
                del self._producers[topic]
            raise unavailable("the log refused a payload", result)

    def _hand_over(self, producer: Any, payload: bytes, properties: Mapping[str, str]) -> asyncio.Future[Any]:
        """Give a payload and a slot to the client; the future has the client's result."""
        builder = _pulsar.MessageBuilder()
        builder.content(payload)
        for name, value in properties.items():
            builder.property(name, value)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()

        def settle(result: Any, _message_id: object) -> None:
            self._put_down()
            if not answer.done():
                answer.set_result(result)

        self._in_flight += 1
        self._idle.clear()
        try:
            producer.send_async(builder.build(), answer_on(loop, settle))
        except BaseException:
            self._put_down()
            raise
        return answer

    def _put_down(self) -> None:
        self._slots.release()
        self._in_flight -= 1
        if self._in_flight == 0:
            self._idle.set()

    async def _producer(self, topic: str) -> Any:
        if self._topics_made is not None:
            await self._topics_made.wait()
        async with self._opening.setdefault(topic, asyncio.Lock()):
            if self._closed:
                raise LogUnavailable("the log's publisher is closed")
            known = self._producers.get(topic)
            if known is not None:
                return known
            try:
                opened = await self._client.create_producer(
                    topic,
                    # The client's batches are redelivered whole when one message of them is; bundles are ours.
                    batching_enabled=False,
                    send_timeout_millis=max(1, round(self._timeout_s * 1000)),
                    max_pending_messages=self._max_in_flight,
                )
            except pulsar.asyncio.PulsarException as error:
                raise unavailable(f"the log did not open {topic}", error.error()) from error
            self._producers[topic] = opened._producer
            return opened._producer

"""Reads what topics still keep, from the earliest message to the present end. Called by recovery; disturbs nobody.

On Apache Pulsar a Reader does it: it leaves nothing behind at the broker. The readers of the embedded broker deliver
some messages several times and cannot tell the end (1,758 deliveries of 1,720 messages, measured); a Shared
subscription of its own delivers each message once there, and the id of the last message, asked for at the beginning,
tells the end. Nothing is acknowledged: the client would send that after the end of the subscription, at which the
broker ends the connection. It is unsubscribed afterwards; what a death leaves of it costs a name.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final
from uuid import uuid4

import _pulsar
import pulsar
import pulsar.asyncio

from scheduler.adapters.pulsar.client import OK, answer_on, close_client, open_client, unavailable
from scheduler.adapters.pulsar.names import parked_topic, results_topic
from scheduler.errors import LogUnavailable
from scheduler.lanes import Lane
from scheduler.ports.log import Kept

PREFETCH: Final = 50
"""Messages that the client holds of one topic: with bundles of 256 KiB, 13 MiB."""

NO_MESSAGES: Final = pulsar.Result.UnknownError
"""What the embedded broker answers when it is asked for the last message of a topic that has none."""

logger = logging.getLogger(__name__)


class PulsarReader:
    """A LogReader on a Pulsar broker. `readers` says whether those of the broker are to be trusted.

    Each call to the broker, and each wait for the next message, is bounded by `timeout_s`.
    """

    def __init__(self, url: str, namespace: str, *, readers: bool, timeout_s: float = 10.0) -> None:
        self._client = open_client(url, timeout_s)
        self._namespace = namespace
        self._readers = readers
        self._timeout_s = timeout_s
        self._closed = False

    def lane(self, lane: Lane) -> AsyncGenerator[Kept, None]:
        """See LogReader."""
        return self._read(lane.topic(self._namespace))

    def parked(self, pool: str) -> AsyncGenerator[Kept, None]:
        """See LogReader."""
        return self._read(parked_topic(self._namespace, pool))

    def journal(self) -> AsyncGenerator[Kept, None]:
        """See LogReader."""
        return self._read(results_topic(self._namespace))

    async def close(self) -> None:
        """See LogReader."""
        if not self._closed:
            self._closed = True
            await close_client(self._client)

    async def _read(self, topic: str) -> AsyncGenerator[Kept, None]:
        source = self._by_reader(topic) if self._readers else self._by_subscription(topic)
        async with aclosing(source):
            async for message in source:
                yield Kept(message.data(), message.properties())

    async def _by_reader(self, topic: str) -> AsyncGenerator[Any, None]:
        configuration = _pulsar.ReaderConfiguration()
        configuration.receiver_queue_size(PREFETCH)
        open_it = self._client._client.create_reader_async
        reader = await self._call(
            topic, lambda answered: open_it(topic, pulsar.MessageId.earliest, configuration, answered)
        )
        try:
            while await self._call(topic, reader.has_message_available_async):
                yield await self._call(topic, reader.read_next_async)
        finally:
            await self._let_go(topic, reader.close_async)

    async def _by_subscription(self, topic: str) -> AsyncGenerator[Any, None]:
        try:
            async with asyncio.timeout(self._timeout_s):
                opened = await self._client.subscribe(
                    topic,
                    f"recovery-{uuid4().hex}",
                    consumer_type=pulsar.ConsumerType.Shared,
                    receiver_queue_size=PREFETCH,
                    initial_position=pulsar.InitialPosition.Earliest,
                )
        except TimeoutError:
            raise _late(topic, self._timeout_s) from None
        except pulsar.asyncio.PulsarException as error:
            raise unavailable(f"the log did not read {topic}", error.error()) from error
        consumer = opened._consumer
        try:
            last = await self._call(topic, consumer.get_last_message_id_async, nothing=NO_MESSAGES)
            end, seen = _BEFORE_ALL if last is None else _place(last), _BEFORE_ALL
            while seen < end:
                message = await self._call(topic, consumer.receive_async)
                seen = max(seen, _place(message.message_id()))
                yield message
        finally:
            await self._let_go(topic, consumer.unsubscribe_async)

    async def _let_go(self, topic: str, ask: Callable[[Callable[..., None]], None]) -> None:
        """End a reading. What was read stays read when that fails, and closing the client ends it too."""
        try:
            await self._call(topic, ask)
        except LogUnavailable as error:
            logger.info("reading not ended", extra={"cause": str(error)})

    async def _call(
        self, topic: str, ask: Callable[[Callable[..., None]], None], *, nothing: Any = None
    ) -> Any:
        """Call the client and wait for its answer; None for the result `nothing`. Raises LogUnavailable."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()

        def settle(result: Any, value: Any = None) -> None:
            if answer.done():
                return
            if result in (OK, nothing):
                answer.set_result(value if result == OK else None)
            else:
                answer.set_exception(unavailable(f"the log did not read {topic}", result))

        try:
            ask(answer_on(loop, settle))
            async with asyncio.timeout(self._timeout_s):
                return await answer
        except TimeoutError:
            raise _late(topic, self._timeout_s) from None
        except pulsar.PulsarException as error:
            raise unavailable(f"the log did not read {topic}", error) from error


def _place(message_id: Any) -> tuple[int, int]:
    """Return what orders messages of one topic; a topic without messages has a last one before all others."""
    return message_id.ledger_id(), message_id.entry_id()


_BEFORE_ALL: Final = (-1, -1)


def _late(topic: str, timeout_s: float) -> LogUnavailable:
    return LogUnavailable(f"the log did not read {topic} within {timeout_s:g} s")

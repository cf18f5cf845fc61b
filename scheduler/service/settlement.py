"""Acknowledges a bundle when none of its tasks needs it any more: the last step of a task's way."""

import asyncio
import logging
from collections.abc import Iterable

from scheduler.ports.log import Delivery, LogConsumer
from scheduler.service.entry import OpenBundle, Waiting

log = logging.getLogger(__name__)


class Settlement:
    """Counts down open bundles and hands those that reached zero to the log, in batches."""

    def __init__(self, consumer: LogConsumer) -> None:
        self._consumer = consumer
        self._done: list[Delivery] = []
        self._wake = asyncio.Event()

    def opened(self, delivery: Delivery, tasks: int) -> OpenBundle:
        """Start to count a delivery with that many tasks."""
        return OpenBundle(delivery, tasks)

    def settle(self, tasks: Iterable[Waiting]) -> None:
        """Note that these tasks do not need their messages any more. Each entry is settled once, by its holder."""
        for task in tasks:
            bundle = task.bundle
            bundle.open -= 1
            if bundle.open == 0:
                self._finish(bundle.delivery)

    def discard(self, delivery: Delivery) -> None:
        """Acknowledge a delivery that holds no task."""
        self._finish(delivery)

    async def run(self) -> None:
        """Acknowledge for ever; cancelling it leaves the rest to `flush`."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.flush()

    async def flush(self) -> None:
        """Acknowledge what is done now. A failure only means that the log delivers it again."""
        done, self._done = self._done, []
        if not done:
            return
        try:
            await self._consumer.acknowledge(done)
        except Exception:
            log.warning("acknowledgement failed; the messages will come again", exc_info=True)

    def _finish(self, delivery: Delivery) -> None:
        self._done.append(delivery)
        self._wake.set()

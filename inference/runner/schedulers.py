"""Finds the schedulers in the directory and stays attached to every one of them."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from inference.runner.attachment import Attachment
from scheduler.errors import RecordsUnavailable
from scheduler.ports.clock import Clock
from scheduler.ports.membership import SCHEDULER_ROLE, Membership

LOOK_EVERY_S: Final = 0.5

_log = logging.getLogger(__name__)


class Schedulers:
    """Every scheduler that is there, each through one attachment."""

    def __init__(
        self, membership: Membership, clock: Clock, attach: Callable[[str, Callable[[], bool]], Attachment]
    ) -> None:
        """`attach` makes the attachment to an address, which lasts while the function it is given says so."""
        self._membership = membership
        self._clock = clock
        self._attach = attach
        self._listed: set[str] = set()
        self._attachments: dict[str, Attachment] = {}

    async def run(self) -> None:
        """Attach to those that come, for ever; those that leave end by themselves. Cancelling it ends all streams."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._look(group)
                await self._clock.sleep(LOOK_EVERY_S)

    async def finish(self, deadline_s: float) -> None:
        """Tell every scheduler what is left to tell, within that time."""
        async with asyncio.TaskGroup() as group:
            for attachment in self._attachments.values():
                group.create_task(attachment.finish(deadline_s))

    async def _look(self, group: asyncio.TaskGroup) -> None:
        try:
            members = await self._membership.members(SCHEDULER_ROLE)
        except RecordsUnavailable:
            # Streams that stand need no directory; the announcement logs that the store is away.
            return
        self._listed = {card.decode() for _, card in members}
        for address in self._listed - self._attachments.keys():
            attachment = self._attach(address, lambda address=address: address in self._listed)  # type: ignore[misc]
            self._attachments[address] = attachment
            group.create_task(self._keep(address, attachment))

    async def _keep(self, address: str, attachment: Attachment) -> None:
        try:
            await attachment.run()
        finally:
            del self._attachments[address]

"""Keeps the runner's card in the directory, where gateways and schedulers find it."""

import asyncio
import contextlib
import logging

from forebay.models.v1.model_service_pb2 import RUNNER_STATE_FAILED
from inference.presence import ANNOUNCE_EVERY_S, FAILED_TTL_MS, TTL_MS
from inference.runner.status import StatusBoard
from scheduler.errors import RecordsUnavailable
from scheduler.ports.membership import RUNNER_ROLE, Membership

_log = logging.getLogger(__name__)


class Announcer:
    """Shows the runner's card in the directory for as long as `run` runs."""

    def __init__(self, board: StatusBoard, membership: Membership) -> None:
        self._board = board
        self._membership = membership

    async def run(self) -> None:
        """Announce at once, after every change, and twice a second, for ever."""
        answered = True
        while True:
            change = self._board.next_change()
            try:
                await self.announce()
            except RecordsUnavailable as error:
                if answered:
                    _log.warning("records unavailable, runner not announced", extra={"cause": str(error)})
                answered = False
            else:
                answered = True
            # Not wait_for: in Python 3.11 it swallows a cancellation that meets the change.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ANNOUNCE_EVERY_S):
                    await change.wait()

    async def announce(self) -> None:
        """Show the card once."""
        ttl_ms = FAILED_TTL_MS if self._board.state == RUNNER_STATE_FAILED else TTL_MS
        card = self._board.status().SerializeToString()
        await self._membership.announce(RUNNER_ROLE, self._board.runner_id, card, ttl_ms)

    async def withdraw(self) -> None:
        """Take the card away."""
        await self._membership.withdraw(RUNNER_ROLE, self._board.runner_id)

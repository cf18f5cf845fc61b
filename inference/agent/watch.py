"""Follows what a runner says of itself."""

import asyncio
from collections.abc import Callable
from typing import Final

import grpc.aio

from forebay.runner.v1.runner_service_pb2 import WatchStatusRequest, WatchStatusResponse
from forebay.runner.v1.runner_service_pb2_grpc import RunnerServiceStub
from scheduler.errors import RecordsUnavailable
from scheduler.ports.clock import Clock
from scheduler.ports.membership import RUNNER_ROLE, Membership
from services.lifecycle import CHANNEL_OPTIONS

LOOK_EVERY_S: Final = 0.2

Hear = Callable[[WatchStatusResponse], None]


class RunnerWatch:
    """Finds one runner in the directory by its id and follows its status stream."""

    def __init__(self, membership: Membership, clock: Clock) -> None:
        self._membership = membership
        self._clock = clock

    async def follow(self, runner_id: str, hear: Hear) -> None:
        """Call `hear` with each status, for ever; a runner that is not there (yet) is waited for."""
        while True:
            status = await self.card(runner_id)
            if status is not None:
                hear(status)
                await self._stream(status.runner.address, hear)
            await self._clock.sleep(LOOK_EVERY_S)

    async def card(self, runner_id: str) -> WatchStatusResponse | None:
        """Return what the directory has of a runner; None for nothing, or when it does not answer."""
        try:
            cards = dict(await self._membership.members(RUNNER_ROLE))
        except RecordsUnavailable:
            return None
        card = cards.get(runner_id)
        return None if card is None else WatchStatusResponse.FromString(card)

    async def _stream(self, address: str, hear: Hear) -> None:
        async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
            stream = RunnerServiceStub(channel).WatchStatus(WatchStatusRequest())
            try:
                async for status in stream:
                    hear(status)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                # It ended or is not reachable: how its process ends says more.
                return

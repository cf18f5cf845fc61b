"""Translates RunnerService: what the runner says of itself, and calls that wait on the line."""

from collections.abc import AsyncIterator
from typing import Any

from forebay.runner.v1.runner_service_pb2 import (
    ReadStatisticsRequest,
    ReadStatisticsResponse,
    WatchStatusRequest,
    WatchStatusResponse,
)
from forebay.runner.v1.runner_service_pb2_grpc import RunnerServiceServicer
from inference.runner.direct.call_table import CallTable
from inference.runner.direct.stream import hold_stream
from inference.runner.engine_thread import EngineThread
from inference.runner.status import StatusBoard
from inference.runner.tally import Tally
from scheduler.errors import ServerUnavailable


class RunnerServicer(RunnerServiceServicer):
    """What gateways and the agent ask of a runner."""

    def __init__(self, board: StatusBoard, thread: EngineThread, tally: Tally) -> None:
        self._board = board
        self._thread = thread
        self._tally = tally
        self.calls: CallTable | None = None
        """Set once the model is loaded."""

    async def WatchStatus(
        self, request: WatchStatusRequest, context: Any
    ) -> AsyncIterator[WatchStatusResponse]:
        """Stream the state: at once, then after each change, until the runner ends."""
        while not self._board.closed:
            change = self._board.next_change()
            yield self._board.status()
            await change.wait()

    # It reads and writes by itself: generated types know only generators.
    async def Execute(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]
        """Execute calls until the gateway ends the stream, or the runner goes."""
        if self.calls is None:
            raise ServerUnavailable("the runner has not loaded its model")
        await hold_stream(self.calls, context)

    async def ReadStatistics(self, request: ReadStatisticsRequest, context: Any) -> ReadStatisticsResponse:
        """Tell what was counted."""
        if self.calls is None:
            return self._tally.statistics(None)
        return self._tally.statistics(await self._thread.counts())

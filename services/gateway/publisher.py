"""Group commit in front of the log: what comes for a lane, or to be parked, while a bundle is on its way there travels
in the next one. A request comes here from services/gateway/submit.py and goes on, over the log, in
scheduler/service/intake.py.

A bundle leaves at once when its lane is idle, when it is full (256 tasks or 256 KiB), when the one before it has been
acknowledged, and otherwise 2 ms after its first task came.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from observability.propagation import to_properties
from scheduler.bundles import MAX_BUNDLE_BYTES, MAX_BUNDLE_TASKS, bundle_properties
from scheduler.errors import LogUnavailable
from scheduler.lanes import Lane
from scheduler.ports.log import LogPublisher

GATHER_S: Final = 0.002

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parking:
    """Where a pool's tasks are kept that wait for their time or for parents."""

    pool: str


Destination = Lane | Parking


@dataclass(slots=True, eq=False)
class Parcel:
    """Tasks of one submit call that travel in one bundle; the parcels of several calls may share it."""

    frames: Sequence[bytes]
    """Serialised bundles of one task each, see `convert.frame`."""
    size_bytes: int
    traceparent: str
    outcome: asyncio.Future[LogUnavailable | None]
    """Set to None when the log has acknowledged the parcel, else to the reason. Never an exception."""


@dataclass(slots=True, eq=False)
class _Road:
    """What waits for one destination and how many bundles are on their way."""

    to: Destination
    waiting: deque[Parcel] = field(default_factory=deque)
    tasks: int = 0
    size_bytes: int = 0
    in_flight: int = 0
    timer: asyncio.TimerHandle | None = None


class BundlePublisher:
    """Puts parcels into bundles. Use it through `bundle_publisher`, which owns its sends."""

    def __init__(
        self, log: LogPublisher, sends: asyncio.TaskGroup, observe: Callable[[int], None] = lambda tasks: None
    ) -> None:
        self._log = log
        self._sends = sends
        self._observe = observe
        self._roads: dict[Destination, _Road] = {}
        self._stopped = False
        self._loop = asyncio.get_running_loop()

    def hand_over(self, to: Destination, frames: Sequence[bytes], traceparent: str) -> list[Parcel]:
        """Send framed tasks of one call, in order; await each parcel's outcome.

        Giving up waiting does not stop a parcel that was handed over. Memory is bounded by who may call.
        """
        road = self._roads.get(to)
        if road is None:
            road = self._roads[to] = _Road(to)
        parcels = [
            Parcel(part, size, traceparent, self._loop.create_future()) for part, size in _split(frames)
        ]
        for parcel in parcels:
            if road.tasks + len(parcel.frames) > MAX_BUNDLE_TASKS or (
                road.waiting and road.size_bytes + parcel.size_bytes > MAX_BUNDLE_BYTES
            ):
                self._flush(road)
            road.waiting.append(parcel)
            road.tasks += len(parcel.frames)
            road.size_bytes += parcel.size_bytes
        if not road.in_flight or road.tasks >= MAX_BUNDLE_TASKS:
            self._flush(road)
        elif road.waiting and road.timer is None:
            road.timer = self._loop.call_later(GATHER_S, self._flush, road)
        return parcels

    def _flush(self, road: _Road) -> None:
        if road.timer is not None:
            road.timer.cancel()
            road.timer = None
        if road.waiting:
            parcels = list(road.waiting)
            road.waiting.clear()
            road.tasks = road.size_bytes = 0
            if self._stopped:
                _settle(parcels, LogUnavailable("this gateway was stopped"))
                return
            road.in_flight += 1
            self._sends.create_task(self._send(road, parcels))

    async def _send(self, road: _Road, parcels: list[Parcel]) -> None:
        outcome: LogUnavailable | None = None
        try:
            payload = b"".join([frame for parcel in parcels for frame in parcel.frames])
            if isinstance(road.to, Parking):
                await self._log.park(road.to.pool, payload)
            else:
                traceparent = next((parcel.traceparent for parcel in parcels if parcel.traceparent), "")
                properties = {**bundle_properties(road.to, payload), **to_properties(traceparent)}
                await self._log.publish(road.to, payload, properties)
            self._observe(sum(len(parcel.frames) for parcel in parcels))
        except asyncio.CancelledError:
            # The group of sends is being cancelled: it takes no more.
            self._stopped = True
            outcome = LogUnavailable("this gateway was stopped")
            raise
        except LogUnavailable as error:
            outcome = error
        except Exception as error:
            _LOG.error("publishing failed", exc_info=error)
            outcome = LogUnavailable("the log refused a bundle")
        finally:
            _settle(parcels, outcome)
            road.in_flight -= 1
            self._flush(road)


def _settle(parcels: Sequence[Parcel], outcome: LogUnavailable | None) -> None:
    for parcel in parcels:
        if not parcel.outcome.done():
            parcel.outcome.set_result(outcome)


def _split(frames: Sequence[bytes]) -> list[tuple[Sequence[bytes], int]]:
    """Cut a call's tasks into parts that fit into a bundle; a larger task makes a part of its own."""
    total = sum(map(len, frames))
    if len(frames) <= MAX_BUNDLE_TASKS and total <= MAX_BUNDLE_BYTES:
        return [(frames, total)]
    parts: list[tuple[Sequence[bytes], int]] = []
    part: list[bytes] = []
    size = 0
    for one in frames:
        if part and (len(part) == MAX_BUNDLE_TASKS or size + len(one) > MAX_BUNDLE_BYTES):
            parts.append((part, size))
            part, size = [], 0
        part.append(one)
        size += len(one)
    parts.append((part, size))
    return parts


@asynccontextmanager
async def bundle_publisher(
    log: LogPublisher, observe: Callable[[int], None] = lambda tasks: None
) -> AsyncIterator[BundlePublisher]:
    """Publish while the block lasts; leaving it waits for what is on its way. The log stays the caller's."""
    async with asyncio.TaskGroup() as sends:
        yield BundlePublisher(log, sends, observe)

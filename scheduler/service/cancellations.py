"""Tells runners of tasks that were cancelled, or whose deadline passed, while they ran; their writes are refused
already.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable

from forebay.dispatch.v1.dispatch_service_pb2 import AttachResponse
from scheduler.ports.events import EventFeed
from scheduler.service.entry import Waiting
from scheduler.service.runners import Roster

log = logging.getLogger(__name__)


async def forward_cancellations(
    feed: EventFeed, roster: Roster, listening: asyncio.Event, over: Callable[[Iterable[Waiting]], object]
) -> None:
    """Forward for ever; sets `listening` when nothing cancelled from then on is missed, and tells `over` of tasks whose
    runs mean nothing any more: who waits for those need not wait until the runner has stopped.

    The feed tells of both alike, and a runner stops both alike. One that is lost with the record store costs only
    time: the runner's next renewal is refused.
    """
    async for ids in feed.cancellations():
        listening.set()
        for stream, held in roster.holders(ids).items():
            stream.send(AttachResponse(cancelled=held))
            over([stream.holds[task_id].task for task_id in held])
        roster.call_back(ids)

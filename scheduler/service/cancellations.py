"""Tells runners of tasks that were cancelled, or whose deadline passed, while they ran; their writes are refused
already.
"""

import asyncio
import logging

from forebay.dispatch.v1.dispatch_service_pb2 import AttachResponse
from scheduler.ports.events import EventFeed
from scheduler.service.runners import Roster

log = logging.getLogger(__name__)


async def forward_cancellations(feed: EventFeed, roster: Roster, listening: asyncio.Event) -> None:
    """Forward for ever; sets `listening` when nothing cancelled from then on is missed.

    The feed tells of both alike, and a runner stops both alike. One that is lost with the record store costs only
    time: the runner's next renewal is refused.
    """
    async for ids in feed.cancellations():
        listening.set()
        for stream, held in roster.holders(ids).items():
            stream.send(AttachResponse(cancelled=held))
        roster.call_back(ids)

"""Gives what one process noted of its keys to all gateways, now and then, for `forebay cache advise`."""

from typing import Final

from cache.advice.log import MOST_OF_PART, TraceLog, TracesAway, pack_part
from cache.advice.trace import SampledTrace
from scheduler.ports.clock import Clock

EVERY_S: Final = 30.0


async def share_trace(trace: SampledTrace, log: TraceLog, clock: Clock, who: bytes) -> None:
    """Share what is noted until cancelled; `who` names this process."""
    while True:
        await clock.sleep(EVERY_S)
        try:
            while (part := trace.part(MOST_OF_PART)).seen:
                await log.add(pack_part(part, trace.rate, who))
                trace.shared(part.up_to)
        except TracesAway:
            # The next time brings it, as far as the trace still has it.
            continue

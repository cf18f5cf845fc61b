"""Tells other gateways what was computed anew in place of what is there, and hears it of them.

Nobody's request waits for that, and a flood of it costs a few round trips a second: what comes together is told
together. It is no purge: what is not told because too much was, or because the server was away for long, stays where it
is until its time is over.
"""

from typing import Final

from cache.ports import Invalidations, InvalidationsAway
from cache.tiers.layers import LayeredCache
from scheduler.ports.clock import Clock

GATHER_S: Final = 0.05
"""How long what comes is gathered after some was told."""
RETRY_S: Final = 0.25
MOST_AT_ONCE: Final = 512


async def tell_outdated(layers: LayeredCache, invalidations: Invalidations, clock: Clock) -> None:
    """Tell, for ever, what is replaced here; and take it out of the tiers that are shared, which may have been away
    when the new answer came. While they are, others are told all the same.
    """
    replacing = layers.replacing
    while True:
        some = await replacing.untold(MOST_AT_ONCE)
        reached = await replacing.outdate_shared(some, clock.now_ms())
        try:
            if unknown := replacing.outdated.unknown(some):
                await invalidations.tell(unknown)
        except InvalidationsAway:
            await clock.sleep(RETRY_S)
            continue
        except Exception as fault:
            layers.faults.note("telling of new answers", fault)
        if reached:
            replacing.outdated.told(some)
            await clock.sleep(GATHER_S)
        else:
            replacing.outdated.postpone(some)
            await clock.sleep(RETRY_S)


async def hear_outdated(layers: LayeredCache, invalidations: Invalidations, clock: Clock) -> None:
    """Let go, for ever, of what was replaced anywhere."""
    while True:
        try:
            heard = await invalidations.heard()
            for start in range(0, len(heard), MOST_AT_ONCE):
                await layers.replacing.outdate(heard[start : start + MOST_AT_ONCE], clock.now_ms())
        except InvalidationsAway:
            await clock.sleep(RETRY_S)
        except Exception as fault:
            layers.faults.note("hearing of new answers", fault)
            await clock.sleep(RETRY_S)

"""Sweeps all tiers behind the requests while a process uses them: what has expired or was purged goes. And what
others hold of a shared tier is seen, which decides whether there is room for more.
"""

from collections.abc import Callable
from typing import Final

from cache.tiers.layers import LayeredCache
from scheduler.ports.clock import Clock

SWEEP_S: Final = 1.0
HURRIED_SWEEP_S: Final = 0.05
SWEEP_ENTRIES: Final = 512


async def sweep_behind(layers: LayeredCache, known: Callable[[], bool], clock: Clock) -> None:
    """Sweep a few entries at a time, for ever; not before it is `known` what was purged."""
    pause_s = SWEEP_S
    while True:
        await clock.sleep(pause_s)
        if not known():
            continue
        removed = await layers.sweep(clock.now_ms(), SWEEP_ENTRIES)
        # After a purge there is much to remove, which takes room from what could be used.
        pause_s = HURRIED_SWEEP_S if removed > SWEEP_ENTRIES // 4 else SWEEP_S

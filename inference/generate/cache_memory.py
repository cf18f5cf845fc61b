"""Taking the memory of all slots, and of what is kept beside them: paused rows and beginnings of prompts."""

from collections.abc import Callable
from typing import Any

from inference.generate.config import GenaiConfig
from inference.generate.kv_cache import KvCache
from inference.generate.kv_layout import KvLayout, on_device
from inference.generate.memory import free_bytes, plan_cache
from inference.generate.parking import Parking
from inference.generate.plan import SHORTEST
from inference.generate.prefix_cache import PrefixCache
from inference.settings import EngineSettings


def take_memory(
    session: Any, config: GenaiConfig, settings: EngineSettings, context: int, report: Callable[[str], None]
) -> tuple[KvCache, Parking | None, PrefixCache | None]:
    """Take the memory of as many slots as fit, and what is kept beside them where the cache can be copied.

    Raises ModelUnusable with the numbers when not one slot fits, MemoryError.
    """
    layout = KvLayout(session, config, settings.device)
    if on_device(session) and layout.device == "cpu":
        report(
            f"the device does not compute attention over a cache in {layout.dtype}, so the cache lies in host "
            "memory: import the model with --precision float16"
        )
    plan = plan_cache(
        slots=settings.slots,
        context=context,
        bytes_per_token=layout.bytes_per_token,
        limit_bytes=settings.kv_memory_bytes or _default_limit(layout, settings),
    )
    cache = _largest_cache(layout, plan.slots, context)
    if cache.slots < settings.slots:
        report(f"memory for {cache.slots} of {settings.slots} slots of {context} tokens")
    if cache.fault:
        report(
            f"rows are neither paused nor moved and prefixes not cached, for nothing can be copied: {cache.fault}"
        )
    parking = prefixes = None
    if cache.readable and settings.preemption_bytes:
        parking = Parking(cache, settings.preemption_bytes)
    if cache.readable and settings.prefix_cache_bytes:
        prefixes = PrefixCache(
            cache, settings.prefix_cache_bytes, shared=settings.prefix_cache_shared, unread=SHORTEST
        )
    return cache, parking, prefixes


def _largest_cache(layout: KvLayout, slots: int, context: int) -> KvCache:
    """Take the memory of so many slots; on a device, whose free memory is not known, of half as many until they fit.

    Raises MemoryError when not even one does.
    """
    while True:
        try:
            return KvCache(layout, slots, context)
        except MemoryError:
            if layout.device == "cpu" or slots == 1:
                raise
            slots //= 2


def _default_limit(layout: KvLayout, settings: EngineSettings) -> int:
    """Return how much the cache may take when no setting says so: half of what is free where it lies, and what paused
    rows and prefixes may take stays free.
    """
    if layout.device == "cpu":
        free = free_bytes()
        return min(free // 2, max(0, free - settings.prefix_cache_bytes - settings.preemption_bytes))
    # What else is on the device is not known: the setting of the whole model bounds it, else the request of memory.
    return settings.gpu_memory_bytes // 2 or 1 << 62

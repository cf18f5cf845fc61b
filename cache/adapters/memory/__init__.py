"""What the cache keeps in the process itself."""

from cache.adapters.memory.flights import MemoryFlights
from cache.adapters.memory.invalidations import MemoryInvalidations
from cache.adapters.memory.purges import MemoryPurges
from cache.adapters.memory.tenants import MemoryTenants
from cache.adapters.memory.tier import MemoryTier
from cache.adapters.memory.traces import MemoryTraces

__all__ = [
    "MemoryFlights",
    "MemoryInvalidations",
    "MemoryPurges",
    "MemoryTenants",
    "MemoryTier",
    "MemoryTraces",
]

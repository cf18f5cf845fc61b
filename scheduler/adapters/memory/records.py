"""The record store in memory: what the scripts of the Redis adapter do, as plainly as it can be said."""

from scheduler.adapters.memory.admission import MemoryAdmission
from scheduler.adapters.memory.leases import MemoryLeases
from scheduler.adapters.memory.outcomes import MemoryOutcomes
from scheduler.adapters.memory.queries import MemoryQueries


class MemoryRecords(MemoryAdmission, MemoryLeases, MemoryOutcomes, MemoryQueries):
    """All ports of ports/records.py over one state."""

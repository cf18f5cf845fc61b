"""The ports in memory: for tests, simulations and everything that is one process."""

from scheduler.adapters.memory.events import MemoryEvents
from scheduler.adapters.memory.membership import MemoryMembership
from scheduler.adapters.memory.records import MemoryRecords
from scheduler.adapters.memory.state import State
from scheduler.adapters.retention import DEFAULT_RETENTION, Retention
from scheduler.ports.clock import Clock

__all__ = ["MemoryEvents", "MemoryMembership", "MemoryRecords", "MemoryStore"]


class MemoryStore:
    """A record store with its events and memberships, over one state and one clock."""

    def __init__(self, clock: Clock, retention: Retention = DEFAULT_RETENTION) -> None:
        self.events = MemoryEvents()
        self.records = MemoryRecords(State(clock, retention, self.events))
        self.membership = MemoryMembership(clock)

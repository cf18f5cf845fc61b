"""The ports in memory: for tests, simulations and everything that is one process.

Also the readable form of what the scripts of the Redis adapter do: one conformance suite holds the two together.
"""

from scheduler.adapters.memory.answers import MemoryAnswers
from scheduler.adapters.memory.dead_letters import MemoryDeadLetters
from scheduler.adapters.memory.events import MemoryEvents
from scheduler.adapters.memory.follow_ups import MemoryFollowUps
from scheduler.adapters.memory.keys import MemoryKeys
from scheduler.adapters.memory.lines import MemoryLines
from scheduler.adapters.memory.membership import MemoryMembership
from scheduler.adapters.memory.pauses import MemoryPauses, MemoryShelves
from scheduler.adapters.memory.policies import MemoryPolicies
from scheduler.adapters.memory.records import MemoryRecords
from scheduler.adapters.memory.schedules import MemorySchedules
from scheduler.adapters.memory.state import IllegalMove, State
from scheduler.adapters.memory.store_time import MemoryStoreTime
from scheduler.adapters.memory.sweeps import MemorySweeps
from scheduler.adapters.memory.walk import MemoryWalk
from scheduler.adapters.memory.wanted_models import MemoryWantedModels
from scheduler.adapters.retention import DEFAULT_RETENTION, Retention
from scheduler.ports.clock import Clock

__all__ = [
    "IllegalMove",
    "MemoryAnswers",
    "MemoryDeadLetters",
    "MemoryEvents",
    "MemoryFollowUps",
    "MemoryKeys",
    "MemoryLines",
    "MemoryMembership",
    "MemoryPauses",
    "MemoryPolicies",
    "MemoryRecords",
    "MemorySchedules",
    "MemoryShelves",
    "MemoryStore",
    "MemoryStoreTime",
    "MemorySweeps",
    "MemoryWalk",
    "MemoryWantedModels",
]


class MemoryStore:
    """A record store with everything around it, over one state and one clock."""

    def __init__(self, clock: Clock, retention: Retention = DEFAULT_RETENTION) -> None:
        self.events = MemoryEvents()
        state = State(clock, retention, self.events)
        self.records = MemoryRecords(state)
        self.answers = MemoryAnswers(state)
        self.sweeps = MemorySweeps(state)
        self.follow_ups = MemoryFollowUps(state)
        self.dead_letters = MemoryDeadLetters(state)
        self.keys = MemoryKeys(state)
        self.schedules = MemorySchedules(state)
        self.pauses = MemoryPauses(clock)
        self.shelves = MemoryShelves(state)
        self.lines = MemoryLines(state)
        self.policies = MemoryPolicies(clock)
        self.wanted_models = MemoryWantedModels(clock)
        self.walk = MemoryWalk(state)
        self.membership = MemoryMembership(clock)
        self.time = MemoryStoreTime(clock)

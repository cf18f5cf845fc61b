"""What belongs to one partition: everything in it changes in one step."""

from collections.abc import Hashable
from typing import TypeVar

from scheduler.adapters.memory.rows import Queue, Row
from scheduler.adapters.memory.sorted_sets import Agenda
from scheduler.ports.follow_ups import FollowUp
from scheduler.states import TaskState

K = TypeVar("K", bound=Hashable)


class Partition:
    """The records of a partition, and by what time something must be done with which of them."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.rows: dict[str, Row] = {}
        self.leases = Agenda()
        """When the leases of RUNNING tasks run out."""
        self.timers = Agenda()
        """When SCHEDULED and RETRYING tasks are due."""
        self.deadlines = Agenda()
        """Of tasks that have one and have not ended."""
        self.lines: dict[Queue, Agenda] = {}
        """Who is QUEUED where, by the time since when."""
        self.urgent: dict[str, Agenda] = {}
        """Who is QUEUED with a deadline and was not promoted, by model and deadline."""
        self.tickets = Agenda()
        """When publications began that nobody has marked; 0 for those that nobody has begun."""
        self.schedules = Agenda()
        """When schedules are due, by their keys."""
        self.children: dict[str, set[str]] = {}
        """By the parent, which is of this partition."""
        self.follow_ups: dict[str, FollowUp] = {}
        """By their members, oldest first."""
        self._follow_ups_made = 0

    def enter(self, row: Row) -> None:
        """Enter a task that is QUEUED in its line, at the time when it entered its queue."""
        self.lines.setdefault(row.queue, Agenda()).put(row.id, row.queue_time_ms)
        if row.task.deadline_ms and not row.promoted:
            self.urgent.setdefault(row.task.model, Agenda()).put(row.id, row.task.deadline_ms)

    def leave(self, row: Row) -> None:
        """Take a task out of its line."""
        _drop(self.lines, row.queue, row.id)
        _drop(self.urgent, row.task.model, row.id)

    def follow_up(self, ended: list[Row]) -> list[str]:
        """Keep what follows from these endings; returns those that others depend on."""
        groups: dict[tuple[TaskState, int], list[str]] = {}
        for row in ended:
            groups.setdefault((row.state, row.attempt), []).append(row.id)
        parents = [row.id for row in ended if row.id in self.children]
        self._follow_ups_made += 1
        member = str(self._follow_ups_made)
        endings = [(state, ids) for (state, _), ids in groups.items()]
        self.follow_ups[member] = FollowUp(self.number, member, endings, parents)
        return parents


def _drop(agendas: dict[K, Agenda], key: K, name: str) -> None:
    agenda = agendas.get(key)
    if agenda is not None:
        agenda.drop(name)
        if not agenda:
            del agendas[key]

"""Tasks in order of their ranks: those of one tenant, level and model."""

from bisect import bisect_left, insort
from collections.abc import Callable
from typing import Final, Generic

from scheduler.policies.ordering import Ranked, TaskT, ranked
from scheduler.policies.policy import Policy

SINGLY: Final = 32
"""Fewer than one in so many newcomers are put in one by one; more are cheaper to sort with the rest."""


class SortedTasks(Generic[TaskT]):
    """A bounded list of tasks. Newcomers mostly go behind all others, which costs next to nothing."""

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: list[Ranked[TaskT]] = []
        """Ascending: the next one is the last. To be read only."""

    def __len__(self) -> int:
        return len(self.entries)

    def extend(self, newcomers: list[Ranked[TaskT]]) -> None:
        """Put tasks where they belong; the list is used up."""
        entries = self.entries
        newcomers.sort()
        if not entries or newcomers[-1] < entries[0]:
            entries[:0] = newcomers
        elif len(newcomers) * SINGLY < len(entries):
            for newcomer in newcomers:
                insort(entries, newcomer)
        else:
            entries += newcomers
            entries.sort()

    def pop_one(self) -> TaskT:
        """Remove and return the next task; something must wait."""
        return self.entries.pop()[2]

    def pop(self, count: int) -> list[TaskT]:
        """Remove and return up to `count` tasks, next first; at least one must be asked for."""
        entries = self.entries
        found = [entry[2] for entry in entries[: -count - 1 : -1]]
        del entries[-count:]
        return found

    def remove(self, entry: Ranked[TaskT]) -> bool:
        """Remove one task wherever it is; False when it is not here any more."""
        place = bisect_left(self.entries, entry)
        if place == len(self.entries) or self.entries[place] is not entry:
            return False
        del self.entries[place]
        return True

    def part(self, leaves: Callable[[TaskT], bool]) -> list[TaskT]:
        """Remove and return those of which `leaves` says so, in any order."""
        gone = [entry[2] for entry in self.entries if leaves(entry[2])]
        if gone:
            # Asked once only: an answer may change between two questions.
            left = set(map(id, gone))
            self.entries = [entry for entry in self.entries if id(entry[2]) not in left]
        return gone

    def follow(self, policy: Policy) -> None:
        """Order by another policy from now on."""
        self.entries = sorted(ranked(policy, [entry[2] for entry in self.entries]))

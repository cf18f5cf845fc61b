"""A checker of histories: what was accepted, every change that anybody saw, and what the records say at the end.

It proves the promise that faults are about: an accepted task reaches exactly one terminal state, never leaves it, is
tried no more often than it may be, and is never lost or doubled.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from forebay.client import AsyncClient, NotFound, TaskHandle, TaskInfo, TaskState, Unavailable
from scheduler.states import MOVES

RUN_LABEL: Final = "run"
MAX_ATTEMPTS: Final = 3
READS_AT_ONCE: Final = 16
RECONNECT_S: Final = 0.05
MOST_EVENTS: Final = 32
"""Longer histories are cut by the record store."""

_MOVES: Final = {(before.name, after.name) for (before, _), after in MOVES.items()}
_REQUEUED: Final = frozenset(
    {
        *("LEASE_EXPIRED", "RETURNED", "RUNNER_DIED", "RUNNER_CRASHED", "RUNNER_OUT_OF_MEMORY"),
        *("DUE", "PARENTS_ENDED", "RETRY", "UPDATED", "UNSHELVED", "PROMOTED"),
    }
)


@dataclass(frozen=True, slots=True)
class Change:
    """A task as somebody saw it."""

    publication: int
    attempt: int
    state: TaskState

    @property
    def rank(self) -> tuple[int, int, bool]:
        """What never falls over a task's life."""
        return self.publication, self.attempt, self.state.terminal


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the records say of a run once everything has ended."""

    states: Counter[TaskState]
    attempts: Counter[int]
    """How many tasks needed how many attempts."""
    records: dict[str, TaskInfo] = field(repr=False)


class History:
    """All that is known of the tasks that carry one label. Belongs to one event loop."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.accepted: dict[str, str] = {}
        """Idempotency key of each accepted task by its id."""
        self.changes: dict[str, list[Change]] = {}
        """Every state seen, in the order in which it was seen."""
        self.faults: list[str] = []
        self.gaps = 0
        """How often the watch was interrupted."""
        self._ids: dict[str, str] = {}
        self._newest: dict[tuple[str, str], Change] = {}
        self._ended: dict[str, Change] = {}
        self._changed = asyncio.Event()

    @property
    def ended(self) -> int:
        """How many tasks were seen to end."""
        return len(self._ended)

    def accept(self, key: str, handle: TaskHandle) -> None:
        """Note that a submit was answered OK."""
        if self._ids.setdefault(key, handle.id) != handle.id:
            self.faults.append(f"key {key} belongs to {self._ids[key]} and to {handle.id}")
        self.accepted[handle.id] = key
        self._changed.set()

    def observe(self, watcher: str, info: TaskInfo) -> None:
        """Note what a watcher was shown; `watcher` tells streams apart, each of which must never go back."""
        change = Change(info.publication, info.attempt, info.state)
        self.changes.setdefault(info.id, []).append(change)
        before = self._newest.get((watcher, info.id))
        if before is not None and change.rank < before.rank:
            self.faults.append(f"{info.id} went back from {before} to {change} before {watcher}")
        self._newest[watcher, info.id] = change
        first = self._ended.get(info.id)
        if first is not None and change.state.terminal and change != first:
            self.faults.append(f"{info.id} ended twice: {first}, {change}")
        if change.state.terminal:
            self._ended.setdefault(info.id, change)
        self._changed.set()

    async def until_ended(self, tasks: int) -> None:
        """Wait until so many tasks were seen to end."""
        while self.ended < tasks:
            await self._next_change()

    def under_way(self) -> set[str]:
        """Return the tasks that were accepted and were not seen to end."""
        return self.accepted.keys() - self._ended.keys()

    async def until_attempt(self, attempt: int, among: set[str]) -> None:
        """Wait until one of these tasks was seen in that attempt."""
        while not any(
            change.attempt >= attempt for task_id in among for change in self.changes.get(task_id, ())
        ):
            await self._next_change()

    async def check(self, client: AsyncClient) -> Verdict:
        """Read every record, assert all that must hold, and return what there is.

        Call it when everything accepted has been waited for.
        """
        listed = [info async for info in client.list(labels={RUN_LABEL: self.run})]
        self._check_listing(listed)
        records = await self._read(client, self.accepted)
        for record in records:
            self._check_record(record)
        assert not self.faults, "\n".join(self.faults[:20])
        return Verdict(
            Counter(record.state for record in records),
            Counter(record.attempt for record in records),
            {record.id: record for record in records},
        )

    async def _read(self, client: AsyncClient, ids: Iterable[str]) -> Sequence[TaskInfo]:
        free = asyncio.Semaphore(READS_AT_ONCE)

        async def get(task_id: str) -> TaskInfo | None:
            async with free:
                try:
                    return await client.get(task_id)
                except NotFound:
                    self.faults.append(f"{task_id} was accepted and is lost")
                    return None

        return [record for record in await asyncio.gather(*map(get, ids)) if record is not None]

    def _check_listing(self, listed: Sequence[TaskInfo]) -> None:
        keys = Counter(info.spec.idempotency_key for info in listed if info.spec is not None)
        self.faults += [f"key {key} made {count} tasks" for key, count in keys.items() if count > 1]
        missing = self.accepted.keys() - {info.id for info in listed}
        self.faults += [f"{task_id} was accepted and is not listed" for task_id in missing]
        self.faults += [f"{info.id} is still {info.state.value}" for info in listed if not info.done]

    def _check_record(self, record: TaskInfo) -> None:
        task_id, steps = record.id, [event.state for event in record.events]
        now = Change(record.publication, record.attempt, record.state)
        if not record.done:
            self.faults.append(f"{task_id} is still {record.state.value}")
        if self._ended.get(task_id, now) != now:
            self.faults.append(f"{task_id} was seen as {self._ended[task_id]} and is {now}")
        if [step for step in steps if step.terminal] != steps[-1:] or steps[-1:] != [record.state]:
            self.faults.append(f"{task_id} does not end once: {steps}")
        if any((before.name, after.name) not in _MOVES for before, after in pairwise(steps)):
            self.faults.append(f"{task_id} made a move that does not exist: {steps}")
        if len(steps) < MOST_EVENTS and (
            steps.count(TaskState.RUNNING) != record.attempt
            or steps.count(TaskState.QUEUED) != record.publication
        ):
            self.faults.append(
                f"{task_id} counts attempt {record.attempt}, publication {record.publication}: {steps}"
            )
        requeued = [event.reason for event in record.events[1:] if event.state is TaskState.QUEUED]
        if not _REQUEUED.issuperset(requeued):
            self.faults.append(f"{task_id} was queued again because of {requeued}")
        if record.attempt - record.uncharged_attempts > MAX_ATTEMPTS:
            self.faults.append(f"{task_id} was tried too often: {record.events}")

    async def _watch(self, client: AsyncClient) -> None:
        while True:
            try:
                async for info in client.watch(labels={RUN_LABEL: self.run}):
                    self.observe("the watch", info)
            except Unavailable:
                self.gaps += 1
                await asyncio.sleep(RECONNECT_S)

    async def _next_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


@asynccontextmanager
async def watched(client: AsyncClient, run: str) -> AsyncIterator[History]:
    """Watch all tasks of a run for as long as the block lasts."""
    history = History(run)
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(history._watch(client))
        try:
            yield history
        finally:
            watching.cancel()

"""A store in memory beside one on a real server: what is done to the one is done to the other, and compared."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

from scheduler.ids import PARTITIONS
from scheduler.ports.follow_ups import FollowUp
from scheduler.ports.records import PublishTicket, Record, Republication
from scheduler.ports.sweeps import Due
from scheduler.ports.walk import OpenTask
from tests.conformance.stores import Store

LIMIT: Final = 1_000
"""More than there ever is: with clocks of their own the stores would choose different ones."""
TENANTS: Final = ("acme", "other", "")


Call = Callable[[Store], Awaitable[Any]]
View = Callable[[Any], object]


def _as_it_is(answer: object) -> object:
    return answer


def comparable(record: Record | None) -> object:
    """Return what two stores must agree on: everything but the times, and of those whether they have come."""
    if record is None:
        return None
    times = record.create_time_ms, record.queue_time_ms, record.start_time_ms, record.end_time_ms
    return (
        record._replace(create_time_ms=0, queue_time_ms=0, start_time_ms=0, end_time_ms=0, history=()),
        [time_ms > 0 for time_ms in times],
        [(step.state, step.reason) for step in record.history],
    )


def endings(entry: FollowUp) -> object:
    """Return what two stores must agree on of a follow-up."""
    ended = sorted((state, task_id) for state, ids in entry.endings for task_id in ids)
    return entry.partition, ended, sorted(entry.parents)


class Pair:
    """The model, and the store that is held against it."""

    def __init__(self, model: Store, real: Store) -> None:
        self.model = model
        self.real = real
        self._tickets: list[tuple[list[PublishTicket], list[PublishTicket]]] = []

    async def same(self, call: Call, view: View = _as_it_is) -> Any:
        """Do the same to both, compare the answers as `view` shows them, and return the model's."""
        expected, got = await call(self.model), await call(self.real)
        _agree(view(expected), view(got))
        return expected

    async def handed_out(self, call: Call) -> None:
        """Do the same to both, of which the last answers are what must be published, and its tickets."""
        expected, got = await call(self.model), await call(self.real)
        _agree((*expected[:-2], sorted(expected[-2])), (*got[:-2], sorted(got[-2])))
        self.kept(expected[-1], got[-1])

    def kept(self, expected: list[PublishTicket], got: list[PublishTicket]) -> None:
        """Remember tickets, which only their own store can read."""
        _agree(sorted(ticket[0] for ticket in expected), sorted(ticket[0] for ticket in got))
        self._tickets.append((expected, got))

    async def mark(self) -> None:
        """Mark every ticket there was."""
        for expected, got in self._tickets:
            await self.model.admission.mark_published(expected)
            await self.real.admission.mark_published(got)
        self._tickets.clear()

    async def follow_up(self, limit: int) -> None:
        """Read the oldest follow-ups, and do with them."""
        partitions = range(PARTITIONS)
        found = [await store.follow_ups.follow_ups(partitions, limit) for store in (self.model, self.real)]
        expected, got = [sorted(entries, key=lambda entry: entry.partition) for entries in found]
        _agree([endings(entry) for entry in expected], [endings(entry) for entry in got])
        parents = [parent for entry in expected for parent in entry.parents]
        await self.same(lambda store: store.follow_ups.children(parents), _sets)
        await self.model.follow_ups.followed_up(expected)
        await self.real.follow_ups.followed_up(got)

    async def agree_on_records(self, ids: Sequence[str]) -> list[Record]:
        """Compare all records and counters; returns the records."""
        found: list[Record | None] = await self.same(
            lambda store: store.queries.get(ids, include_result=True),
            lambda records: [comparable(record) for record in records],
        )
        await self.same(
            lambda store: store.queries.queue_counts(),
            lambda counts: [count for count in counts if any(count[2:])],
        )
        await self.same(lambda store: store.lines.lines())
        return [record for record in found if record is not None]

    async def agree_on_the_rest(self, ids: Sequence[str], partitions: Iterable[int]) -> None:
        """Compare everything else that can be read."""
        everywhere = range(PARTITIONS)
        calls: list[tuple[Call, View]] = [
            *((partial(_walk, partition), _walked) for partition in partitions),
            *((partial(_listed, tenant), _as_it_is) for tenant in TENANTS),
            *((partial(_letters, tenant), _as_it_is) for tenant in TENANTS),
            (lambda store: store.dead_letters.raw(ids), _as_it_is),
            (lambda store: store.follow_ups.children(ids), _sets),
            (lambda store: store.sweeps.unpublished(everywhere, 0, LIMIT), _published),
            (lambda store: store.due(), _due),
            *((partial(_output, task_id), _as_it_is) for task_id in ids),
        ]
        for call, view in calls:
            await self.same(call, view)


async def _walk(partition: int, store: Store) -> tuple[list[OpenTask], str]:
    return await store.walk.open_tasks(partition, "", LIMIT)


async def _listed(tenant: str, store: Store) -> list[str]:
    return await store.queries.list_ids(tenant, "", LIMIT)


async def _letters(tenant: str, store: Store) -> list[str]:
    return await store.dead_letters.dead_letters(tenant, "", LIMIT)


async def _output(task_id: str, store: Store) -> list[tuple[int, bytes]]:
    return await store.queries.output(task_id, 0, LIMIT)


def _agree(expected: object, got: object) -> None:
    if got != expected:
        raise AssertionError(f"the real store says\n  {got}\nbut the one in memory\n  {expected}")


def _due(due: Due) -> object:
    return due._replace(next_in_ms=(due.next_in_ms > 0) - (due.next_in_ms < 0))


def _sets(lists: Sequence[Sequence[str]]) -> object:
    return [sorted(ids) for ids in lists]


def _walked(answer: Any) -> object:
    tasks, cursor = answer
    return sorted(tasks), cursor


def _published(answer: Sequence[tuple[PublishTicket, Sequence[Republication]]]) -> object:
    # A store may keep a repeated creation under one ticket or under two.
    return sorted({item for _, items in answer for item in items})

"""What a state machine needs to drive a pair of stores: tasks to pick from, and the comparison after each step."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Final

from hypothesis.stateful import RuleBasedStateMachine, invariant

from scheduler.adapters.redis import connect
from scheduler.adapters.retention import Retention
from scheduler.ports.records import Hold, NewTask, Record, Wanted
from scheduler.states import TaskState
from tests.conformance.line_truth import check_lines
from tests.conformance.pairs import Pair
from tests.conformance.stores import memory_store, redis_store

HOUR_MS: Final = 3_600_000
TASKS: Final = 8
"""Few, so that much happens to each."""


def fixed_id(partition: int, number: int) -> str:
    """Make an id that is the same in every run."""
    return f"{partition:02d}-01hf7yat00{number:016d}"


class PairMachine(RuleBasedStateMachine):
    """Drives both stores."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._client = connect(url, timeout_s=5.0)
        self.pair = Pair(memory_store(Retention()), redis_store(self._client, Retention()))
        self.known: dict[str, NewTask] = {}
        self.states: dict[str, TaskState] = {}
        self._made = 0
        self.run(self._empty())

    def teardown(self) -> None:
        """Let go."""
        self.run(self._client.aclose())
        self._runner.close()

    async def _empty(self) -> None:
        await self._client.flushall()

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(call)

    def pick(self, places: Sequence[int], states: Sequence[TaskState], anything: bool) -> list[Record]:
        """Read tasks in the model: in one of these states if there are any, or just any."""
        fit = [task_id for task_id, state in self.states.items() if state in states]
        if anything or not fit:
            fit = list(self.states)
        ids = [fit[place % len(fit)] for place in places]
        records: list[Record | None] = self.run(self.pair.model.queries.get(ids, include_result=False))
        return [record for record in records if record is not None]

    def holds(self, places: Sequence[int], anything: bool, off: int) -> list[Hold]:
        if TaskState.RUNNING not in self.states.values():
            self.lease_tasks(self.queued(places, False, 0), HOUR_MS)
        running = self.pick(places, [TaskState.RUNNING], anything)
        return [Hold(record.id, max(record.attempt + off, 1)) for record in running]

    def queued(self, places: Sequence[int], anything: bool, off: int) -> list[tuple[str, int]]:
        queued = self.pick(places, [TaskState.QUEUED], anything)
        return [(record.id, max(record.publication + off, 0)) for record in queued]

    def create_tasks(self, *tasks: NewTask) -> None:
        async def create() -> None:
            expected, got = [await store.admission.create(tasks) for store in (model, real)]
            assert [answer[:4] for answer in got[0]] == [answer[:4] for answer in expected[0]]
            self.pair.kept(expected[1], got[1])

        model, real = self.pair.model, self.pair.real
        self.run(create())
        self.known.update({task.id: task for task in tasks})

    def new(self, partition: int, **fields: Any) -> NewTask:
        self._made += 1
        task_id = fixed_id(partition, self._made)
        return NewTask(id=task_id, pool="default", envelope=b"envelope of " + task_id.encode(), **fields)

    def lease_tasks(self, wanted: list[tuple[str, int]], lease_ms: int, need_ms: int = 0) -> None:
        tasks = [Wanted(*each, need_ms) for each in wanted]
        self.run(
            self.pair.same(
                lambda store: store.leases.lease(tasks, "runner-1", lease_ms),
                lambda replies: [reply[:2] for reply in replies],
            )
        )
        self.records_agree()

    @invariant()
    def records_agree(self) -> None:
        records = self.run(self.pair.agree_on_records(list(self.known)))
        self.run(check_lines(self._client, list(self.known)))
        self.states = {record.id: record.state for record in records}
        for record in records:
            task = self.known[record.id]
            charged = record.attempt - record.uncharged
            assert charged <= task.max_attempts

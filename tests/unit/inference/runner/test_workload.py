"""Each task that is taken leaves exactly once, with its fate."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from google.rpc.status_pb2 import Status

from inference.engine import (
    Choice,
    Chunk,
    Done,
    EngineKind,
    Failed,
    Finish,
    GenerateOutput,
    GenerateRequest,
    ModelCard,
    TensorOutput,
)
from inference.journal import JournalWriter, read_journal
from inference.runner.held import Cost, Fate, Held
from inference.runner.tally import Tally
from inference.runner.telemetry import Telemetry
from inference.runner.workload import Workload
from observability.metrics import RunnerMetrics, new_registry, page
from scheduler.adapters.clock import FakeClock
from scheduler.adapters.memory import MemoryStore
from scheduler.errors import DeadlinePassed, ForebayError, InvalidInput, ModelFailed
from scheduler.policies.failures import Backoff
from scheduler.ports.records import Record, Wanted
from scheduler.states import Level, TaskState

from .fakes import NoSource, assignment, generate_spec, new_task, tensor_spec


class Executor:
    """Keeps what it is given; a test plays the engine."""

    def __init__(self) -> None:
        self.admitted: list[Held] = []
        self.cancelled: list[str] = []
        self.handed_back = 0

    def admit(self, tasks: Sequence[Held]) -> None:
        self.admitted += tasks

    def cancel(self, keys: Sequence[str]) -> None:
        self.cancelled += keys

    def hand_back(self) -> None:
        self.handed_back += 1


class Bench:
    """A workload over a store in memory."""

    def __init__(self, kind: EngineKind, journal: JournalWriter | None = None) -> None:
        self.store = MemoryStore(FakeClock())
        self.executor = Executor()
        self.source = NoSource()
        self.registry = new_registry()
        telemetry = Telemetry(RunnerMetrics(self.registry, "m"), model="m", provider="CPU", runner="r")
        card = ModelCard(kind, "", "CPU")
        self.tally = Tally("m", 0)
        self.workload = Workload(
            card, self.executor, self.store.records, FakeClock(), telemetry, self.tally, journal
        )

    async def lease(self, *specs: object, spoil: bool = False) -> list[Held]:
        """Create, lease and assign tasks; return what reached the engine."""
        before = len(self.executor.admitted)
        sent = [assignment(spec) for spec in specs]  # type: ignore[arg-type]
        await self.store.records.create([new_task(one) for one in sent])
        replies = await self.store.records.lease([Wanted(one.envelope.id, 1) for one in sent], "r", 10_000)
        assert [reply.attempt for reply in replies] == [1] * len(sent)
        if spoil:
            for one in sent:
                one.envelope.spec += b"x"
        self.workload.assigned(sent, self.source)
        return self.executor.admitted[before:]

    async def record(self, task_id: str) -> Record:
        [record] = await self.store.records.get([task_id], True)
        assert record is not None
        return record

    def fates(self) -> list[Fate]:
        return [fate for _, _, fate in self.source.settled]


@asynccontextmanager
async def bench(
    kind: EngineKind = EngineKind.TENSOR, journal: JournalWriter | None = None
) -> AsyncIterator[Bench]:
    made = Bench(kind, journal)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(made.workload.outcomes.run())
        yield made
        running.cancel()


def done(task: Held) -> Done:
    return Done(task.key, TensorOutput({}))


async def test_an_executed_task_is_written_then_settled_as_terminal() -> None:
    async with bench() as b:
        tasks = await b.lease(tensor_spec(), tensor_spec())
        assert b.fates() == []
        b.workload.updated([done(task) for task in tasks])
        await b.workload.emptied()
        assert [(await b.record(task.id)).state for task in tasks] == [TaskState.SUCCEEDED] * 2
    assert b.fates() == [Fate.TERMINAL] * 2
    assert len(b.workload) == 0


def measured(task: Held, execute_s: float = 3.0, work_s: float = 0.5) -> Held:
    """Write into a task what the engine thread would have measured."""
    task.admitted_s, task.execute_s, task.work_s = 100.0, execute_s, work_s
    return task


async def test_a_task_that_ended_well_is_settled_with_what_it_cost() -> None:
    async with bench(EngineKind.GENERATE) as b:
        [task] = await b.lease(generate_spec())
        choices = [Choice("ab", (1, 2), Finish.STOP), Choice("c", (3,), Finish.STOP)]
        b.workload.updated([Done(measured(task).key, GenerateOutput(choices, 3, 0.1))])
        await b.workload.emptied()
    assert b.source.costs[task.id] == Cost(3.0, 0.5, 3)
    assert not b.source.failed


async def test_a_failure_that_another_runner_could_mend_is_told_as_one() -> None:
    async with bench() as b:
        [task] = await b.lease(tensor_spec())
        b.workload.updated([Failed(measured(task).key, ModelFailed("no"))])
        await b.workload.emptied()
    assert b.source.costs[task.id] == Cost(3.0, 0.5)
    assert b.source.failed == {task.id}


@pytest.mark.parametrize("error", [InvalidInput.of("generate", "no"), DeadlinePassed("too late")])
async def test_what_the_input_or_the_time_is_to_blame_for_has_no_cost_and_blames_no_runner(
    error: ForebayError,
) -> None:
    async with bench() as b:
        [task] = await b.lease(tensor_spec())
        b.workload.updated([Failed(measured(task).key, error)])
        await b.workload.emptied()
    assert b.source.costs[task.id] is None
    assert not b.source.failed


async def test_a_damaged_envelope_blames_no_runner() -> None:
    async with bench() as b:
        await b.lease(tensor_spec(), spoil=True)
        await b.workload.emptied()
    assert not b.source.failed


async def test_what_is_handed_back_costs_what_was_spent_so_far_and_nothing_before_it_began() -> None:
    async with bench() as b:
        runs, waits = await b.lease(tensor_spec(), tensor_spec())
        runs.admitted_s, runs.work_s = time.monotonic() - 1.0, 0.25
        b.workload.abandon()
        await b.workload.emptied()
    cost = b.source.costs[runs.id]
    assert cost is not None
    assert cost.work_s == 0.25
    assert cost.execute_s >= 1.0
    assert b.source.costs[waits.id] is None


async def test_a_cancelled_task_is_settled_without_a_cost() -> None:
    async with bench() as b:
        [task] = await b.lease(tensor_spec())
        task.admitted_s, task.work_s = time.monotonic(), 0.25
        b.workload.cancelled([task.id])
        await b.workload.emptied()
    assert b.source.costs[task.id] is None


async def test_a_damaged_envelope_is_never_executed_and_fails() -> None:
    async with bench() as b:
        assert await b.lease(tensor_spec(), spoil=True) == []
        await b.workload.emptied()
        [(task_id, attempt, fate)] = b.source.settled
        record = await b.record(task_id)
    assert (attempt, fate, record.state) == (1, Fate.TERMINAL, TaskState.FAILED)
    assert record.history[-1].reason == "ENVELOPE_DAMAGED"


async def test_input_of_the_wrong_kind_fails_with_the_field() -> None:
    async with bench(EngineKind.GENERATE) as b:
        assert await b.lease(tensor_spec()) == []
        await b.workload.emptied()
        record = await b.record(b.source.settled[0][0])
    status = Status.FromString(record.error)
    assert status.message == "tensors: model m takes generate"
    assert record.history[-1].reason == "INVALID_INPUT"


async def test_a_cancelled_task_is_stopped_and_what_still_comes_of_it_is_dropped() -> None:
    async with bench(EngineKind.GENERATE) as b:
        [task] = await b.lease(generate_spec())
        await b.store.records.cancel([task.id], "t", b"", b"")
        b.workload.cancelled([task.id])
        b.workload.updated([Chunk(task.key, "x", [1]), done(task)])
        await b.workload.emptied()
        assert (await b.record(task.id)).state is TaskState.CANCELLED
    assert b.executor.cancelled == [task.key]
    assert b.fates() == [Fate.TERMINAL]


async def test_an_ending_that_comes_after_the_lease_was_lost_is_refused_and_settled_once() -> None:
    async with bench() as b:
        [task] = await b.lease(tensor_spec())
        await b.store.records.cancel([task.id], "t", b"", b"")
        b.workload.updated([done(task)])
        b.workload.cancelled([task.id])
        b.workload.fenced([task])
        await b.workload.emptied()
    assert b.fates() == [Fate.FENCED]


async def test_a_lost_lease_stops_the_task_and_a_second_report_of_it_changes_nothing() -> None:
    async with bench() as b:
        [task] = await b.lease(tensor_spec())
        b.workload.fenced([task])
        b.workload.fenced([task])
        b.workload.returned([task.key])
    assert b.executor.cancelled == [task.key]
    assert b.fates() == [Fate.FENCED]


async def test_draining_hands_back_what_waits_and_what_still_comes() -> None:
    async with bench() as b:
        runs, waits = await b.lease(tensor_spec(), tensor_spec())
        b.workload.drain()
        assert b.executor.handed_back == 1
        b.workload.returned([waits.key])
        assert await b.lease(tensor_spec()) == []
        assert b.fates() == [Fate.RETURNED] * 2
        b.workload.updated([done(runs)])
        await b.workload.emptied()
    assert b.fates()[2:] == [Fate.TERMINAL]


async def test_what_runs_beyond_the_grace_period_is_stopped_and_handed_back() -> None:
    async with bench() as b:
        [task] = await b.lease(tensor_spec())
        b.workload.drain()
        b.workload.abandon()
        await b.workload.emptied()
    assert b.executor.cancelled == [task.key]
    assert b.fates() == [Fate.RETURNED]


async def test_what_was_on_its_way_when_all_was_given_up_is_given_back() -> None:
    async with bench(EngineKind.GENERATE) as b:
        b.workload.abandon()
        b.workload.assigned([assignment(generate_spec())], b.source)
        assert len(b.workload) == 0
        assert b.executor.admitted == []
    assert b.fates() == [Fate.RETURNED]


async def test_a_stream_is_whole_and_ends_with_the_state() -> None:
    async with bench(EngineKind.GENERATE) as b:
        [task] = await b.lease(generate_spec())
        output = GenerateOutput([Choice("ab", [1, 2], Finish.STOP)], 1, 0.1)
        b.workload.updated([Chunk(task.key, "a", [1])])
        b.workload.updated([Done(task.key, output, Chunk(task.key, "b", [2], finish=Finish.STOP))])
        await b.workload.emptied()
        chunks = await b.store.records.output(task.id, 0, 10)
    assert [sequence for sequence, _ in chunks] == list(range(1, len(chunks) + 1))


async def test_a_task_brings_its_own_rests_and_its_isolation() -> None:
    async with bench() as b:
        spec = tensor_spec()
        spec.retry.initial_backoff.FromMilliseconds(100)
        spec.retry.max_backoff.FromMilliseconds(0)
        sent = assignment(spec)
        sent.isolation = "group"
        b.workload.assigned([sent, assignment(tensor_spec())], b.source)
        first, second = b.executor.admitted
        b.workload.abandon()
    assert (first.backoff, first.isolation) == (Backoff(100, 0, 2.0), "group")
    assert (second.backoff, second.isolation) == (Backoff(500, 60_000, 2.0), "")


async def test_a_generation_brings_its_level_and_its_tenant_to_the_engine() -> None:
    async with bench(EngineKind.GENERATE) as b:
        b.workload.assigned([assignment(generate_spec(), level=Level.CRITICAL)], b.source)
        [held] = b.executor.admitted
        b.workload.abandon()
    assert isinstance(held.request, GenerateRequest)
    assert (held.request.level, held.request.tenant) == (Level.CRITICAL, "t")


async def test_the_journal_has_each_task_before_anything_looks_into_it(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with bench(journal=JournalWriter(path)) as b:
        sent = assignment(tensor_spec())
        sent.envelope.spec += b"x"
        b.workload.assigned([sent], b.source)
        assert [one.id for one in read_journal(path).waiting] == [sent.envelope.id]


async def test_each_late_outcome_is_logged_once_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with bench() as b:
        tasks = await b.lease(tensor_spec(), tensor_spec())
        await b.store.records.cancel([task.id for task in tasks], "t", b"", b"")
        b.workload.updated([done(task) for task in tasks])
        b.workload.fenced(tasks)
        await b.workload.emptied()
    told = [vars(record) for record in caplog.records if "refused" in record.getMessage()]
    assert [one["task_id"] for one in told] == [task.id for task in tasks]
    assert all(one["cause"] for one in told)
    assert not any("lease lost" in record.getMessage() for record in caplog.records)


async def test_an_attempt_that_another_follows_is_not_counted_as_an_end() -> None:
    async with bench() as b:
        [task] = await b.lease(tensor_spec())
        task.max_attempts = 2
        b.workload.updated([Failed(task.key, ModelFailed("no luck"))])
        await b.workload.emptied()
    assert 'state="failed"' not in page(b.registry)[0].decode()


async def test_finished_work_is_counted() -> None:
    async with bench() as b:
        tasks = await b.lease(tensor_spec(), tensor_spec(), tensor_spec())
        b.workload.updated([done(task) for task in tasks])
        await b.workload.emptied()
    text = page(b.registry)[0].decode()
    assert 'forebay_tasks_finished_total{level="normal",state="succeeded"} 3.0' in text

import asyncio
import logging
from collections.abc import Sequence

import pytest

from forebay.tasks.v1 import task_pb2
from scheduler.adapters.clock import FakeClock
from scheduler.errors import ForebayError, QuotaExceeded, RecordsUnavailable
from scheduler.policies.policy import DEFAULT_POLICY, Limit, Policy
from scheduler.ports.lines import Line
from scheduler.ports.records import Admission, Admitted
from scheduler.states import Level, TaskState
from services.gateway.quotas import Admittance, Quotas, quotas_kept


class Store:
    """Counts that a test sets, keys that it names, and servers that it takes away."""

    def __init__(self) -> None:
        self.counted: list[Line] = []
        self.keys: set[tuple[str, str]] = set()
        self.looks = 0
        self.asked: list[str] = []
        self.away = False
        self.slow: asyncio.Event | None = None

    async def lines(self) -> Sequence[Line]:
        self.looks += 1
        if self.slow is not None:
            await self.slow.wait()
        if self.away:
            raise RecordsUnavailable("away")
        return self.counted

    async def place(self, pool: str, level: Level, tenant: str, model: str, queue_time_ms: int) -> int:
        raise AssertionError

    async def known(self, tenant: str, keys: Sequence[tuple[int, str]]) -> list[bool]:
        if self.away:
            raise RecordsUnavailable("away")
        self.asked += [key for _, key in keys]
        return [(tenant, key) in self.keys for _, key in keys]


class Costs:
    """What a test says that tasks cost, a millisecond where it says nothing."""

    def __init__(self, known: dict[tuple[str, str], float]) -> None:
        self._known = known
        self.asked = 0

    def __call__(self, model: str, tenant: str) -> float:
        return self._known.get((model, tenant), 1.0)

    async def refresh(self) -> None:
        self.asked += 1


def policy(*limits: Limit) -> Policy:
    return Policy(limits=limits)


def quotas(store: Store, *limits: Limit, clock: FakeClock | None = None) -> Quotas:
    made = Quotas(store, store, clock or FakeClock(), Costs({}))
    made.follow(policy(*limits))
    return made


def specs(count: int, *, keyed: bool = False, priority: int = 1) -> list[task_pb2.TaskSpec]:
    made = [task_pb2.TaskSpec(model="m", priority=priority) for _ in range(count)]  # type: ignore[arg-type]
    if keyed:
        for number, spec in enumerate(made):
            spec.idempotency_key = f"key-{number}"
    return made


def recorded(admittance: Admittance, count: int) -> list[Admission | ForebayError | None]:
    task = Admission(Admitted.CREATED, "07-x", TaskState.QUEUED, 1, 0)
    return [admittance.refused.get(place, task) for place in range(count)]


def line(queued: int, *, tenant: str = "t", waiting: int = 0, running: int = 0) -> Line:
    return Line("default", Level.LOW, tenant, "m", queued, running, waiting)


async def test_nothing_is_let_in_before_anybody_looked() -> None:
    store = Store()
    store.counted = [line(8)]
    made = quotas(store, Limit(queued_tasks=10))
    admittance = await made.admit("t", specs(5))
    assert sorted(admittance.refused) == [2, 3, 4]
    assert store.looks == 1
    await made.admit("t", specs(1))
    assert store.looks == 1


async def test_calls_that_come_during_the_first_look_wait_for_it_together() -> None:
    store = Store()
    store.slow = asyncio.Event()
    made = quotas(store, Limit(queued_tasks=10))
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(made.admit("t", specs(5))) for _ in range(4)]
        await asyncio.sleep(0)
        store.slow.set()
    assert store.looks == 1
    assert sum(len(call.result().refused) for call in calls) == 10


async def test_tasks_that_wait_for_their_time_count_and_those_that_run_do_not() -> None:
    store = Store()
    store.counted = [line(2, waiting=3, running=100)]
    admittance = await quotas(store, Limit(queued_tasks=10)).admit("t", specs(10))
    assert len(admittance.refused) == 5


async def test_a_refusal_is_an_error_that_all_tasks_with_the_same_cause_share() -> None:
    admittance = await quotas(Store(), Limit(queued_tasks=1)).admit("t", specs(3))
    assert admittance.refused[1] is admittance.refused[2]
    error = admittance.refused[1]
    assert isinstance(error, QuotaExceeded)
    assert [violation.subject for violation in error.violations] == ["tenant t"]
    assert error.retry_after_s == 1.0


async def test_a_task_whose_key_is_known_is_not_refused_and_counts_for_nothing() -> None:
    store = Store()
    store.keys = {("t", "key-3"), ("other", "key-4")}
    made = quotas(store, Limit(queued_tasks=2))
    admittance = await made.admit("t", specs(5, keyed=True))
    assert sorted(admittance.refused) == [2, 4]
    assert store.asked == ["key-2", "key-3", "key-4"]
    outcomes = recorded(admittance, 5)
    outcomes[3] = Admission(Admitted.EXISTING, "07-y", TaskState.RUNNING, 1, 0)
    admittance.close(outcomes)
    assert len((await made.admit("t", specs(1))).refused) == 1


async def test_tasks_within_the_limits_are_not_looked_up() -> None:
    store = Store()
    await quotas(store, Limit(queued_tasks=5)).admit("t", specs(5, keyed=True))
    assert store.asked == []


async def test_what_was_let_in_and_not_recorded_leaves_its_room_to_others() -> None:
    made = quotas(Store(), Limit(queued_tasks=5))
    first = await made.admit("t", specs(5))
    assert len((await made.admit("t", specs(1))).refused) == 1
    first.close([None] * 5)
    assert len((await made.admit("t", specs(6))).refused) == 1


async def test_what_may_have_been_recorded_counts_until_the_next_look() -> None:
    store = Store()
    made = quotas(store, Limit(queued_tasks=5))
    (await made.admit("t", specs(5))).close(None)
    assert len((await made.admit("t", specs(5))).refused) == 5
    await made.look()
    assert len((await made.admit("t", specs(5))).refused) == 0


async def test_a_store_that_is_away_when_keys_are_looked_up_leaves_nothing_counted() -> None:
    store = Store()
    made = quotas(store, Limit(queued_tasks=2))
    await made.look()
    store.away = True
    with pytest.raises(RecordsUnavailable):
        await made.admit("t", specs(3, keyed=True))
    assert len((await made.admit("t", specs(3))).refused) == 1


async def test_expected_work_is_asked_for_by_model_and_tenant() -> None:
    store = Store()
    store.counted = [line(1)]
    costs = Costs({("m", "t"): 400.0})
    made = Quotas(store, store, FakeClock(), costs)
    made.follow(policy(Limit(queued_tasks=100)))
    await made.look()
    assert costs.asked == 0
    made.follow(policy(Limit(queued_work_s=2.0)))
    await made.look()
    assert costs.asked == 1
    assert len((await made.admit("t", specs(10))).refused) == 6


async def test_a_level_that_is_none_is_for_others_to_refuse() -> None:
    made = quotas(Store(), Limit(queued_tasks=100))
    for priority in (99, -1):
        assert not (await made.admit("t", specs(1, priority=priority))).refused


async def test_it_looks_four_times_a_second_and_only_while_there_are_limits() -> None:
    store, clock = Store(), FakeClock()
    made = quotas(store, clock=clock)
    assert not made.active
    async with quotas_kept(made):
        await asyncio.sleep(0)
        assert store.looks == 0
        made.follow(policy(Limit(queued_tasks=1)))
        for expected in (1, 2, 3):
            await clock.until_asleep()
            assert store.looks == expected
            clock.advance(0.25)
        await clock.until_asleep()
        made.follow(DEFAULT_POLICY)
        clock.advance(60.0)
        for _ in range(5):
            await asyncio.sleep(0)
        assert (store.looks, made.active) == (4, False)


async def test_a_store_that_is_away_is_told_of_once_and_what_was_seen_last_goes_on_to_hold(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, clock = Store(), FakeClock()
    store.counted = [line(3)]
    made = quotas(store, Limit(queued_tasks=5), clock=clock)
    with caplog.at_level(logging.WARNING):
        async with quotas_kept(made):
            await clock.until_asleep()
            store.away = True
            for _ in range(3):
                clock.advance(0.25)
                await clock.until_asleep()
            assert len((await made.admit("t", specs(5))).refused) == 3
    assert [record.getMessage() for record in caplog.records] == ["what waits is not known"]

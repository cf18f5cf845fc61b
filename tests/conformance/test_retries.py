"""Attempts, and what they are charged for: backoff, dead runners, and the end when all are used up."""

import pytest

from scheduler.ports.records import Ending, Hold, Lease, OutputChunk, Update, Wanted, Written
from scheduler.ports.sweeps import MOST_SPARED, Death
from scheduler.states import Level, TaskState
from tests.conformance.stores import PARTITION, Store, new_task, new_tasks


def _failure(hold: Hold, retry_in_ms: int = 0, last_output: bytes = b"") -> Ending:
    return Ending(
        hold.id,
        hold.attempt,
        TaskState.FAILED,
        error=b"why %d" % hold.attempt,
        reason="MODEL_FAILED",
        last_output=last_output,
        retry_in_ms=retry_in_ms,
    )


async def test_a_failure_that_can_be_mended_rests_and_starts_again(store: Store) -> None:
    task = new_task()
    hold = await store.start(task)
    assert await store.outcomes.finish([_failure(hold, retry_in_ms=40)]) == [Written.WRITTEN]
    record = await store.read(task.id)
    assert (record.state, record.error, record.attempt) == (TaskState.RETRYING, b"why 1", 1)
    assert await store.sweeps.wake([PARTITION], 10) == ([], [])
    await store.pass_ms(45)
    [again], tickets = await store.sweeps.wake([PARTITION], 10)
    assert (again.id, again.publication, again.envelope) == (task.id, 2, task.envelope)
    assert dict(await store.sweeps.unpublished([PARTITION], 0, 10))[tickets[0]] == [again]
    assert (await store.lease(task.id, publication=2)).attempt == 2
    assert await store.steps(task.id) == [
        ("QUEUED", ""),
        ("RUNNING", ""),
        ("RETRYING", "MODEL_FAILED"),
        ("QUEUED", "RETRY"),
        ("RUNNING", ""),
    ]


async def test_repeating_a_failure_that_can_be_mended_plans_one_attempt(store: Store) -> None:
    hold = await store.start(new_task())
    await store.outcomes.finish([_failure(hold, 60_000)])
    before = await store.read(hold.id)
    assert await store.outcomes.finish([_failure(hold)]) == [Written.ALREADY]
    assert await store.read(hold.id) == before
    assert await store.sweeps.wake([PARTITION], 10) == ([], [])


async def test_the_last_attempt_is_a_dead_letter_exactly_once(store: Store) -> None:
    task = new_task(max_attempts=2)
    hold = await store.start(task)
    for publication in (2,):
        await store.outcomes.finish([_failure(hold)])
        await store.sweeps.wake([PARTITION], 10)
        hold = await store.lease(task.id, publication)
    assert await store.outcomes.finish([_failure(hold, last_output=b"end")]) == [Written.WRITTEN]
    record = await store.read(task.id)
    assert (record.state, record.error, record.history[-1].reason) == (
        TaskState.FAILED,
        b"why 2",
        "MODEL_FAILED",
    )
    assert await store.queries.output(task.id, 0, 10) == [(1, b"end")]
    assert await store.outcomes.finish([_failure(hold)]) == [Written.ALREADY]
    assert await store.dead_letters.dead_letters("acme", "", 10) == [task.id]
    assert await store.ended() == [("FAILED", task.id)]


async def test_a_failure_that_nothing_can_mend_ends_at_once_and_is_no_dead_letter(store: Store) -> None:
    hold = await store.start(new_task())
    await store.outcomes.finish([_failure(hold, retry_in_ms=-1)])
    assert (await store.read(hold.id)).state is TaskState.FAILED
    assert await store.dead_letters.dead_letters("acme", "", 10) == []


async def test_an_attempt_that_lost_its_lease_is_fenced_although_an_earlier_one_failed(store: Store) -> None:
    task = new_task()
    first = await store.start(task)
    await store.outcomes.finish([_failure(first)])
    await store.sweeps.wake([PARTITION], 10)
    second = await store.lease(task.id, publication=2)
    await store.leases.give_back([second])
    assert await store.outcomes.finish([_failure(second)]) == [Written.FENCED]
    assert await store.outcomes.finish([_failure(first)]) == [Written.FENCED]


async def test_a_failure_is_known_as_written_after_the_task_was_queued_again(store: Store) -> None:
    hold = await store.start(new_task())
    await store.outcomes.finish([_failure(hold)])
    await store.sweeps.wake([PARTITION], 10)
    assert await store.outcomes.finish([_failure(hold)]) == [Written.ALREADY]
    assert (await store.read(hold.id)).state is TaskState.QUEUED


async def test_errors_of_earlier_attempts_do_not_outlive_them(store: Store) -> None:
    done, late, met = new_tasks(3)
    for task in (done, late, met):
        await store.outcomes.finish([_failure(await store.start(task))])
    await store.sweeps.wake([PARTITION], 10)
    hold = await store.lease(done.id, publication=2)
    await store.outcomes.finish([Ending(*_pair(hold), TaskState.SUCCEEDED, b"result")])
    past = [Update(task.id, 2, Level.NORMAL, 1, 0, b"changed") for task in (late, met)]
    await store.queries.update(past, "acme")
    await store.leases.lease([Wanted(met.id, 3)], "runner-1", 60_000)
    await store.sweeps.expire_deadlines([PARTITION], 10)
    for task, state in ((done, TaskState.SUCCEEDED), (late, TaskState.EXPIRED), (met, TaskState.EXPIRED)):
        record = await store.read(task.id)
        assert (record.state, record.error) == (state, b"")


async def test_a_stream_stays_open_over_attempts_that_fail(store: Store) -> None:
    task = new_task()
    hold = await store.start(task)
    await store.outcomes.append_output([OutputChunk(task.id, 1, b"a")])
    await store.outcomes.finish([_failure(hold, last_output=b"end")])
    await store.sweeps.wake([PARTITION], 10)
    await store.lease(task.id, publication=2)
    assert await store.outcomes.append_output([OutputChunk(task.id, 2, b"b")]) == [2]
    assert await store.queries.output(task.id, 0, 10) == [(1, b"a"), (2, b"b")]


async def test_attempts_that_were_given_back_are_not_charged(store: Store) -> None:
    task = new_task(max_attempts=2)
    hold = await store.start(task)
    await store.leases.give_back([hold])
    hold = await store.lease(task.id, publication=2)
    await store.outcomes.finish([_failure(hold)])
    record = await store.read(task.id)
    assert (record.state, record.attempt, record.uncharged) == (TaskState.RETRYING, 2, 1)
    await store.sweeps.wake([PARTITION], 10)
    hold = await store.lease(task.id, publication=3)
    await store.outcomes.finish([_failure(hold)])
    assert (await store.read(task.id)).state is TaskState.FAILED


async def test_a_charged_death_queues_again_until_attempts_are_used_up(store: Store) -> None:
    task = new_task(max_attempts=2)
    await store.admission.mark_published(await store.add(task))
    for attempt in (1, 2):
        hold = await store.lease(task.id, publication=attempt)
        death = Death(hold.id, hold.attempt, charged=True, isolation="suspects-1")
        assert await store.sweeps.runner_died([death], "RUNNER_CRASHED", b"crashed") == 1
        assert await store.sweeps.runner_died([death], "RUNNER_CRASHED", b"crashed") == 0
    record = await store.read(task.id)
    assert (record.state, record.error, record.uncharged) == (TaskState.FAILED, b"crashed", 0)
    assert (await store.steps(task.id))[2:] == [
        ("QUEUED", "RUNNER_CRASHED"),
        ("RUNNING", ""),
        ("FAILED", "RUNNER_CRASHED"),
    ]
    assert await store.dead_letters.dead_letters("acme", "", 10) == [task.id]
    assert await store.outcomes.finish([_failure(hold, -1)]) == [Written.FENCED]


async def test_an_uncharged_death_is_never_the_last(store: Store) -> None:
    task = new_task(max_attempts=1)
    await store.add(task)
    for attempt in (1, 2, 3):
        hold = await store.lease(task.id, publication=attempt)
        await store.sweeps.runner_died([Death(*_pair(hold), charged=False)], "RUNNER_CRASHED", b"")
    record = await store.read(task.id)
    assert (record.state, record.attempt, record.uncharged) == (TaskState.QUEUED, 3, 3)
    assert record.history[-1].reason == "RUNNER_DIED"
    assert record.error == b""


async def test_suspects_carry_their_isolation_until_another_is_given(store: Store) -> None:
    task = new_task()
    await store.admission.mark_published(await store.add(task))
    hold = await store.lease(task.id)
    await store.sweeps.runner_died([Death(*_pair(hold), False, "a/1")], "RUNNER_CRASHED", b"")
    # Nobody publishes it but the next sweep, so it is due at once, however young.
    [(ticket, [again])] = await store.sweeps.unpublished([PARTITION], 3_600_000, 10)
    assert (again.id, again.publication, again.isolation) == (task.id, 2, "a/1")
    await store.admission.mark_published([ticket])
    [back], _ = await store.leases.give_back([await store.lease(task.id, 2)])
    assert back.isolation == "a/1"
    hold = await store.lease(task.id, 3)
    await store.sweeps.runner_died([Death(*_pair(hold), False, "")], "RUNNER_CRASHED", b"")
    found = await store.sweeps.unpublished([PARTITION], 3_600_000, 10)
    assert [again.isolation for _, tasks in found for again in tasks] == [""]


async def test_a_death_ends_only_the_attempts_that_are_the_present_ones(store: Store) -> None:
    first, second, third, fourth = [*new_tasks(3), new_task(partition=5)]
    holds = [await store.start(task) for task in (first, second, fourth)]
    await store.add(third)
    await store.outcomes.finish([Ending(second.id, 1, TaskState.SUCCEEDED)])
    deaths = [Death(*_pair(hold), charged=True) for hold in (*holds, Hold(third.id, 1), Hold(first.id, 2))]
    assert await store.sweeps.runner_died(deaths, "RUNNER_OUT_OF_MEMORY", b"") == 2
    states = [(await store.read(task.id)).state.name for task in (first, second, third, fourth)]
    assert states == ["QUEUED", "SUCCEEDED", "QUEUED", "QUEUED"]
    assert await store.counts() == (3, 0)
    assert await store.sweeps.runner_died([], "RUNNER_CRASHED", b"") == 0


@pytest.mark.parametrize("partition", [PARTITION, 0, 63])
async def test_lost_runners_and_own_failures_are_charged_together(store: Store, partition: int) -> None:
    task = new_task(max_attempts=3, partition=partition)
    hold = await store.start(task, lease_ms=1)
    await store.pass_ms(5)
    await store.sweeps.expire_leases([partition], 10, b"lost")
    hold = await store.lease(task.id, 2)
    await store.outcomes.finish([_failure(hold)])
    await store.sweeps.wake([partition], 10)
    hold = await store.lease(task.id, 3, lease_ms=1)
    await store.pass_ms(5)
    assert await store.sweeps.expire_leases([partition], 10, b"lost") == ([], [task.id], [])
    record = await store.read(task.id)
    assert (record.attempt, record.error, record.history[-1].reason) == (3, b"lost", "RUNNER_LOST")
    assert await store.dead_letters.dead_letters("acme", "", 10) == [task.id]


async def test_a_task_that_rests_is_not_leased(store: Store) -> None:
    hold = await store.start(new_task())
    await store.outcomes.finish([_failure(hold, 60_000)])
    [reply] = await store.leases.lease([Wanted(hold.id, 1)], "runner-1", 60_000)
    assert reply.verdict is Lease.STALE


def _pair(hold: Hold) -> tuple[str, int]:
    return hold.id, hold.attempt


async def test_a_suspect_that_was_spared_too_often_is_charged(store: Store) -> None:
    task = new_task(max_attempts=1)
    hold = await store.start(task)
    for publication in range(2, MOST_SPARED + 2):
        spared = Death(*hold, charged=False, isolation=f"group-{publication}")
        assert await store.sweeps.runner_died([spared], "RUNNER_CRASHED", b"dead") == 1
        hold = await store.lease(task.id, publication)
    bystander = Death(*hold, charged=False)
    assert await store.sweeps.runner_died([bystander], "RUNNER_CRASHED", b"dead") == 1
    hold = await store.lease(task.id, MOST_SPARED + 2)
    suspect = Death(*hold, charged=False, isolation="last")
    assert await store.sweeps.runner_died([suspect], "RUNNER_CRASHED", b"dead") == 1
    record = await store.read(task.id)
    assert (record.state, record.error, record.history[-1].reason) == (
        TaskState.FAILED,
        b"dead",
        "RUNNER_CRASHED",
    )
    assert await store.dead_letters.dead_letters("acme", "", 10) == [task.id]

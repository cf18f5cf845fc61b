"""What every AdmissionStore must do."""

import pytest

from scheduler.ports.records import Admitted, PublishTicket
from scheduler.states import Level, TaskState
from tests.conformance.stores import Store, new_task, new_tasks


async def test_a_batch_over_many_partitions_is_created_and_answered_in_order(store: Store) -> None:
    tasks = [new_task(partition=number % 5, now_ms=1_700_000_000_000 + number) for number in range(20)]
    answers, tickets = await store.admission.create(tasks)
    assert [answer.task_id for answer in answers] == [task.id for task in tasks]
    assert {(answer.verdict, answer.state, answer.publication) for answer in answers} == {
        (Admitted.CREATED, TaskState.QUEUED, 1)
    }
    assert sorted(ticket.partition for ticket in tickets) == [0, 1, 2, 3, 4]


async def test_a_created_task_is_read_as_it_was_given(store: Store) -> None:
    task = new_task(tenant="a: b;{c},d\n")
    [answer], _ = await store.admission.create([task])
    record = await store.read(task.id)
    assert (record.id, record.tenant, record.envelope) == (task.id, task.tenant, task.envelope)
    assert (record.state, record.attempt, record.publication) == (TaskState.QUEUED, 0, 1)
    assert record.create_time_ms == record.queue_time_ms == answer.create_time_ms > 0
    assert (record.start_time_ms, record.end_time_ms, record.runner) == (0, 0, "")
    assert (record.error, record.result) == (b"", b"")
    assert [(step.state, step.reason) for step in record.history] == [(TaskState.QUEUED, "")]


async def test_creating_again_with_the_same_ids_is_the_same_creation(store: Store) -> None:
    tasks = new_tasks(3)
    first = await store.admission.create(tasks)
    await store.pass_ms(5)
    again = await store.admission.create(tasks)
    assert again[0] == first[0]
    assert [ticket.partition for ticket in again[1]] == [7]
    assert await store.counts() == (3, 0)


async def test_creating_again_does_not_undo_what_happened_meanwhile(store: Store) -> None:
    task = new_task()
    await store.start(task)
    [answer], tickets = await store.admission.create([task])
    assert (answer.verdict, answer.state) == (Admitted.CREATED, TaskState.RUNNING)
    assert tickets == []
    assert (await store.read(task.id)).attempt == 1


async def test_a_known_key_with_the_same_body_names_the_task_that_exists(store: Store) -> None:
    task, other = new_tasks(2, key="order 1", fingerprint="f")
    [first], _ = await store.admission.create([task])
    await store.pass_ms(5)
    [answer], tickets = await store.admission.create([other])
    assert (answer.verdict, answer.task_id) == (Admitted.EXISTING, task.id)
    assert answer.create_time_ms == first.create_time_ms
    assert tickets == []
    assert await store.queries.get([other.id], include_result=False) == [None]


async def test_a_known_key_with_another_body_is_a_conflict(store: Store) -> None:
    task, other = new_task(key="k", fingerprint="f"), new_task(key="k", fingerprint="g")
    await store.start(task)
    [answer], _ = await store.admission.create([other])
    assert (answer.verdict, answer.task_id) == (Admitted.CONFLICT, task.id)
    assert answer.state is TaskState.RUNNING


async def test_a_key_met_twice_in_one_batch_creates_one_task(store: Store) -> None:
    tasks = [*new_tasks(2, key="k", fingerprint="f"), new_task(key="k", fingerprint="g"), new_task()]
    answers, _ = await store.admission.create(tasks)
    assert [answer.verdict for answer in answers] == [
        Admitted.CREATED,
        Admitted.EXISTING,
        Admitted.CONFLICT,
        Admitted.CREATED,
    ]
    assert await store.counts() == (2, 0)


@pytest.mark.parametrize(("tenant", "key"), [("acme", "b"), ("acme2", "a"), ("acm", "ea"), ("acme\0", "a")])
async def test_keys_of_other_tenants_and_other_keys_do_not_meet(store: Store, tenant: str, key: str) -> None:
    await store.add(new_task(tenant="acme", key="a", fingerprint="f"))
    [answer], _ = await store.admission.create([new_task(tenant=tenant, key=key, fingerprint="f")])
    assert answer.verdict is Admitted.CREATED


async def test_a_key_whose_record_has_expired_is_free(store: Store) -> None:
    task, other = new_tasks(2, key="k", fingerprint="f")
    await store.add(task)
    await store.queries.cancel([task.id], "acme", b"", b"")
    await store.pass_ms(1_100)
    [answer], _ = await store.admission.create([other])
    assert answer.verdict is Admitted.CREATED


async def test_tickets_stay_until_they_are_marked(store: Store) -> None:
    tasks = new_tasks(2)
    tickets = await store.add(*tasks)
    [(ticket, republished)] = await store.sweeps.unpublished([7], older_than_ms=0, limit=10)
    assert [ticket] == tickets
    assert [(task.id, task.publication, task.envelope) for task in republished] == [
        (task.id, 1, task.envelope) for task in tasks
    ]
    await store.admission.mark_published(tickets)
    await store.admission.mark_published(tickets)
    assert await store.sweeps.unpublished([7], older_than_ms=0, limit=10) == []


async def test_marking_a_ticket_that_never_was_is_harmless(store: Store) -> None:
    await store.admission.mark_published([PublishTicket(3, "1:nothing")])


async def test_an_empty_batch_is_nothing(store: Store) -> None:
    assert await store.admission.create([]) == ([], [])
    await store.admission.mark_published([])


async def test_each_level_has_its_own_count(store: Store) -> None:
    await store.add(*new_tasks(3, level=Level.HIGH), *new_tasks(2, level=Level.LOW, partition=9))
    counts = await store.queries.queue_counts()
    assert [(count.pool, count.level, count.queued, count.running) for count in counts] == [
        ("default", Level.HIGH, 3, 0),
        ("default", Level.LOW, 2, 0),
    ]


async def test_a_key_that_is_asked_about_says_what_creating_would_and_records_nothing(store: Store) -> None:
    first = new_task(key="k")
    [created], _ = await store.admission.create([first])
    asked = [
        new_task(key="k"),
        new_task(key="k")._replace(fingerprint="f" * 32),
        new_task(key="other"),
        new_task(key="k", tenant="another"),
    ]
    same, conflict, *absent = await store.admission.known(asked)
    assert same == created._replace(verdict=Admitted.EXISTING)
    assert conflict == created._replace(verdict=Admitted.CONFLICT)
    assert absent == [None, None]
    assert await store.admission.known(asked[2:]) == [None, None]
    assert await store.admission.known([]) == []
    assert await store.counts() == (1, 0)

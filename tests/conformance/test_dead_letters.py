"""What every DeadLetterStore must do."""

from typing import Any

from scheduler.ids import new_ids
from scheduler.ports.dead_letters import UNREADABLE_TENANT, UnreadableLetter
from scheduler.states import TaskState
from tests.conformance.lives import finish, reach
from tests.conformance.stores import Store, new_task, new_tasks

START_MS = 1_700_000_000_000


async def _bury_task(store: Store, **fields: Any) -> str:
    task = await reach(store, TaskState.RUNNING, max_attempts=1, **fields)
    await finish(TaskState.FAILED, 0)(store, task)
    return task.id


def _unreadable(number: int = 0, partition: int = 3) -> UnreadableLetter:
    [letter_id] = new_ids(partition, 1, START_MS + number)
    return UnreadableLetter(letter_id, b"\x00\xffnot a bundle", "persistent://a/b/c", b"why")


async def test_a_tenant_lists_its_own_letters_newest_first(store: Store) -> None:
    ids = [
        await _bury_task(store, partition=number * 5 % 64, now_ms=START_MS + number) for number in range(9)
    ]
    await _bury_task(store, tenant="other")
    await store.add(*new_tasks(2))
    newest_first = ids[::-1]
    assert await store.dead_letters.dead_letters("acme", "", 100) == newest_first
    pages: list[str] = []
    while page := await store.dead_letters.dead_letters("acme", pages[-1] if pages else "", 4):
        assert len(page) <= 4
        pages += page
    assert pages == newest_first
    assert await store.dead_letters.dead_letters("nobody", "", 10) == []
    assert await store.dead_letters.dead_letters("acme", "", 0) == []


async def test_a_letter_that_is_removed_is_off_the_list_and_its_record_goes_soon(store: Store) -> None:
    kept, removed = await _bury_task(store), await _bury_task(store, partition=9)
    ids = [removed, new_task().id, "nonsense", removed]
    assert await store.dead_letters.remove(ids, "acme") == [True, False, False, False]
    assert await store.dead_letters.dead_letters("acme", "", 10) == [kept]
    assert (await store.read(removed)).state is TaskState.FAILED
    await store.pass_ms(1_100)
    [gone, record] = await store.queries.get([removed, kept], include_result=False)
    assert gone is None
    assert record is not None
    assert await store.dead_letters.remove([], "acme") == []


async def test_nobody_removes_letters_of_others_or_tasks_that_are_none(store: Store) -> None:
    letter = await _bury_task(store)
    failed = await reach(store, TaskState.FAILED)
    assert await store.dead_letters.remove([letter, failed.id], "other") == [False, False]
    assert await store.dead_letters.remove([failed.id], "acme") == [False]
    assert await store.dead_letters.dead_letters("acme", "", 10) == [letter]


async def test_letters_outlive_other_records_and_leave_the_list_with_theirs(store: Store) -> None:
    letter = await _bury_task(store)
    failed = await reach(store, TaskState.FAILED)
    await store.pass_ms(1_100)
    [record, gone] = await store.queries.get([letter, failed.id], include_result=False)
    assert record is not None
    assert gone is None
    await store.pass_ms(2_000)
    assert await store.dead_letters.dead_letters("acme", "", 10) == []
    assert await store.dead_letters.remove([letter], "acme") == [False]


async def test_an_unreadable_message_is_kept_once_with_its_bytes(store: Store) -> None:
    letter, other = _unreadable(1), _unreadable(0, partition=9)
    assert await store.dead_letters.bury([letter, other, letter]) == [True, True, False]
    assert await store.dead_letters.bury([letter]) == [False]
    record = await store.read(letter.id)
    assert (record.state, record.tenant, record.error) == (TaskState.FAILED, UNREADABLE_TENANT, b"why")
    assert (record.attempt, record.envelope) == (0, b"")
    assert [step.reason for step in record.history] == ["MESSAGE_UNREADABLE"]
    assert record.end_time_ms > 0
    assert await store.dead_letters.dead_letters(UNREADABLE_TENANT, "", 10) == [letter.id, other.id]
    task = await reach(store, TaskState.QUEUED)
    assert await store.dead_letters.raw([letter.id, task.id, new_task().id, "nonsense"]) == [
        (letter.payload, letter.topic),
        (b"", ""),
        (b"", ""),
        (b"", ""),
    ]


async def test_an_unreadable_message_is_no_task(store: Store) -> None:
    await store.dead_letters.bury([_unreadable()])
    assert await store.ended() == []
    assert (await store.counts(), await store.waiting()) == ((0, 0), 0)
    due = await store.due()
    assert (due.unpublished, due.follow_ups) == ([], [])
    assert await store.dead_letters.dead_letters("acme", "", 10) == []


async def test_an_unreadable_message_is_removed_and_expires_as_letters_do(store: Store) -> None:
    removed, kept = _unreadable(0), _unreadable(1)
    await store.dead_letters.bury([removed, kept])
    assert await store.dead_letters.remove([removed.id], UNREADABLE_TENANT) == [True]
    assert await store.dead_letters.dead_letters(UNREADABLE_TENANT, "", 10) == [kept.id]
    await store.pass_ms(3_100)
    assert await store.dead_letters.dead_letters(UNREADABLE_TENANT, "", 10) == []
    assert await store.dead_letters.raw([kept.id]) == [(b"", "")]
    assert await store.dead_letters.bury([kept]) == [True]
    assert await store.dead_letters.bury([]) == []

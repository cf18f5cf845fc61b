"""What recovery makes of a log whose records are gone."""

from scheduler.adapters.memory import MemoryStore
from scheduler.ports.records import NewTask
from scheduler.states import Level, TaskState
from services.bundling import Bundler
from services.recovery.republish import republish
from tests.unit.services.recovery.builders import NOW_MS, World, envelope


async def test_what_was_accepted_and_has_not_ended_is_queued_under_the_next_publication() -> None:
    world = World()
    done, open_, retried = envelope(), envelope(partition=7), envelope(partition=9)
    await world.accept(done, open_, retried)
    await world.accept(retried, publication=4)
    await world.end(TaskState.SUCCEEDED, done.id)
    found = await world.recover()
    assert (found.finished, found.unfinished, found.recovered, found.queued) == (1, 2, 2, 2)
    assert await world.state(done.id) is None
    records = await world.store.records.get([open_.id, retried.id], False)
    assert [(record.state, record.publication) for record in records if record] == [
        (TaskState.QUEUED, 2),
        (TaskState.QUEUED, 5),
    ]
    numbers = {each.envelope.id: each.publication for each in world.published()}
    assert (numbers[open_.id], numbers[retried.id]) == (2, 5)


async def test_recovering_again_changes_nothing() -> None:
    world = World()
    await world.accept(envelope(), envelope(partition=1))
    first = await world.recover()
    published = len(world.published())
    second = await world.recover()
    assert (first.recovered, second.recovered, second.existing) == (2, 0, 2)
    assert len(world.published()) == published


async def test_a_record_that_exists_is_untouched() -> None:
    world = World()
    there = envelope()
    await world.accept(there)
    await world.store.records.create(
        [NewTask(there.id, "acme", "default", Level.NORMAL, there.SerializeToString(), 3)]
    )
    await world.store.records.cancel([there.id], "acme", b"", b"")
    found = await world.recover()
    assert (found.existing, found.recovered) == (1, 0)
    assert await world.state(there.id) is TaskState.CANCELLED


async def test_a_dry_run_counts_and_records_nothing() -> None:
    world = World()
    waiting = envelope()
    blocked = envelope(parents=[waiting.id])
    await world.accept(waiting)
    await world.park(blocked)
    found = await world.recover(dry_run=True)
    assert (found.queued, found.blocked) == (1, 1)
    assert await world.state(waiting.id) is None
    assert len(world.published()) == 1


async def test_whether_the_time_of_a_task_has_come_is_for_the_store_to_say() -> None:
    world = World()
    later, past = envelope(not_before_ms=NOW_MS + 60_000), envelope(not_before_ms=NOW_MS - 1)
    await world.park(later, past)
    found = await world.recover()
    assert (found.scheduled, found.queued) == (2, 0)
    assert await world.state(later.id) is TaskState.SCHEDULED
    assert await world.state(past.id) is TaskState.SCHEDULED
    # They are on the log again for the next recovery.
    assert len(world.log.parked["default"]) == 2


async def test_of_two_envelopes_the_higher_revision_counts_and_then_the_higher_publication() -> None:
    world = World()
    first = envelope()
    changed = envelope(revision=1)
    changed.id = first.id
    changed.priority = 1  # type: ignore[assignment]  # CRITICAL
    await world.accept(changed, publication=2)
    await world.accept(first, publication=3)
    await world.recover()
    record = (await world.store.records.get([first.id], False))[0]
    assert record is not None
    assert record.envelope == changed.SerializeToString()
    assert record.publication == 4


async def test_a_damaged_envelope_is_reported_and_a_sound_copy_of_it_is_used() -> None:
    world = World()
    lost, mended = envelope(), envelope(partition=3)
    for each in (lost, mended):
        damaged = envelope()
        damaged.CopyFrom(each)
        damaged.spec = b"\x00" + each.spec
        await world.accept(damaged)
    await world.accept(mended)
    found = await world.recover()
    assert found.faults.damaged == 2
    assert set(found.faults.ids) == {lost.id, mended.id}
    assert await world.state(lost.id) is None
    assert await world.state(mended.id) is TaskState.QUEUED


async def test_messages_that_are_no_tasks_are_counted() -> None:
    world = World()
    await world.publisher.journal(b"\xff\xff")
    await world.publisher.park("default", b"\xff\xff")
    stranger = envelope()
    stranger.id = "not an id"
    await world.accept(stranger)
    assert (await world.recover()).faults.unreadable == 3


async def test_the_idempotency_key_is_restored() -> None:
    world = World()
    keyed = envelope(key="order-7")
    await world.accept(keyed)
    await world.recover()
    again = envelope(key="order-7")
    new = NewTask(
        again.id, "acme", "default", Level.NORMAL, b"", 3, idempotency_key="order-7", fingerprint="f" * 64
    )
    admissions, _ = await world.store.records.create([new])
    assert admissions[0].task_id == keyed.id


async def test_a_task_whose_key_a_newer_one_has_taken_is_left_out() -> None:
    world = World()
    old = envelope(key="order-7")
    await world.accept(old)
    new = envelope(key="order-7")
    await world.store.records.create(
        [
            NewTask(
                new.id,
                "acme",
                "default",
                Level.NORMAL,
                b"",
                3,
                idempotency_key="order-7",
                fingerprint="f" * 64,
            )
        ]
    )
    found = await world.recover()
    assert (found.superseded, found.recovered) == (1, 0)


async def test_a_chain_of_dependents_is_blocked_again_and_linked_with_its_parents() -> None:
    world = World()
    first = envelope(partition=5)
    second = envelope(partition=2, parents=[first.id])
    third = envelope(partition=8, parents=[second.id, first.id])
    await world.park(third, second)
    await world.accept(first)
    found = await world.recover()
    assert (found.queued, found.blocked) == (1, 2)
    assert await world.store.follow_ups.children([first.id, second.id]) == [
        [second.id, third.id],
        [third.id],
    ] or await world.store.follow_ups.children([first.id, second.id]) == [[third.id, second.id], [third.id]]
    assert await world.state(third.id) is TaskState.BLOCKED


async def test_a_parent_that_succeeded_by_the_journal_lets_its_child_go() -> None:
    world = World()
    parent = envelope()
    child = envelope(partition=1, parents=[parent.id])
    await world.accept(parent)
    await world.park(child)
    await world.end(TaskState.SUCCEEDED, parent.id)
    await world.recover()
    assert await world.state(child.id) is TaskState.QUEUED


async def test_a_parent_that_failed_by_the_journal_ends_its_child_by_the_childs_choice() -> None:
    world = World()
    parent = envelope()
    fails = envelope(partition=1, parents=[parent.id], on_parent_failure=1)
    runs = envelope(partition=2, parents=[parent.id], on_parent_failure=2)
    cancels = envelope(partition=3, parents=[parent.id], on_parent_failure=3)
    await world.park(fails, runs, cancels)
    await world.end(TaskState.FAILED, parent.id)
    found = await world.recover()
    assert found.ended == 2
    assert await world.state(fails.id) is TaskState.FAILED
    assert await world.state(runs.id) is TaskState.QUEUED
    assert await world.state(cancels.id) is TaskState.CANCELLED


async def test_a_child_that_needs_the_lost_output_of_a_parent_fails() -> None:
    world = World()
    parent = envelope()
    child = envelope(partition=1, parents=[parent.id], references=[0])
    await world.park(child)
    await world.end(TaskState.SUCCEEDED, parent.id)
    await world.recover()
    record = (await world.store.records.get([child.id], False))[0]
    assert record is not None
    assert record.state is TaskState.FAILED
    assert record.history[-1].reason == "PARENT_OUTPUT_UNUSABLE"


async def test_a_parent_that_nobody_knows_any_more_counts_as_failed() -> None:
    world = World()
    child = envelope(parents=[envelope(partition=4).id])
    await world.park(child)
    await world.recover()
    assert await world.state(child.id) is TaskState.FAILED


async def test_republishing_puts_open_tasks_on_the_log_under_their_present_numbers() -> None:
    world = World()
    waiting, later, ended = envelope(), envelope(partition=4), envelope(partition=6)
    tasks = [
        NewTask(waiting.id, "acme", "default", Level.NORMAL, waiting.SerializeToString(), 3, publication=3),
        NewTask(
            later.id, "acme", "default", Level.NORMAL, later.SerializeToString(), 3,
            state=TaskState.SCHEDULED, not_before_ms=NOW_MS + 1000, publication=0,
        ),
        NewTask(ended.id, "acme", "default", Level.NORMAL, ended.SerializeToString(), 3),
    ]  # fmt: skip
    await world.store.records.create(tasks)
    await world.store.records.cancel([ended.id], "acme", b"", b"")
    done = await republish(world.store.walk, Bundler(world.publisher, 8))
    assert (done.queued, done.parked) == (1, 1)
    assert [(each.envelope.id, each.publication) for each in world.published()] == [(waiting.id, 3)]
    assert len(world.log.parked["default"]) == 1


async def test_what_was_republished_after_a_loss_of_the_log_can_be_recovered_after_a_loss_of_the_records() -> (
    None
):
    world = World()
    waiting = envelope()
    new = NewTask(waiting.id, "acme", "default", Level.NORMAL, waiting.SerializeToString(), 3, publication=2)
    await world.store.records.create([new])
    await republish(world.store.walk, Bundler(world.publisher, 8))
    world.store = MemoryStore(world.clock)
    found = await world.recover()
    assert found.queued == 1
    record = (await world.store.records.get([waiting.id], False))[0]
    assert record is not None
    assert record.publication == 3

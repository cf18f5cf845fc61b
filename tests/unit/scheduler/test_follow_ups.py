"""What follows when tasks end: their children, and the journal."""

import asyncio
from collections import Counter

import pytest
from google.rpc.status_pb2 import Status

from forebay.tasks.v1.envelope_pb2 import Endings, Envelope
from forebay.tasks.v1.inputs_pb2 import GenerateInput, GenerateOutput
from forebay.tasks.v1.task_pb2 import InputReference, Result, TaskSpec
from scheduler.policies.parents import OnParentFailure
from scheduler.ports.records import Cancelled, Ending, Record
from scheduler.service import journal
from scheduler.states import TaskState

from .world import Runner, World, ended

TEXT = Result(generate=GenerateOutput(text="so {{it}} is")).SerializeToString()


@pytest.fixture
def world() -> World:
    return World()


def journalled(world: World) -> Counter[tuple[TaskState, str]]:
    return Counter(
        (TaskState(group.state), task_id)
        for payload in world.log.journal
        for group in Endings.FromString(payload).ended
        for task_id in group.ids
    )


async def record(world: World, task_id: str) -> Record:
    [found] = await world.store.records.get([task_id], True)
    assert found is not None
    return found


async def run(world: World, runner: Runner, *states: TaskState) -> list[str]:
    """Take as many assignments as there are states, and end them so."""
    held = await runner.assigned(len(states))
    endings = [
        Ending(task_id, attempt, state, result=TEXT if state is TaskState.SUCCEEDED else b"", error=b"e")
        for (task_id, attempt), state in zip(held, states, strict=True)
    ]
    await world.store.records.finish(endings)
    runner.settle(*ended(held))
    return [task_id for task_id, _ in held]


async def test_a_child_starts_as_soon_as_its_last_parent_has_ended_without_waiting_for_a_sweep(
    world: World,
) -> None:
    first, second = await world.wait(partition=1), await world.wait(partition=2)
    child = await world.wait(parents=[first, second], partition=3)
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=1) as runner:
        assert await run(world, runner, TaskState.SUCCEEDED) == [first]
        await world.pass_time(2)
        assert await world.state(child) is TaskState.BLOCKED
        assert await run(world, runner, TaskState.SUCCEEDED) == [second]
        # No time passes.
        assert await runner.assigned(1) == [(child, 1)]


async def test_a_chain_runs_link_by_link_while_no_time_passes(world: World) -> None:
    chain = [await world.wait(partition=0)]
    for number in range(1, 200):
        chain.append(await world.wait(parents=chain[-1:], partition=number % 64))
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=1) as runner:
        for link in chain:
            assert await run(world, runner, TaskState.SUCCEEDED) == [link]


async def test_the_end_of_a_chain_is_cancelled_with_its_beginning_while_no_time_passes(world: World) -> None:
    chain = [await world.wait(partition=0, in_ms=60_000)]
    for number in range(1, 1_000):
        chain.append(await world.wait(parents=chain[-1:], partition=number % 64))
    async with world.scheduler():
        assert await world.store.records.cancel(chain[:1], "t", b"e", b"") == [Cancelled.CANCELLED]
        await world.entered(TaskState.CANCELLED, chain[-1])
        assert set(await world.states(chain)) == {TaskState.CANCELLED}
        assert (await record(world, chain[-1])).history[-1].reason == "PARENT_CANCELLED"
        error = Status.FromString((await record(world, chain[-1])).error)
        assert chain[-2] in error.message


async def test_a_thousand_children_start_with_the_end_of_one_parent(world: World) -> None:
    parent = await world.wait()
    children = [await world.wait(parents=[parent], partition=n % 64) for n in range(1_000)]
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=1_001) as runner:
        await run(world, runner, TaskState.SUCCEEDED)
        assert {task_id for task_id, _ in await runner.assigned(1_000)} == set(children)


@pytest.mark.parametrize(
    ("choice", "fate", "reason"),
    [
        (OnParentFailure.FAIL, TaskState.FAILED, "PARENT_FAILED"),
        (OnParentFailure.CANCEL, TaskState.CANCELLED, "PARENT_FAILED"),
        (OnParentFailure.RUN, TaskState.QUEUED, "PARENTS_ENDED"),
    ],
)
async def test_a_child_of_a_parent_that_failed_gets_what_it_chose(
    world: World, choice: OnParentFailure, fate: TaskState, reason: str
) -> None:
    parent = await world.wait()
    child = await world.wait(parents=[parent], choice=choice)
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=1) as runner:
        held = await runner.assigned(1)
        await world.store.records.finish([Ending(*held[0], TaskState.FAILED, error=b"e")])
        await world.entered(fate, child)
        got = await record(world, child)
        assert got.history[-1].reason == reason
        assert (parent in Status.FromString(got.error).message) == (fate is not TaskState.QUEUED)


async def test_a_child_that_is_not_due_yet_waits_for_its_time_after_its_parents(world: World) -> None:
    parent = await world.wait()
    child = await world.wait(parents=[parent], in_ms=3_000)
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=2) as runner:
        await run(world, runner, TaskState.SUCCEEDED)
        await world.entered(TaskState.SCHEDULED, child)
        await world.pass_time(3.1, step=0.1)
        assert await runner.assigned(1) == [(child, 1)]


def story(*inputs_from: InputReference) -> TaskSpec:
    return TaskSpec(model="m", generate=GenerateInput(prompt="say: {{it}}"), inputs_from=inputs_from)


async def test_the_output_of_a_parent_becomes_the_input_of_its_child(world: World) -> None:
    parent = await world.wait()
    spec = story(InputReference(parent=0, output="text", input="it"))
    child = await world.wait(parents=[parent], spec=spec, partition=9)
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=2) as runner:
        await run(world, runner, TaskState.SUCCEEDED)
        answer = await runner.answers.get()
        [assignment] = answer.assignments
        assert assignment.envelope.id == child
        assert TaskSpec.FromString(assignment.envelope.spec).generate.prompt == "say: so {{it}} is"
        assert assignment.envelope == Envelope.FromString((await record(world, child)).envelope)
        assert not assignment.envelope.takes_outputs


async def test_a_child_whose_parent_left_no_such_output_fails_and_its_neighbours_do_not(world: World) -> None:
    parent = await world.wait()
    broken = await world.wait(
        parents=[parent], spec=story(InputReference(parent=0, output="tensor", input="it")), partition=9
    )
    whole = await world.wait(
        parents=[parent], spec=story(InputReference(parent=0, output="text", input="it")), partition=9
    )
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=2) as runner:
        await run(world, runner, TaskState.SUCCEEDED)
        assert await runner.assigned(1) == [(whole, 1)]
        await world.entered(TaskState.FAILED, broken)
        assert (await record(world, broken)).history[-1].reason == "PARENT_OUTPUT_UNUSABLE"


async def test_every_ending_is_journalled_once_and_then_forgotten(world: World) -> None:
    ids = await world.submit(3)
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=3) as runner:
        await run(world, runner, TaskState.SUCCEEDED, TaskState.FAILED, TaskState.SUCCEEDED)
        await world.pass_time(3)
        states = [TaskState.SUCCEEDED, TaskState.FAILED, TaskState.SUCCEEDED]
        assert journalled(world) == Counter(zip(states, ids, strict=True))
        assert await world.store.follow_ups.follow_ups(range(64), 9) == []


async def test_a_log_that_is_away_delays_the_journal_but_not_the_children(world: World) -> None:
    parent = await world.wait(in_ms=60_000)
    child = await world.wait(parents=[parent], choice=OnParentFailure.CANCEL)
    grandchild = await world.wait(parents=[child], partition=9)
    async with world.scheduler():
        world.log.available = False
        await world.store.records.cancel([parent], "t", b"e", b"")
        await world.entered(TaskState.CANCELLED, child, grandchild)
        await world.pass_time(3)
        assert journalled(world) == Counter()
        assert len(await world.store.follow_ups.follow_ups(range(64), 9)) == 3
        world.log.available = True
        await world.pass_time(3)
        family = (parent, child, grandchild)
        assert journalled(world) == Counter((TaskState.CANCELLED, member) for member in family)
        assert await world.store.follow_ups.follow_ups(range(64), 9) == []


async def test_what_a_scheduler_left_is_followed_up_by_the_next(world: World) -> None:
    parent = await world.wait(in_ms=60_000)
    child = await world.wait(parents=[parent])
    await world.store.records.cancel([parent], "t", b"e", b"")
    async with world.scheduler():
        await world.entered(TaskState.CANCELLED, child)
        await world.pass_time(2)
    assert set(journalled(world)) == {(TaskState.CANCELLED, parent), (TaskState.CANCELLED, child)}


async def test_a_large_step_is_journalled_in_messages_that_fit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "MOST_IDS", 10)
    ids = [await world.wait(in_ms=60_000, partition=n) for n in range(25)]
    await world.store.records.cancel(ids, "t", b"e", b"")
    async with world.scheduler(), asyncio.timeout(5):
        await world.pass_time(2)
    assert [len(Endings.FromString(payload).ended[0].ids) for payload in world.log.journal] == [10, 10, 5]


async def test_a_child_with_a_choice_that_nobody_knows_ends_no_scheduler(world: World) -> None:
    [parent] = await world.submit(1)
    child = await world.wait(parents=[parent], choice=99)  # type: ignore[arg-type]
    other = await world.wait(parents=[parent])
    async with world.scheduler():
        await world.store.records.cancel([parent], "t", b"e", b"")
        await world.pass_time(3)
        assert await world.states([child, other]) == [TaskState.CANCELLED] * 2

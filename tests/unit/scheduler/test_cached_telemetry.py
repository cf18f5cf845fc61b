"""What a scheduler counts and traces of tasks that may be answered without a run."""

from collections.abc import Callable, Iterator

import pytest

from cache.ports import Purge
from observability import names, tracing
from scheduler.states import TaskState
from tests.fixtures.collector import CollectedSpan, Collector
from tests.unit.scheduler.test_cached_tasks import (
    INPUTS_FAULT,
    CachingWorld,
    done,
    question,
    still,
)
from tests.unit.scheduler.world import ended

LEADER = "00-11111111111111111111111111111111-1111111111111111-01"
FOLLOWER = "00-22222222222222222222222222222222-2222222222222222-01"
LATER = "00-33333333333333333333333333333333-3333333333333333-01"
NEVER = "00-44444444444444444444444444444444-4444444444444444-01"


def shown(world: CachingWorld, name: str, page: str = "s1", **labels: str) -> float:
    return world.pages[page].get_sample_value(name, labels) or 0.0


def outcomes(world: CachingWorld, page: str = "s1") -> dict[str, float]:
    words = ("hit", "computed", "shared", "absent", "failed")
    found = {word: shown(world, names.CACHE_CALLS, page, model="m", outcome=word) for word in words}
    return {word: count for word, count in found.items() if count}


@pytest.fixture
def flush(collector: Collector) -> Iterator[Callable[[], None]]:
    end = tracing.configure(names.SERVICE_SCHEDULER, collector.endpoint)
    yield end
    end()


async def test_every_task_with_a_question_is_counted_once_by_what_came_of_it() -> None:
    world = CachingWorld()
    async with world.serving(credits=4) as (_, runner):
        ids = await world.submit(5, asks=question())
        [leader] = await runner.assigned(1)
        await still(runner)
        assert outcomes(world) == {}
        await done(world, runner, [leader])
        await world.entered(TaskState.SUCCEEDED, *ids)
        await world.acknowledged()
        assert outcomes(world) == {"computed": 1, "shared": 4}
        later = await world.submit(3, asks=question())
        await world.entered(TaskState.SUCCEEDED, *later)
        [absent] = await world.submit(1, asks=question(2, only=True))
        await world.entered(TaskState.FAILED, absent)
        failing = await world.submit(2, asks=question(3))
        held = await runner.assigned(1)
        await world.fail(held, INPUTS_FAULT.SerializeToString())
        runner.settle(*ended(held))
        await world.entered(TaskState.FAILED, *failing)
        await world.acknowledged()
        assert outcomes(world) == {"computed": 1, "shared": 4, "hit": 3, "absent": 1, "failed": 2}
        ended_here = {
            state: shown(world, names.TASKS_FINISHED, state=state, level="normal")
            for state in ("succeeded", "failed")
        }
    # The runner counts the ends of those that it executed: one each.
    assert ended_here == {"succeeded": 4 + 3, "failed": 1 + 1}


async def test_looks_into_a_tier_and_what_is_kept_there_are_on_the_schedulers_page() -> None:
    world = CachingWorld()

    def looks(result: str) -> float:
        return shown(world, f"{names.CACHE_LOOK_DURATION}_count", tier="memory", result=result)

    async with world.serving() as (_, runner):
        [first] = await world.submit(1, asks=question())
        await done(world, runner, await runner.assigned(1))
        await world.entered(TaskState.SUCCEEDED, first)
        # Its end is looked at after that.
        await still(runner)
        assert (looks("hit"), looks("miss")) == (0, 1)
        assert shown(world, names.CACHE_FILLS, tier="memory") == 1
        assert shown(world, names.CACHE_AWAY, tier="memory") == 0
        [again] = await world.submit(1, asks=question())
        await world.entered(TaskState.SUCCEEDED, again)
        assert (looks("hit"), looks("miss")) == (1, 1)
        world.markers.add(Purge(world.clock.now_ms() + 1))
        await world.submit(1, asks=question())
        await runner.assigned(1)
        # Once more when it is to lead, for something was stored a moment ago.
        assert looks("purged") == 2


async def test_a_task_that_goes_to_a_runner_it_was_not_asked_of_is_counted_as_uncached() -> None:
    world = CachingWorld()
    async with world.serving(digest="other weights") as (_, runner):
        await world.submit(2, asks=question())
        await runner.assigned(2)
        assert shown(world, names.CACHE_UNCACHED, reason="MODEL_CHANGED") == 2
        await world.submit(1)
        await runner.assigned(1)
        assert shown(world, names.CACHE_UNCACHED, reason="MODEL_CHANGED") == 2


async def test_the_trace_of_each_task_says_what_came_of_it_and_names_the_leader(
    collector: Collector, flush: Callable[[], None]
) -> None:
    world = CachingWorld()
    async with world.serving(credits=4) as (_, runner):
        [first] = await world.submit(1, asks=question(), traceparent=LEADER)
        held = await runner.assigned(1)
        [second] = await world.submit(1, asks=question(), traceparent=FOLLOWER)
        await still(runner)
        await done(world, runner, held)
        await world.entered(TaskState.SUCCEEDED, first, second)
        [third] = await world.submit(1, asks=question(), traceparent=LATER)
        [never] = await world.submit(1, asks=question(2, only=True), traceparent=NEVER)
        await world.entered(TaskState.SUCCEEDED, third)
        await world.entered(TaskState.FAILED, never)
        await world.acknowledged()
    flush()
    of = {str(span.attributes[names.TASK_ID]): span for span in told(collector)}
    assert len(of) == 4
    assert [of[task].attributes[names.CACHE_OUTCOME] for task in (first, second, third, never)] == [
        "computed",
        "shared",
        "hit",
        "absent",
    ]
    for task, parent in ((first, LEADER), (second, FOLLOWER), (third, LATER), (never, NEVER)):
        assert f"00-{of[task].trace_id}-{of[task].parent_id}-01" == parent
        assert of[task].attributes[names.MODEL_NAME] == "m"
        assert of[task].start_ns <= of[task].end_ns
    assert of[second].links == ((LEADER[3:35], LEADER[36:52]),)
    assert of[third].attributes[names.CACHE_TIER] == "memory"
    assert [of[task].links for task in (first, third)] == [(), ()]


async def test_who_follows_another_schedulers_run_names_its_leader_too(
    collector: Collector, flush: Callable[[], None]
) -> None:
    world = CachingWorld()
    async with (
        world.scheduler("s1", answers=world.answers("s1")) as one,
        world.attached(one, 1, "r1", answers_digest="weights") as runner,
    ):
        [first] = await world.submit(1, asks=question(), traceparent=LEADER)
        held = await runner.assigned(1)
        async with (
            world.scheduler("s2", answers=world.answers("s2")) as two,
            world.attached(two, 1, "r2", answers_digest="weights") as other,
        ):
            [second] = await world.submit(1, asks=question(), traceparent=FOLLOWER)
            await still(other)
            await done(world, runner, held)
            await world.entered(TaskState.SUCCEEDED, first, second)
            await world.acknowledged()
    flush()
    [shared] = [span for span in told(collector) if span.attributes[names.CACHE_OUTCOME] == "shared"]
    assert shared.links == ((LEADER[3:35], LEADER[36:52]),)


def told(collector: Collector) -> list[CollectedSpan]:
    return [span for span in collector.spans() if span.name == names.SPAN_CACHE]

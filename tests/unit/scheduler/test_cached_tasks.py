"""Durable tasks that ask the same: one run for all of them, whoever leads."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from cache.adapters.memory import MemoryFlights, MemoryTier
from cache.advice import SampledTrace
from cache.answer import write_answer
from cache.flights import Sharing
from cache.key import identity_of
from cache.ports import (
    NOBODY,
    Entry,
    FlightsAway,
    Following,
    Key,
    Landing,
    LandingKind,
    Leading,
    Purge,
    TierAway,
)
from cache.purges import Markers
from cache.tiers import Below, LayeredCache, TierSettings
from forebay.tasks.v1.envelope_pb2 import Bundle, CacheQuestion, Envelope
from forebay.tasks.v1.inputs_pb2 import FINISH_REASON_STOP, GenerateOutput, Tensor, TensorOutput
from forebay.tasks.v1.task_pb2 import TASK_STATE_SUCCEEDED, Result, Usage
from forebay.tasks.v1.task_service_pb2 import StreamOutputResponse
from scheduler.adapters.clock import FakeClock
from scheduler.errors import InvalidInput, ModelFailed
from scheduler.lanes import Lane
from scheduler.ports.answers import CACHED, Answered, Closed
from scheduler.ports.pauses import Pause
from scheduler.ports.records import Ending, Hold, OutputChunk, Record
from scheduler.service.caching import Answers, giving
from scheduler.service.caching.answers import Fill
from scheduler.service.caching.flights import entry_key, flight_key
from scheduler.service.scheduler import Scheduler
from scheduler.states import Level, TaskState
from services.answer_budget import AnswerBudget
from services.status import to_status
from tests.unit.scheduler.world import Runner, World, ended

TIER = TierSettings(1 << 26, 1 << 26, 1 << 20, 3_600_000)
WEIGHTS = "weights"
IDENTITY = identity_of([WEIGHTS])
RESULT = Result(tensors=TensorOutput(tensors=[Tensor(name="y", datatype="FP32", shape=[1], raw=b"\0\0\0\0")]))
INPUTS_FAULT = to_status(InvalidInput.of("tensors", "are of the wrong shape"))
MODELS_FAULT = to_status(ModelFailed("it failed"))


def question(number: int = 1, **fields: Any) -> CacheQuestion:
    digest = number.to_bytes(32, "little")
    return CacheQuestion(**{"namespace": b"n" * 16, "digest": digest, "identity": IDENTITY, **fields})


class CountedTier(MemoryTier):
    """A tier that can be away for what is to be kept, and counts how much is read at a time."""

    def __init__(self, settings: TierSettings, random: Random) -> None:
        super().__init__(settings, random)
        self.takes = True
        self.answers = asyncio.Event()
        self.answers.set()
        self.read_bytes: list[int] = []

    async def get(self, keys: Sequence[Key], now_ms: int) -> list[Entry | None]:
        await self.answers.wait()
        found = await super().get(keys, now_ms)
        self.read_bytes.append(sum(len(entry.body) for entry in found if entry is not None))
        return found

    async def put(self, entries: Sequence[tuple[Key, Entry]], now_ms: int) -> None:
        if not self.takes:
            raise TierAway("away")
        await super().put(entries, now_ms)


class CachingWorld(World):
    """A world with a tier and flights that all schedulers share."""

    def __init__(self) -> None:
        super().__init__()
        self.flights = MemoryFlights(self.clock)
        self.tier = CountedTier(TIER, Random(1))
        self.markers = Markers()
        self.trace = SampledTrace(1.0)

        self.budget: AnswerBudget | None = None
        """Of each scheduler, where it is not the ordinary one."""

    def answers(self, who: str = "s1") -> Answers:
        layers = LayeredCache(
            MemoryTier(TIER, Random(1)),
            [Below(self.tier, shared=True)],
            dead=self.markers.dead,
            monotonic=self.clock.monotonic,
        )
        sharing = Sharing(self.flights, self.flights, self.clock, who)
        return Answers(layers, sharing, self.clock, 3_600_000, 1 << 20, Random(1), self.trace, self.budget)

    async def keep(self, asked: CacheQuestion, result: Result = RESULT) -> None:
        """Let an answer be there, as a gateway would leave it."""
        outcome = result.generate if result.HasField("generate") else result.tensors
        usage = result.usage if result.HasField("usage") else None
        stored = write_answer(outcome, model="m", version=0, usage=usage)
        await self.answers("gateway").keep([Fill(entry_key(asked), stored, asked, self.clock.now_ms())])

    async def kept(self, asked: CacheQuestion) -> bool:
        """Whether an answer is there."""
        return any([found async for found in self.answers("gateway").find([entry_key(asked)])])

    async def records(self, ids: Sequence[str]) -> list[Record]:
        found = await self.store.records.get(ids, True)
        return [record for record in found if record is not None]

    async def fail(self, held: list[tuple[str, int]], error: bytes, retry_in_ms: int = -1) -> None:
        endings = [
            Ending(i, attempt, TaskState.FAILED, error=error, reason="WORD", retry_in_ms=retry_in_ms)
            for i, attempt in held
        ]
        await self.store.records.finish(endings)

    @asynccontextmanager
    async def serving(
        self, credits: int = 8, digest: str = WEIGHTS
    ) -> AsyncIterator[tuple[Scheduler, Runner]]:
        async with (
            self.scheduler(answers=self.answers()) as scheduler,
            self.attached(scheduler, credits, answers_digest=digest) as runner,
        ):
            yield scheduler, runner


async def still(runner: Runner) -> None:
    """Return once everything that has something to do at this moment has done it; nothing was assigned then."""
    for _ in range(200):
        await asyncio.sleep(0)
    assert runner.answers.empty()


async def done(
    world: CachingWorld, runner: Runner, held: list[tuple[str, int]], result: Result = RESULT
) -> None:
    await world.finish(held, result.SerializeToString())
    runner.settle(*ended(held))


async def test_three_hundred_tasks_that_ask_the_same_are_one_run() -> None:
    world = CachingWorld()
    async with world.serving(credits=4) as (_, runner):
        ids = await world.submit(300, asks=question())
        [leader] = await runner.assigned(1)
        await still(runner)

        assert (await world.states(ids)).count(TaskState.RUNNING) == 1
        await done(world, runner, [leader])
        await world.entered(TaskState.SUCCEEDED, *ids)
        await world.acknowledged()
        await still(runner)
    records = await world.records(ids)
    assert [record.attempt for record in records] == [1] + [0] * 299
    cached = [record for record in records if record.history[-1].reason == CACHED]
    assert len(cached) == 299
    assert {Result.FromString(record.result).tensors.tensors[0].raw for record in records} == {b"\0\0\0\0"}


async def test_the_next_that_asks_ends_without_a_run_and_other_questions_run() -> None:
    world = CachingWorld()
    async with world.serving() as (_, runner):
        [first] = await world.submit(1, asks=question())
        await done(world, runner, await runner.assigned(1))
        await world.entered(TaskState.SUCCEEDED, first)
        again = await world.submit(3, asks=question())
        await world.entered(TaskState.SUCCEEDED, *again)
        await still(runner)
        await world.submit(1, asks=question(2))
        await runner.assigned(1)


async def test_an_answer_that_a_gateway_left_ends_a_task_that_was_not_looked_for_lately() -> None:
    world = CachingWorld()
    await world.keep(question())
    async with world.serving() as (_, runner):
        [waited] = await world.submit(1, asks=question())
        await world.entered(TaskState.SUCCEEDED, waited)
        await still(runner)
        # One that was looked for a moment ago, in vain, is not looked for again; one that waited since then is.
        await world.submit(1, asks=question(looked_up=True))
        await runner.assigned(1)
    world = CachingWorld()
    await world.keep(question())
    [old] = await world.submit(1, asks=question(looked_up=True))
    world.clock.advance(6.0)
    async with world.serving():
        await world.entered(TaskState.SUCCEEDED, old)


async def test_a_generation_is_given_as_the_stream_that_it_came_as() -> None:
    world = CachingWorld()
    output = GenerateOutput(text="hello world", token_ids=[1, 2], finish_reason=FINISH_REASON_STOP)
    result = Result(generate=output, usage=Usage(input_tokens=3, output_tokens=2))
    async with world.serving() as (_, runner):
        ids = await world.submit(2, asks=question())
        [(leader, attempt)] = await runner.assigned(1)
        chunk = StreamOutputResponse(text="hello ", token_ids=[1])
        last = StreamOutputResponse(
            text="world", token_ids=[2], finish_reason=FINISH_REASON_STOP, state=TASK_STATE_SUCCEEDED
        )
        records = world.store.records
        await records.append_output([OutputChunk(leader, attempt, chunk.SerializeToString(), 0)])
        ending = Ending(
            leader,
            attempt,
            TaskState.SUCCEEDED,
            result.SerializeToString(),
            last_output=last.SerializeToString(),
        )
        await records.finish([ending])
        runner.settle(*ended([(leader, attempt)]))
        await world.entered(TaskState.SUCCEEDED, *ids)
    [follower] = [task_id for task_id in ids if task_id != leader]
    chunks = [StreamOutputResponse.FromString(raw) for _, raw in await records.output(follower, 0, 9)]
    assert chunks == [chunk, last]
    [record] = await world.records([follower])
    given = Result.FromString(record.result)
    assert given.generate == output
    assert (given.usage.input_tokens, given.usage.cached_tokens, given.usage.output_tokens) == (3, 3, 2)


async def test_a_failure_of_the_input_is_that_of_all_and_any_other_lets_the_next_run() -> None:
    world = CachingWorld()
    async with world.serving() as (_, runner):
        ids = await world.submit(3, asks=question())
        held = await runner.assigned(1)
        await world.fail(held, INPUTS_FAULT.SerializeToString())
        runner.settle(*ended(held))
        await world.entered(TaskState.FAILED, *ids)
        await still(runner)
        assert {record.error for record in await world.records(ids)} == {INPUTS_FAULT.SerializeToString()}
        assert [record.attempt for record in await world.records(ids)] == [1, 0, 0]
        others = await world.submit(3, asks=question(2))
        for failed in (1, 2):
            held = await runner.assigned(1)
            await world.fail(held, MODELS_FAULT.SerializeToString())
            runner.settle(*ended(held))
            assert (await world.states(others)).count(TaskState.FAILED) == failed
        await done(world, runner, await runner.assigned(1))
        await world.entered(TaskState.SUCCEEDED, others[2])


async def test_when_the_runner_goes_the_next_leads() -> None:
    world = CachingWorld()
    async with world.scheduler(answers=world.answers()) as scheduler:
        async with world.attached(scheduler, 4, "r1", answers_digest=WEIGHTS) as runner:
            ids = await world.submit(5, asks=question())
            [(leader, _)] = await runner.assigned(1)
        async with world.attached(scheduler, 4, "r2", answers_digest=WEIGHTS) as other:
            [(second, attempt)] = await other.assigned(1)
            assert second != leader
            await done(world, other, [(second, attempt)])
            rest = [task_id for task_id in ids if task_id != leader]
            await world.entered(TaskState.SUCCEEDED, *rest)
            # Its lease runs out, and its answer is there.
            await world.pass_time(12)
            await world.entered(TaskState.SUCCEEDED, leader)
            await still(other)


async def test_an_old_message_of_the_task_that_leads_changes_nothing() -> None:
    world = CachingWorld()
    async with world.scheduler(answers=world.answers()) as scheduler:
        async with world.attached(scheduler, 4, "r1", answers_digest=WEIGHTS) as runner:
            [leader] = await world.submit(1, asks=question())
            held = await runner.assigned(1)
            await world.store.records.give_back([Hold(*one) for one in held])
        [record] = await world.records([leader])
        # Its old message rests; it is put on the log again, and more of the same come.
        bundle = Bundle()
        bundle.publications.add(envelope=Envelope.FromString(record.envelope), publication=2)
        lane = Lane("default", Level.NORMAL, 0)
        await world.publisher.publish(lane, bundle.SerializeToString(), {})
        followers = await world.submit(3, asks=question())
        await world.pass_time(3)
        async with world.attached(scheduler, 8, "r2", answers_digest=WEIGHTS) as other:
            again = await other.assigned(1)
            assert again == [(leader, 2)]
            await still(other)
            await done(world, other, again)
            await world.entered(TaskState.SUCCEEDED, leader, *followers)
            await world.acknowledged()
            await still(other)


async def test_a_leader_that_is_retried_or_handed_back_makes_room() -> None:
    world = CachingWorld()
    async with world.serving() as (_, runner):
        ids = await world.submit(2, asks=question())
        held = await runner.assigned(1)
        await world.fail(held, MODELS_FAULT.SerializeToString(), retry_in_ms=60_000)
        runner.settle(*ended(held))
        await done(world, runner, await runner.assigned(1))
        await world.entered(TaskState.SUCCEEDED, ids[1])
        assert await world.state(ids[0]) is TaskState.RETRYING
        await world.pass_time(61)
        await world.entered(TaskState.SUCCEEDED, ids[0])
        await still(runner)


async def test_followers_keep_their_deadlines_and_can_be_cancelled_and_paused() -> None:
    world = CachingWorld()
    async with world.serving() as (_, runner):
        [leader] = await world.submit(1, asks=question())
        held = await runner.assigned(1)
        [cancelled] = await world.submit(1, asks=question())
        [late] = await world.submit(1, asks=question(), deadline_in_ms=2_000)
        [paused] = await world.submit(1, Level.LOW, asks=question())
        await still(runner)
        await world.store.records.cancel([cancelled], "t", b"", b"")
        await world.store.pauses.pause(Pause(pool="default", level=Level.LOW), "")
        await world.pass_time(4)
        assert await world.states([cancelled, late]) == [TaskState.CANCELLED, TaskState.EXPIRED]
        await done(world, runner, held)
        await world.entered(TaskState.SUCCEEDED, leader)
        await world.acknowledged(Level.NORMAL)
        # It followed a run that the pause did not stop, and nothing is executed for it. What would have to be looked
        # for before it runs is not even taken.
        await world.entered(TaskState.SUCCEEDED, paused)
        [held_back] = await world.submit(1, Level.LOW, asks=question(2))
        await still(runner)
        assert await world.state(held_back) is TaskState.QUEUED
        await world.store.pauses.resume(Pause(pool="default", level=Level.LOW))
        await world.pass_time(1)
        await runner.assigned(1)


async def test_nobody_is_late_by_the_deadline_of_the_task_that_leads() -> None:
    world = CachingWorld()
    async with world.serving() as (_, runner):
        [short] = await world.submit(1, asks=question(), deadline_in_ms=1_000)
        [first] = await runner.assigned(1)
        # Of these the first has more time than that run; the others have no more than it has, or as much as they like.
        [longer] = await world.submit(1, asks=question(), deadline_in_ms=3_000)
        [beside] = await runner.assigned(1)
        others = await world.submit(2, asks=question(), deadline_in_ms=3_000)
        others += await world.submit(2, asks=question())
        await still(runner)
        assert (first[0], beside[0]) == (short, longer)
        await world.pass_time(2.5)
        assert await runner.cancelled() == [short]
        runner.settle(*ended([first]))
        await still(runner)
        assert await world.state(short) is TaskState.EXPIRED
        await done(world, runner, [beside])
        await world.entered(TaskState.SUCCEEDED, longer, *others)


async def test_tasks_with_the_same_time_to_their_deadlines_are_one_run() -> None:
    world = CachingWorld()
    async with world.serving() as (_, runner):
        ids = await world.submit(1, asks=question(), deadline_in_ms=2_000)
        await world.pass_time(0.1, step=0.1)
        held = await runner.assigned(1)
        for _ in range(5):
            ids += await world.submit(3, asks=question(), deadline_in_ms=2_000)
            await world.pass_time(0.1, step=0.1)
        await still(runner)
        await done(world, runner, held)
        await world.entered(TaskState.SUCCEEDED, *ids)


async def test_a_task_that_came_with_one_of_less_time_leads_beside_it_once_that_runs() -> None:
    world = CachingWorld()
    short = await world.submit(1, asks=question(), deadline_in_ms=1_000)
    longer = await world.submit(2, asks=question(), deadline_in_ms=3_000)
    async with world.serving(credits=4) as (_, runner):
        held = await runner.assigned(2)
        await still(runner)
        assert sorted(task for task, _ in held) == sorted([*short, longer[0]])
        await done(world, runner, held)
        await world.entered(TaskState.SUCCEEDED, *short, *longer)


async def test_a_leader_that_is_cancelled_is_followed_before_its_runner_has_stopped() -> None:
    world = CachingWorld()
    async with world.serving() as (_, runner):
        [leader] = await world.submit(1, asks=question())
        held = await runner.assigned(1)
        [follower] = await world.submit(1, asks=question())
        await still(runner)
        await world.store.records.cancel([leader], "t", b"", b"")
        [next_one] = await runner.assigned(1)
        assert next_one[0] == follower
        await done(world, runner, [next_one])
        runner.settle(*ended(held))
        await world.entered(TaskState.SUCCEEDED, follower)


async def test_a_tenant_that_has_had_its_bytes_of_answers_waits_in_its_place_and_nothing_is_computed_again() -> (
    None
):
    world = CachingWorld()
    size = len(RESULT.SerializeToString())
    world.budget = AnswerBudget(world.clock.monotonic, per_s=2 * size, at_once=4 * size)
    async with world.serving() as (_, runner):
        ids = await world.submit(20, asks=question())
        await done(world, runner, await runner.assigned(1))
        await still(runner)
        # The leader's own result is its run's; of the others four have had theirs at once.
        assert (await world.states(ids)).count(TaskState.SUCCEEDED) == 5
        # Those who find it kept wait behind them.
        ids += await world.submit(4, asks=question())
        late = (await world.submit(1, asks=question(), deadline_in_ms=1_000))[0]
        await world.pass_time(4, step=0.1)
        assert 11 <= (await world.states(ids)).count(TaskState.SUCCEEDED) <= 14
        await world.pass_time(8, step=0.1)
        await still(runner)
        assert set(await world.states(ids)) == {TaskState.SUCCEEDED}
        assert await world.state(late) is TaskState.EXPIRED
        await world.acknowledged()


async def test_answers_beyond_what_may_wait_in_memory_are_looked_for_again_when_it_is_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(giving, "MOST_HELD_BYTES", 0)
    world = CachingWorld()
    size = len(RESULT.SerializeToString())
    world.budget = AnswerBudget(world.clock.monotonic, per_s=10 * size, at_once=2 * size)
    async with world.serving() as (_, runner):
        ids = await world.submit(8, asks=question())
        await done(world, runner, await runner.assigned(1))
        await still(runner)
        assert (await world.states(ids)).count(TaskState.SUCCEEDED) == 3
        await world.pass_time(2, step=0.05)
        await still(runner)
        assert set(await world.states(ids)) == {TaskState.SUCCEEDED}


async def test_only_never_runs_and_refresh_always_does() -> None:
    world = CachingWorld()
    async with world.serving() as (_, runner):
        [absent] = await world.submit(1, asks=question(only=True))
        await world.entered(TaskState.FAILED, absent)
        [record] = await world.records([absent])
        assert record.history[-1].reason == "ANSWER_NOT_CACHED"
        pair = await world.submit(2, asks=question())
        await done(world, runner, await runner.assigned(1))
        await world.entered(TaskState.SUCCEEDED, *pair)
        [there] = await world.submit(1, asks=question(only=True))
        await world.entered(TaskState.SUCCEEDED, there)
        refreshing = question(refresh=True, flight=b"f" * 32)
        fresh = await world.submit(2, asks=refreshing)
        held = await runner.assigned(1)
        other = Result(tensors=TensorOutput(tensors=[Tensor(name="y", datatype="FP32", shape=[0])]))
        await done(world, runner, held, other)
        await world.entered(TaskState.SUCCEEDED, *fresh)
        [after] = await world.submit(1, asks=question())
        await world.entered(TaskState.SUCCEEDED, after)
        [record] = await world.records([after])
        assert Result.FromString(record.result).tensors == other.tensors


async def test_what_another_model_computed_is_neither_shared_nor_kept() -> None:
    world = CachingWorld()
    async with world.serving(digest="other weights") as (_, runner):
        ids = await world.submit(2, asks=question())
        await done(world, runner, await runner.assigned(2))
        await world.entered(TaskState.SUCCEEDED, *ids)
        [only] = await world.submit(1, asks=question(only=True))
        await world.entered(TaskState.FAILED, only)
    assert not await world.kept(question())


async def test_of_two_schedulers_one_leads_and_a_dead_one_is_followed_by_the_other() -> None:
    world = CachingWorld()
    async with world.scheduler("s2", world.answers("s2")) as other:
        async with world.attached(other, 4, "r2", answers_digest=WEIGHTS) as runner:
            # A scheduler that died led it: its lease runs out.
            await world.flights.begin(flight_key(question()), "s1", 4_000, NOBODY)
            ids = await world.submit(3, asks=question())
            await still(runner)
            await world.pass_time(4.5)
            await done(world, runner, await runner.assigned(1))
            await world.entered(TaskState.SUCCEEDED, *ids)


async def test_tasks_end_with_the_answer_or_the_failure_of_a_call_that_leads() -> None:
    world = CachingWorld()
    async with world.serving() as (_, runner):
        for number, kind in enumerate(LandingKind):
            asked = question(number)
            turn = await world.flights.begin(flight_key(asked), "gateway", 60_000, NOBODY)
            ids = await world.submit(2, asks=asked)
            await still(runner)
            landing = Landing(kind)
            if kind is LandingKind.STORED:
                # What is told of the call may be anything: it comes over the wire.
                landing = Landing(kind, b"\xff")
                await world.keep(asked)
            elif kind is LandingKind.FAILED:
                landing = Landing(kind, INPUTS_FAULT.SerializeToString())
            await world.flights.land(flight_key(asked), turn.fence, landing)
            if kind is LandingKind.ABANDONED:
                await done(world, runner, await runner.assigned(1))
            end = TaskState.FAILED if kind is LandingKind.FAILED else TaskState.SUCCEEDED
            await world.entered(end, *ids)
            await still(runner)


async def test_a_call_that_follows_a_task_hears_of_its_end() -> None:
    world = CachingWorld()
    async with world.serving() as (_, runner):
        await world.submit(1, asks=question())
        held = await runner.assigned(1)
        turn = await world.flights.begin(flight_key(question()), "gateway", 4_000, int(Level.HIGH))
        assert isinstance(turn, Following)
        # Renewed for as long as it runs.
        await world.pass_time(8)
        waiting = asyncio.ensure_future(world.flights.ended(flight_key(question()), turn.fence))
        await done(world, runner, held)
        landing = await waiting
        assert landing is not None
        assert landing.kind is LandingKind.STORED
        assert await world.kept(question())


async def test_a_scheduler_that_ends_lets_others_lead() -> None:
    world = CachingWorld()
    async with world.serving() as (_, runner):
        await world.submit(1, asks=question())
        await runner.assigned(1)
    turn = await world.flights.begin(flight_key(question()), "gateway", 4_000, NOBODY)
    assert isinstance(turn, Leading)


class Gone(MemoryFlights):
    """Shared flights that do not answer."""

    async def begin_all(
        self, wanted: Sequence[tuple[Key, int]], who: str, lease_ms: int, began_ms: int = 0
    ) -> list[Leading | Following]:
        raise FlightsAway("gone")

    async def land_all(self, ends: Sequence[tuple[Key, int, Landing]]) -> list[bool]:
        raise FlightsAway("gone")


async def test_without_the_shared_flights_one_scheduler_still_runs_once() -> None:
    world = CachingWorld()
    world.flights = Gone(world.clock)
    async with world.serving() as (_, runner):
        ids = await world.submit(20, asks=question())
        held = await runner.assigned(1)
        await still(runner)
        await done(world, runner, held)
        await world.entered(TaskState.SUCCEEDED, *ids)


async def test_followers_count_as_waiting_in_their_lane() -> None:
    world = CachingWorld()
    async with world.serving() as (scheduler, runner):
        await world.submit(5, asks=question())
        held = await runner.assigned(1)
        await still(runner)
        window = scheduler._pools.windows["default"]
        assert window.depths()[Level.NORMAL] == 4
        assert sum(part.tasks for part in window.contents()) == 4
        assert sum(window.in_window(lane) for lane in window.lanes()) == 4
        await done(world, runner, held)
        await world.acknowledged()
        assert window.depths()[Level.NORMAL] == 0
        assert sum(window.in_window(lane) for lane in window.lanes()) == 0


async def test_tasks_without_a_question_neither_lead_nor_follow_those_that_have_one() -> None:
    # As when what they are expected to cost swings around the limit from which on they are looked for.
    world = CachingWorld()
    async with world.serving(credits=8) as (_, runner):
        plain = await world.submit(2)
        asking = await world.submit(3, asks=question())
        plain += await world.submit(1)
        held = await runner.assigned(4)
        await still(runner)
        leaders = [one for one in held if one[0] in asking]
        assert len(leaders) == 1
        await done(world, runner, [one for one in held if one[0] in plain])
        await world.entered(TaskState.SUCCEEDED, *plain)
        await still(runner)
        assert (await world.states(asking)).count(TaskState.QUEUED) == 2
        await done(world, runner, leaders)
        await world.entered(TaskState.SUCCEEDED, *asking)
    assert [record.attempt for record in await world.records(plain)] == [1, 1, 1]


async def test_who_asks_after_a_purge_is_not_given_what_began_before_it() -> None:
    world = CachingWorld()
    async with world.serving() as (_, runner):
        before = await world.submit(2, asks=question())
        held = await runner.assigned(1)
        await still(runner)
        during = await world.submit(1, asks=question())
        await world.pass_time(1)
        world.markers.add(Purge(world.clock.now_ms(), namespace=b"n" * 16))
        await world.pass_time(1)
        after = await world.submit(1, asks=question())
        await still(runner)
        await done(world, runner, held)
        # Those who waited when it began asked before the purge.
        await world.entered(TaskState.SUCCEEDED, *before)
        again = await runner.assigned(1)
        await still(runner)
        assert await world.states([*during, *after]) == [TaskState.RUNNING, TaskState.QUEUED]
        await done(world, runner, again)
        await world.entered(TaskState.SUCCEEDED, *during, *after)
        await still(runner)


async def test_what_was_purged_while_it_was_computed_is_not_told_as_kept() -> None:
    world = CachingWorld()
    async with world.serving() as (_, runner):
        await world.submit(1, asks=question())
        held = await runner.assigned(1)
        turn = await world.flights.begin(flight_key(question()), "gateway", 4_000, int(Level.HIGH))
        assert isinstance(turn, Following)
        waiting = asyncio.ensure_future(world.flights.ended(flight_key(question()), turn.fence))
        await world.pass_time(1)
        world.markers.add(Purge(world.clock.now_ms(), namespace=b"n" * 16))
        await done(world, runner, held)
        assert await waiting == Landing(LandingKind.ABANDONED)


async def test_an_answer_that_could_not_be_kept_is_not_told_as_kept() -> None:
    world = CachingWorld()
    async with world.serving() as (_, runner):
        await world.submit(1, asks=question())
        held = await runner.assigned(1)
        turn = await world.flights.begin(flight_key(question()), "gateway", 4_000, int(Level.HIGH))
        assert isinstance(turn, Following)
        waiting = asyncio.ensure_future(world.flights.ended(flight_key(question()), turn.fence))
        world.tier.takes = False
        await done(world, runner, held)
        assert await waiting == Landing(LandingKind.ABANDONED)


async def test_a_refreshing_task_that_follows_anothers_run_does_not_end_with_the_old_answer() -> None:
    world = CachingWorld()
    refreshing = question(refresh=True, flight=b"f" * 32)
    async with world.serving() as (_, runner):
        await world.keep(question())
        await world.pass_time(1)
        turn = await world.flights.begin(flight_key(refreshing), "gateway", 60_000, NOBODY)
        ids = await world.submit(2, asks=refreshing)
        await still(runner)
        # As from a leader whose answer was refused for want of room: the old one is still there.
        await world.flights.land(flight_key(refreshing), turn.fence, Landing(LandingKind.STORED))
        await done(world, runner, await runner.assigned(1))
        await world.entered(TaskState.SUCCEEDED, *ids)
        await still(runner)


async def test_answers_of_many_tasks_are_not_all_loaded_before_the_first_is_given() -> None:
    world = CachingWorld()
    large = Result(tensors=TensorOutput(tensors=[Tensor(name="y", datatype="BYTES", raw=b"x" * (1 << 19))]))
    for number in range(48):
        await world.keep(question(number), large)
    answered = world.store.answers.answer
    given: list[int] = []

    async def answer(tasks: Sequence[Answered]) -> list[Closed]:
        given.append(len(world.tier.read_bytes))
        return await answered(tasks)

    world.store.answers.answer = answer  # type: ignore[method-assign, assignment]
    ids = [task_id for number in range(48) for task_id in await world.submit(1, asks=question(number))]
    async with world.serving(credits=64):
        await world.entered(TaskState.SUCCEEDED, *ids)
    assert max(world.tier.read_bytes) <= (8 << 20)
    assert given[0] < len(world.tier.read_bytes)


async def test_only_finds_what_is_kept_while_two_versions_are_attached() -> None:
    world = CachingWorld()
    await world.keep(question())
    async with (
        world.scheduler(answers=world.answers()) as scheduler,
        world.attached(scheduler, 4, "r1", answers_digest=WEIGHTS) as runner,
        world.attached(scheduler, 4, "r2", answers_digest=""),
    ):
        [there, absent] = await world.submit(1, asks=question(only=True)) + await world.submit(
            1, asks=question(2, only=True)
        )
        await world.entered(TaskState.SUCCEEDED, there)
        await world.entered(TaskState.FAILED, absent)
        await still(runner)


async def test_tasks_without_a_question_start_while_the_cache_is_slow() -> None:
    world = CachingWorld()
    world.tier.answers.clear()
    [asking] = await world.submit(1, asks=question())
    [plain] = await world.submit(1)
    async with world.serving() as (_, runner):
        [(first, _)] = await runner.assigned(1)
        assert first == plain
        await still(runner)
        assert await world.state(asking) is TaskState.QUEUED
        world.tier.answers.set()
        [(second, _)] = await runner.assigned(1)
        assert second == asking


SLOW_S = 0.3


class SlowTier(CountedTier):
    """A tier that takes a while for each look, by the clock of the test."""

    def __init__(self, settings: TierSettings, random: Random, clock: FakeClock) -> None:
        super().__init__(settings, random)
        self.clock = clock

    async def get(self, keys: Sequence[Key], now_ms: int) -> list[Entry | None]:
        await self.clock.sleep(SLOW_S)
        return await super().get(keys, now_ms)


class SlowWorld(CachingWorld):
    """A world whose cache takes 300 ms for each look."""

    def __init__(self) -> None:
        super().__init__()
        self.tier = SlowTier(TIER, Random(1), self.clock)

    async def looked(self) -> None:
        """Let one look end."""
        await self.pass_time(SLOW_S, step=0.05)

    async def started(self, runner: Runner) -> tuple[str, int]:
        """Let time pass until a runner is given one task."""
        async with asyncio.timeout(5):
            while runner.answers.empty():
                await self.looked()
        [held] = await runner.assigned(1)
        return held


async def test_a_critical_task_that_comes_while_a_slow_cache_is_asked_starts_at_once() -> None:
    world = SlowWorld()
    async with world.serving(credits=2) as (_, runner):
        asking = [task_id for number in range(3) for task_id in await world.submit(1, asks=question(number))]
        await still(runner)
        # The look under way has all the credit, and others with a question wait before it.
        await world.pass_time(0.01, step=0.01)
        urgent = await world.submit(1, Level.CRITICAL)
        plain = await world.submit(1)
        held = await runner.assigned(2)
        assert [task_id for task_id, _ in held] == [*urgent, *plain]
        await world.looked()
        await still(runner)
        assert set(await world.states(asking)) == {TaskState.QUEUED}
        order: list[str] = []
        while len(order) < len(asking):
            await done(world, runner, held[:1])
            held = [*held[1:], await world.started(runner)]
            order.append(held[-1][0])
        for one in held:
            await done(world, runner, [one])
        await world.entered(TaskState.SUCCEEDED, *urgent, *plain, *asking)
        await world.acknowledged()
        await still(runner)
    assert order == asking
    assert [record.attempt for record in await world.records([*urgent, *plain, *asking])] == [1] * 5
    for number in range(3):
        kept = asyncio.ensure_future(world.kept(question(number)))
        while not kept.done():
            await world.looked()
        assert kept.result()


async def test_tasks_that_are_looked_for_keep_the_credit_that_they_were_taken_for_while_the_cache_is_quick() -> (
    None
):
    world = CachingWorld()
    world.tier.answers.clear()
    async with world.serving(credits=2) as (_, runner):
        first = await world.submit(1, asks=question())
        await still(runner)
        later = await world.submit(3)
        [(plain, _)] = await runner.assigned(1)
        assert plain == later[0]
        await still(runner)
        world.tier.answers.set()
        [(leader, _)] = await runner.assigned(1)
        assert [leader] == first


async def test_a_task_that_found_no_credit_after_a_slow_look_leads_when_there_is_some() -> None:
    world = SlowWorld()
    async with world.serving(credits=1) as (_, runner):
        ids = await world.submit(2, asks=question())
        await still(runner)
        await world.pass_time(0.01, step=0.01)
        await world.submit(1, Level.CRITICAL)
        urgent = await runner.assigned(1)
        await world.looked()
        await still(runner)
        await done(world, runner, urgent)
        await done(world, runner, [await world.started(runner)])
        await world.entered(TaskState.SUCCEEDED, *ids)
        await still(runner)
    assert sorted(record.attempt for record in await world.records(ids)) == [0, 1]


async def test_a_scheduler_ends_in_order_while_a_slow_cache_is_asked_and_leaves_its_tasks_on_the_log() -> (
    None
):
    world = CachingWorld()
    world.tier.answers.clear()
    async with world.serving() as (_, runner):
        asking = await world.submit(2, asks=question())
        await still(runner)
        await world.pass_time(0.01, step=0.01)
        asking += await world.submit(2, asks=question(2))
        await still(runner)
    assert set(await world.states(asking)) == {TaskState.QUEUED}
    world.tier.answers.set()
    async with world.serving() as (_, runner):
        held = await runner.assigned(2)
        await done(world, runner, held)
        await world.entered(TaskState.SUCCEEDED, *asking)


async def test_what_is_computed_and_what_is_found_for_tasks_is_noted_for_advice_and_following_is_not() -> (
    None
):
    world = CachingWorld()
    async with world.serving() as (_, runner):
        ids = await world.submit(3, asks=question())
        await done(world, runner, await runner.assigned(1))
        await world.entered(TaskState.SUCCEEDED, *ids)
        assert [access.key for access in world.trace.sample().accesses] == [entry_key(question())]
        again = await world.submit(1, asks=question())
        await world.entered(TaskState.SUCCEEDED, *again)
    assert [access.key for access in world.trace.sample().accesses] == [entry_key(question())] * 2


async def test_a_refreshing_task_is_given_no_answer_of_a_run_that_began_before_it_came() -> None:
    world = CachingWorld()
    refreshing = question(refresh=True, flight=b"f" * 32)
    async with world.serving() as (_, runner):
        before = await world.submit(2, asks=refreshing)
        held = await runner.assigned(1)
        await still(runner)
        during = await world.submit(3, asks=refreshing)
        await still(runner)
        await done(world, runner, held)
        await world.entered(TaskState.SUCCEEDED, *before)
        again = await runner.assigned(1)
        await still(runner)
        assert sorted(await world.states(during)) == sorted(
            [TaskState.RUNNING, TaskState.QUEUED, TaskState.QUEUED]
        )
        await done(world, runner, again)
        await world.entered(TaskState.SUCCEEDED, *during)
        await still(runner)


async def test_credit_of_a_task_that_was_cancelled_while_it_was_looked_for_goes_to_the_next() -> None:
    world = CachingWorld()
    world.tier.answers.clear()
    lease, leased = world.store.records.lease, asyncio.Event()

    async def lease_late(*wanted: Any) -> Any:
        replies = await lease(*wanted)
        await leased.wait()
        return replies

    world.store.records.lease = lease_late  # type: ignore[method-assign, assignment]
    async with world.serving(credits=1) as (_, runner):
        gone = await world.submit(1, asks=question())
        await still(runner)
        [next_one] = await world.submit(1, asks=question(2))
        await world.store.records.cancel(gone, "t", b"", b"")
        await still(runner)
        world.tier.answers.set()
        # The record store takes longer than everything else that could wake the scheduler.
        await still(runner)
        leased.set()
        [(started, _)] = await runner.assigned(1)
        assert started == next_one

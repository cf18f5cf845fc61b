"""A call's way through the cache, by a clock that stands still."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from cache.key import CacheMode
from cache.ports import Purge
from cache.replay import Pace
from forebay.runner.v1.runner_service_pb2 import Answer
from forebay.tasks.v1 import inputs_pb2
from scheduler.errors import (
    AnswerNotCached,
    DeadlinePassed,
    InvalidInput,
    ModelFailed,
    Overloaded,
    RunnerGone,
    ShuttingDown,
)
from scheduler.states import Level
from services.gateway.direct import DirectCall
from services.relayed import Relayed
from services.status import to_status
from tests.unit.services.gateway.caching.scripted import (
    Front,
    Scripted,
    front_of,
    known_model,
    prompt_call,
    tensor_call,
)


def tensors(raw: bytes = b"\1\1\1\1") -> Answer:
    answer = Answer(started=True, execute_us=10)
    answer.tensors.tensors.add(name="y", datatype="FP32", shape=[1], raw=raw)
    return answer


def answering(answer: Any = None, **fields: Any) -> Scripted:
    scripted = Scripted(outcome=answer or tensors(), **fields)
    scripted.go.set()
    return scripted


async def ask(front: Front, **fields: Any) -> DirectCall:
    wanted = tensor_call(**fields)
    await front.calls.call(wanted)
    return wanted


async def test_an_answer_ends_with_its_time_to_live() -> None:
    scripted = answering()
    async with front_of(scripted, ttl_s=100.0, most_refreshes=0) as front:
        await ask(front)
        front.clock.advance(74.0)
        assert (await ask(front)).cached
        front.clock.advance(27.0)
        assert not (await ask(front)).cached
    assert len(scripted.calls) == 2


async def test_a_purged_answer_is_computed_anew() -> None:
    scripted = answering()
    async with front_of(scripted) as front:
        await ask(front)
        front.markers.add(Purge(front.clock.now_ms() + 1, model="m"))
        assert not (await ask(front)).cached
    assert len(scripted.calls) == 2


async def test_a_purge_reaches_what_was_being_computed_when_it_came() -> None:
    scripted = Scripted(outcome=tensors())
    async with front_of(scripted) as front:
        asked = asyncio.ensure_future(ask(front))
        await scripted.until_asked(1)
        front.clock.advance(1.0)
        front.markers.add(Purge(front.clock.now_ms()))
        front.clock.advance(1.0)
        scripted.go.set()
        await asked
        assert not (await ask(front)).cached


async def test_an_answer_in_use_is_computed_anew_before_its_end_at_the_lowest_level_and_nobody_waits() -> (
    None
):
    scripted = Scripted(outcome=tensors())
    async with front_of(scripted, ttl_s=100.0) as front:
        asked = asyncio.ensure_future(ask(front, priority=Level.HIGH))
        await scripted.until_asked(1)
        front.clock.advance(5.0)
        scripted.outcome = tensors(b"\1\1\1\1")
        scripted.go.set()
        await asked
        scripted.go.clear()
        scripted.outcome = tensors(b"\2\2\2\2")
        front.clock.advance(74.0)
        # So costly that some use soon draws it: the chance is at least one in a hundred each time.
        async with asyncio.timeout(5):
            while len(scripted.calls) == 1:
                assert (await ask(front)).cached
                await asyncio.sleep(0)
        assert Level(scripted.calls[1].priority) is Level.LOW
        assert (await ask(front)).cached
        assert len(scripted.calls) == 2
        scripted.go.set()
        for _ in range(20):
            latest = (await front.calls.call(tensor_call())).tensors.tensors[0].raw
            await asyncio.sleep(0)
        assert latest == b"\2\2\2\2"
    assert len(scripted.calls) == 2


@pytest.mark.parametrize("runs", ["other weights", ""])
async def test_an_answer_of_a_runner_that_runs_something_else_than_it_announces_is_not_kept(
    runs: str,
) -> None:
    scripted = answering(runs=runs)
    async with front_of(scripted) as front:
        await ask(front)
        assert not (await ask(front)).cached


async def test_an_answer_of_a_runner_that_came_meanwhile_with_the_same_weights_is_kept() -> None:
    scripted = Scripted(outcome=tensors(), runner="r2")
    async with front_of(scripted) as front:
        asked = asyncio.ensure_future(ask(front))
        await scripted.until_asked(1)
        before = scripted.known
        scripted.known = known_model()
        scripted.known.runners[0].id = "r2"
        assert scripted.known.identity == before.identity
        scripted.go.set()
        await asked
        assert (await ask(front)).cached


async def test_an_answer_of_a_runner_that_began_anew_under_its_id_with_other_weights_is_not_kept() -> None:
    scripted = Scripted(outcome=tensors())
    async with front_of(scripted) as front:
        asked = asyncio.ensure_future(ask(front))
        await scripted.until_asked(1)
        before = scripted.known
        scripted.known, scripted.runs = known_model("other weights"), "other weights"
        scripted.go.set()
        await asked
        # The old weights come back: what the others said must not be found.
        scripted.known = before
        assert not (await ask(front)).cached


async def test_who_asks_after_a_purge_is_not_given_what_was_begun_before() -> None:
    scripted = Scripted(outcome=tensors())
    async with front_of(scripted) as front:
        before = [asyncio.ensure_future(ask(front)) for _ in range(2)]
        await scripted.until_asked(1)
        front.clock.advance(1.0)
        front.markers.add(Purge(front.clock.now_ms(), model="m"))
        front.clock.advance(1.0)
        after = [asyncio.ensure_future(ask(front)) for _ in range(2)]
        await scripted.until_asked(2)
        scripted.go.set()
        ends = [[one.cached for one in await asyncio.gather(*several)] for several in (before, after)]
        assert (await ask(front)).cached
    assert ends == [[False, True], [False, True]]
    assert len(scripted.calls) == 2


async def test_a_stream_after_a_purge_is_given_nothing_that_another_gateway_began_before() -> None:
    def saying(text: str) -> Scripted:
        new = inputs_pb2.GenerateOutput(text=text)
        return Scripted(outcome=Answer(generate=new), chunks=[Answer(chunk=new)])

    old, new = saying("old"), saying("new")
    async with front_of(old) as there, front_of(new, beside=there) as here:
        before = asyncio.ensure_future(there.calls.call(prompt_call()))
        await old.until_asked(1)
        there.clock.advance(1.0)
        there.markers.add(Purge(there.clock.now_ms(), model="m"))
        there.clock.advance(1.0)
        new.go.set()
        async with asyncio.timeout(5):
            told = [answer async for answer in here.calls.stream(prompt_call())]
        old.go.set()
        assert (await before).generate.text == "old"
    assert [answer.chunk.text or answer.generate.text for answer in told] == ["new", "new"]


async def test_a_purge_of_something_else_parts_nobody() -> None:
    scripted = Scripted(outcome=tensors())
    async with front_of(scripted) as front:
        before = asyncio.ensure_future(ask(front))
        await scripted.until_asked(1)
        front.markers.add(Purge(front.clock.now_ms() + 1, model="another"))
        after = asyncio.ensure_future(ask(front))
        await asyncio.sleep(0)
        scripted.go.set()
        await asyncio.gather(before, after)
    assert len(scripted.calls) == 1


async def test_a_follower_that_asks_with_another_deadline_leaves_by_its_own() -> None:
    scripted = Scripted(outcome=tensors())
    async with front_of(scripted) as front:
        first = asyncio.ensure_future(ask(front))
        await scripted.until_asked(1)
        with pytest.raises(DeadlinePassed):
            await ask(front, timeout_ms=20, door="kserve_grpc")
        scripted.go.set()
        assert not (await first).cached
        assert front.counted.ended == [("kserve_grpc", "m", "DEADLINE_EXCEEDED")]


@pytest.mark.parametrize("own", [DeadlinePassed("late"), Overloaded("full", 1.0)], ids=repr)
async def test_a_failure_that_is_one_callers_alone_hands_over_to_the_next(own: Any) -> None:
    scripted = Scripted(outcome=own)
    async with front_of(scripted) as front:
        first = asyncio.ensure_future(ask(front))
        await scripted.until_asked(1)
        second = asyncio.ensure_future(ask(front))
        await asyncio.sleep(0)
        scripted.go.set()
        with pytest.raises(type(own)):
            await first
        with pytest.raises(type(own)):
            await second
    assert len(scripted.calls) == 2


async def test_a_gateway_that_closes_says_so_at_once_to_all_who_wait() -> None:
    scripted = Scripted(outcome=ShuttingDown("going", 1.0))
    async with front_of(scripted) as front:
        asked = [asyncio.ensure_future(ask(front)) for _ in range(20)]
        await scripted.until_asked(1)
        scripted.go.set()
        ends = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(end) for end in ends] == [ShuttingDown] * 20
    assert len(scripted.calls) == 1


async def test_a_model_that_failed_fails_all_who_wait_with_its_own_status_and_is_asked_again_after() -> None:
    scripted = Scripted(outcome=ModelFailed("it failed"))
    async with front_of(scripted) as front:
        asked = [asyncio.ensure_future(ask(front)) for _ in range(3)]
        await scripted.until_asked(1)
        scripted.go.set()
        ends = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(end) for end in ends] == [ModelFailed, Relayed, Relayed]
        assert [str(end) for end in ends] == ["it failed"] * 3
        for _ in range(3):
            with pytest.raises(ModelFailed):
                await ask(front)
    assert len(scripted.calls) == 4


async def test_an_input_that_failed_twice_is_answered_from_memory_for_five_seconds() -> None:
    fault = Relayed(to_status(InvalidInput.of("x", "does not fit")))
    scripted = answering(fault)
    async with front_of(scripted) as front:
        for _ in range(5):
            with pytest.raises(Relayed, match="does not fit"):
                await ask(front)
        assert len(scripted.calls) == 2
        with pytest.raises(Relayed):
            await ask(front, cache=CacheMode.REFRESH)
        assert len(scripted.calls) == 3
        front.clock.advance(5.1)
        with pytest.raises(Relayed):
            await ask(front)
    assert len(scripted.calls) == 4


async def test_the_computation_takes_the_level_of_the_one_whose_it_is() -> None:
    scripted = answering()
    async with front_of(scripted) as front:
        await ask(front, priority=Level.CRITICAL)
    assert Level(scripted.calls[0].priority) is Level.CRITICAL


async def test_a_refresh_does_not_join_those_who_would_take_an_old_answer() -> None:
    scripted = Scripted(outcome=tensors())
    async with front_of(scripted) as front:
        usual = asyncio.ensure_future(ask(front))
        await scripted.until_asked(1)
        fresh = asyncio.ensure_future(ask(front, cache=CacheMode.REFRESH))
        await scripted.until_asked(2)
        scripted.go.set()
        assert not (await usual).cached
        assert not (await fresh).cached


async def test_what_can_never_be_cached_is_said_to_who_wants_nothing_else() -> None:
    scripted = answering()
    async with front_of(scripted) as front:
        with pytest.raises(AnswerNotCached, match="cannot be: SEQUENCE"):
            await ask(front, cache=CacheMode.ONLY, sequence_key="s")
        with pytest.raises(AnswerNotCached, match=r"is not cached$"):
            await ask(front, cache=CacheMode.ONLY)
        scripted.known = known_model("")
        with pytest.raises(AnswerNotCached, match="cannot be: MODEL_UNKNOWN"):
            await ask(front, cache=CacheMode.ONLY)
    assert not scripted.calls


async def test_what_cannot_be_written_is_told_by_the_direct_way() -> None:
    def broken(call: Any) -> None:
        raise ValueError("cannot be written")

    scripted = answering(InvalidInput.of("x", "cannot be written"))
    async with front_of(scripted) as front:
        with pytest.raises(InvalidInput):
            await front.calls.call(replace(tensor_call(), fill=broken))
    assert len(scripted.calls) == 1


async def test_a_generation_that_was_broken_off_is_not_kept() -> None:
    answer = Answer(
        generate=inputs_pb2.GenerateOutput(text="a", finish_reason=inputs_pb2.FINISH_REASON_ABORTED)
    )
    scripted = answering(answer)
    async with front_of(scripted) as front:
        for _ in range(2):
            assert (await front.calls.call(prompt_call())).generate.text == "a"
    assert len(scripted.calls) == 2


async def test_a_cached_stream_comes_at_the_pace_of_the_generation_where_settings_say_so() -> None:
    pieces = [Answer(chunk=inputs_pb2.GenerateOutput(text=text)) for text in ("a", "b")]
    whole = Answer(generate=inputs_pb2.GenerateOutput(text="ab"))
    scripted = answering(whole, chunks=pieces)
    async with front_of(scripted, replay="AS_GENERATED", most_refreshes=0) as front:

        async def read() -> list[str]:
            return [one.chunk.text or one.generate.text async for one in front.calls.stream(prompt_call())]

        assert await read() == ["a", "b", "ab"]
        assert await read() == ["a", "b", "ab"]
    assert len(scripted.calls) == 1


async def test_a_generation_that_began_anew_and_went_another_way_ends_the_stream_of_who_had_the_first() -> (
    None
):
    pieces = [Answer(chunk=inputs_pb2.GenerateOutput(text=text)) for text in ("a", "b")]
    whole = Answer(generate=inputs_pb2.GenerateOutput(text="c"))
    scripted = Scripted(outcome=whole, once=[DeadlinePassed("late")], chunks=pieces)
    async with front_of(scripted) as front:
        first, second = front.calls.stream(prompt_call()), front.calls.stream(prompt_call())
        assert (await anext(first)).chunk.text == "a"
        assert (await anext(second)).chunk.text == "a"
        assert (await anext(second)).chunk.text == "b"
        scripted.chunks = [Answer(chunk=inputs_pb2.GenerateOutput(text="c"))]
        scripted.go.set()
        with pytest.raises(RunnerGone):
            await anext(second)
        await first.aclose()


async def test_a_replay_ends_with_its_clients_deadline() -> None:
    scripted = generation_of_pauses()
    async with front_of(scripted, replay=Pace.AS_GENERATED) as front:
        await fill_with_pauses(scripted, front)
        stream = front.calls.stream(prompt_call(timeout_ms=1_500))
        heard: list[Answer] = []

        async def read() -> None:
            while True:
                heard.append(await anext(stream))

        reading = asyncio.ensure_future(read())
        for seconds in (1.0, 0.5):
            await front.clock.until_asleep()
            front.clock.advance(seconds)
        with pytest.raises(DeadlinePassed):
            await reading
    assert [answer.chunk.text for answer in heard] == ["a", "b"]


async def test_a_replay_does_not_pause_any_more_once_nothing_more_is_taken() -> None:
    scripted = generation_of_pauses()
    async with front_of(scripted, replay=Pace.AS_GENERATED) as front:
        await fill_with_pauses(scripted, front)
        scripted.closing.set()
        heard = [answer.chunk.text async for answer in front.calls.stream(prompt_call())]
    assert heard == ["a", "b", "c", "d", ""]


def generation_of_pauses() -> Scripted:
    whole = Answer(started=True)
    whole.generate.text = "abcd"
    scripted = Scripted(outcome=whole)
    scripted.go.set()
    return scripted


async def fill_with_pauses(scripted: Scripted, front: Front) -> None:
    """Let a generation be kept whose chunks came a second apart."""
    clock = front.clock

    async def chunks(wanted: DirectCall) -> Any:
        for text in "abcd":
            chunk = Answer()
            chunk.chunk.text = text
            wanted.answers_digest = scripted.runs
            yield chunk
            clock.advance(1.0)
        yield await scripted.call(wanted)

    scripted.stream = chunks  # type: ignore[method-assign]
    async for _ in front.calls.stream(prompt_call()):
        pass

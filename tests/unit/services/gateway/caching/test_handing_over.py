"""What a leader's own fate is to those who wait with it: as little as possible."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from cache.key import CacheMode
from forebay.runner.v1.runner_service_pb2 import Answer
from forebay.tasks.v1 import inputs_pb2
from scheduler.errors import (
    AnswerNotCached,
    DeadlinePassed,
    ForebayError,
    InvalidInput,
    ModelNotReady,
    RecordsUnavailable,
    RunnerCrashed,
    RunnerGone,
    ServerUnavailable,
)
from services.gateway.caching.computing import Computation
from services.gateway.direct import DirectCall, KnownModel
from services.relayed import Relayed
from services.status import to_status
from tests.unit.services.gateway.caching.scripted import (
    Front,
    Scripted,
    SlowTier,
    front_of,
    known_model,
    prompt_call,
    tensor_call,
)


def tensors(raw: bytes = b"\1\1\1\1") -> Answer:
    answer = Answer(started=True, execute_us=10)
    answer.tensors.tensors.add(name="y", datatype="FP32", shape=[1], raw=raw)
    return answer


def saying(*texts: str) -> tuple[Answer, list[Answer]]:
    """Return a generation whole and in pieces."""
    pieces = [Answer(chunk=inputs_pb2.GenerateOutput(text=text)) for text in texts]
    return Answer(generate=inputs_pb2.GenerateOutput(text="".join(texts))), pieces


async def ask(front: Front, **fields: Any) -> DirectCall:
    wanted = tensor_call(**fields)
    await front.calls.call(wanted)
    return wanted


async def texts(front: Front) -> list[str]:
    return [one.chunk.text or one.generate.text async for one in front.calls.stream(prompt_call())]


async def settle() -> None:
    for _ in range(60):
        await asyncio.sleep(0)


async def test_an_answer_of_something_else_than_was_asked_is_given_to_nobody_beside_its_caller() -> None:
    scripted = Scripted(outcome=tensors(), runs="another version")
    async with front_of(scripted) as front:
        asked = [asyncio.ensure_future(ask(front)) for _ in range(2)]
        await scripted.until_asked(1)
        scripted.go.set()
        ends = await asyncio.gather(*asked)
        assert [end.cached for end in ends] == [False, False]
        assert len(scripted.calls) == 2


async def test_who_waited_for_a_model_that_changed_asks_once_more_and_shares_with_who_asks_then() -> None:
    scripted = Scripted(outcome=tensors(b"\2\2\2\2"), runs="other weights")
    async with front_of(scripted) as front:
        asked = [asyncio.ensure_future(ask(front)) for _ in range(20)]
        await scripted.until_asked(1)
        scripted.known = known_model("other weights")
        scripted.go.set()
        ends = await asyncio.gather(*asked)
        # The first, and one for all of the others, which is kept.
        assert len(scripted.calls) == 2
        assert sum(end.cached for end in ends) == 18
        assert (await ask(front)).cached
        assert front.counted.sample("forebay_cache_calls_total", model="m", outcome="computed") == 2
        assert front.counted.sample("forebay_cache_calls_total", model="m", outcome="shared") == 18


async def test_a_runner_that_never_says_what_it_should_keeps_nobody_waiting_in_a_row() -> None:
    scripted = Scripted(outcome=tensors(), runs="not what it announces")
    async with front_of(scripted) as front:
        asked = [asyncio.ensure_future(ask(front)) for _ in range(20)]
        await scripted.until_asked(1)
        scripted.go.set()
        assert not any(end.cached for end in await asyncio.gather(*asked))
    assert len(scripted.calls) == 20


async def test_no_chunk_of_another_version_reaches_who_did_not_ask_for_it() -> None:
    whole, pieces = saying("version ", "two")
    scripted = Scripted(outcome=whole, chunks=pieces, runs="two")
    async with front_of(scripted) as front:
        leader, follower = asyncio.ensure_future(texts(front)), asyncio.ensure_future(texts(front))
        await scripted.until_asked(1)
        await settle()
        scripted.runs = "weights"
        scripted.outcome, scripted.chunks = saying("version ", "three")
        scripted.go.set()
        assert await follower == ["version ", "three", "version three"]
        assert (await leader)[:2] == ["version ", "two"]


@pytest.mark.parametrize(
    "own",
    [
        RunnerGone("it went"),
        ModelNotReady("it loads"),
        ServerUnavailable("away"),
        RecordsUnavailable("away"),
        Relayed(to_status(RunnerGone("it went"))),
        Relayed(to_status(RunnerCrashed("it ended of it"))),
    ],
    ids=repr,
)
async def test_what_befell_a_runner_is_its_callers_alone_and_the_next_asks_another(own: ForebayError) -> None:
    scripted = Scripted(outcome=tensors(), once=[own])
    async with front_of(scripted) as front:
        asked = [asyncio.ensure_future(ask(front)) for _ in range(20)]
        await scripted.until_asked(1)
        scripted.go.set()
        ends = await asyncio.gather(*asked, return_exceptions=True)
        assert ends[0] is own
        assert [getattr(end, "cached", None) for end in ends[1:]] == [False, *[True] * 18]
    assert len(scripted.calls) == 2


async def test_what_befell_three_runners_is_everybodys_failure() -> None:
    scripted = Scripted(outcome=RunnerGone("it went"))
    async with front_of(scripted) as front:
        asked = [asyncio.ensure_future(ask(front)) for _ in range(20)]
        await scripted.until_asked(1)
        scripted.go.set()
        ends = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(end) for end in ends] == [RunnerGone] * 3 + [Relayed] * 17
    assert len(scripted.calls) == 3


async def test_what_runners_are_known_to_die_of_is_everybodys_failure_at_once() -> None:
    scripted = Scripted(outcome=RunnerCrashed("two runners died of it"), once=[RunnerGone("it went")] * 1)
    async with front_of(scripted) as front:
        asked = [asyncio.ensure_future(ask(front)) for _ in range(20)]
        await scripted.until_asked(1)
        scripted.go.set()
        ends = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(end) for end in ends] == [RunnerGone, RunnerCrashed] + [Relayed] * 18
    assert len(scripted.calls) == 2


async def test_a_computation_goes_on_for_who_has_more_time_than_the_one_who_began_it() -> None:
    scripted = Scripted(outcome=tensors())
    async with front_of(scripted) as front:
        asked = [asyncio.ensure_future(ask(front, timeout_ms=ms)) for ms in (30, 60, 10_000)]
        for late in asked[:2]:
            with pytest.raises(DeadlinePassed):
                await late
        scripted.go.set()
        assert (await asked[2]).cached
        [computed] = scripted.calls
        # What is said to be let in is the client's own time; what it may take is not.
        assert computed.timeout_ms <= 30 and computed.runs_ms > 10_000


async def test_who_waits_with_another_takes_room_of_the_gateway_until_its_end() -> None:
    scripted = Scripted(outcome=tensors())
    async with front_of(scripted) as front:
        for _ in range(2):
            size = 100 << 10
            asked = [asyncio.ensure_future(ask(front, size_bytes=size)) for _ in range(100)]
            await scripted.until_asked(1)
            await settle()
            refused = [one for one in asked if one.done()]
            assert {type(one.exception()).__name__ for one in refused} == {"Overloaded"}
            # What is given to a runner is counted by the direct way, which is a script here.
            assert scripted.admission.bytes == (len(asked) - len(refused) - 1) * size <= 1 << 20
            asked[-1].cancel()
            [one.cancel() for one in asked if not one.done()]
            await settle()
            assert (scripted.admission.calls, scripted.admission.bytes) == (0, 0)
            scripted.calls.clear()


async def test_a_stream_takes_room_of_the_gateway_until_its_reader_is_through_or_leaves() -> None:
    whole, pieces = saying("a", "b")
    scripted = Scripted(outcome=whole, chunks=pieces)
    scripted.go.set()
    async with front_of(scripted) as front:
        assert await texts(front) == ["a", "b", "ab"]
        assert scripted.admission.calls == 0
        hit = front.calls.stream(prompt_call())
        assert (await anext(hit)).chunk.text == "a"
        assert scripted.admission.calls == 1
        await hit.aclose()
        assert scripted.admission.calls == 0
        assert len(scripted.calls) == 1


async def test_a_large_answer_is_read_once_for_all_who_are_told_it_at_a_time() -> None:
    whole, pieces = saying(*["x" * 10_000] * 20)
    scripted = Scripted(outcome=whole, chunks=pieces)
    scripted.go.set()
    async with front_of(scripted) as front:
        await texts(front)
        told = [front.calls.stream(prompt_call()) for _ in range(5)]
        for one in told:
            await anext(one)
        assert len(front.cache._parsed._told) == 1
        for one in told:
            await one.aclose()
        assert not front.cache._parsed._told


class Unknown(Scripted):
    """A direct way that knows no model."""

    def model(self, name: str, version: int = 0, pool: str = "") -> KnownModel:
        raise ServerUnavailable("nobody knows who is there")


async def test_who_wants_a_cached_answer_or_none_is_never_given_a_computed_one() -> None:
    def unfit(call: Any) -> None:
        raise InvalidInput.of("x", "cannot be written")

    def broken(call: Any) -> None:
        raise ValueError("cannot be written")

    only = CacheMode.ONLY
    unknown, scripted = Unknown(outcome=tensors()), Scripted(outcome=tensors())
    unknown.go.set()
    scripted.go.set()
    async with front_of(unknown) as nobody, front_of(scripted) as front:
        with pytest.raises(AnswerNotCached):
            await ask(nobody, cache=only)
        for fill, error in (
            (unfit, InvalidInput),
            (broken, AnswerNotCached),
            (lambda call: None, AnswerNotCached),
        ):
            with pytest.raises(error):
                await front.calls.call(replace(tensor_call(cache=only), fill=fill))
    assert not unknown.calls and not scripted.calls


async def test_an_answer_that_another_gateway_has_computed_anew_is_not_computed_once_more_for_its_end() -> (
    None
):
    scripted, tier = Scripted(outcome=tensors()), SlowTier()
    tier.go.set()
    async with (
        front_of(scripted, [tier], ttl_s=100.0) as here,
        front_of(scripted, [tier], beside=here, ttl_s=100.0) as there,
    ):
        clock = here.clock

        async def computed(times: int, **fields: Any) -> None:
            """Have an answer computed that costs five seconds."""
            scripted.go.clear()
            asked = asyncio.ensure_future(ask(here, **fields))
            await scripted.until_asked(times)
            clock.advance(5.0)
            scripted.go.set()
            await asked

        await computed(1)
        asking = there.calls._asker.asking(tensor_call())
        assert asking is not None
        [old] = await tier.get([asking.key], clock.now_ms())
        assert old is not None
        there.cache.layers.put_near(asking.key, old, clock.now_ms())
        clock.advance(60.0)
        await computed(2, cache=CacheMode.REFRESH)
        clock.advance(9.0)
        async with asyncio.timeout(5):
            while (entry := there.cache.entry(asking.key)) is not None and entry.created_ms == old.created_ms:
                assert (await ask(there)).cached
                await asyncio.sleep(0)
        assert entry is not None and entry.created_ms > old.created_ms
    assert len(scripted.calls) == 2


async def test_a_trace_that_cannot_be_read_keeps_nobody_from_the_answer_of_another_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Computation, "trace", b"\xff")
    scripted, tier = Scripted(outcome=tensors()), SlowTier()
    tier.go.set()
    async with front_of(scripted, [tier]) as here, front_of(scripted, [tier], beside=here) as there:
        leading = asyncio.ensure_future(ask(here))
        await scripted.until_asked(1)
        following = [asyncio.ensure_future(ask(there)) for _ in range(3)]
        await settle()
        scripted.go.set()
        async with asyncio.timeout(5):
            assert [(await one).cached for one in [leading, *following]] == [False, True, True, True]

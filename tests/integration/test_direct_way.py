"""Calls of clients that wait on the line, over real streams to runners that do as they are told."""

import asyncio
import gc
from collections import Counter
from contextlib import aclosing
from random import Random
from typing import Any

import pytest
from google.rpc import code_pb2

from forebay.models.v1 import model_service_pb2
from forebay.runner.v1.runner_service_pb2 import Answer, Call
from forebay.tasks.v1 import inputs_pb2
from scheduler.errors import (
    DeadlinePassed,
    ForebayError,
    InvalidInput,
    ModelFailed,
    ModelNotFound,
    ModelNotReady,
    Overloaded,
    QuotaExceeded,
    RecordsUnavailable,
    RunnerGone,
    SequenceUnknown,
    ServerUnavailable,
    ShuttingDown,
)
from scheduler.policies.policy import Limit, Policy, Routing
from scheduler.routing.breaker import Circuit
from scheduler.states import Level
from services.gateway.direct import DirectBounds, DirectCall
from services.gateway.direct.fleet import BELIEVED_S, GONE_S
from services.gateway.direct.pending import MOST_CHUNKS
from services.relayed import Relayed
from tests.direct_runners import (
    FakeRunner,
    Way,
    chunk,
    echo,
    generate_call,
    never,
    refusing,
    tensor_call,
    way_to,
)

DRAINING = model_service_pb2.RUNNER_STATE_DRAINING
LOADING = model_service_pb2.RUNNER_STATE_LOADING


async def call(way: Way, **fields: Any) -> Answer:
    return await asyncio.wait_for(way.calls.call(tensor_call(**fields)), 10)


async def connected(way: Way, count: int) -> None:
    """Wait until so many runners of model m can be reached."""
    group = way.calls.fleet.group(way.calls.model("m"))
    async with asyncio.timeout(10):
        while sum(one.open for one in group.connections) < count:
            await way.calls.fleet.look()
            await asyncio.sleep(0.01)


def begun(way: Way, **fields: Any) -> "asyncio.Task[Answer]":
    return asyncio.ensure_future(way.calls.call(tensor_call(**fields)))


async def test_a_call_reaches_its_runner_as_it_was_asked_and_its_answer_comes_back() -> None:
    runner = FakeRunner("r1")
    async with way_to(runner) as way:
        answer = await call(
            way, raw=b"\1\0\0\0", priority=Level.HIGH, timeout_ms=9_000, traceparent="00-1-2-01"
        )
    assert [tensor.raw for tensor in answer.tensors.tensors] == [b"\1\0\0\0"]
    (got,) = runner.calls
    assert (got.tenant, Level(got.priority), got.traceparent) == ("tenant", Level.HIGH, "00-1-2-01")
    assert 0 < got.timeout_ms <= 9_000
    assert not got.stream
    assert not got.HasField("sequence")


async def test_what_comes_while_a_message_is_on_its_way_goes_in_one_message() -> None:
    runner = FakeRunner("r1", never, acknowledges=False)
    async with way_to(runner) as way:
        first = begun(way)
        await runner.until(lambda: runner.messages == [1])
        others = [begun(way) for _ in range(20)]
        await asyncio.sleep(0)
        runner.answer = echo
        runner.send(echo(runner.calls[0]))
        await asyncio.wait_for(asyncio.gather(first, *others), 10)
    assert runner.messages == [1, 20]


async def test_an_answer_to_an_earlier_message_does_not_say_that_the_latest_was_taken_in() -> None:
    runner = FakeRunner("r1", never)
    async with way_to(runner) as way:
        first = begun(way)
        await runner.until(lambda: runner.messages == [1])
        (connection,) = way.calls.fleet.group(way.calls.model("m")).connections
        while connection.sent_s is not None:  # noqa: ASYNC110 - the reader tells nobody
            await asyncio.sleep(0)
        runner.acknowledges = False
        second = begun(way)
        await runner.until(lambda: runner.messages == [1, 1])
        sent_s = connection.sent_s
        third = begun(way)
        runner.taken = 1
        runner.send(echo(runner.calls[0]))
        await asyncio.wait_for(first, 10)
        # It goes on waiting, and on counting as a runner that does not read.
        assert (connection.waiting, connection.sent_s) == (1, sent_s)
        runner.taken = 2
        runner.answer = echo
        runner.send(echo(runner.calls[1]))
        await asyncio.wait_for(asyncio.gather(second, third), 10)
    assert runner.messages == [1, 1, 1]


@pytest.fixture
def waits_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every message wait for a moment in which all that a test begins has come."""
    monkeypatch.setattr("services.gateway.direct.gathering.Gathering.pause_s", lambda *_: 0.1)


async def begin_two_by_turns(way: Way, **fields: Any) -> None:
    """Begin a call with these fields, and one more a few turns of the loop later; wait for both."""
    first = begun(way, **fields)
    for _ in range(5):
        await asyncio.sleep(0)
    await asyncio.wait_for(asyncio.gather(first, begun(way)), 10)


async def test_what_comes_while_a_message_waits_for_more_goes_with_it(waits_for_more: None) -> None:
    runner = FakeRunner("r1")
    async with way_to(runner) as way:
        await connected(way, 1)
        await begin_two_by_turns(way)
        await begin_two_by_turns(way)
    assert runner.messages == [2, 2]


async def test_neither_a_critical_call_nor_one_that_must_end_soon_waits_for_others(
    waits_for_more: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = FakeRunner("r1")
    async with way_to(runner) as way:
        await connected(way, 1)
        await begin_two_by_turns(way, priority=Level.CRITICAL)
        monkeypatch.setattr("services.gateway.direct.connection.HURRY_S", 20.0)
        await begin_two_by_turns(way, timeout_ms=19_000)
    assert runner.messages == [1, 1, 1, 1]


async def test_higher_levels_go_first_where_not_all_fit_into_one_message() -> None:
    runner = FakeRunner("r1", never, acknowledges=False)
    async with way_to(runner) as way:
        first = begun(way)
        await runner.until(lambda: runner.messages == [1])
        large = {"raw": b"\0" * (3 << 20)}
        others = [begun(way, priority=level, **large) for level in (Level.LOW, Level.NORMAL, Level.CRITICAL)]
        await asyncio.sleep(0)
        runner.answer = echo
        runner.send(echo(runner.calls[0]))
        await asyncio.wait_for(asyncio.gather(first, *others), 10)
    assert [Level(got.priority) for got in runner.calls[1:]] == [Level.CRITICAL, Level.NORMAL, Level.LOW]
    assert runner.messages == [1, 1, 1, 1]


async def test_chunks_of_a_stream_come_in_order_and_the_whole_outcome_is_the_last() -> None:
    runner = FakeRunner("r1", never)
    async with way_to(runner) as way:
        seen: list[str] = []
        async with aclosing(way.calls.stream(generate_call())) as answers:
            taking = asyncio.ensure_future(anext(answers))
            await runner.until(lambda: len(runner.calls) == 1)
            (got,) = runner.calls
            assert got.stream
            runner.send(chunk(got, "a"), chunk(got, "b"))
            runner.send(Answer(id=got.id, generate=inputs_pb2.GenerateOutput(text="ab")))
            seen.append((await taking).chunk.text)
            seen += [answer.chunk.text or f"whole {answer.generate.text}" async for answer in answers]
    assert seen == ["a", "b", "whole ab"]


async def test_a_stream_that_is_left_early_is_stopped_in_the_runner() -> None:
    runner = FakeRunner("r1", lambda got: chunk(got, "a"))
    async with way_to(runner) as way:
        async with aclosing(way.calls.stream(generate_call())) as answers:
            assert (await anext(answers)).chunk.text == "a"
        await runner.until(lambda: runner.cancelled == [runner.calls[0].id])
        assert not len(way.calls)


async def test_a_client_that_is_too_far_behind_is_ended_and_its_work_stopped() -> None:
    runner = FakeRunner("r1", lambda got: chunk(got, "0"))
    async with way_to(runner) as way:
        async with aclosing(way.calls.stream(generate_call())) as answers:
            assert (await anext(answers)).chunk.text == "0"
            got = runner.calls[0]
            runner.send(*(chunk(got, "x") for _ in range(MOST_CHUNKS + 1)))
            await runner.until(lambda: bool(runner.cancelled))
            with pytest.raises(Overloaded, match="too far behind"):
                async for _ in answers:
                    pass
        assert runner.cancelled == [got.id]


async def test_a_call_that_its_client_gives_up_is_stopped_in_the_runner() -> None:
    runner = FakeRunner("r1", never)
    async with way_to(runner) as way:
        waiting = begun(way)
        await runner.until(lambda: len(runner.calls) == 1)
        waiting.cancel()
        await runner.until(lambda: runner.cancelled == [runner.calls[0].id])
        assert not len(way.calls)
        runner.send(echo(runner.calls[0]))  # comes too late, and does no harm
        runner.answer = echo
        await call(way)


async def test_a_call_that_is_given_up_before_it_was_sent_is_never_sent() -> None:
    runner = FakeRunner("r1", never, acknowledges=False)
    async with way_to(runner) as way:
        first = begun(way)
        await runner.until(lambda: len(runner.calls) == 1)
        second = begun(way)
        await asyncio.sleep(0)
        second.cancel()
        third = begun(way)
        await asyncio.sleep(0)
        runner.answer = echo
        runner.send(echo(runner.calls[0]))
        await asyncio.wait_for(asyncio.gather(first, third), 10)
    assert len(runner.calls) == 2
    assert not runner.cancelled


async def test_a_call_ends_at_its_deadline_and_its_work_is_stopped() -> None:
    runner = FakeRunner("r1", never)
    async with way_to(runner) as way:
        with pytest.raises(DeadlinePassed):
            await call(way, timeout_ms=50)
        await runner.until(lambda: len(runner.cancelled) == 1)
        assert not len(way.calls)


async def test_a_deadline_that_is_absurd_is_a_day_and_one_that_has_passed_ends_the_call() -> None:
    runner = FakeRunner("r1")
    async with way_to(runner) as way:
        await call(way, timeout_ms=2**63 - 1)
        assert 86_300_000 < runner.calls[0].timeout_ms <= 86_400_000
        runner.answer = never
        with pytest.raises(DeadlinePassed):
            await call(way, timeout_ms=-1)


async def test_a_call_without_a_deadline_gets_the_default_one() -> None:
    runner = FakeRunner("r1", never)
    async with way_to(runner, bounds=DirectBounds(timeout_s=0.05)) as way:
        with pytest.raises(DeadlinePassed):
            await call(way)


async def test_an_error_of_a_call_that_was_not_begun_sends_it_to_another_runner() -> None:
    bad = FakeRunner("r1", refusing(ServerUnavailable("drains")))
    good = FakeRunner("r2", load_us=50_000)
    async with way_to(bad, good) as way:
        await connected(way, 2)
        for _ in range(3):
            await call(way)
    assert len(good.calls) == 3
    assert bad.calls


async def test_an_error_of_a_call_that_was_begun_is_its_end() -> None:
    bad = FakeRunner("r1", refusing(ModelFailed("broke"), started=True))
    good = FakeRunner("r2", load_us=1_000_000)
    async with way_to(bad, good) as way:
        await connected(way, 2)
        await asyncio.gather(*(way.calls.call(tensor_call()) for _ in range(2)), return_exceptions=True)
        with pytest.raises(Relayed, match="broke") as raised:
            await call(way)
    assert raised.value.status.code == code_pb2.UNKNOWN


async def test_what_is_wrong_with_the_call_itself_is_not_tried_elsewhere() -> None:
    bad = FakeRunner("r1", refusing(InvalidInput.of("tensors", "does not fit")))
    other = FakeRunner("r2", refusing(InvalidInput.of("tensors", "does not fit")))
    async with way_to(bad, other) as way:
        await connected(way, 2)
        with pytest.raises(Relayed, match="does not fit") as raised:
            await call(way)
    assert raised.value.status.code == code_pb2.INVALID_ARGUMENT
    assert len(bad.calls) + len(other.calls) == 1


async def test_a_call_is_tried_three_times_at_most_and_never_by_the_same_runner() -> None:
    runners = [FakeRunner(f"r{n}", refusing(ServerUnavailable(f"r{n} drains"))) for n in range(5)]
    async with way_to(*runners) as way:
        await connected(way, 5)
        with pytest.raises(Relayed, match="drains"):
            await call(way)
    assert sorted(len(runner.calls) for runner in runners) == [0, 0, 1, 1, 1]


async def test_where_there_is_no_other_runner_the_client_gets_what_the_only_one_said() -> None:
    async with way_to(FakeRunner("r1", refusing(Overloaded("its queue is full", 0.5)))) as way:
        with pytest.raises(Relayed, match="its queue is full") as raised:
            await call(way)
    assert raised.value.status.code == code_pb2.RESOURCE_EXHAUSTED


async def test_a_runner_that_dies_fails_what_it_had_and_what_was_not_sent_goes_elsewhere() -> None:
    dying = FakeRunner("r1", never, acknowledges=False)
    other = FakeRunner("r2", echo)
    async with way_to(dying) as way:
        had = begun(way)
        await dying.until(lambda: len(dying.calls) == 1)
        waited = [begun(way) for _ in range(5)]
        await asyncio.sleep(0)
        async with way_to(other):
            await way.announce(other)
            await connected(way, 2)
            await way.servers["r1"].stop(None)
            with pytest.raises(RunnerGone):
                await asyncio.wait_for(had, 10)
            await asyncio.wait_for(asyncio.gather(*waited), 10)
            assert len(other.calls) == 5
            assert not len(way.calls)


async def test_a_runner_that_dies_alone_fails_all_at_once_and_nothing_hangs() -> None:
    dying = FakeRunner("r1", never, acknowledges=False)
    async with way_to(dying) as way:
        had = begun(way)
        await dying.until(lambda: len(dying.calls) == 1)
        waited = begun(way)
        await asyncio.sleep(0)
        await way.servers["r1"].stop(None)
        with pytest.raises(RunnerGone):
            await asyncio.wait_for(had, 10)
        with pytest.raises(ModelNotReady):
            await asyncio.wait_for(waited, 10)
        with pytest.raises(ModelNotReady):
            await call(way)


async def test_a_runner_whose_stream_ended_is_dialled_again_while_it_is_announced() -> None:
    runner = FakeRunner("r1")
    async with way_to(runner) as way:
        await call(way)
        runner.hang_up()
        await runner.attached(2)
        await connected(way, 1)
        await call(way)


async def test_a_runner_that_nobody_can_reach_fails_a_call_at_once_with_a_hint() -> None:
    runner = FakeRunner("r1")
    async with way_to(runner) as way:
        await way.servers["r1"].stop(None)
        with pytest.raises(ModelNotReady) as raised:
            await call(way)
        assert raised.value.retry_after_s > 0


async def test_a_new_runner_gets_calls_within_a_second_of_its_announcement() -> None:
    first = FakeRunner("r1", load_us=5_000_000)
    second = FakeRunner("r2")
    async with way_to(first) as way, way_to(second):
        await call(way)
        card = second.status().SerializeToString()
        await way.store.membership.announce("runner", "r2", card, 60_000)
        began_s = asyncio.get_running_loop().time()
        while not second.calls:
            await call(way)
            await asyncio.sleep(0.01)
        assert asyncio.get_running_loop().time() - began_s < 1.0


async def test_a_runner_that_drains_gets_no_more_calls_and_finishes_what_it_has() -> None:
    leaving, staying = FakeRunner("r1", never), FakeRunner("r2")
    async with way_to(leaving) as way:
        had = begun(way)
        await leaving.until(lambda: len(leaving.calls) == 1)
        leaving.state = DRAINING
        async with way_to(staying):
            await way.announce(leaving, staying)
            await connected(way, 1)
            for _ in range(5):
                await call(way)
            leaving.send(echo(leaving.calls[0]))
            await asyncio.wait_for(had, 10)
    assert (len(leaving.calls), len(staying.calls)) == (1, 5)


async def test_a_runner_that_stops_reading_gets_nothing_more_and_what_waits_for_it_goes_elsewhere() -> None:
    stuck, other = FakeRunner("r1", never, acknowledges=False), FakeRunner("r2")
    async with way_to(stuck) as way:
        had = begun(way)
        await stuck.until(lambda: len(stuck.calls) == 1)
        stuck.reads.clear()
        waited = [begun(way) for _ in range(20)]
        await asyncio.sleep(0)
        async with way_to(other):
            await way.announce(other)
            await connected(way, 2)
            # Within three seconds or so it is seen that nothing is taken in.
            await asyncio.wait_for(asyncio.gather(*waited), 10)
            for _ in range(5):
                await call(way)
            assert (len(stuck.calls), len(other.calls)) == (1, 25)
            had.cancel()


async def test_while_nobody_knows_who_is_there_what_was_seen_last_stands() -> None:
    runner = FakeRunner("r1")
    async with way_to(runner) as way:
        await call(way)

        async def away(role: str) -> list[tuple[str, bytes]]:
            raise RecordsUnavailable("the store is away")

        way.store.membership.members = away  # type: ignore[method-assign]
        with pytest.raises(RecordsUnavailable):
            await way.calls.fleet.look()
        for _ in range(3):
            await call(way)
    assert len(runner.calls) == 4


async def test_a_runner_that_the_directory_forgot_is_believed_for_a_moment_while_its_stream_stands() -> None:
    runner = FakeRunner("r1", never)
    async with way_to(runner) as way:
        had = begun(way)
        await runner.until(lambda: len(runner.calls) == 1)
        await way.withdraw(runner)
        runner.answer = echo
        await call(way)
        way.calls.fleet.now_s = lambda: asyncio.get_running_loop().time() + BELIEVED_S
        await way.calls.fleet.look()
        with pytest.raises(ModelNotFound):
            await call(way)
        runner.send(echo(runner.calls[0]))
        await asyncio.wait_for(had, 10)


async def test_a_runner_that_is_gone_for_long_is_dropped_with_what_it_has() -> None:
    runner = FakeRunner("r1", never)
    async with way_to(runner) as way:
        had = begun(way)
        await runner.until(lambda: len(runner.calls) == 1)
        await way.withdraw(runner)
        way.calls.fleet.now_s = lambda: asyncio.get_running_loop().time() + GONE_S
        await way.calls.fleet.look()
        with pytest.raises(RunnerGone):
            await asyncio.wait_for(had, 10)


async def test_a_runner_that_was_taken_out_gets_one_call_after_its_rest_and_more_when_that_succeeds() -> None:
    bad = FakeRunner("r1", refusing(ModelFailed("broke"), started=True))
    good = FakeRunner("r2")
    async with way_to(bad, good, policy=Policy(routing={"m": Routing.ROUND_ROBIN})) as way:
        await connected(way, 2)
        for _ in range(12):
            await asyncio.gather(way.calls.call(tensor_call()), return_exceptions=True)
        taken_out = len(bad.calls)
        bad.answer = echo
        (circuit,) = [
            one for one in way.calls.fleet.group(way.calls.model("m")).connections if one.id == "r1"
        ]
        async with asyncio.timeout(10):
            while circuit.breaker.state(way.calls.fleet.now_s()) is not Circuit.CLOSED:
                await call(way)
        assert len(bad.calls) == taken_out + 1
        for _ in range(10):
            await call(way)
        assert len(bad.calls) > taken_out + 3


async def test_work_goes_where_least_is_outstanding() -> None:
    busy, idle = FakeRunner("r1", load_us=60_000_000), FakeRunner("r2", load_us=0)
    async with way_to(busy, idle) as way:
        await connected(way, 2)
        await asyncio.gather(*(way.calls.call(tensor_call()) for _ in range(8)))
        before = len(busy.calls)
        for _ in range(20):
            await call(way)
        assert len(busy.calls) == before


async def test_calls_that_were_not_told_of_yet_count_as_outstanding() -> None:
    runners = [FakeRunner(f"r{n}", never, acknowledges=False) for n in range(4)]
    async with way_to(*runners) as way:
        await connected(way, 4)
        waiting = [begun(way) for _ in range(40)]
        for runner in runners:
            await runner.until(lambda runner=runner: bool(runner.calls))  # type: ignore[misc]
            runner.answer = echo
            runner.send(*(echo(got) for got in runner.calls))
        await asyncio.wait_for(asyncio.gather(*waiting), 10)
        assert [len(runner.calls) for runner in runners] == [10, 10, 10, 10]


async def test_the_policy_says_how_a_runner_is_chosen() -> None:
    runners = [FakeRunner(f"r{n}", load_us=n * 100_000) for n in range(3)]
    policy = Policy(routing={"m": Routing.ROUND_ROBIN})
    async with way_to(*runners, policy=policy) as way:
        await connected(way, 3)
        for _ in range(9):
            await call(way)
        assert [len(runner.calls) for runner in runners] == [3, 3, 3]
        way.direct.follow(Policy(routing={"m": Routing.CONSISTENT_HASH}))
        for _ in range(9):
            await call(way)
        assert sorted(len(runner.calls) for runner in runners) == [3, 3, 12]


async def test_a_runner_that_fails_where_others_do_not_is_taken_out() -> None:
    bad = FakeRunner("r1", refusing(ModelFailed("broke"), started=True))
    good = FakeRunner("r2", load_us=20_000)
    policy = Policy(routing={"m": Routing.ROUND_ROBIN})
    async with way_to(bad, good, policy=policy) as way:
        await connected(way, 2)
        for _ in range(12):
            await asyncio.gather(way.calls.call(tensor_call()), return_exceptions=True)
        taken_out = len(bad.calls)
        assert taken_out < 12
        for _ in range(20):
            await call(way)
        assert len(bad.calls) == taken_out


async def test_a_sequence_stays_with_its_runner() -> None:
    runners = [FakeRunner(f"r{n}") for n in range(4)]
    async with way_to(*runners, policy=Policy(routing={"m": Routing.ROUND_ROBIN})) as way:
        await connected(way, 4)
        for name in ("a", "b", "c", "d", "e", "f"):
            for at in range(4):
                await call(way, sequence_key=name, sequence_start=at == 0, sequence_end=at == 3)
    places: dict[str, list[tuple[str, bool, bool]]] = {}
    for runner in runners:
        for got in runner.calls:
            places.setdefault(got.sequence.id, []).append((runner.id, got.sequence.start, got.sequence.end))
    assert {len({place[0] for place in of_one}) for of_one in places.values()} == {1}
    assert all(
        [place[1:] for place in of_one][0::3] == [(True, False), (False, True)] for of_one in places.values()
    )
    assert len({of_one[0][0] for of_one in places.values()}) > 1


async def test_a_sequence_whose_runner_is_gone_is_unknown_and_begins_anew_elsewhere() -> None:
    runners = [FakeRunner("r1"), FakeRunner("r2")]
    async with way_to(*runners) as way:
        await connected(way, 2)
        await call(way, sequence_key="s", sequence_start=True)
        (home,) = [runner for runner in runners if runner.calls]
        (other,) = [runner for runner in runners if not runner.calls]
        home.state = DRAINING
        await way.announce(home)
        with pytest.raises(SequenceUnknown):
            await call(way, sequence_key="s")
        await call(way, sequence_key="s", sequence_start=True)
        await call(way, sequence_key="s")
    assert len(other.calls) == 2


async def test_a_sequence_that_goes_on_is_never_tried_by_another_runner() -> None:
    runners = [FakeRunner("r1"), FakeRunner("r2")]
    async with way_to(*runners) as way:
        await connected(way, 2)
        await call(way, sequence_key="s", sequence_start=True)
        (home,) = [runner for runner in runners if runner.calls]
        home.answer = refusing(ServerUnavailable("drains"))
        with pytest.raises(SequenceUnknown):
            await call(way, sequence_key="s")
    assert sum(len(runner.calls) for runner in runners) == 2


async def test_a_model_that_nobody_announces_is_not_found_and_one_that_loads_is_not_ready() -> None:
    async with way_to(FakeRunner("r1", state=LOADING)) as way:
        with pytest.raises(ModelNotFound):
            await call(way, model="other")
        with pytest.raises(ModelNotFound):
            await call(way, pool="gpu")
        with pytest.raises(ModelNotReady, match="m is not ready yet") as raised:
            await call(way)
        assert raised.value.retry_after_s > 0
        assert not way.calls.model("m").ready


async def test_a_version_is_asked_for_by_number_or_behind_the_name() -> None:
    one = FakeRunner("r1", model="m@1", version=1)
    two = FakeRunner("r2", model="m", version=2)
    async with way_to(one, two) as way:
        await call(way)
        await call(way, model="m@1")
        await call(way, version=1)
        await call(way, model="m@2")
        with pytest.raises(ModelNotFound, match="m@3"):
            await call(way, version=3)
        assert (len(one.calls), len(two.calls)) == (2, 2)
        assert [known.version for known in way.calls.models()] == [1, 2]
        assert way.calls.model("m").versions == [1, 2]


async def test_when_much_is_before_a_call_lower_levels_are_refused_first() -> None:
    runner = FakeRunner("r1", load_us=40_000_000)
    async with way_to(runner) as way:
        await call(way)
        for level, timeout_ms in ((Level.LOW, 20_000), (Level.NORMAL, 10_000), (Level.HIGH, 5_000)):
            with pytest.raises(Overloaded) as raised:
                await call(way, priority=level, timeout_ms=timeout_ms)
            assert raised.value.retry_after_s > 0
        for level, timeout_ms in ((Level.LOW, 41_000), (Level.NORMAL, 21_000), (Level.HIGH, 11_000)):
            await call(way, priority=level, timeout_ms=timeout_ms)
        await call(way, priority=Level.CRITICAL, timeout_ms=5_000)


async def test_what_a_runner_had_before_it_is_done_after_that_time_and_refuses_nobody_any_more() -> None:
    runner = FakeRunner("r1", load_us=1_000_000)
    async with way_to(runner) as way:
        await call(way)
        with pytest.raises(Overloaded):
            await call(way, priority=Level.LOW, timeout_ms=100)
        # Nothing comes from it meanwhile: nobody asks it for anything.
        async with asyncio.timeout(10):
            while True:
                try:
                    await call(way, priority=Level.LOW, timeout_ms=100)
                except Overloaded as refused:
                    await asyncio.sleep(refused.retry_after_s)
                else:
                    break
        assert len(runner.calls) == 2


async def test_of_the_room_of_a_gateway_lower_levels_may_fill_only_a_part() -> None:
    runner = FakeRunner("r1", never)
    async with way_to(runner, bounds=DirectBounds(max_calls=10, timeout_s=10.0)) as way:
        waiting = [begun(way, priority=Level.LOW) for _ in range(10)]
        refused = await asyncio.wait_for(asyncio.gather(*waiting[7:], return_exceptions=True), 10)
        assert [type(one) for one in refused] == [Overloaded] * 3
        waiting += [begun(way, priority=Level.CRITICAL) for _ in range(4)]
        await runner.until(lambda: len(runner.calls) == 10)
        with pytest.raises(Overloaded):
            await waiting[-1]
        runner.send(*(echo(got) for got in runner.calls))
        await asyncio.wait_for(asyncio.gather(*waiting[:7], *waiting[10:13]), 10)
        runner.answer = echo
        await call(way, priority=Level.LOW)


async def test_bytes_of_calls_under_way_are_bounded_and_one_call_is_always_let_in() -> None:
    runner = FakeRunner("r1", never)
    async with way_to(runner, bounds=DirectBounds(max_bytes=10_000, timeout_s=10.0)) as way:
        large = begun(way, raw=bytes(20_000))
        await runner.until(lambda: len(runner.calls) == 1)
        with pytest.raises(Overloaded, match="bytes"):
            await call(way, raw=bytes(4))
        runner.answer = echo
        runner.send(echo(runner.calls[0]))
        await large
        await call(way, raw=bytes(4))


async def test_limits_of_the_policy_hold_for_what_waits_until_it_is_answered() -> None:
    runner = FakeRunner("r1", never)
    policy = Policy(limits=(Limit(queued_tasks=2),))
    async with way_to(runner, policy=policy) as way:
        waiting = [begun(way, priority=Level.CRITICAL) for _ in range(2)]
        await runner.until(lambda: len(runner.calls) == 2)
        with pytest.raises(QuotaExceeded, match="at most 2 tasks may wait"):
            await call(way, priority=Level.CRITICAL)
        runner.answer = echo
        runner.send(*(echo(got) for got in runner.calls))
        await asyncio.gather(*waiting)
        for _ in range(5):
            await call(way, priority=Level.CRITICAL)


async def test_a_stream_counts_as_waiting_until_its_first_chunk() -> None:
    runner = FakeRunner("r1", never)
    async with way_to(runner, policy=Policy(limits=(Limit(queued_tasks=1),))) as way:
        wanted = generate_call(priority=Level.CRITICAL)
        async with aclosing(way.calls.stream(wanted)) as answers:
            first = asyncio.ensure_future(anext(answers))
            await runner.until(lambda: len(runner.calls) == 1)
            with pytest.raises(QuotaExceeded):
                await call(way, priority=Level.CRITICAL)
            runner.answer = echo
            runner.send(chunk(runner.calls[0], "a"))
            await first
            await call(way, priority=Level.CRITICAL)


async def test_a_rate_of_the_policy_holds_and_calls_that_were_let_in_use_it_up() -> None:
    policy = Policy(limits=(Limit(rate=0.001, burst=3),))
    async with way_to(FakeRunner("r1"), policy=policy) as way:
        for _ in range(3):
            await call(way, priority=Level.CRITICAL)
        with pytest.raises(QuotaExceeded, match="tasks a second"):
            await call(way, priority=Level.CRITICAL)


async def test_a_call_that_cannot_be_written_fails_alone() -> None:
    runner = FakeRunner("r1")

    def fill(got: Call) -> None:
        got.tensors.tensors.add(name="half")
        raise InvalidInput.of("tensors", "cannot be written")

    def broken(got: Call) -> None:
        raise ValueError("a secret")

    async with way_to(runner) as way:
        wrong = [DirectCall("t", "m", fill), DirectCall("t", "m", broken)]
        results = await asyncio.gather(
            *(way.calls.call(one) for one in wrong), call(way), call(way), return_exceptions=True
        )
        assert isinstance(results[0], InvalidInput)
        assert type(results[1]) is ForebayError
        assert "secret" not in str(results[1])
        assert all(isinstance(result, Answer) for result in results[2:])
        assert not len(way.calls)
    assert len(runner.calls) == 2
    assert not any(tensor.name == "half" for got in runner.calls for tensor in got.tensors.tensors)


async def test_an_answer_without_an_outcome_and_one_to_nobody_do_no_harm() -> None:
    runner = FakeRunner("r1", lambda got: Answer(id=got.id, started=True))
    async with way_to(runner) as way:
        with pytest.raises(Relayed):
            await call(way)
        runner.send(Answer(id=12345), Answer())
        runner.answer = echo
        await call(way)


async def test_what_is_under_way_when_the_gateway_goes_is_answered() -> None:
    runner = FakeRunner("r1", never)
    async with way_to(runner) as way:
        waiting = begun(way)
        await runner.until(lambda: len(runner.calls) == 1)
    with pytest.raises(ShuttingDown):
        await asyncio.wait_for(waiting, 10)
    with pytest.raises(ShuttingDown):
        await way.calls.call(tensor_call())


async def test_every_call_ends_once_whatever_runners_and_clients_do_and_nothing_is_left() -> None:
    chance = Random(5)
    answers = [echo] * 6 + [
        never,
        refusing(ServerUnavailable("busy")),
        refusing(ModelFailed("x"), started=True),
    ]

    def somehow(got: Call) -> Answer | None:
        return chance.choice(answers)(got)

    runners = [FakeRunner(f"r{n}", somehow) for n in range(3)]
    seen: Counter[str] = Counter()
    async with way_to(*runners, bounds=DirectBounds(max_calls=150, timeout_s=0.3)) as way:
        await connected(way, 3)

        async def client() -> None:
            for _ in range(25):
                place = {"sequence_key": str(chance.randrange(9)), "sequence_start": chance.random() < 0.5}
                fields: dict[str, Any] = place if chance.random() < 0.2 else {}
                waiting = begun(way, priority=chance.choice(list(Level)), **fields)
                if chance.random() < 0.1:
                    await asyncio.sleep(chance.random() / 100)
                    waiting.cancel()
                (outcome,) = await asyncio.gather(waiting, return_exceptions=True)
                if not isinstance(outcome, Answer | asyncio.CancelledError):
                    assert isinstance(outcome, ForebayError), outcome
                seen[type(outcome).__name__] += 1

        async def trouble() -> None:
            for _ in range(4):
                await asyncio.sleep(0.1)
                chance.choice(runners).hang_up()

        async with asyncio.timeout(15), asyncio.TaskGroup() as group:
            group.create_task(trouble())
            for _ in range(100):
                group.create_task(client())
        assert sum(seen.values()) == 2500
        assert {"Answer", "CancelledError", "Relayed", "RunnerGone"} <= seen.keys(), seen
        assert not len(way.calls)
        assert (way.calls.under_way.calls, way.calls.under_way.bytes) == (0, 0)
        for connection in way.calls.fleet.group(way.calls.model("m")).connections:
            assert (connection.calls, connection.waiting) == (0, 0)


async def test_ten_thousand_calls_leave_nothing_behind() -> None:
    runner = FakeRunner("r1")
    async with way_to(runner) as way:

        async def some(number: int) -> None:
            for at in range(100):
                wanted = tensor_call(
                    timeout_ms=5_000, sequence_key=f"{number}/{at}", sequence_start=True, sequence_end=True
                )
                await way.calls.call(wanted)
                runner.calls.clear()

        await asyncio.gather(*(some(number) for number in range(100)))
        assert sum(runner.messages) == 10_000
        assert not len(way.calls)
        assert not len(way.direct.chooser.sequences)
        (connection,) = way.calls.fleet.group(way.calls.model("m")).connections
        assert (connection.calls, connection.waiting) == (0, 0)
        gc.collect()
        assert sum(isinstance(one, DirectCall) for one in gc.get_objects()) < 200


async def test_what_runners_counted_can_be_read_and_those_that_do_not_answer_are_left_out() -> None:
    runners = [FakeRunner("r1"), FakeRunner("r2")]
    async with way_to(*runners) as way:
        await connected(way, 2)
        for _ in range(5):
            await call(way)
        counted = await way.calls.statistics(way.calls.model("m"))
        assert sum(one.inferences for one in counted) == 5
        await way.servers["r1"].stop(None)
        counted = await way.calls.statistics(way.calls.model("m"))
        assert [one.inferences for one in counted] == [len(runners[1].calls)]


async def test_calls_are_counted_by_door_model_and_outcome() -> None:
    runner = FakeRunner("r1")
    async with way_to(runner) as way:
        await call(way, door="kserve")
        await call(way)
        with pytest.raises(ModelNotFound):
            await call(way, model="x")

    def counted(door: str, model: str, code: str) -> float | None:
        labels = {"door": door, "model": model, "code": code}
        value: float | None = way.registry.get_sample_value(
            "forebay_direct_call_duration_seconds_count", labels
        )
        return value

    assert counted("kserve", "m", "OK") == 1
    assert counted("native", "m", "OK") == 1
    assert counted("native", "", "NOT_FOUND") == 1

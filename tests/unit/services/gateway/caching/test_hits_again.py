"""A hit that is given again is one look-up, whether its answer still stands or the call goes the whole way."""

from typing import Any

import pytest

from cache.key import CacheMode
from cache.ports import Purge
from forebay.runner.v1.runner_service_pb2 import Answer
from services.gateway.direct import DirectCall
from tests.unit.services.gateway.caching.scripted import Front, Scripted, SlowTier, front_of, tensor_call


def answering() -> Scripted:
    answer = Answer(started=True, execute_us=10)
    answer.tensors.tensors.add(name="y", datatype="FP32", shape=[1], raw=b"\1\1\1\1")
    scripted = Scripted(outcome=answer)
    scripted.go.set()
    return scripted


async def ask(front: Front, **fields: Any) -> DirectCall:
    wanted = tensor_call(**fields)
    await front.calls.call(wanted)
    return wanted


def looks(front: Front) -> tuple[int, int]:
    [memory] = front.cache.layers.tiers()
    stats = memory.stats()
    return stats.hits, stats.misses


@pytest.mark.parametrize("gone", ["replaced", "expired", "purged"])
async def test_a_look_that_finds_another_answer_or_none_is_not_counted(gone: str) -> None:
    async with front_of(answering(), ttl_s=100.0, most_refreshes=0) as front:
        await ask(front)
        hit = (await ask(front)).hit
        assert hit is not None
        if gone == "replaced":
            await ask(front, cache=CacheMode.REFRESH)
        elif gone == "expired":
            front.clock.advance(101.0)
        else:
            front.markers.add(Purge(front.clock.now_ms() + 1))
        before = looks(front)
        assert hit.again("") is None
        assert looks(front) == before


async def test_an_answer_that_stands_is_counted_each_time_it_is_given() -> None:
    async with front_of(answering()) as front:
        await ask(front)
        hit = (await ask(front)).hit
        assert hit is not None
        before = looks(front)
        assert hit.again("") is not None
        assert looks(front) == (before[0] + 1, before[1])


@pytest.mark.parametrize("method", ["find", "get_below", "put_through"])
async def test_a_fault_of_the_tiers_fails_no_call(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise ValueError("that cannot be read")

    scripted, tier = answering(), SlowTier()
    tier.go.set()
    async with front_of(scripted, [tier]) as front:
        monkeypatch.setattr(front.cache.layers, method, fails)
        wanted = tensor_call()
        assert (await front.calls.call(wanted)).tensors.tensors[0].raw == b"\1\1\1\1"
        assert not wanted.cached
        assert sum(front.cache.layers.faults.counts.values()) >= 1
    assert len(scripted.calls) == 1


async def test_a_fault_where_a_hit_is_looked_for_again_sends_the_call_the_whole_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: Any) -> None:
        raise ValueError("that cannot be read")

    async with front_of(answering()) as front:
        await ask(front)
        hit = (await ask(front)).hit
        assert hit is not None
        monkeypatch.setattr(front.cache.layers, "stands", fails)
        assert hit.again("") is None

"""What operators and tenants do with the result cache, through a gateway's doors and with the client."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest

from cache.adapters.redis import RedisTraces
from cache.advice import read_sample
from cache.purge_board import PurgeBoard
from forebay.client import (
    AsyncClient,
    CachedAnswer,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    RetryPolicy,
    Unavailable,
    task_spec,
)
from forebay.inference.v1 import inference_service_pb2 as contract
from forebay.tasks.v1 import task_pb2
from forebay.tasks.v1.task_pb2 import TaskSpec
from scheduler.errors import InvalidInput, StartupRefused
from services.api_keys import line_of, new_key
from services.embedded import valkey as embedded
from services.gateway.cache_service import CacheUseCases
from services.gateway.caching import CacheSettings, open_cache
from services.gateway.caching.opening import OpenedCache
from tests.direct_runners import refusing
from tests.fixtures.valkey import ValkeyServer
from tests.integration.cached_gateway import ON, RAW, Cached, cached, language_runner, said, tensor_runner
from tests.integration.gateway import running

RAWS = [number.to_bytes(8, "little") for number in range(15)]
ACME, OTHER, OPERATOR = new_key(), new_key(), new_key()


@asynccontextmanager
async def opened(gateway: Cached, key: str | None = None) -> AsyncIterator[AsyncClient]:
    address = gateway.system.gateway.grpc.address
    async with AsyncClient(address, api_key=key, retry=RetryPolicy(attempts=1)) as client:
        yield client


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "keys"
    lines = [line_of(ACME, "acme"), line_of(OTHER, "other"), line_of(OPERATOR, "ops", operator=True)]
    file.write_text("\n".join(lines) + "\n")
    return file


def question(first: float = 0.0) -> TaskSpec:
    """Return the task that asks what `Cached.infer` asks; with another number it asks something else."""
    return task_spec("m", tensors={"x": np.array([[first, 1.0]], dtype=np.float32)})


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[OpenedCache]:
    """The caches of the gateways of a test, in the order in which they began."""
    caches: list[OpenedCache] = []

    @asynccontextmanager
    async def noted(*given: Any) -> AsyncIterator[OpenedCache]:
        async with open_cache(*given) as opened:
            caches.append(opened)
            yield opened

    monkeypatch.setattr("services.gateway.app.open_cache", noted)
    return caches


class Calls:
    """Tells when a method has returned, to whoever waits for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, target: object, method: str) -> None:
        self.returned = asyncio.Condition()
        before: Callable[..., Awaitable[Any]] = getattr(target, method)

        async def told(*given: Any, **named: Any) -> Any:
            try:
                return await before(*given, **named)
            finally:
                async with self.returned:
                    self.returned.notify_all()

        monkeypatch.setattr(target, method, told)

    async def until(self, is_so: Callable[[], Awaitable[bool]], within_s: float = 10.0) -> None:
        """Ask after each return whether something is so, until it is."""
        async with asyncio.timeout(within_s), self.returned:
            while not await is_so():
                await self.returned.wait()


async def test_stats_count_what_the_tiers_did_by_namespace_and_by_model(
    tmp_path: Path, valkey_server: ValkeyServer, made: list[OpenedCache]
) -> None:
    settings = replace(ON, redis_url=valkey_server.url, disk_folder=tmp_path / "disk", ttl_s=60.0)
    async with cached(tensor_runner(), cache=settings) as gateway, opened(gateway) as client:
        for _ in range(3):
            await gateway.infer()
        assert await made[0].control.layers.drained(5.0)
        found = await client.cache.stats(namespaces=True, models=True)
    memory, redis, disk = found.tiers
    assert [tier.name for tier in found.tiers] == ["memory", "redis", "disk"]
    assert (memory.hits, memory.fills, memory.entries) == (2, 1, 1)
    assert (redis.misses, redis.fills, disk.fills) == (1, 1, 1)
    assert (memory.settings.ttl_s, memory.settings.policy) == (60.0, "scan-resistant")
    assert [(one.name, one.shared, one.entries) for one in memory.namespaces] == [("default", False, 1)]
    assert memory.held_bytes == memory.namespaces[0].held_bytes > 0
    [model] = found.models
    assert (model.model, model.hits, model.fills) == ("m", 2, 1)
    assert found.purges_current


async def test_a_tenant_sees_what_it_has_and_nothing_of_others(keys: Path) -> None:
    async with cached(tensor_runner(), keys=keys) as gateway:
        await gateway.infer(metadata=(("x-api-key", OTHER),))
        async with opened(gateway, ACME) as acme, opened(gateway, OTHER) as other:
            mine = (await acme.cache.stats(namespaces=True, models=True)).tiers[0]
            theirs = (await other.cache.stats()).tiers[0]
        async with opened(gateway, OPERATOR) as operator:
            everybodys = (await operator.cache.stats(namespaces=True)).tiers[0]
    assert [(one.name, one.entries) for one in mine.namespaces] == [("acme", 0)]
    assert [(one.name, one.entries) for one in theirs.namespaces] == [("other", 1)]
    assert (mine.entries, mine.hits, mine.misses, mine.fills) == (0, 0, 0, 0)
    assert (theirs.entries, theirs.misses) == (0, 0)
    assert [(one.name, one.entries) for one in everybodys.namespaces] == [("other", 1)]


async def test_what_is_kept_is_found_by_its_question_and_by_its_key(tmp_path: Path) -> None:
    runner = tensor_runner(version=3)
    async with (
        cached(runner, cache=replace(ON, disk_folder=tmp_path / "disk")) as gateway,
        opened(gateway) as client,
    ):
        with pytest.raises(NotFound) as absent:
            await client.cache.get(question())
        await gateway.infer()
        found = await client.cache.get(question())
        again = await client.cache.get(found.key)
        with pytest.raises(NotFound):
            await client.cache.get(question(7.0))
        with pytest.raises(InvalidArgument) as wrong:
            await client.cache.get("12")
        with pytest.raises(NotFound) as unknown:
            await client.cache.get(task_spec("nobody", prompt="x"))
    assert absent.value.reason == "ANSWER_NOT_CACHED"
    assert unknown.value.reason == "MODEL_NOT_FOUND"
    assert wrong.value.faults[0].field == "key"
    assert again.key == found.key
    kept = found.kept[0]
    assert (kept.tier, kept.model, kept.version, kept.kind) == ("memory", "m", 3, "tensors")
    assert (kept.stream, kept.sampled, kept.labels) == (False, False, 0)
    assert kept.create_time <= datetime.now(UTC) < kept.fresh_until
    assert kept.size_bytes > 0 and len(kept.identity) >= 32
    assert len(runner.calls) == 1


async def test_whoever_looks_at_what_is_kept_counts_nothing_and_moves_nothing(
    tmp_path: Path, valkey_server: ValkeyServer
) -> None:
    settings = replace(ON, redis_url=valkey_server.url, disk_folder=tmp_path / "disk")
    async with cached(tensor_runner(), cache=settings) as gateway:
        await gateway.infer()
    async with cached(tensor_runner(), cache=settings) as gateway, opened(gateway) as client:
        [memory, *_] = before = (await client.cache.stats()).tiers
        for _ in range(3):
            found = await client.cache.get(question())
            with pytest.raises(NotFound):
                await client.cache.get(question(7.0))
            await client.cache.purge(key=found.key, dry_run=True)
        after = (await client.cache.stats()).tiers
    assert [one.tier for one in found.kept] == ["redis", "disk"]
    assert memory.entries == 0
    assert [(one.hits, one.misses, one.fills) for one in after] == [(0, 0, 0)] * 3
    assert [replace(one, entries=0, held_bytes=0) for one in after] == [
        replace(one, entries=0, held_bytes=0) for one in before
    ]


async def test_an_answer_is_not_shown_to_another_tenant(keys: Path) -> None:
    async with cached(tensor_runner(), keys=keys) as gateway:
        await gateway.infer(metadata=(("x-api-key", ACME),))
        async with opened(gateway, ACME) as acme:
            key = (await acme.cache.get(question())).key
        async with opened(gateway, OTHER) as other:
            for wanted in (question(), key):
                with pytest.raises(NotFound):
                    await other.cache.get(wanted)
            with pytest.raises(PermissionDenied):
                await other.cache.get(key, tenant="acme")
        async with opened(gateway, OPERATOR) as operator:
            assert isinstance(await operator.cache.get(key, tenant="acme"), CachedAnswer)


@pytest.mark.parametrize("by", ["model", "key", "everything", "other model", "other key"])
async def test_a_purge_takes_what_it_names_and_nothing_else(by: str) -> None:
    runner = tensor_runner()
    async with cached(runner) as gateway, opened(gateway) as client:
        await gateway.infer()
        key = (await client.cache.get(question())).key
        if by.endswith("model"):
            done = await client.cache.purge(model="m" if by == "model" else "n")
        elif by.endswith("key"):
            done = await client.cache.purge(key=key if by == "key" else "0" * 64)
        else:
            done = await client.cache.purge(everything=True)
        cached_still = (await gateway.infer()).execution.cached
    assert done.before is not None
    assert cached_still == by.startswith("other")
    held = {one.tier: one.entries for one in done.held}
    assert held == {"key": {"memory": 1}, "everything": {"memory": 1}, "other key": {"memory": 0}}.get(by, {})


async def test_a_purge_without_a_condition_or_with_too_many_is_refused() -> None:
    async with cached(tensor_runner()) as gateway, opened(gateway) as client:
        for options in ({}, {"model": "m", "everything": True}, {"label": ("", "v")}, {"key": "zz"}):
            with pytest.raises(InvalidArgument):
                await client.cache.purge(**options)
        with pytest.raises(InvalidArgument):
            await client.cache.purge(everything=True, tenant="a", all_tenants=True)


async def test_a_dry_run_purges_nothing() -> None:
    runner = tensor_runner()
    async with cached(runner) as gateway, opened(gateway) as client:
        await gateway.infer()
        done = await client.cache.purge(everything=True, all_tenants=True, dry_run=True)
        assert (await gateway.infer()).execution.cached
    assert done.before is None
    assert [(one.tier, one.entries) for one in done.held] == [("memory", 1)]


async def test_a_tenant_purges_its_own_answers_and_an_operator_those_of_anybody(keys: Path) -> None:
    runner = tensor_runner()
    mine, theirs = (("x-api-key", ACME),), (("x-api-key", OTHER),)
    async with cached(runner, keys=keys) as gateway:
        for who in (mine, theirs):
            await gateway.infer(metadata=who)
        async with opened(gateway, ACME) as acme, opened(gateway, OPERATOR) as operator:
            for scope in ({"tenant": "other"}, {"all_tenants": True}):
                with pytest.raises(PermissionDenied):
                    await acme.cache.purge(everything=True, **scope)
            await acme.cache.purge(everything=True, tenant="acme")
            assert not (await gateway.infer(metadata=mine)).execution.cached
            assert (await gateway.infer(metadata=theirs)).execution.cached
            await operator.cache.purge(model="m", all_tenants=True)
            assert not (await gateway.infer(metadata=theirs)).execution.cached


async def test_a_tenant_whose_last_key_is_taken_away_finds_nothing_when_it_comes_back(
    keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = (("x-api-key", ACME),), (("x-api-key", OTHER),)
    compared = Calls(monkeypatch, CacheUseCases, "tenants_are")
    before = read(keys)
    async with cached(tensor_runner(), keys=keys) as gateway:
        for who in (mine, theirs):
            await gateway.infer(metadata=who)
        write(keys, "\n".join(line for line in before.splitlines() if "acme" not in line) + "\n")

        async def shut_out() -> bool:
            return await answered(gateway, mine) is None

        async def let_in() -> bool:
            again = await answered(gateway, mine)
            assert again is None or not again.execution.cached
            return again is not None

        await compared.until(shut_out)
        write(keys, before)
        await compared.until(let_in)
        assert (await gateway.infer(metadata=theirs)).execution.cached


def read(file: Path) -> str:
    return file.read_text()


def write(file: Path, text: str) -> None:
    file.write_text(text)


async def answered(gateway: Cached, metadata: tuple[tuple[str, str], ...]) -> contract.InferResponse | None:
    """Return the answer to whoever presents a key; None when nobody knows it."""
    try:
        return await gateway.infer(metadata=metadata)
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        return None


async def test_a_purge_that_others_cannot_be_told_of_holds_here_and_says_so(
    valkey_server: ValkeyServer,
) -> None:
    runner = tensor_runner()
    async with (
        cached(runner, cache=replace(ON, redis_url=valkey_server.url)) as gateway,
        opened(gateway) as client,
    ):
        await gateway.infer()
        valkey_server.kill()
        with pytest.raises(Unavailable) as told:
            await client.cache.purge(everything=True)
        assert not (await gateway.infer()).execution.cached
    assert told.value.reason == "PURGE_NOT_SHARED"


async def test_warming_computes_what_is_not_there_and_says_what_became_of_each() -> None:
    runner = tensor_runner()
    specs = [
        question(1.0),
        question(2.0),
        question(1.0),
        TaskSpec(model="m"),
        task_spec("nobody", prompt="x"),
    ]
    async with cached(runner) as gateway, opened(gateway) as client:
        first = [one async for one in client.cache.warm(specs)]
        again = [one async for one in client.cache.warm(specs[:2])]
        anew = [one async for one in client.cache.warm(specs[:2], refresh=True)]
        assert len((await client.cache.get(question(2.0))).kept) == 1
    outcomes = [one.outcome for one in first]
    assert sorted(outcomes[:3]) == ["computed", "computed", "present"]
    assert outcomes[3:] == ["failed", "failed"]
    assert [one.error.reason for one in first[3:] if one.error] == ["INVALID_INPUT", "MODEL_NOT_FOUND"]
    assert [one.outcome for one in again] == ["present", "present"]
    assert [one.outcome for one in anew] == ["computed", "computed"]
    assert len(runner.calls) == 4
    assert {call.priority for call in runner.calls} == {4}


async def test_what_may_never_be_kept_is_not_computed_to_warm_the_cache() -> None:
    runner = language_runner(lambda call: said(call, "x")[-1])
    sampled = task_spec("m", prompt="hello", temperature=0.7)
    async with cached(runner) as gateway, opened(gateway) as client:
        [one] = [one async for one in client.cache.warm([sampled])]
    assert one.outcome == "uncacheable"
    assert one.error is not None and "SAMPLED" in str(one.error)
    assert runner.calls == []


async def test_warming_goes_on_after_one_that_fails_and_is_of_the_caller_alone(keys: Path) -> None:
    runner = tensor_runner(answer=refusing(InvalidInput.of("x", "does not fit"), started=True))
    good = tensor_runner()
    async with cached(runner, keys=keys) as gateway, opened(gateway, ACME) as acme:
        [failed] = [one async for one in acme.cache.warm([question()])]
        runner.answer = good.answer
        [done] = [one async for one in acme.cache.warm([question(5.0)])]
        async with opened(gateway, OTHER) as other:
            with pytest.raises(NotFound):
                await other.cache.get(question(5.0))
        assert (await acme.cache.get(question(5.0))).kept
    assert (failed.outcome, done.outcome) == ("failed", "computed")


async def test_a_gateway_without_a_cache_says_so() -> None:
    async with running(cache=CacheSettings()) as system, AsyncClient(system.gateway.grpc.address) as client:
        for call in (client.cache.stats(), client.cache.purge(everything=True), client.cache.advise()):
            with pytest.raises(FailedPrecondition) as refused:
                await call
            assert refused.value.reason == "CACHE_OFF"


async def test_advice_is_for_operators_and_knows_what_was_asked(keys: Path) -> None:
    settings = replace(ON, trace_rate=1.0)
    async with cached(tensor_runner(), cache=settings, keys=keys) as gateway:
        for number in (1, 2, 1, 2, 1, 2):
            await gateway.infer(raw=number.to_bytes(8, "little"), metadata=(("x-api-key", ACME),))
        async with opened(gateway, ACME) as acme, opened(gateway, OPERATOR) as operator:
            with pytest.raises(PermissionDenied):
                await acme.cache.advise()
            [advice] = await operator.cache.advise()
            with pytest.raises(InvalidArgument):
                await operator.cache.advise("disk")
    assert (advice.tier, advice.uses, advice.sampled, advice.doubtful) == ("memory", 6, 6, True)
    assert advice.now.hit_ratio == pytest.approx(4 / 6)
    assert advice.measured_hit_ratio == pytest.approx(4 / 6)
    assert [one.settings for one in advice.by_size].count(advice.settings) == 1
    assert advice.knee_bytes > 0
    assert {one.settings.policy for one in advice.by_policy} >= {"lru", "lfu", "scan-resistant"}


async def test_a_miniature_of_a_full_tier_does_what_the_tier_did() -> None:
    settings = replace(ON, trace_rate=1.0, memory_bytes=16 << 10, policy="fifo")
    numbers = np.minimum(np.random.default_rng(3).zipf(1.2, 400), 60)
    async with cached(tensor_runner(), cache=settings) as gateway, opened(gateway) as client:
        for number in numbers:
            await gateway.infer(raw=int(number).to_bytes(8, "little"))
        [advice] = await client.cache.advise()
        evicted = (await client.cache.stats()).tiers[0].evictions
    assert evicted > 50
    assert advice.now.hit_ratio == pytest.approx(advice.measured_hit_ratio, abs=0.01)
    assert 0.3 < advice.now.hit_ratio < 0.9
    assert max(one.hit_ratio for one in advice.by_size) > advice.now.hit_ratio + 0.1


async def test_advice_on_the_shared_tier_knows_what_other_gateways_were_asked(
    valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch, made: list[OpenedCache]
) -> None:
    monkeypatch.setattr("cache.advice.sharing.EVERY_S", 0.05)
    shared = Calls(monkeypatch, RedisTraces, "add")
    settings = replace(ON, trace_rate=1.0, redis_url=valkey_server.url)
    async with (
        cached(tensor_runner(), cache=settings) as one,
        cached(tensor_runner(), cache=settings) as two,
        opened(one) as client,
    ):
        for gateway in (one, two):
            for number in range(5):
                await gateway.infer(raw=number.to_bytes(8, "little"))

        async def know_of_all() -> bool:
            parts = await made[0].control.traces.read()
            return read_sample(parts, 1.0).total == 10

        await shared.until(know_of_all)
        [advice] = await client.cache.advise("redis")
        [alone] = await client.cache.advise("memory")
    assert (advice.uses, advice.now.hit_ratio) == (10, 0.5)
    assert (alone.uses, alone.now.hit_ratio) == (5, 0.0)


async def test_a_purge_reaches_every_tier_of_three_gateways_within_a_second(
    tmp_path: Path,
    valkey_server: ValkeyServer,
    monkeypatch: pytest.MonkeyPatch,
    made: list[OpenedCache],
) -> None:
    read = Calls(monkeypatch, PurgeBoard, "refresh")
    runners = [tensor_runner() for _ in range(3)]
    settings = [
        replace(ON, redis_url=valkey_server.url, disk_folder=tmp_path / f"disk{number}")
        for number in range(3)
    ]
    async with AsyncExitStack() as stack:
        gateways = [
            await stack.enter_async_context(cached(runner, cache=each))
            for runner, each in zip(runners, settings, strict=True)
        ]
        clients = [await stack.enter_async_context(opened(gateway)) for gateway in gateways]
        # Each computes five, which are in its memory, on its disk, and in the tier of all.
        for place, gateway in enumerate(gateways):
            for raw in RAWS[place::3]:
                await gateway.infer(raw=raw)
        for one in made:
            assert await one.control.layers.drained(5.0)
        for client in clients:
            assert (await client.cache.stats()).tiers[2].entries == 5
        for gateway in gateways:
            assert None not in [await _only(gateway, raw) for raw in RAWS]
        await clients[0].cache.purge(model="m")
        loop = asyncio.get_running_loop()
        told = loop.time()
        for gateway in gateways:

            async def has_nothing(asked: Cached = gateway) -> bool:
                return await _only(asked, RAWS[0]) is None

            await read.until(has_nothing, told + 1.0 - loop.time())
        for gateway in gateways:
            assert not any([await _only(gateway, raw) for raw in RAWS])


@pytest.mark.parametrize("redis", [True, False])
async def test_a_gateway_that_starts_again_while_the_server_is_away_gives_nothing_that_was_purged(
    tmp_path: Path, valkey_server: ValkeyServer, redis: bool
) -> None:
    settings = replace(ON, disk_folder=tmp_path / "disk")
    if redis:
        settings = replace(settings, redis_url=valkey_server.url)
    raw, other = RAW, bytes(8)
    async with cached(tensor_runner(), cache=settings) as gateway, opened(gateway) as client:
        await gateway.infer(raw=raw)
        key = (await client.cache.get(question())).key
        await gateway.infer(raw=other)
        await client.cache.purge(key=key)
    valkey_server.kill()
    if redis:
        # The server comes back empty, as one does that keeps nothing.
        async with cached(tensor_runner(), cache=settings) as gateway:
            assert await _only(gateway, raw) is None
        for file in (valkey_server.folder / "data").rglob("*"):
            if file.is_file():
                file.unlink()
        valkey_server.start()
        await embedded.wait_ready(valkey_server.socket, 10.0)
    async with cached(tensor_runner(), cache=settings) as gateway:
        assert await _only(gateway, other) is not None
        assert await _only(gateway, raw) is None


async def test_markers_on_disk_that_are_damaged_cost_that_disk_its_entries_and_nobody_else(
    tmp_path: Path, valkey_server: ValkeyServer
) -> None:
    settings = replace(ON, disk_folder=tmp_path / "disk", redis_url=valkey_server.url)
    async with cached(tensor_runner(), cache=settings) as gateway, opened(gateway) as client:
        await gateway.infer()
        await client.cache.purge(model="other")
    [file] = (tmp_path / "disk").glob("forebay-purges")
    file.write_bytes(file.read_bytes()[:-1])
    async with cached(tensor_runner(), cache=replace(settings, redis_url="")) as gateway:
        assert await _only(gateway, RAW) is None
    async with cached(tensor_runner(), cache=settings) as gateway, opened(gateway) as client:
        assert [kept.tier for kept in (await client.cache.get(question())).kept] == ["redis"]
        assert await _only(gateway, RAW) is not None


async def test_the_server_of_the_records_is_refused_as_that_of_the_cache(tmp_path: Path) -> None:
    settings = CacheSettings(enabled=True, redis_url="redis://:secret@localhost:6379/3")
    with pytest.raises(StartupRefused, match=r"cache\.redis_url.*is the server of the records") as refused:
        settings.check("redis://127.0.0.1:6379/0")
    assert "secret" not in str(refused.value)


async def _only(gateway: Cached, raw: bytes) -> contract.InferResponse | None:
    """Return the cached answer, and nothing where there is none."""
    try:
        return await gateway.infer(task_pb2.CACHE_MODE_ONLY, raw=raw)
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.NOT_FOUND
        return None

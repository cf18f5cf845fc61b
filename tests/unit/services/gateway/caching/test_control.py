"""What a gateway notes of its cache for its operators."""

from dataclasses import replace
from random import Random

import pytest

from cache.adapters.memory import MemoryFlights, MemoryTier
from cache.advice import SampledTrace
from cache.flights import Sharing, single_flight
from cache.key import Keys
from cache.ports import Entry, Key
from cache.tiers import Below, TierSettings
from scheduler.adapters.clock import FakeClock
from services.gateway.caching import CacheSettings, ResultCache
from services.gateway.caching.control import NamedKeys
from services.gateway.caching.landed import Landed
from services.gateway.caching.uses import MOST_MODELS, NotedCache
from services.redis_url import redis_fault, same_server, without_password

SECRET = b"s" * 32
KEY = Key(b"n" * 16, b"\0" * 32)


def entry(model: str = "m", cost_ms: float = 40.0) -> Entry:
    return Entry(b"body", model, b"identity", (), 0, 10_000, cost_ms, False)


def layers(trace: SampledTrace | None, *below: Below) -> NotedCache:
    settings = TierSettings(1 << 24, 1 << 24, 1 << 20, 60_000)
    return NotedCache(
        MemoryTier(settings, Random(1)),
        below,
        dead=lambda key, entry: False,
        monotonic=lambda: 0.0,
        trace=trace,
    )


async def test_hits_fills_and_saved_time_are_counted_by_model_and_noted_for_advice() -> None:
    trace = SampledTrace(1.0)
    cache = layers(trace)
    assert cache.find(KEY, 1) is None
    await cache.put_through(KEY, entry(), 2)
    for now_ms in (3, 4):
        assert cache.find(KEY, now_ms) is not None
    use = cache.models["m"]
    assert (use.hits, use.fills, use.filled_bytes, use.saved_ms) == (2, 1, entry().size, 80.0)
    assert [(access.at_ms, access.cost_ms) for access in trace.sample().accesses] == [
        (2, 40.0),
        (3, 40.0),
        (4, 40.0),
    ]


async def test_what_another_gateway_computed_anew_is_not_counted_as_computed_here() -> None:
    below = MemoryTier(TierSettings(1 << 24, 1 << 24, 1 << 20, 60_000), Random(2))
    cache, clock, settings = layers(None, Below(below, shared=True)), FakeClock(), CacheSettings(enabled=True)
    flights, now_ms = MemoryFlights(clock), clock.now_ms()
    old = replace(entry(), created_ms=now_ms, fresh_until_ms=now_ms + 10_000)
    async with single_flight(Sharing(flights, flights, clock, "here"), Landed) as flying:
        keys = Keys(SECRET, settings.shared)
        results = ResultCache(cache, keys, flying, clock, settings, Random(1), lambda: 0)
        cache.put_near(KEY, old, now_ms)
        await below.put([(KEY, replace(old, created_ms=now_ms + 1))], now_ms)
        assert await results.newer(KEY, old) is None
    held = cache.find(KEY, now_ms)
    assert held is not None and held.created_ms == now_ms + 1
    assert cache.models["m"].fills == 1


async def test_hits_of_many_at_once_below_the_memory_are_noted_too() -> None:
    trace = SampledTrace(1.0)
    cache = layers(
        trace, Below(MemoryTier(TierSettings(1 << 24, 1 << 24, 1 << 20, 60_000), Random(2)), shared=True)
    )
    other = Key(b"n" * 16, b"\1" * 32)
    await cache.tiers()[1].put([(KEY, entry())], 1)
    assert list((await cache.look_all_below([KEY, other], 2)).found) == [KEY]
    assert (await cache.get_below(KEY, 3)).entry is not None
    assert cache.models["m"].hits == 2
    assert [access.at_ms for access in trace.sample().accesses] == [2, 3]


async def test_without_a_trace_nothing_is_noted_and_models_are_counted_all_the_same() -> None:
    cache = layers(None)
    await cache.put_through(KEY, entry(), 2)
    assert cache.find(KEY, 3) is not None
    assert cache.models["m"].hits == 1


async def test_models_beyond_a_bound_are_counted_together() -> None:
    cache = layers(None)
    for number in range(MOST_MODELS + 7):
        await cache.put_through(Key(b"n" * 16, number.to_bytes(32, "big")), entry(f"m{number}"), 1)
    assert len(cache.models) == MOST_MODELS + 1
    assert cache.models[""].fills == 7


def test_namespaces_have_their_names_once_they_were_met() -> None:
    keys = NamedKeys(SECRET, {"a": "both"})
    plain = Keys(SECRET, {"a": "both"})
    unmet = plain.namespace("b")
    assert keys.name(unmet) == (unmet.hex(), False)
    assert keys.remember("b") == unmet
    assert keys.name(unmet) == ("b", False)
    assert keys.name(keys.remember("a")) == ("both", True)
    assert keys.name(keys.remember("x" * 10_000)) == ("x" * 256, False)


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("redis://127.0.0.1:6379/0", ""),
        ("rediss://user:pass@cache.example:6380/2", ""),
        ("redis://[::1]:6379", ""),
        ("unix:///run/cache.sock?db=1", ""),
        ("http://127.0.0.1", "it must be an address such as"),
        ("127.0.0.1:6379", "it must be an address such as"),
        ("redis://127.0.0.1:0", "its port must be"),
        ("redis://127.0.0.1:99999", "its port must be"),
        ("redis://127.0.0.1:x", "its port must be"),
        ("redis:///1", "it names no host"),
        ("unix://", "it names no socket"),
        ("redis://127.0.0.1/one", "its database must be a number"),
    ],
)
def test_an_address_that_cannot_be_meant_is_said_to_be(url: str, fault: str) -> None:
    found = redis_fault(url)
    assert found.startswith(fault) if fault else found == ""


def test_one_server_has_several_addresses() -> None:
    assert same_server("redis://localhost", "redis://:pass@127.0.0.1:6379/7")
    assert same_server("unix:///a%20b.sock", "unix:///a b.sock?db=2")
    assert not same_server("redis://127.0.0.1:6379", "redis://127.0.0.1:6380")
    assert not same_server("redis://a", "nonsense")


def test_an_address_is_shown_without_its_password() -> None:
    assert without_password("redis://me:se@cret@h:1/0") == "redis://…@h:1/0"
    assert without_password("unix:///x.sock") == "unix:///x.sock"

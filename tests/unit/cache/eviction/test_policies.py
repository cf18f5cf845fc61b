"""The eviction policies on traces of the usual kinds, beside the classes of cachetools and what their authors say.

The traces are made here from a seed: Zipf as in web and prompt caches, a scan in the middle of it, and a loop.
"""

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

import cachetools
import pytest

from cache.eviction import Bounded, PolicyName, new_policy

CAPACITY = 100


def zipf(count: int, keys: int, seed: int) -> list[int]:
    """Keys by Zipf(1.0), the most popular first."""
    weights = [1 / rank for rank in range(1, keys + 1)]
    return Random(seed).choices(range(keys), weights, k=count)


TRACES: dict[str, list[int]] = {
    "zipf": zipf(12_000, 2_000, 1),
    "scan": [*zipf(6_000, 300, 2), *range(10_000, 11_000), *zipf(3_000, 300, 3)],
    "loop": list(range(130)) * 40,
}


def hits(name: PolicyName, trace: Iterable[int], capacity: int = CAPACITY) -> list[bool]:
    """Which uses hit, in a cache that takes what it misses."""
    cache: Bounded[int, None] = Bounded(new_policy(name, Random(5)))
    found = []
    for step, key in enumerate(trace):
        hit = key in cache
        if hit:
            cache.touch(key)
        else:
            assert cache.put(key, None, 1, step, capacity) is not None
        found.append(hit)
    assert cache.held_bytes == len(cache) == min(capacity, len(set(trace)))
    return found


def reference_hits(cache: cachetools.Cache[int, bool], trace: Iterable[int]) -> list[bool]:
    found = []
    for key in trace:
        found.append(cache.get(key, False))
        if not found[-1]:
            cache[key] = True
    return found


def ratio(found: Sequence[bool]) -> float:
    return sum(found) / len(found)


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize(
    ("name", "reference"),
    [
        (PolicyName.LRU, cachetools.LRUCache),
        (PolicyName.FIFO, cachetools.FIFOCache),
        # With one time to live for all, what ends first is what came first.
        (PolicyName.TTL, cachetools.FIFOCache),
    ],
)
def test_each_use_hits_where_it_does_in_cachetools(
    name: PolicyName, reference: Callable[[int], Any], trace: str
) -> None:
    assert hits(name, TRACES[trace]) == reference_hits(reference(CAPACITY), TRACES[trace])


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize(
    ("name", "reference"), [(PolicyName.LFU, cachetools.LFUCache), (PolicyName.RANDOM, cachetools.RRCache)]
)
def test_where_ties_or_chance_decide_the_ratio_is_that_of_cachetools(
    name: PolicyName, reference: Callable[..., Any], trace: str
) -> None:
    given = {"choice": Random(6).choice} if name is PolicyName.RANDOM else {}
    expected = ratio(reference_hits(reference(CAPACITY, **given), TRACES[trace]))
    assert ratio(hits(name, TRACES[trace])) == pytest.approx(expected, abs=0.03)


def test_sizes_count_as_in_cachetools() -> None:
    random = Random(4)
    sizes = [random.randrange(1, 40) for _ in range(2_000)]
    trace = TRACES["zipf"]
    reference: cachetools.LRUCache[int, int] = cachetools.LRUCache(500, getsizeof=lambda value: value)
    cache: Bounded[int, None] = Bounded(new_policy(PolicyName.LRU, random))
    for key in trace:
        if key in cache:
            cache.touch(key)
        else:
            cache.put(key, None, sizes[key], 0, 500)
        if reference.get(key) is None:
            reference[key] = sizes[key]
        assert cache.held_bytes == reference.currsize
    assert sorted(cache) == sorted(reference)


def test_a_loop_larger_than_the_cache_never_hits_with_lru_and_fifo() -> None:
    assert ratio(hits(PolicyName.LRU, TRACES["loop"])) == 0
    assert ratio(hits(PolicyName.FIFO, TRACES["loop"])) == 0


@pytest.mark.parametrize(("name", "least"), [(PolicyName.SCAN_RESISTANT, 0.5), (PolicyName.RANDOM, 0.4)])
def test_a_loop_larger_than_the_cache_hits_with_policies_that_keep_a_part_of_it(
    name: PolicyName, least: float
) -> None:
    found = hits(name, TRACES["loop"])
    assert ratio(found[260:]) > least


def test_a_scan_flushes_lru_and_passes_by_what_the_scan_resistant_policy_holds() -> None:
    before, after = 6_000, 7_000
    lru = hits(PolicyName.LRU, TRACES["scan"])
    resistant = hits(PolicyName.SCAN_RESISTANT, TRACES["scan"])
    assert not any(lru[after : after + 5])
    assert ratio(resistant[after : after + 300]) > ratio(resistant[before - 300 : before]) - 0.1
    assert ratio(resistant[after : after + 300]) > ratio(lru[after : after + 300]) + 0.1


def test_on_zipf_the_scan_resistant_policy_beats_lru_as_its_authors_say() -> None:
    trace = TRACES["zipf"]
    assert ratio(hits(PolicyName.SCAN_RESISTANT, trace)) > ratio(hits(PolicyName.LRU, trace)) + 0.02
    assert ratio(hits(PolicyName.LRU, trace)) > ratio(hits(PolicyName.FIFO, trace))


def test_one_hit_wonders_leave_by_the_small_queue() -> None:
    cache: Bounded[int, None] = Bounded(new_policy(PolicyName.SCAN_RESISTANT, Random(1)))
    for key in range(50):
        cache.put(key, None, 1, 0, 50)
        cache.touch(key)
        cache.touch(key)
    gone = [victim for key in range(100, 400) for victim, _ in cache.put(key, None, 1, 0, 50) or []]
    # What was used twice has moved on; a tenth is left to pass through.
    assert sum(key < 50 for key in gone) <= 6
    assert len(cache) == 50


def test_a_key_that_comes_back_soon_after_it_left_is_kept() -> None:
    cache: Bounded[int, None] = Bounded(new_policy(PolicyName.SCAN_RESISTANT, Random(1)))
    for key in range(120):
        cache.put(key, None, 1, 0, 100)
    assert 5 not in cache
    cache.put(5, None, 1, 0, 100)
    for key in range(1_000, 1_080):
        cache.put(key, None, 1, 0, 100)
    assert 5 in cache


def test_what_ends_first_goes_first() -> None:
    cache: Bounded[str, None] = Bounded(new_policy(PolicyName.TTL, Random(1)))
    for key, until in (("late", 300), ("early", 100), ("middle", 200)):
        cache.put(key, None, 1, until, 3)
    cache.touch("early")
    assert cache.put("new", None, 1, 400, 3) == [("early", (None, 1, 100))]
    cache.put("middle", None, 1, 500, 3)
    assert [key for key, _ in cache.put("last", None, 2, 600, 3) or []] == ["late", "new"]


@pytest.mark.parametrize("name", list(PolicyName), ids=lambda name: name.value)
def test_whatever_is_done_keys_and_bytes_agree(name: PolicyName) -> None:
    random = Random(9)
    cache: Bounded[int, int] = Bounded(new_policy(name, random))
    truth: dict[int, tuple[int, int]] = {}
    for step in range(4_000):
        key = random.randrange(60)
        match random.randrange(5):
            case 0 | 1:
                size = random.choice((1, 3, 10, 41))
                gone = cache.put(key, step, size, random.randrange(100), 40)
                truth.pop(key, None)
                if gone is not None:
                    truth[key] = (step, size)
                    for victim, slot in gone:
                        assert truth.pop(victim) == (slot.value, slot.size)
                assert (gone is None) == (size > 40)
            case 2:
                removed = cache.remove(key)
                assert (removed and (removed.value, removed.size)) == truth.pop(key, None)
            case _:
                if key in cache:
                    cache.touch(key)
        assert sorted(cache) == sorted(truth)
        assert cache.held_bytes == sum(size for _, size in truth.values()) <= 40
    policy = new_policy(name, random)  # type: ignore[var-annotated]
    with pytest.raises(LookupError):
        policy.evict()
    assert len(policy) == 0

"""The partitions of a tier."""

from random import Random

from cache.eviction import PolicyName, new_policy
from cache.ports import Key, PartitionStats
from cache.tiers import Partitions
from tests.conformance.cache_tiers import new_key


def partitions(capacity: int = 100, quota: int = 40) -> Partitions[str]:
    return Partitions(capacity, quota, lambda: new_policy(PolicyName.LRU, Random(1)))


def test_a_refused_entry_evicts_nothing_and_takes_its_predecessor_with_it() -> None:
    held = partitions()
    for n in range(4):
        assert held.put(new_key(n), "x", 10, 9) == []
    assert held.put(new_key(0), "larger", 41, 9) is None
    assert held.by_namespace() == {new_key().namespace: PartitionStats(3, 30)}


def test_when_the_tier_is_full_a_namespace_makes_room_only_from_what_it_has() -> None:
    held = partitions()
    for namespace in "abc":
        for n in range(4):
            held.put(new_key(n, namespace), "x", 10 if namespace < "c" else 5, 9)
    assert held.held_bytes == 100
    assert held.put(new_key(9, "d"), "x", 1, 9) is None
    gone = held.put(new_key(9, "c"), "x", 10, 9)
    assert gone is not None
    assert [key for key, _ in gone] == [new_key(0, "c"), new_key(1, "c")]
    assert held.put(new_key(10, "c"), "x", 21, 9) is None
    assert held.held_bytes == 100


def test_a_namespace_without_entries_is_forgotten() -> None:
    held = partitions()
    held.put(new_key(1), "x", 10, 9)
    assert held.remove(new_key(1)) is not None
    assert held.remove(new_key(1)) is None
    assert held.put(new_key(1), "x", 1_000, 9) is None
    assert held.by_namespace() == {}


def test_a_walk_meets_every_entry_once_a_round_while_others_come_and_go() -> None:
    held = partitions(10_000, 5_000)
    random = Random(3)
    stay = [new_key(n, random.choice("abc")) for n in range(100)]
    for key in stay:
        held.put(key, "x", 10, 9)
    met: list[Key] = []
    for n in range(1_000, 1_025):
        met += [key for key, _ in held.walk(4)]
        held.put(new_key(n, "d"), "x", 10, 9)
        held.remove(new_key(n - 3, "d"))
    assert sorted(met) == sorted(stay)


def test_a_walk_ends_where_there_is_less_than_its_budget() -> None:
    held = partitions()
    assert held.walk(10) == []
    held.put(new_key(1), "x", 10, 9)
    assert [key for key, _ in held.walk(10)] == [new_key(1)]
    assert [key for key, _ in held.walk(10)] == [new_key(1)]

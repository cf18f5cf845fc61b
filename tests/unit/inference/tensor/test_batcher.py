from dataclasses import replace

import pytest

from inference.repository.definition import DynamicBatching
from inference.tensor.batcher import Batcher
from inference.tensor.batching import ALONE, Item, Layout
from scheduler.policies.policy import DEFAULT_POLICY, LevelMode
from scheduler.states import Level


def item(key: str, level: Level = Level.NORMAL, bucket: int = 1, rows: int = 1, came_s: float = 0.0) -> Item:
    return Item(key, {}, Layout(bucket, rows, ()), bucket, level, came_s)


def filled(*items: Item, batching: DynamicBatching | None = None) -> Batcher:
    batcher = Batcher(batching)
    for each in items:
        batcher.add(each)
    return batcher


def keys(batch: list[Item]) -> str:
    return "".join(each.key for each in batch)


def runs(batcher: Batcher, most_rows: int = 256, now_s: float = 0.0) -> list[str]:
    found = []
    while batch := batcher.take(most_rows, now_s):
        found.append(keys(batch))
    return found


def test_requests_of_one_bucket_go_together_in_order() -> None:
    batcher = filled(item("a"), item("b", bucket=2), item("c", rows=2), item("d", bucket=3), item("e"))
    assert runs(batcher) == ["ace", "b", "d"]


def test_the_request_that_waited_longest_always_runs() -> None:
    assert runs(filled(item("a", bucket=2), item("b"), item("c"))) == ["a", "bc"]


def test_a_run_ends_before_it_has_too_many_rows() -> None:
    assert runs(filled(item("a", rows=3), item("b", rows=6), item("c")), 8) == ["a", "bc"]
    assert runs(filled(item("a", rows=3), item("b", rows=5), item("c")), 8) == ["ab", "c"]


def test_a_request_of_more_rows_than_a_run_has_runs_alone() -> None:
    assert runs(filled(item("a", rows=20), item("b")), 8) == ["a", "b"]


def test_requests_that_cannot_share_go_one_by_one() -> None:
    assert runs(filled(item("a", bucket=ALONE), item("b"), item("c", bucket=ALONE), item("d"))) == [
        "a",
        "bd",
        "c",
    ]
    assert runs(filled(item("a"), item("b"), item("c", rows=0)), 0) == ["a", "b", "c"]


def test_nothing_waits_and_nothing_runs() -> None:
    assert Batcher().take(256, 0.0) == []


def test_the_rest_of_a_run_is_filled_with_other_levels_the_most_urgent_first() -> None:
    batcher = filled(
        item("l", Level.LOW), item("n", Level.NORMAL), item("h", Level.HIGH), item("c", Level.CRITICAL)
    )
    assert runs(batcher, 3) == ["chn", "l"]


def test_only_the_bucket_of_the_chosen_request_fills_a_run() -> None:
    batcher = filled(item("h", Level.HIGH, 2), item("c", Level.CRITICAL, 1), item("l", Level.LOW, 1))
    assert runs(batcher) == ["cl", "h"]


def test_levels_share_rows_by_weight() -> None:
    batcher = filled(
        *(item(level.label[0], level) for level in (Level.NORMAL, Level.LOW) for _ in range(400))
    )
    rows = "".join(keys(batcher.take(8, 0.0)) for _ in range(50))
    assert rows.count("n") == pytest.approx(320, abs=8)


def test_another_policy_counts_from_the_next_run_on() -> None:
    batcher = filled(
        *(item(level.label[0], level) for level in (Level.NORMAL, Level.LOW) for _ in range(100))
    )
    batcher.follow(replace(DEFAULT_POLICY, weights={**DEFAULT_POLICY.weights, Level.LOW: 64}))
    rows = "".join(keys(batcher.take(1, 0.0)) for _ in range(68))
    assert rows.count("l") == pytest.approx(64, abs=2)


def test_strict_levels_give_a_turn_to_what_waited_for_too_long() -> None:
    batcher = Batcher(policy=replace(DEFAULT_POLICY, level_mode=LevelMode.STRICT, ageing_s=5, ageing_every=4))
    batcher.add(item("l", Level.LOW, came_s=1))
    for _ in range(20):
        batcher.add(item("c", Level.CRITICAL, came_s=7))
    assert [keys(batcher.take(1, 5.0)) for _ in range(8)] == ["c"] * 8
    assert [keys(batcher.take(1, 7.0)) for _ in range(4)].count("l") == 1


def test_order_is_kept_within_a_level_where_it_is_wanted() -> None:
    ordered = DynamicBatching(preserve_ordering=True)
    some = [("a", 1), ("b", 2), ("c", 1), ("d", 1)]
    assert runs(filled(*(item(key, bucket=bucket) for key, bucket in some))) == ["acd", "b"]
    assert runs(filled(*(item(key, bucket=bucket) for key, bucket in some), batching=ordered)) == [
        "a",
        "b",
        "cd",
    ]


def test_what_is_cancelled_does_not_run() -> None:
    some = [item("a", Level.LOW), item("b"), item("c", bucket=2)]
    batcher = filled(*some)
    batcher.remove(some[0])
    batcher.remove(some[2])
    batcher.remove(some[2])
    assert len(batcher) == 1
    assert runs(batcher) == ["b"]


PATIENT = DynamicBatching(longest_delay_s=2.0)


def test_a_lone_request_in_an_idle_engine_runs_at_once() -> None:
    batcher = filled(item("a", came_s=10.0), batching=PATIENT)
    assert batcher.due_s(8) == 0
    assert runs(batcher, 8, 10.0) == ["a"]
    batcher.ran(1, 11.0)
    batcher.add(item("b", came_s=11.0))
    assert batcher.due_s(8) == 0


def after_a_run_of(requests: int, batching: DynamicBatching = PATIENT) -> Batcher:
    batcher = Batcher(batching)
    batcher.ran(requests, 10.0)
    return batcher


def test_a_request_waits_for_those_that_were_just_answered_together() -> None:
    batcher = after_a_run_of(3)
    batcher.add(item("a", came_s=10.5))
    batcher.add(item("b", came_s=11.0))
    assert batcher.due_s(8) == 12.5
    assert batcher.take(8, 12.4) == []
    batcher.add(item("c", came_s=11.5))
    assert batcher.due_s(8) == 0
    assert runs(batcher, 8, 11.5) == ["abc"]


def test_it_waits_no_longer_than_the_delay_of_the_oldest() -> None:
    batcher = after_a_run_of(3)
    batcher.add(item("a", came_s=10.5))
    batcher.add(item("b", came_s=12.0))
    assert runs(batcher, 8, 12.5) == ["ab"]


def test_nobody_is_waited_for_when_the_last_run_is_long_ago() -> None:
    batcher = after_a_run_of(3)
    batcher.add(item("a", came_s=12.1))
    assert batcher.due_s(8) == 0


def test_a_full_run_does_not_wait_nor_does_one_in_a_hurry() -> None:
    batcher = after_a_run_of(10)
    for key in "abc":
        batcher.add(item(key, came_s=10.1))
    assert batcher.take(4, 10.2) == []
    assert keys(batcher.take(4, 10.2, hurry=True)) == "abc"
    for key in "abcd":
        batcher.add(item(key, came_s=10.1))
    assert runs(batcher, 4, 10.2) == ["abcd"]


def test_a_full_bucket_does_not_wait_for_one_that_is_not() -> None:
    batcher = after_a_run_of(10)
    batcher.add(item("a", Level.CRITICAL, came_s=10.1))
    for key in "bc":
        batcher.add(item(key, bucket=2, came_s=10.2))
    assert runs(batcher, 2, 10.3) == ["bc"]
    assert len(batcher) == 1


def test_a_preferred_size_runs_at_once_and_what_is_left_waits() -> None:
    batcher = after_a_run_of(10, replace(PATIENT, preferred_sizes=(2, 4)))
    for key in "abcdefg":
        batcher.add(item(key, came_s=10.1))
    assert [keys(batcher.take(8, 10.2)) for _ in range(3)] == ["abcd", "ef", ""]
    assert keys(batcher.take(8, 12.2)) == "g"


def test_preferred_sizes_count_without_a_delay_too() -> None:
    batcher = filled(*map(item, "abcdefg"), batching=DynamicBatching(preferred_sizes=(4,)))
    assert runs(batcher, 8) == ["abcd", "efg"]

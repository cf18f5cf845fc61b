"""Ids carry their partition and their time; lanes spread tenants."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from scheduler.ids import PARTITIONS, create_time_ms, is_task_id, new_ids, partition_for, partition_of
from scheduler.lanes import Lane, queue_lanes, shorter_lane, tenant_lanes
from scheduler.states import Level


@given(st.integers(0, PARTITIONS - 1), st.integers(1, 300), st.integers(0, 2**48 - 1))
def test_ids_of_a_batch_are_valid_ascending_and_carry_partition_and_time(
    partition: int, count: int, now_ms: int
) -> None:
    ids = new_ids(partition, count, now_ms)
    assert len(set(ids)) == count
    assert ids == sorted(ids)
    for task_id in (ids[0], ids[-1]):
        assert is_task_id(task_id)
        assert partition_of(task_id) == partition
        assert create_time_ms(task_id) == now_ms


@given(st.text(max_size=40))
def test_other_texts_are_no_ids(text: str) -> None:
    assert not is_task_id(text)


def test_a_partition_that_does_not_exist_is_no_id() -> None:
    assert not is_task_id("64" + new_ids(0, 1, 0)[0][2:])


@given(st.lists(st.text(max_size=20), min_size=1, max_size=3))
def test_partitions_of_names_are_stable_and_in_range(parts: list[str]) -> None:
    assert partition_for(*parts) == partition_for(*parts)
    assert 0 <= partition_for(*parts) < PARTITIONS


@given(st.text(max_size=30), st.integers(1, 64))
def test_a_tenant_owns_two_different_lanes_where_there_are_two(tenant: str, lanes: int) -> None:
    own = tenant_lanes(tenant, lanes)
    assert len(set(own)) == len(own) == min(2, lanes)
    assert all(0 <= lane < lanes for lane in own)


def test_tenants_spread_over_all_pairs_of_lanes() -> None:
    pairs = Counter(tenant_lanes(f"tenant-{i}", 8) for i in range(5_600))
    assert len(pairs) == 56
    assert max(pairs.values()) < 2 * min(pairs.values())


def test_a_batch_takes_the_shorter_of_its_tenants_lanes() -> None:
    first, second = (Lane("default", Level.HIGH, i) for i in tenant_lanes("t", 8))
    assert shorter_lane("default", Level.HIGH, "t", 8, {first: 10, second: 2}) == second
    assert shorter_lane("default", Level.HIGH, "t", 8, {first: 1, second: 2}) == first


def test_a_lane_is_a_partition_of_its_queues_topic() -> None:
    lane = queue_lanes("gpu", Level.LOW, 3)[2]
    assert lane.topic("public/default") == "persistent://public/default/tasks.gpu.low-partition-2"

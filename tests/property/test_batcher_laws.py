"""Laws of the batcher: whatever comes, in whatever order, every request runs exactly once, in its own bucket."""

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from inference.repository.definition import DynamicBatching
from inference.tensor.batcher import Batcher
from inference.tensor.batching import ALONE, Item, Layout
from scheduler.policies.policy import DEFAULT_POLICY
from scheduler.states import Level

levels = st.sampled_from(sorted(Level))
requests = st.tuples(levels, st.integers(ALONE, 4), st.integers(0, 6))
batchings = st.builds(
    DynamicBatching,
    preferred_sizes=st.lists(st.integers(1, 12), max_size=3, unique=True).map(
        lambda sizes: tuple(sorted(sizes))
    ),
    longest_delay_s=st.sampled_from([0.0, 3.0]),
    preserve_ordering=st.booleans(),
)
deeds = st.lists(
    st.one_of(
        st.tuples(st.just("add"), requests),
        st.tuples(st.just("run"), st.integers(0, 12)),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("wait"), st.integers(1, 4)),
    ),
    max_size=60,
)


@settings(max_examples=200)
@given(batchings, deeds)
def test_every_request_runs_exactly_once_with_its_like_and_within_bounds(
    batching: DynamicBatching, deeds: list[tuple[str, Any]]
) -> None:
    batcher = Batcher(batching)
    waiting: dict[str, Item] = {}
    ran: Counter[str] = Counter()
    done: dict[Level, list[int]] = {}
    now_s, number = 100.0, 0

    def run(most_rows: int, *, hurry: bool = False) -> None:
        due_s = batcher.due_s(most_rows)
        batch = batcher.take(most_rows, now_s, hurry=hurry)
        # A step does nothing before it is due, and something when it is.
        assert bool(batch) == (bool(waiting) and (hurry or due_s <= now_s))
        if not batch:
            return
        rows = sum(item.layout.rows for item in batch)
        assert len(batch) == 1 or rows <= most_rows
        assert len({item.bucket for item in batch}) == 1
        assert len(batch) == 1 or (most_rows and batch[0].bucket != ALONE)
        batcher.ran(len(batch), now_s)
        for item in batch:
            del waiting[item.key]
            ran[item.key] += 1
            done.setdefault(item.level, []).append(int(item.key))

    cancelled = 0
    for deed, what in deeds:
        if deed == "add":
            level, bucket, rows = what
            item = Item(str(number), {}, Layout(bucket, rows, ()), bucket, level, now_s)
            waiting[item.key] = item
            batcher.add(item)
            number += 1
        elif deed == "run":
            run(what)
        elif deed == "cancel" and str(what) in waiting:
            batcher.remove(waiting.pop(str(what)))
            cancelled += 1
        elif deed == "wait":
            now_s += what
        assert len(batcher) == len(waiting)
    while waiting:
        run(8, hurry=True)
    assert len(batcher) == 0
    assert set(ran.values()) <= {1}
    assert len(ran) == number - cancelled
    if batching.preserve_ordering:
        assert all(order == sorted(order) for order in done.values())


@settings(max_examples=50)
@given(
    st.lists(st.tuples(levels, st.integers(1, 3), st.integers(1, 4)), min_size=1, max_size=40),
    st.integers(1, 8),
    levels,
)
def test_no_level_starves_however_much_comes_of_another(
    held: list[tuple[Level, int, int]], most_rows: int, flood: Level
) -> None:
    batcher = Batcher()
    number = 0

    def add(level: Level, bucket: int, rows: int, mark: str) -> None:
        nonlocal number
        number += 1
        batcher.add(Item(f"{mark}{number}", {}, Layout(bucket, rows, ()), bucket, level))

    for level, bucket, rows in held:
        add(level, bucket, rows, "held ")
    left = len(held)
    weights = DEFAULT_POLICY.weights
    # Each request waits at most for what all heavier levels may take while its own gets its share of rows.
    rows_before = sum(rows for _, _, rows in held) + most_rows
    bound = (rows_before + 8) * sum(weights.values())
    for _ in range(bound):
        add(flood, 1, most_rows, "flood ")
        left -= sum(item.key.startswith("held") for item in batcher.take(most_rows, 0.0))
        if not left:
            return
    raise AssertionError(f"{left} requests never ran")

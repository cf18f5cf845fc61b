"""Slots: who stands where, and how far a run reaches."""

from hypothesis import given
from hypothesis import strategies as st

from inference.generate.slots import SlotTable, run_sizes


def test_runs_have_a_few_sizes_up_to_the_number_of_slots() -> None:
    assert run_sizes(1) == (1,)
    assert run_sizes(6) == (1, 2, 4, 6)
    assert run_sizes(16) == (1, 2, 4, 8, 12, 16)
    assert run_sizes(70) == (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 70)


def test_the_lowest_free_slot_is_taken_first() -> None:
    table = SlotTable(4)
    assert [table.take() for _ in range(4)] == [0, 1, 2, 3]
    table.give_back(2)
    table.give_back(0)
    assert table.free == 2
    assert [table.take(), table.take()] == [0, 2]


def test_a_run_reaches_to_the_last_row() -> None:
    table = SlotTable(16)
    assert table.reach([0]) == 1
    assert table.reach([2, 0]) == 4
    assert table.reach([8]) == 12
    assert table.reach([15]) == 16


def test_a_row_moves_only_when_its_run_gets_smaller_by_it() -> None:
    table = SlotTable(8)
    taken = {table.take() for _ in range(8)}
    for slot in (1, 2):
        table.give_back(slot)
        taken.remove(slot)
    # Six rows want a run of eight, wherever they stand.
    assert table.better_place(taken) is None
    for slot in (3, 4):
        table.give_back(slot)
        taken.remove(slot)
    assert table.better_place(taken) == (7, 1)


@given(st.integers(1, 40), st.lists(st.tuples(st.booleans(), st.integers(0, 39)), max_size=120))
def test_no_slot_has_two_rows_and_runs_shrink_to_what_is_needed(
    slots: int, moves: list[tuple[bool, int]]
) -> None:
    table = SlotTable(slots)
    taken: set[int] = set()
    for arrives, which in moves:
        if arrives and table.free:
            slot = table.take()
            assert slot not in taken
            assert slot == min(set(range(slots)) - taken)
            taken.add(slot)
        elif taken:
            slot = sorted(taken)[which % len(taken)]
            table.give_back(slot)
            taken.remove(slot)
        assert table.free + len(taken) == slots
    for _ in range(slots):
        place = table.better_place(taken)
        if place is None:
            break
        table.move(*place)
        taken.remove(place[0])
        taken.add(place[1])
    if taken:
        assert table.reach(taken) == next(size for size in run_sizes(slots) if size >= len(taken))

"""Preemption: who gives way, how, and who goes on first."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from inference.generate.preemption import Candidate, Pause, Victim, choose_victim, turn
from scheduler.states import Level

ROW = Candidate(Level.NORMAL, held=100, generated=10, allowed=200, order=1)
ROWS = st.lists(
    st.builds(
        Candidate,
        level=st.sampled_from(Level),
        held=st.integers(0, 4000),
        generated=st.integers(0, 3),
        allowed=st.integers(1, 500),
        order=st.integers(0, 20),
        fits=st.booleans(),
    ),
    max_size=6,
)


def choose(*rows: Candidate) -> Victim | None:
    return choose_victim(rows, Level.CRITICAL)


def test_only_a_critical_row_makes_others_give_way() -> None:
    assert choose(ROW) == Victim(0, Pause.KEEP)
    for level in (Level.HIGH, Level.NORMAL, Level.LOW):
        assert choose_victim([replace(ROW, level=Level.LOW)], level) is None


def test_critical_rows_do_not_give_way() -> None:
    assert choose() is None
    assert choose(replace(ROW, level=Level.CRITICAL)) is None


def test_the_lowest_level_gives_way_first() -> None:
    rows = (replace(ROW, level=Level.HIGH, allowed=5000), replace(ROW, level=Level.LOW, allowed=1), ROW)
    assert choose(*rows) == Victim(1, Pause.KEEP)


def test_within_a_level_the_row_with_the_most_left_gives_way() -> None:
    assert choose(ROW, replace(ROW, allowed=300), replace(ROW, allowed=1)) == Victim(1, Pause.KEEP)


def test_of_rows_with_as_much_left_the_one_that_is_cheaper_to_move_gives_way() -> None:
    assert choose(replace(ROW, held=3000), ROW, replace(ROW, held=2000)) == Victim(1, Pause.KEEP)


def test_of_equal_rows_the_newest_gives_way() -> None:
    assert choose(ROW, replace(ROW, order=3), replace(ROW, order=2)) == Victim(1, Pause.KEEP)


def test_a_row_without_anything_in_its_slot_has_nothing_to_be_copied() -> None:
    assert choose(replace(ROW, held=0, generated=0)) == Victim(0, Pause.RECOMPUTE)


def test_a_prompt_that_is_read_in_part_is_copied_where_there_is_memory() -> None:
    reading = replace(ROW, held=64, generated=0)
    assert choose(reading) == Victim(0, Pause.KEEP)
    assert choose(replace(reading, fits=False)) == Victim(0, Pause.RECOMPUTE)


def test_a_long_prompt_is_not_read_again_for_the_sake_of_a_few_tokens() -> None:
    reading = replace(ROW, held=4000, generated=0, fits=False)
    assert choose(reading, replace(ROW, allowed=100)) == Victim(1, Pause.KEEP)


def test_a_row_that_generates_stays_when_there_is_no_memory_for_it() -> None:
    stays = replace(ROW, allowed=400, fits=False)
    assert choose(stays) is None
    assert choose(stays, ROW) == Victim(1, Pause.KEEP)


@given(ROWS)
def test_whoever_gives_way_can_go_on_exactly(rows: list[Candidate]) -> None:
    victim = choose(*rows)
    able = [row for row in rows if row.level > Level.CRITICAL and (row.fits or not row.generated)]
    assert (victim is None) == (not able)
    if victim is not None:
        row = rows[victim.index]
        assert row in able
        assert row.level == max(other.level for other in able)
        if victim.pause is Pause.KEEP:
            assert row.fits
        else:
            assert not row.generated


def test_the_most_urgent_goes_on_first_and_then_the_oldest() -> None:
    waiting = [(Level.LOW, 0), (Level.NORMAL, 3), (Level.HIGH, 9), (Level.NORMAL, 1)]
    assert sorted(waiting, key=lambda row: turn(*row)) == [
        (Level.HIGH, 9),
        (Level.NORMAL, 1),
        (Level.NORMAL, 3),
        (Level.LOW, 0),
    ]

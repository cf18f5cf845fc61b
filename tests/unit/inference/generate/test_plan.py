"""The mix of a step: whose prompt is read, and how much of it."""

from hypothesis import given
from hypothesis import strategies as st

from inference.generate.plan import SHORTEST, SMALLEST_BUDGET, Reader, next_reading
from scheduler.states import Level


def test_nobody_reads_without_readers_or_budget() -> None:
    assert next_reading([], 256) is None
    assert next_reading([Reader(0, Level.LOW, 0, 10)], 0) is None


def test_the_more_urgent_prompt_is_read_first_and_then_the_older_one() -> None:
    low, high = Reader(0, Level.LOW, 0, 10), Reader(1, Level.HIGH, 5, 10)
    older = Reader(2, Level.HIGH, 3, 10)
    assert next_reading([low, high, older], 256) == (older, 10)
    assert next_reading([low, high], 256) == (high, 10)


def test_a_long_prompt_is_read_up_to_the_budget() -> None:
    assert next_reading([Reader(0, Level.LOW, 0, 1000)], 256) == (Reader(0, Level.LOW, 0, 1000), 256)


def test_no_piece_of_a_longer_prompt_has_a_single_token() -> None:
    reader = Reader(0, Level.LOW, 0, 257)
    assert next_reading([reader], 256) == (reader, 255)
    assert next_reading([reader], 1) is None
    short = Reader(0, Level.LOW, 0, 1)
    assert next_reading([short], 256) == (short, 1)
    three = Reader(0, Level.LOW, 0, 3)
    assert next_reading([three], 2) is None
    assert next_reading([three], 3) == (three, 3)


@given(
    st.lists(st.tuples(st.sampled_from(Level), st.integers(1, 600)), min_size=1, max_size=20),
    st.integers(SMALLEST_BUDGET, 512),
)
def test_every_prompt_is_read_whole_and_no_step_reads_more_than_its_budget(
    prompts: list[tuple[Level, int]], budget: int
) -> None:
    left = {slot: length for slot, (_, length) in enumerate(prompts)}
    finished: list[int] = []
    for _ in range(sum(left.values())):
        room = budget
        while True:
            readers = [Reader(slot, prompts[slot][0], slot, rest) for slot, rest in left.items() if rest]
            reading = next_reading(readers, room)
            if reading is None:
                break
            reader, count = reading
            assert min(SHORTEST, prompts[reader.slot][1]) <= count <= min(room, reader.left)
            room -= count
            left[reader.slot] -= count
            assert left[reader.slot] == 0 or left[reader.slot] >= SHORTEST
            if not left[reader.slot]:
                finished.append(reader.slot)
        if not any(left.values()):
            break
    assert finished == sorted(range(len(prompts)), key=lambda slot: (prompts[slot][0], slot))

"""Which runner has the state of a sequence."""

from services.gateway.direct.sequences import IDLE_S, SequenceRunners


def test_a_sequence_is_with_the_runner_that_it_was_given_to_last() -> None:
    sequences = SequenceRunners()
    assert sequences.runner("s") is None
    sequences.keep("s", "r1", 0.0)
    sequences.keep("s", "r2", 1.0)
    assert sequences.runner("s") == "r2"
    sequences.forget("s")
    sequences.forget("s")
    assert sequences.runner("s") is None


def test_sequences_that_were_idle_for_too_long_are_forgotten() -> None:
    sequences = SequenceRunners()
    sequences.keep("a", "r1", 0.0)
    sequences.keep("b", "r1", 1.0)
    sequences.keep("a", "r1", 2.0)
    sequences.expire(IDLE_S + 1.5)
    assert (sequences.runner("a"), sequences.runner("b")) == ("r1", None)
    sequences.expire(IDLE_S + 2.0)
    assert not len(sequences)


def test_the_table_is_bounded_and_the_one_idle_longest_goes_first() -> None:
    sequences = SequenceRunners(most=3)
    for number in range(3):
        sequences.keep(number, "r", float(number))
    sequences.keep(0, "r", 3.0)
    sequences.keep(3, "r", 4.0)
    assert [sequences.runner(number) is None for number in range(4)] == [False, True, False, False]

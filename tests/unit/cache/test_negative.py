from hashlib import blake2b
from random import Random

from cache.doorkeeper import Doorkeeper
from cache.negative import MOST_STATUS_BYTES, NegativeAnswers
from cache.ports import Key

OURS, THEIRS = b"o" * 16, b"t" * 16


def digest(number: int) -> bytes:
    return blake2b(number.to_bytes(8, "big"), digest_size=32).digest()


def key(number: int, namespace: bytes = OURS) -> Key:
    return Key(namespace, digest(number))


def fail(negative: NegativeAnswers, each: Key, times: int = 2, now_ms: int = 0) -> None:
    for _ in range(times):
        negative.note(each, b"status", now_ms)


def test_the_second_failure_of_an_input_is_answered_for_a_short_while() -> None:
    negative = NegativeAnswers(ttl_ms=100)
    assert not negative.note(key(1), b"first", 0)
    assert negative.find(key(1), 0) is None
    assert negative.note(key(1), b"second", 10)
    assert negative.find(key(1), 109) == b"second"
    assert negative.find(key(1), 110) is None
    assert negative.find(key(1, THEIRS), 10) is None


def test_an_input_that_succeeds_after_all_may_be_asked_again() -> None:
    negative = NegativeAnswers()
    fail(negative, key(1))
    fail(negative, key(2))
    negative.forget(key(1))
    negative.forget(key(1))
    assert (negative.find(key(1), 0), negative.find(key(2), 0), len(negative)) == (None, b"status", 1)


def test_ten_thousand_inputs_that_fail_once_push_nothing_out_and_take_nothing() -> None:
    negative = NegativeAnswers(most=20_000, most_per_namespace=4)
    fail(negative, key(1))
    for number in range(10, 10_010):
        negative.note(key(number), b"status", 0)
    assert negative.find(key(1), 0) == b"status"
    assert len(negative) <= 4


def test_entries_are_bounded_for_each_namespace_and_the_oldest_goes() -> None:
    negative = NegativeAnswers(most_per_namespace=3)
    for number in range(5):
        fail(negative, key(number))
        fail(negative, key(number, THEIRS))
    assert len(negative) == 6
    assert [negative.find(key(number), 0) for number in range(5)] == [None, None, *[b"status"] * 3]


def test_when_all_is_full_a_namespace_makes_room_only_of_its_own_and_others_wait_for_what_ends() -> None:
    negative = NegativeAnswers(ttl_ms=100, most=4, most_per_namespace=4)
    for number in range(4):
        fail(negative, key(number))
    fail(negative, key(9, THEIRS))
    assert negative.find(key(9, THEIRS), 0) is None
    assert not negative.note(key(9, THEIRS), b"status", 0)
    fail(negative, key(5))
    assert (negative.find(key(0), 0), negative.find(key(5), 0), len(negative)) == (None, b"status", 4)
    negative.note(key(9, THEIRS), b"status", 100)
    assert (negative.find(key(9, THEIRS), 100), len(negative)) == (b"status", 1)


def test_a_failure_that_is_too_long_is_not_remembered() -> None:
    negative = NegativeAnswers()
    for _ in range(3):
        assert not negative.note(key(1), b"x" * (MOST_STATUS_BYTES + 1), 0)
    assert len(negative) == 0


def test_a_flood_of_namespaces_leaves_no_trace() -> None:
    negative = NegativeAnswers(ttl_ms=10, most=8, most_per_namespace=2)
    for number in range(3_000):
        fail(negative, key(number, number.to_bytes(16, "big")), now_ms=number)
    assert len(negative) <= 8
    assert len(negative._failures) <= 20


def test_negative_answers_bound_the_reads_of_ids_that_are_asked_again_and_again() -> None:
    negative, chance, reads = NegativeAnswers(ttl_ms=5_000), Random(3), 0
    for request in range(10_000):
        now_ms = request
        each = key(chance.randrange(50))
        if negative.find(each, now_ms) is None:
            reads += 1
            negative.note(each, b"status", now_ms)
    # Fifty ids, twice each until they are known, and once more after five seconds.
    assert reads <= 50 * 3


def test_a_flood_of_failures_of_one_namespace_does_not_make_the_first_of_another_forgotten() -> None:
    negative = NegativeAnswers(ttl_ms=100)
    assert not negative.note(key(1, THEIRS), b"status", 0)
    for number in range(100_000):
        negative.note(key(number), b"status", 0)
    assert negative.note(key(1, THEIRS), b"status", 0)


def test_a_doorkeeper_never_forgets_the_latest_and_hardly_ever_knows_a_stranger() -> None:
    doorkeeper = Doorkeeper(1_000)
    for number in range(5_000):
        doorkeeper.note(digest(number))
    assert all(doorkeeper.note(digest(number)) for number in range(4_000, 5_000))
    fresh = Doorkeeper(1_000)
    for number in range(1_000):
        fresh.note(digest(number))
    # Each stranger that is noted makes the filter fuller, so few are asked.
    strangers = sum(
        fresh._has(fresh._young, fresh._places(digest(number))) for number in range(10_000, 20_000)
    )
    assert strangers <= 200
    assert doorkeeper.memory_bytes == fresh.memory_bytes == 2_500

from scheduler.admission import Buckets, TokenBucket


def test_a_bucket_begins_full_and_fills_up_to_its_burst() -> None:
    bucket = TokenBucket(3.0, 100.0)
    for _ in range(3):
        bucket.take()
    assert bucket.fill(2.0, 3.0, 100.0) == 0.0
    assert bucket.fill(2.0, 3.0, 101.0) == 2.0
    assert bucket.fill(2.0, 3.0, 999.0) == 3.0


def test_a_clock_that_goes_back_gives_no_tokens_twice() -> None:
    bucket = TokenBucket(10.0, 0.0)
    for _ in range(10):
        bucket.take()
    assert bucket.fill(1.0, 10.0, 5.0) == 5.0
    assert bucket.fill(1.0, 10.0, 2.0) == 5.0
    assert bucket.fill(1.0, 10.0, 5.0) == 5.0


def test_a_smaller_burst_cuts_off_what_is_over_it() -> None:
    bucket = TokenBucket(100.0, 0.0)
    assert bucket.fill(1.0, 10.0, 0.0) == 10.0


def test_what_came_to_nothing_is_given_back_but_never_over_the_burst() -> None:
    bucket = TokenBucket(2.0, 0.0)
    bucket.take()
    bucket.give_back(5)
    assert bucket.fill(1.0, 2.0, 0.0) == 2.0


def test_there_are_never_more_buckets_than_the_bound_and_those_in_use_stay() -> None:
    buckets = Buckets(3)
    mine = buckets.bucket("mine", 5.0, 0.0)
    mine.take()
    for name in range(100):
        buckets.bucket(name, 5.0, 0.0)
        assert buckets.bucket("mine", 5.0, 0.0) is mine
        assert len(buckets) <= 3

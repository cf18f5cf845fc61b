"""Traces of several gateways, put together."""

from random import Random

import pytest

from cache.advice import Access, SampledTrace, pack_part, read_sample
from cache.ports import Key


def key(number: int) -> Key:
    return Key(b"n" * 16, Random(number).randbytes(32))


def noted(*numbers: int, at_ms: int = 1_000, rate: float = 1.0) -> SampledTrace:
    trace = SampledTrace(rate)
    for place, number in enumerate(numbers):
        trace.note(key(number), 100 + number, at_ms + 10 * place, 2.5)
    return trace


def test_traces_of_two_gateways_become_one_in_the_order_of_time() -> None:
    one, two = noted(1, 2, at_ms=1_000), noted(1, 3, at_ms=1_005)
    found = read_sample([pack_part(trace.part(100), 1.0, bytes(8)) for trace in (one, two)], 1.0)
    assert [(access.size, access.at_ms, access.cost_ms) for access in found.accesses] == [
        *((101, 1_000, 2.5), (101, 1_005, 2.5)),
        *((102, 1_010, 2.5), (103, 1_015, 2.5)),
    ]
    keys = [access.key for access in found.accesses]
    assert keys[0] == keys[1] and len(set(keys)) == 3
    assert (found.total, found.rate) == (4, 1.0)
    # Nobody can ask the cache with what is shared.
    assert all(len(part) < 16 for part in keys[0])


def test_what_was_shared_is_not_given_again_and_what_was_not_is() -> None:
    trace = noted(*range(10))
    first = trace.part(4)
    assert [access.size for access in first.accesses] == [100, 101, 102, 103]
    assert trace.part(4) == first
    trace.shared(first.up_to)
    second = trace.part(100)
    assert [access.size for access in second.accesses] == [104, 105, 106, 107, 108, 109]
    assert first.seen + second.seen == 10
    trace.shared(second.up_to)
    assert trace.part(100).seen == 0


def test_uses_of_keys_that_are_not_sampled_count_in_the_part_after_them() -> None:
    trace = SampledTrace(0.2)
    for number in range(2_000):
        trace.note(key(number), 1, number, 1.0)
    seen = 0
    sampled: list[Access] = []
    while (part := trace.part(50)).seen:
        assert len(part.accesses) <= 50
        seen += part.seen
        sampled += part.accesses
        trace.shared(part.up_to)
    assert seen == 2_000
    assert tuple(sampled) == trace.sample().accesses


@pytest.mark.parametrize(
    "part", [b"", b"x" * 40, pack_part(noted(1).part(9), 0.5, bytes(8)), b"fbt0" + bytes(32)]
)
def test_a_part_that_cannot_be_read_or_has_another_rate_is_left_out(part: bytes) -> None:
    whole = pack_part(noted(1, 2).part(9), 1.0, bytes(8))
    assert read_sample([part, whole], 1.0) == read_sample([whole], 1.0)


def test_the_parts_of_one_gateway_can_be_left_out() -> None:
    parts = [pack_part(noted(number).part(9), 1.0, bytes([number]) * 8) for number in (1, 2)]
    assert [access.size for access in read_sample(parts, 1.0, but=b"\1" * 8).accesses] == [102]


def test_the_latest_part_of_a_sample_is_of_as_many_uses_as_it_stands_for() -> None:
    sample = noted(*range(100)).sample()
    assert sample.latest(100) is sample
    latest = sample.latest(25)
    assert latest.accesses == sample.accesses[75:]
    assert (latest.total, latest.rate) == (25, 1.0)


def test_a_sample_can_have_its_sizes_as_a_tier_counts_them() -> None:
    sample = noted(1, 900).sample()
    assert [access.size for access in sample.counted(50, 400).accesses] == [400, 1050]
    assert sample.counted(50, 400).total == sample.total

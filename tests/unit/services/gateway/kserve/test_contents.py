import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.errors import InvalidInput
from services.gateway.kserve.contents import join, split, values_of


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_elements_of_bytes_that_are_joined_can_be_split_again(elements: list[bytes]) -> None:
    assert split(join(elements), len(elements), "input 'x'") == elements


@given(st.binary(max_size=30), st.integers(0, 10))
def test_bytes_are_split_without_rest_or_refused(raw: bytes, count: int) -> None:
    try:
        elements = split(raw, count, "input 'x'")
    except InvalidInput as error:
        assert "input 'x'" in str(error)
    else:
        assert join(elements) == raw


def test_numbers_are_little_endian_and_half_precision_has_no_values() -> None:
    assert values_of("INT16", b"\1\0\0\1", 2, "input 'n'") == [1, 256]
    assert values_of("BOOL", b"\0\1", 2, "input 'n'") == [False, True]
    with pytest.raises(InvalidInput, match="input 'n' is FP16"):
        values_of("FP16", b"\0\0", 1, "input 'n'")
